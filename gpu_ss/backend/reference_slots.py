"""NumPy definitions of the operations on polynomials modulo a prime with slots: Python's integers."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from gpu_ss.backend import primes as tables
from gpu_ss.backend.primes import Primes, Table
from gpu_ss.backend.reference_lattice import ReferenceLattice, forward, inverse
from gpu_ss.backend.slots import Pairs, Slots
from gpu_ss.ring import Array


class ReferenceSlots(ReferenceLattice, Slots):
    """See `Slots`."""

    def slot_values(self, x: Array, prime: int) -> Array:
        _, size = self._check_elements(x, prime)
        return _words(forward(x.astype(object), _twiddles(prime, size, 0), prime))

    def slot_coefficients(self, x: Array, prime: int) -> Array:
        _, size = self._check_elements(x, prime)
        return _words(inverse(x.astype(object), _twiddles(prime, size, 2), prime))

    def scale_up_elements(self, x: Array, prime: int, add: Array, primes: Primes) -> Array:
        self._check_elements(x, prime)
        self._check_sampling(x, add, primes)
        scaled = (prod(primes) * x.astype(object) + prime // 2) // prime
        return np.array([(scaled + a) % p for a, p in zip(add, primes, strict=True)], np.uint32)

    def centred_elements(self, x: Array, prime: int, primes: Primes) -> Array:
        self._check_elements(x, prime)
        self._check_sampling(x, None, primes)
        centred = (x.astype(object) + prime // 2) % prime - prime // 2
        return np.array([centred % p for p in primes], np.uint32)

    def decode_elements(self, x: Array, y: Array, prime: int, primes: Primes) -> Array:
        self._check_decoded(x, y, prime, primes)
        q = prod(primes)
        units = np.array([q // p * pow(q // p, -1, p) for p in primes], object)[:, None, None]
        value = ((x.astype(object) + y) * units).sum(axis=0) % q
        return _words((prime * value + q // 2) // q % prime)

    def product_sums(
        self, b: Array, a: Array, y: Array, sums: Sequence[Pairs], primes: Primes
    ) -> tuple[Array, Array]:
        self._check_sums(b, a, y, sums, primes)
        found = np.zeros((2, len(primes), len(sums), b.shape[2]), np.uint64)
        p = np.array(primes, np.uint64)[:, None]
        for part, x in zip(found, (b, a), strict=True):
            for number, pairs in enumerate(sums):
                for i, j in pairs:
                    part[:, number] = (part[:, number] + x[:, i].astype(np.uint64) * y[:, j]) % p
        return found[0].astype(np.uint32), found[1].astype(np.uint32)


def _twiddles(prime: int, size: int, row: int) -> Table:
    return np.asarray(tables.slot_table(prime, size)[row].astype(object))


def _words(integers: Table) -> Array:
    return np.ascontiguousarray(integers, np.uint64)
