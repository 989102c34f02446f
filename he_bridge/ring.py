"""Polynomials of Z_q[X]/(X^N + 1) on a backend, q a product of primes kept apart (residue number system).

Arrays are uint32 [primes, polys, N]: coefficients, or values (`values`, `coefficients` convert). Words are
uint64 [polys, N].
"""

from __future__ import annotations

from dataclasses import dataclass

from gpu_ss.backend.base import Backend
from gpu_ss.prg import Prg, Stream, derive_key
from gpu_ss.ring import Array
from he_bridge.params import ParameterSet

SEED_BYTES = 32


@dataclass(frozen=True)
class PolyRing:
    """The ring of a parameter set, at full modulus."""

    backend: Backend
    params: ParameterSet

    @property
    def degree(self) -> int:
        return self.params.degree

    @property
    def primes(self) -> tuple[int, ...]:
        return self.params.primes

    def values(self, x: Array) -> Array:
        """From coefficients to values (forward transform)."""
        return self.backend.ntt(x, self.primes[: len(x)])

    def coefficients(self, x: Array) -> Array:
        """From values to coefficients."""
        return self.backend.intt(x, self.primes[: len(x)])

    def multiply_add(self, x: Array, y: Array, z: Array | None = None) -> Array:
        """x y + z of values; y may be one polynomial for all."""
        return self.backend.multiply_add(x, y, z, self.primes[: len(x)])

    def public_uniform(self, seed: bytes, polys: int) -> Array:
        """Uniform polynomials that everybody who has the seed expands alike: part of the wire contract.

        Words of one ChaCha20 stream in the order prime, polynomial, place; floor(w p / 2^64) of each.
        """
        words = Stream(self.backend, derive_key(seed, "he_bridge uniform"), 0)
        return self.backend.uniform_residues(words.words((len(self.primes), polys, self.degree)), self.primes)

    def errors(self, prg: Prg, polys: int, add: Array | None = None) -> Array:
        """Fresh errors (centred binomial, sigma 3.24), as coefficients, added to `add`."""
        return self.backend.binomial_residues(prg.words((polys, self.degree)), add, self.primes)

    def ternary(self, prg: Prg, polys: int) -> Array:
        """Fresh coefficients -1, 0 or 1, uniform."""
        return self.backend.ternary_residues(prg.words((polys, self.degree)), None, self.primes)

    def add_message(self, x: Array, words: Array) -> Array:
        """x + round(q m / 2^ring_bits), coefficients."""
        return self.backend.scale_up(words, self.params.ring_bits, x, self.primes)

    def switched(self, x: Array) -> Array:
        """Coefficients divided by the dropped primes and rounded, one prime after the other."""
        for count in range(len(self.primes), len(self.params.kept), -1):
            x = self.backend.drop_prime(x, self.primes[:count])
        return x

    def message(self, x: Array, y: Array) -> Array:
        """The words that the coefficients x + y stand for, at whatever modulus these have."""
        return self.backend.decode_sum(x, y, self.params.ring_bits, self.primes[: len(x)])
