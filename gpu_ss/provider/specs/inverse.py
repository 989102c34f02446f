"""What the look-up of an inverse needs of the masks (see protocols/inverses.py)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gpu_ss.provider.correlation import Correlation, Dealing, Out
from gpu_ss.ring import WORD, Array, Ring

FACTORS = 5  # words of a line


@dataclass(frozen=True)
class InverseLookup(Correlation):
    """Of a mask r of n numbers of `source` bits, look-up masks mu [W, n], nu [W, n] and counts' masks s [W - 1, n].

    Window w cuts r at shifts[w] into rh and rl, rl being read with `frac` bits. Outputs: the unit vectors of rh
    modulo 2^index, XOR-shared [W, 2^index / 64, n] (rank 0's bit there decides the sign sigma); with
    K = sigma 2^scales[w] and L = -K rl the words K, L, -K mu - L nu, K 2^looks[0] msb(mu), L 2^looks[1] msb(nu) of
    the last window [5, n]; and of each window but the first, times [s = j] for all j, those of the window before it
    and its own [W - 1, 2^field, 10, n].
    """

    mask: int
    value: int
    slope: int
    count: int
    n: int
    source: int
    shifts: tuple[int, ...]
    scales: tuple[int, ...]
    index: int
    frac: int
    looks: tuple[int, int]
    field: int

    refs: ClassVar = ("mask", "value", "slope", "count")

    def outputs(self) -> tuple[Out, ...]:
        windows, n = len(self.shifts), self.n
        return (
            Out((windows, (1 << self.index) // WORD, n), xor=True),
            Out((FACTORS, n)),
            Out((windows - 1, 1 << self.field, 2 * FACTORS, n)),
        )

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        xp, windows = dealing.backend.xp, len(self.shifts)
        r = Ring(self.source).reduce(dealing.mask(self.mask)).reshape(-1)
        counts = dealing.mask(self.count).reshape(windows - 1, self.n)
        units, lines = zip(*(self._window(dealing, r, w) for w in range(windows)), strict=True)
        both = (xp.concatenate(lines[w - 1 : w + 1]) for w in range(1, windows))
        gated = [
            dealing.backend.spread(count, line, 1 << self.field)
            for count, line in zip(counts, both, strict=True)
        ]
        return xp.stack(units), lines[-1], xp.stack(gated)

    def _window(self, dealing: Dealing, r: Array, w: int) -> tuple[Array, Array]:
        """The unit vector and the words of one window's line."""
        xp, zero, shift = dealing.backend.xp, np.uint64(0), self.shifts[w]
        at = Ring(self.index).reduce(r >> np.uint64(shift))
        unit, sign = dealing.backend.signed_units(at, dealing.share0[0][w])  # type: ignore[index]
        factor = sign << np.uint64(self.scales[w])
        slope = zero - factor * fraction(r, shift, self.frac)
        masks = [
            Ring(bits).reduce(dealing.mask(number)).reshape(len(self.shifts), self.n)[w]
            for number, bits in zip((self.value, self.slope), self.looks, strict=True)
        ]
        tops = [
            (mask >> np.uint64(bits - 1)) << np.uint64(bits)
            for mask, bits in zip(masks, self.looks, strict=True)
        ]
        constant = zero - factor * masks[0] - slope * masks[1]
        return unit, xp.stack([factor, slope, constant, factor * tops[0], slope * tops[1]])


def fraction(x: Array, shift: int, bits: int) -> Array:
    """The lowest `shift` bits of words as a fraction of 2^shift with so many bits, rounded down."""
    low = x & np.uint64((1 << shift) - 1)
    return low >> np.uint64(shift - bits) if shift >= bits else low << np.uint64(bits - shift)
