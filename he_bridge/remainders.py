"""Uniform words, and numbers kept as residues modulo several primes: for sums over the integers."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np

from he_bridge.tenseal_io import Words

Generator: TypeAlias = Callable[[tuple[int, ...]], Words]
"""Uniform words nobody else knows, of a shape: `os_words`, or `Prg(...).words`."""


def os_words(shape: tuple[int, ...]) -> Words:
    """Uniform words from the operating system."""
    return np.frombuffer(bytearray(os.urandom(8 * math.prod(shape))), np.uint64).reshape(shape)


class Remainders:
    """Numbers below a product of primes of 30 to 47 bits, as residues [primes, n] and as mixed-radix digits."""

    def __init__(self, primes: Sequence[int]) -> None:
        self.primes = list(primes)
        self._weights = [math.prod(self.primes[:i]) for i in range(len(self.primes))]
        self._inverses = [pow(w, -1, p) for w, p in zip(self._weights, self.primes, strict=True)]

    def reduce(self, words: Words) -> Words:
        """Words [n] modulo each prime."""
        return np.stack([words % np.uint64(p) for p in self.primes])

    def draw(self, generator: Generator, n: int) -> Words:
        """Digits of n numbers, uniform below the product less the product of all primes but the last."""
        bounds = [*self.primes[:-1], self.primes[-1] - 1]
        return np.stack([below(generator, bound, n) for bound in bounds])

    def residues(self, digits: Words) -> Words:
        """Digits to residues."""
        return np.stack([self._partial(digits, i, i + 1) for i in range(len(self.primes))])

    def digits(self, residues: Words) -> Words:
        """Residues to digits (Garner)."""
        digits = residues.copy()
        for i, p in enumerate(self.primes[1:], 1):
            prime = np.uint64(p)
            rest = residues[i] + prime - self._partial(digits, i, i)
            digits[i] = _times(rest, self._inverses[i], p)
        return digits

    def words(self, digits: Words) -> Words:
        """The numbers modulo 2^64."""
        total = np.zeros(digits.shape[1], np.uint64)
        for digit, weight in zip(digits, self._weights, strict=True):
            total += digit * np.uint64(weight % 2**64)
        return total

    def _partial(self, digits: Words, i: int, upto: int) -> Words:
        """The numbers made of the first `upto` digits, modulo prime i."""
        p = self.primes[i]
        total = np.zeros(digits.shape[1], np.uint64)
        for digit, weight in zip(digits[:upto], self._weights[:upto], strict=True):
            total += _times(digit, weight % p, p)
        return np.asarray(total % np.uint64(p))


def _times(x: Words, factor: int, prime: int) -> Words:
    """x * factor modulo prime, for x < 2^48 and factor < prime < 2^47.

    The quotient in floating point is off by at most one, so the remainder is exact after one correction.
    """
    quotient = (x.astype(np.float64) * (factor / prime)).astype(np.uint64)
    rest = (x * np.uint64(factor) - quotient * np.uint64(prime)).view(np.int64)
    rest += np.int64(prime) * (rest < 0)
    rest -= np.int64(prime) * (rest >= prime)
    return rest.view(np.uint64)


def below(generator: Generator, bound: int, n: int) -> Words:
    """n uniform numbers below `bound`, by rejection."""
    shift = np.uint64(64 - bound.bit_length())
    found = generator((n,)) >> shift
    while (bad := np.flatnonzero(found >= bound)).size:
        found[bad] = generator((bad.size,)) >> shift
    return found
