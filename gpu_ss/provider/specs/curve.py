"""What the look-up of a curve needs of the masks (see protocols/curve.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gpu_ss.provider.correlation import Correlation, Dealing, Out
from gpu_ss.ring import WORD, Array


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
        backend, n = dealing.backend, self.n
        r, gates = dealing.mask(self.mask).reshape(-1), dealing.mask(self.gates)
        value, slope = (dealing.mask(number).reshape(-1) for number in (self.value, self.slope))
        unit, sign = backend.signed_units(r >> np.uint64(self.cell), dealing.share0[0])
        words = backend.curve_words(r, sign, value, slope, gates, self.cell, self.source, self.looks)
        return unit, words[:6].reshape(2, 3, n), words[6:8], words[8:10], words[10:13], words[13:]
