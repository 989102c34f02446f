"""Rings Z_2^bits, 1 <= bits <= 64.

Storage words are always 64 bits. Of a word that holds a ring element only the low `bits` bits mean
anything; the bits above are left as they fall (sums and products modulo 2^64 are right modulo 2^bits
without any masking). Whoever needs the canonical representative calls `Ring.reduce`; the wire carries
exactly `bits` bits per element.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

#: An array of 64-bit words of whichever library the backend uses (NumPy, CuPy, or shapes only).
Array = Any

WORD = 64


@dataclass(frozen=True, slots=True)
class Ring:
    """The ring Z_2^bits.

    Rings are nested: an element of a larger ring read modulo a smaller power of two is an element of the
    smaller ring, and shares stay shares. So narrowing is free; widening is a protocol (`trunc.extend`).
    """

    bits: int

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= WORD:
            raise ValueError(f"a ring has 1 to {WORD} bits, not {self.bits}")

    @property
    def mask(self) -> np.uint64:
        """All ones in the meaningful bits."""
        return np.uint64((1 << self.bits) - 1)

    def reduce(self, words: Array) -> Array:
        """The canonical representatives, in [0, 2^bits)."""
        return words if self.bits == WORD else words & self.mask

    def constant(self, value: int) -> np.uint64:
        """A Python integer as a ring element."""
        return np.uint64(value % (1 << self.bits))

    def signed(self, words: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Centred representatives in [-2^(bits-1), 2^(bits-1)) as int64 (host arrays only)."""
        shift = np.int64(WORD - self.bits)
        return (words << np.uint64(shift)).view(np.int64) >> shift


def lead_of(rank: int) -> np.uint64:
    """All ones at rank 0, zero at rank 1: a party's XOR share of public ones, and what it keeps of public words."""
    return np.uint64(0) if rank else ~np.uint64(0)


def word_count(elements: int, bits: int) -> int:
    """Words that `elements` values of `bits` bits fill when packed without gaps."""
    return -(-elements * bits // WORD)


def wire_bytes(elements: int, bits: int) -> int:
    """Payload bytes of `elements` packed values of `bits` bits (a whole number of words)."""
    return 8 * word_count(elements, bits)


RING64 = Ring(64)
