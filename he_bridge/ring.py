"""Polynomials of Z_q[X]/(X^N + 1) on a backend, q a product of primes kept apart (residue number system).

Arrays are uint32 [primes, polys, N]: coefficients, or values (`values`, `coefficients` convert). Words are
uint64 [polys, N].
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.prg import Prg, Stream, derive_key
from gpu_ss.ring import WORD, Array
from he_bridge.params import ParameterSet

SEED_BYTES = 32


@dataclass(frozen=True)
class PolyRing:
    """The ring of a parameter set, modulo the primes of fresh ciphertexts or other ones of its chain.

    bits: of the plaintexts, if fewer than the set's.
    """

    backend: Backend
    params: ParameterSet
    moduli: tuple[int, ...] | None = None
    bits: int | None = None

    @property
    def degree(self) -> int:
        return self.params.degree

    @property
    def primes(self) -> tuple[int, ...]:
        return self.params.primes if self.moduli is None else self.moduli

    @property
    def ring_bits(self) -> int:
        """Plaintexts are modulo 2^ring_bits."""
        return self.params.ring_bits if self.bits is None else self.bits

    def of(self, bits: int | None) -> PolyRing:
        """The same ring with plaintexts modulo 2^bits (None: as many as the set allows)."""
        if bits is not None and not 1 <= bits <= self.params.ring_bits:
            raise ValueError(f"{self.params.name} computes modulo 2^{self.params.ring_bits} at most")
        return replace(self, bits=bits)

    def at(self, primes: tuple[int, ...]) -> PolyRing:
        """The same ring modulo the first so many primes of the chain."""
        if primes != self.params.chain[: len(primes)]:
            raise ValueError("these are not the first primes of the chain")
        return replace(self, moduli=primes)

    def values(self, x: Array) -> Array:
        """From coefficients to values (forward transform)."""
        return self.backend.ntt(x, self.primes[: len(x)])

    def coefficients(self, x: Array) -> Array:
        """From values to coefficients."""
        return self.backend.intt(x, self.primes[: len(x)])

    def multiply_add(self, x: Array, y: Array, z: Array | None = None) -> Array:
        """x y + z of values; y may be one polynomial for all."""
        return self.backend.multiply_add(x, y, z, self.primes[: len(x)])

    def constants(self, residues: Array) -> Array:
        """The values of a constant for each prime, [primes, 1, N]; `residues` is on the host."""
        values = np.repeat(np.asarray(residues, np.uint32), self.degree)
        return self.backend.asarray(values.reshape(-1, 1, self.degree))

    def public_uniform(self, seed: bytes, polys: int) -> Array:
        """Uniform polynomials that everybody who has the seed expands alike: part of the wire contract.

        Words of one ChaCha20 stream in the order prime, polynomial, place; floor(w p / 2^64) of each. So fewer
        primes of the chain see the same residues.
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
        return self.backend.scale_up(words, self.ring_bits, x, self.primes)

    def switched(self, x: Array) -> Array:
        """Coefficients divided by the dropped primes and rounded, one prime after the other."""
        for count in range(len(self.primes), len(self.params.kept), -1):
            x = self.backend.drop_prime(x, self.primes[:count])
        return x

    def digits(self, x: Array, after: int) -> Array:
        """Coefficients in units of the plaintext, with that many digits after the point: see `scale_down`."""
        return self.backend.scale_down(x, self.ring_bits + after, self.primes[: len(x)])

    def from_digits(self, digits: Array, after: int) -> Array:
        """Coefficients modulo the kept primes that have these digits, to within two units."""
        primes, bits = self.params.kept, self.ring_bits + after
        add = self.backend.xp.zeros((len(primes), *digits.shape[1:]), np.uint32)
        if len(digits) > 1:
            lower = digits[1] * np.uint64(prod(primes) >> WORD) >> np.uint64(bits - WORD)
            add[:] = lower.astype(np.uint32)
        return self.backend.scale_up(digits[0], min(bits, WORD), add, primes)

    def message(self, x: Array, y: Array) -> Array:
        """The words that the coefficients x + y stand for, at whatever modulus these have."""
        return self.backend.decode_sum(x, y, self.ring_bits, self.primes[: len(x)])
