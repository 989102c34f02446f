"""Plaintexts with slots: polynomials modulo a prime t, and the way between them and residues.

A part of `Backend`, beside `Lattice`: same rules, same residues [primes, polys, N], q the product of the primes.
The prime t has up to 60 bits and is 1 modulo 2N, so a polynomial modulo t and X^N + 1 is its values at N points,
and products are place by place there: slots. Elements are words below t, uint64 [polys, N].
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

from gpu_ss.backend.lattice import Lattice, NoLattice
from gpu_ss.backend.primes import Primes, check_slots
from gpu_ss.ring import WORD, Array

#: Which products a sum has: pairs of polynomials by number.
Pairs = Sequence[tuple[int, int]]


class Slots(Lattice):
    """Operations on elements; defined by `reference_slots`."""

    @abstractmethod
    def slot_values(self, x: Array, prime: int) -> Array:
        """Values of polynomials modulo the prime, in the order of `ntt`. N log2 N / 2 butterflies for each."""

    @abstractmethod
    def slot_coefficients(self, x: Array, prime: int) -> Array:
        """The inverse of `slot_values`."""

    @abstractmethod
    def scale_up_elements(self, x: Array, prime: int, add: Array, primes: Primes) -> Array:
        """round(q m / t) + add for each element m: residues. As `scale_up`, for a prime t."""

    @abstractmethod
    def centred_elements(self, x: Array, prime: int, primes: Primes) -> Array:
        """Each element, as a number between -t / 2 and t / 2, modulo all primes: residues."""

    @abstractmethod
    def decode_elements(self, x: Array, y: Array, prime: int, primes: Primes) -> Array:
        """round(t ((x + y) mod q) / q) modulo t: elements. The inverse of `scale_up_elements`.

        Right where the fraction is further than 2^-30 from a half. There are few enough primes for their number
        times t to fit a word.
        """

    @abstractmethod
    def product_sums(
        self, b: Array, a: Array, y: Array, sums: Sequence[Pairs], primes: Primes
    ) -> tuple[Array, Array]:
        """sum x_i y_j over the pairs (i, j) of each sum, place by place, for x = b and for x = a.

        b, a [primes, I, N], y [primes, J, N]: [primes, len(sums), N] each. A sum of no pairs is zero.
        """

    def _check_elements(self, x: Array, prime: int) -> tuple[int, int]:
        """polys, N of elements."""
        self._check_stream(x)
        if x.ndim != 2:
            raise ValueError(f"elements must be [polys, N], not {x.shape}")
        check_slots(prime, x.shape[1])
        return int(x.shape[0]), int(x.shape[1])

    def _check_decoded(self, x: Array, y: Array, prime: int, primes: Primes) -> tuple[int, ...]:
        """[polys, N] of residues that stand for elements."""
        _, polys, size = self._check_residues(primes, x=x, y=y)
        check_slots(prime, size)
        if (len(primes) + 1) * prime >> WORD:
            raise ValueError(f"elements below {prime} cannot be decoded from {len(primes)} residues")
        return polys, size

    def _check_sums(
        self, b: Array, a: Array, y: Array, sums: Sequence[Pairs], primes: Primes
    ) -> tuple[int, int, int]:
        """I, J, N."""
        _, left, size = self._check_residues(primes, b=b, a=a)
        _, right, places = self._check_residues(primes, y=y)
        if places != size:
            raise ValueError(f"polynomials of {size} and of {places} places cannot be multiplied")
        if any(not (0 <= i < left and 0 <= j < right) for pairs in sums for i, j in pairs):
            raise ValueError(f"products must be of the first {left} and {right} polynomials")
        return left, right, size


class NoSlots(NoLattice, Slots):
    """For backends that compute nothing."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError("this backend has no polynomials")

    slot_values = slot_coefficients = scale_up_elements = centred_elements = _refuse
    decode_elements = product_sums = _refuse
