"""Correlations of a mask that is divided after it was opened (see protocols/quotient.py).

Of a mask r of `source` bits the whole part is R = r >> shift, as an integer of l = source - shift bits, and the top
bit m. Where the masked value wrapped around, which is public but for m, the quotient's mask is R - 2^l m. So what a
product needs comes apart into what it needs of R, in Z_2^bits, and of m, in the bits above 2^l.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gpu_ss.provider.correlation import Correlation, Dealing, Out
from gpu_ss.ring import Array, Ring


@dataclass(frozen=True)
class QuotientMask(Correlation):
    """R and m of a mask of n elements: [n] each, m in Z_2^(bits - l)."""

    a: int
    n: int
    source: int
    shift: int
    bits: int

    refs: ClassVar = ("a",)

    def outputs(self) -> tuple[Out, ...]:
        return (Out((self.n,), self.bits), Out((self.n,), self.bits - self.source + self.shift))

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        return _parts(dealing, self.a, self.source, self.shift)


@dataclass(frozen=True)
class QuotientSquares(Correlation):
    """Of a mask [rows, n]: sum_j R_ij^2 [rows], and R_ij m_ij [rows, n] in Z_2^(bits - l - 1) (or one bit)."""

    a: int
    rows: int
    n: int
    source: int
    shift: int
    bits: int

    refs: ClassVar = ("a",)

    def outputs(self) -> tuple[Out, ...]:
        above = max(1, self.bits - self.source + self.shift - 1)
        return (Out((self.rows,), self.bits), Out((self.rows, self.n), above))

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        whole, top = (
            part.reshape(self.rows, self.n) for part in _parts(dealing, self.a, self.source, self.shift)
        )
        return (whole * whole).sum(axis=1), whole * top


@dataclass(frozen=True)
class QuotientProduct(Correlation):
    """R_ij b_i, and m_ij b_i in Z_2^(bits - l), for masks [rows, n] and b [rows]: [rows, n] each."""

    a: int
    b: int
    rows: int
    n: int
    source: int
    shift: int
    bits: int

    refs: ClassVar = ("a", "b")

    def outputs(self) -> tuple[Out, ...]:
        shape = (self.rows, self.n)
        return (Out(shape, self.bits), Out(shape, self.bits - self.source + self.shift))

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        factor = dealing.mask(self.b).reshape(self.rows, 1)
        parts = _parts(dealing, self.a, self.source, self.shift)
        return tuple(part.reshape(self.rows, self.n) * factor for part in parts)


@dataclass(frozen=True)
class QuotientProducts(Correlation):
    """R_ij b_i, m_ij b_i, R_ij t_i and m_ij t_i for masks [rows, n] and b [rows] of b_bits, t being b's top bit.

    For b that is opened undivided. All [rows, n], in Z_2^bits less the bits of what multiplies them: 1, 2^l,
    2^b_bits, both; the last is left out where that leaves nothing.
    """

    a: int
    b: int
    rows: int
    n: int
    source: int
    shift: int
    b_bits: int
    bits: int

    refs: ClassVar = ("a", "b")

    def outputs(self) -> tuple[Out, ...]:
        whole = self.source - self.shift
        widths = self.bits, self.bits - whole, self.bits - self.b_bits, self.bits - whole - self.b_bits
        return tuple(Out((self.rows, self.n), width) for width in widths if width > 0)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        whole, top = (
            part.reshape(self.rows, self.n) for part in _parts(dealing, self.a, self.source, self.shift)
        )
        b, t = (part.reshape(self.rows, 1) for part in _parts(dealing, self.b, self.b_bits, 0))
        return (whole * b, top * b, whole * t, top * t)[: len(self.outputs())]


def _parts(dealing: Dealing, mask: int, source: int, shift: int) -> tuple[Array, Array]:
    """R and m, flat."""
    r = Ring(source).reduce(dealing.mask(mask)).reshape(-1)
    return r >> np.uint64(shift), r >> np.uint64(source - 1)
