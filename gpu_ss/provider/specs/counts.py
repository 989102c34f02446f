"""Correlations of counted comparisons: a tree's last node in numbers, and what a count chooses.

Numbers modulo 2^field, a few bits each, lie side by side in words. Their sharing adds field by field: no carry
leaves a field, so each party reads its own share of a number without the other ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gpu_ss.backend.reference_circuits import number_fields, number_subsets
from gpu_ss.provider.correlation import Correlation, Dealing, Out
from gpu_ss.provider.specs.bits import MaskView
from gpu_ss.ring import WORD, Array, Ring, word_count


@dataclass(frozen=True)
class NodeNumbers(Correlation):
    """The products of masks that a comparison's last node needs (`number_subsets`), modulo 2^field.

    [rows, 64 words], in fields of words as `number_fields` has them.
    """

    mask: int
    words: int
    arity: int
    field: int

    refs: ClassVar = ("mask",)

    def outputs(self) -> tuple[Out, ...]:
        rows, per = number_fields(self.arity, self.field)
        return (Out((rows, WORD * self.words), per * self.field),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        backend = dealing.backend
        rows, per = number_fields(self.arity, self.field)
        products = backend.plane_products(dealing.mask(self.mask), number_subsets(self.arity))
        planes = backend.zeros((rows, per * self.field, self.words))  # a number's higher bits are 0
        for k in range(len(products)):
            planes[k // per, k % per * self.field] = products[k]
        values = backend.xp.stack([backend.from_planes(row, WORD * self.words) for row in planes])
        share0 = dealing.share0[0]
        return (share0 + fieldwise_difference(values, share0, self.field, per),)


def fieldwise_difference(a: Array, b: Array, field: int, per: int) -> Array:
    """a - b in every one of `per` fields of a word, modulo 2^field."""
    tops = np.uint64(sum(1 << (field * k + field - 1) for k in range(per)))
    b = Ring(field * per).reduce(b)
    return ((a | tops) - (b & ~tops)) ^ ((a ^ ~b) & tops)


@dataclass(frozen=True)
class DigitUnits(Correlation):
    """The unit vectors modulo 2^field of digits of a viewed mask: bits starts[k] .. starts[k] + widths[k] - 1.

    A vector of 2^b entries is [2^b field / 64, n] words (one at least), entry e being field e of them in order; the
    vectors follow each other. `field` divides 64.
    """

    view: MaskView
    starts: tuple[int, ...]
    widths: tuple[int, ...]
    field: int

    refs: ClassVar = ("view",)

    def outputs(self) -> tuple[Out, ...]:
        return (Out((sum(digit_words(width, self.field) for width in self.widths), self.view.n)),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        xp, r, rows = dealing.backend.xp, self.view.words(dealing), []
        per = WORD // self.field
        for start, width in zip(self.starts, self.widths, strict=True):
            digit = Ring(width).reduce(r >> np.uint64(start))
            place = one_at(digit & np.uint64(per - 1), self.field)
            word = digit >> np.uint64(per.bit_length() - 1)
            for k in range(digit_words(width, self.field)):
                rows.append(xp.where(word == np.uint64(k), place, np.uint64(0)))
        share0 = dealing.share0[0]
        return (share0 + fieldwise_difference(xp.stack(rows), share0, self.field, per),)


def one_at(place: Array, field: int) -> Array:
    """A word with 1 in that field."""
    return np.uint64(1) << (place * np.uint64(field))


def digit_words(width: int, field: int) -> int:
    """Words that hold the unit vector of a digit of that many bits."""
    return word_count(1 << width, field)


@dataclass(frozen=True)
class CountChoices(Correlation):
    """[s = j] and [s = j] r of all j, n numbers s of a mask modulo 2^field, a viewed mask r: [2^field, 2, n]."""

    mask: int
    field: int
    view: MaskView
    bits: int

    refs: ClassVar = ("mask", "view")

    def outputs(self) -> tuple[Out, ...]:
        return (Out((1 << self.field, 2, self.view.n), self.bits),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        r, s = self.view.words(dealing), dealing.mask(self.mask).reshape(-1)
        one = r * np.uint64(0) + np.uint64(1)
        return (dealing.backend.spread(s, dealing.backend.xp.stack([one, r]), 1 << self.field),)
