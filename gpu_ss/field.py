"""Fields Z_p for products that two parties make by one encryption: a prime gives a ciphertext its slots.

Elements are canonical, in [0, p), one to a word; the wire carries `bits` bits each. Integers x with |x| < p/4 stand
for themselves: `protocols.fields` moves them to and from rings. Masks are drawn from 128 bits of keystream each, so
the distance from uniform is below p / 2^128, at most 2^-68 for an element.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.prg import Prg, Stream
from gpu_ss.ring import Array

WORDS = 2  # of keystream for one element


@dataclass(frozen=True, slots=True)
class Field:
    """The integers modulo a prime of 3 to 60 bits."""

    prime: int

    @property
    def bits(self) -> int:
        """Bits of an element on the wire."""
        return self.prime.bit_length()

    def constant(self, value: int) -> np.uint64:
        """A Python integer as an element."""
        return np.uint64(value % self.prime)

    def canonical(self, words: Array) -> Array:
        """The elements that words of `bits` bits stand for: those of a peer may lie above the prime."""
        return np.minimum(words, words - np.uint64(self.prime))  # a negative number is a large word

    def add(self, x: Array, y: Array) -> Array:
        """x + y of elements."""
        return self.canonical(x + y)

    def subtract(self, x: Array, y: Array) -> Array:
        """x - y of elements."""
        difference = x - y
        return np.minimum(difference, difference + np.uint64(self.prime))

    def draw(self, stream: Stream | Prg, shape: tuple[int, ...], backend: Backend) -> Array:
        """The next elements of a keystream, or of a party's generator, uniform."""
        high, low = stream.words((WORDS, *shape))
        return backend.field_reduce(high, low, self.prime)


@cache
def field_of(prime: int) -> Field:
    """The field of that prime; 0 stands for none (a ring modulo a power of two)."""
    return Field(prime)


# The largest primes of so many bits that give 8192 slots: p = 1 modulo 16384.
FIELD53 = Field(9007199254429697)
"""2^53 - 311295: products of up to 51 bits."""
FIELD60 = Field(1152921504606830593)
"""2^60 - 16383: products of up to 58 bits."""
