"""Correlations of a mask that is used in a larger ring than it was opened in (see protocols/extended.py).

A mask r of `source` bits is taken as an integer, with its top bit m. Where the masked value wrapped around, which
is public but for m, the mask in the larger ring is r - 2^source m. So what a product needs comes apart into what it
needs of r, in Z_2^bits, and of m, in the bits above 2^source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np

from gpu_ss.provider.correlation import Correlation, Dealing, Out
from gpu_ss.ring import Array, Ring


@dataclass(frozen=True)
class ExtendedMask(Correlation):
    """r and m of a mask of n elements: [n] each, m in Z_2^(bits - source)."""

    a: int
    n: int
    source: int
    bits: int

    refs: ClassVar = ("a",)

    def outputs(self) -> tuple[Out, ...]:
        return (Out((self.n,), self.bits), Out((self.n,), self.bits - self.source))

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        return _with_top(dealing, self.a, self.source, (self.n,))


@dataclass(frozen=True)
class ExtendedSquares(Correlation):
    """Of a mask [rows, n]: sum_j r_ij^2 [rows], and r_ij m_ij [rows, n] in Z_2^(bits - source - 1) (or one bit)."""

    a: int
    rows: int
    n: int
    source: int
    bits: int

    refs: ClassVar = ("a",)

    def outputs(self) -> tuple[Out, ...]:
        above = max(1, self.bits - self.source - 1)
        return (Out((self.rows,), self.bits), Out((self.rows, self.n), above))

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        r, top = _with_top(dealing, self.a, self.source, (self.rows, self.n))
        return (r * r).sum(axis=1), r * top


@dataclass(frozen=True)
class ExtendedProduct(Correlation):
    """r_ij s_i, m_ij s_i, r_ij t_i, m_ij t_i for masks r [rows, n], s [rows] of factor_bits, t being s's top bit.

    All [rows, n], in Z_2^bits less the bits of what multiplies them: 1, 2^source, 2^factor_bits, both. Where that
    leaves nothing they are left out: of a factor of `bits` bits, which is not extended, there are the first two.
    """

    a: int
    b: int
    rows: int
    n: int
    source: int
    factor_bits: int
    bits: int

    refs: ClassVar = ("a", "b")

    def outputs(self) -> tuple[Out, ...]:
        above, factor_above = self.bits - self.source, self.bits - self.factor_bits
        widths = self.bits, above, factor_above, factor_above - self.source
        return tuple(Out((self.rows, self.n), width) for width in widths if width > 0)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        parts = _with_top(dealing, self.a, self.source, (self.rows, self.n))
        factors = _with_top(dealing, self.b, self.factor_bits, (self.rows, 1))
        products = (part * factor for factor in factors for part in parts)
        return tuple(islice(products, len(self.outputs())))


def _with_top(dealing: Dealing, mask: int, bits: int, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """A mask of `bits` bits as integers, and its top bit."""
    r = Ring(bits).reduce(dealing.mask(mask)).reshape(shape)
    return r, r >> np.uint64(bits - 1)
