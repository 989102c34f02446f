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
from gpu_ss.ring import WORD, Array, Ring


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


DIGIT_FIELD = 2  # bits of an entry of DigitUnits


@dataclass(frozen=True)
class DigitUnits(Correlation):
    """The unit vectors modulo 4 of two digits of a viewed mask, of its `low` and then `high` uppermost bits.

    A digit of b bits is [2^b / 32, n] words (one at least), entry e being field e % 32 of word e / 32.
    """

    view: MaskView
    low: int
    high: int

    refs: ClassVar = ("view",)

    def outputs(self) -> tuple[Out, ...]:
        return (Out((unit_words(self.low) + unit_words(self.high), self.view.n)),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        upper = self.view.words(dealing) >> np.uint64(self.view.bits - self.low - self.high)
        digits = (Ring(self.low).reduce(upper), self.low), (upper >> np.uint64(self.low), self.high)
        rows = [_unit_word(dealing, digit, k) for digit, width in digits for k in range(unit_words(width))]
        share0 = dealing.share0[0]
        difference = fieldwise_difference(dealing.backend.xp.stack(rows), share0, DIGIT_FIELD, UNIT_FIELDS)
        return (share0 + difference,)


UNIT_FIELDS = WORD // DIGIT_FIELD


def unit_words(width: int) -> int:
    """Words that hold the unit vector of a digit of that many bits."""
    return -(-(1 << width) // UNIT_FIELDS)


def _unit_word(dealing: Dealing, digit: Array, k: int) -> Array:
    """Word k of the unit vectors of a digit."""
    at = (digit & np.uint64(UNIT_FIELDS - 1)) * np.uint64(DIGIT_FIELD)
    here = digit >> np.uint64(UNIT_FIELDS.bit_length() - 1) == np.uint64(k)
    return dealing.backend.xp.where(here, np.uint64(1), np.uint64(0)) << at


@dataclass(frozen=True)
class CountChoices(Correlation):
    """[s = j] and [s = j] r, for n numbers s of a mask modulo 2^field and a viewed mask r: [2, 2^field, n]."""

    mask: int
    field: int
    view: MaskView
    bits: int

    refs: ClassVar = ("mask", "view")

    def outputs(self) -> tuple[Out, ...]:
        return (Out((2, 1 << self.field, self.view.n), self.bits),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        xp, r = dealing.backend.xp, self.view.words(dealing)
        s = Ring(self.field).reduce(dealing.mask(self.mask)).reshape(-1)
        unit = xp.stack(
            [xp.where(s == np.uint64(j), np.uint64(1), np.uint64(0)) for j in range(1 << self.field)]
        )
        return (xp.stack([unit, unit * r]),)
