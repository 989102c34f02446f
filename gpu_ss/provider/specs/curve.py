"""What the look-up of a curve needs of the masks (see protocols/curve.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gpu_ss.provider.correlation import Correlation, Dealing, Out
from gpu_ss.provider.specs.bits import bit_words
from gpu_ss.ring import WORD, Array, Ring


@dataclass(frozen=True)
class CurveLookup(Correlation):
    """Of a mask r of n numbers of `source` bits, look-up masks mu, nu of looks[0], looks[1] bits, two bit masks.

    r is cut at `cell` bits into rh and rl. Outputs: the unit vectors of rh modulo 2^index, XOR-shared
    [2^index / 64, n] (rank 0's bit there decides the sign sigma). With L = -sigma rl, and again times the first bit
    mask: sigma, L, -sigma mu - L nu [2, 3, n] in Z_2^bits; sigma msb(mu) and L msb(nu) [2, n] in what is above
    2^looks of that. For x itself: r [n], the second bit mask and that times r [2, n] in Z_2^line_bits; msb(r), also
    times the bit, [2, n] in what is above 2^source.
    """

    mask: int
    value: int
    slope: int
    gates: int
    n: int
    source: int
    cell: int
    index: int
    looks: tuple[int, int]
    bits: int
    line_bits: int

    refs: ClassVar = ("mask", "value", "slope", "gates")

    def outputs(self) -> tuple[Out, ...]:
        n = self.n
        return (
            Out(((1 << self.index) // WORD, n), xor=True),
            Out((2, 3, n), self.bits),
            *(Out((2, n), self.bits - look) for look in self.looks),
            Out((3, n), self.line_bits),
            Out((2, n), max(1, self.line_bits - self.source)),
        )

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        xp, zero, one = dealing.backend.xp, np.uint64(0), np.uint64(1)
        r = Ring(self.source).reduce(dealing.mask(self.mask)).reshape(-1)
        inside, outside = bit_words(dealing, self.gates, self.n)
        at = Ring(self.index).reduce(r >> np.uint64(self.cell))
        place, word = one << (at & np.uint64(WORD - 1)), at >> np.uint64(6)
        unit = xp.stack(
            [xp.where(word == np.uint64(k), place, zero) for k in range((1 << self.index) // WORD)]
        )
        positive = ((dealing.share0[0] & unit) != zero).any(axis=0)
        sign = xp.where(positive, one, np.uint64(2**64 - 1))
        slope = zero - sign * Ring(self.cell).reduce(r)
        mu, nu = (
            Ring(bits).reduce(dealing.mask(number)).reshape(-1)
            for number, bits in zip((self.value, self.slope), self.looks, strict=True)
        )
        lines = xp.stack([sign, slope, zero - sign * mu - slope * nu])
        tops = [
            factor * (mask >> np.uint64(bits - 1))
            for factor, mask, bits in zip((sign, slope), (mu, nu), self.looks, strict=True)
        ]
        top = r >> np.uint64(self.source - 1)
        return (
            unit,
            xp.stack([lines, lines * inside]),
            *(xp.stack([wrap, wrap * inside]) for wrap in tops),
            xp.stack([r, outside, outside * r]),
            xp.stack([top, top * outside]),
        )
