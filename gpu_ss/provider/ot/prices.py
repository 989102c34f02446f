"""What correlations cost to make by OT: bytes before anything runs, for plans and for choosing between makers.

Bits per element, both directions together, as `pair` and `recipes` send them; an OT itself counts OT_BITS. What
several correlations share (the bits and powers of a viewed mask) counts once. Padding to whole words, headers, and
the start of silent OT (some 1.3 MB once a session) are not counted.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Any

from gpu_ss.backend.reference_circuits import and_subsets
from gpu_ss.economy import ALONE, OT_BITS
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.ot import adder
from gpu_ss.provider.ot.circuits import with_parts
from gpu_ss.provider.ot.exponential import FACTOR
from gpu_ss.provider.specs.arithmetic import (
    ColumnProduct,
    Powers,
    Product,
    RowProduct,
    RowSquareSum,
    WrapProduct,
)
from gpu_ss.provider.specs.bits import (
    PAIRS,
    AndMonomials,
    BitProducts,
    BitValues,
    DigitMonomials,
    MaskView,
    NodeMonomials,
    ViewPowers,
)
from gpu_ss.provider.specs.fields import FieldWrap
from gpu_ss.provider.specs.tables import INDEX_BITS, ExpLookup, UnitVectors
from gpu_ss.provider.specs.transfers import (
    BitTriples,
    CrossProducts,
    DigitTransfers,
    WordChoices,
)
from gpu_ss.ring import WORD


def ands(payload: int) -> float:
    """One operand AND `payload` others."""
    return ALONE.and_bits(1, payload)


def added(bits: int, n: int) -> float:
    """The bits of one of n numbers, from those of its shares."""
    return sum(map(ands, adder.payloads(bits, n)))


def mux(words: int, bits: int) -> float:
    """A bit times words modulo 2^bits."""
    return 2 * (words * bits + 1) + 2 * OT_BITS


def value(bits: int) -> float:
    """A bit as a number modulo 2^bits."""
    return bits + OT_BITS if bits > 1 else 0.0


def joint(bits: int, factor_bits: int) -> float:
    """A number of each party alone."""
    return factor_bits * (2 * bits + 3 - factor_bits) / 2 + OT_BITS * factor_bits


def product(bits: int, factor_bits: int | None = None) -> float:
    """Two shared numbers."""
    return 2 * joint(bits, factor_bits or bits)


def cross(bits: int, factor_bits: int) -> float:
    """A random word of each party's times random bits of the other one."""
    return (factor_bits - 1) * (2 * bits - factor_bits) + 2 * OT_BITS * factor_bits


def unit_vector(bits: int) -> float:
    """A random number modulo 2^bits and its unit vector."""
    return sum(ands(1 << k) for k in range(1, bits)) + sum(value(bits - k) for k in range(bits))


def square(bits: int) -> float:
    """A shared number by itself."""
    return joint(bits - 1, bits - 1) if bits > 1 else 0.0


class Bill:
    """Adds up what correlations cost, each shared part once."""

    def __init__(self) -> None:
        self._seen: set[Hashable] = set()

    def bits(self, spec: Correlation) -> float:
        """Bits that this correlation adds."""
        return 0.0 if spec.is_mask else _PRICES[type(spec)](self, spec)

    def once(self, key: Hashable, bits: float) -> float:
        """`bits`, or 0 if they are on the bill."""
        if key in self._seen:
            return 0.0
        self._seen.add(key)
        return bits

    def view_bits(self, view: MaskView) -> float:
        """The bits of a viewed mask."""
        found = 0.0
        if view.shift:
            elements = view.n * (2 / max(1, view.group - 1) if view.form == PAIRS else 1)
            carried = added(view.shift, int(elements)) + ands(1) + value(view.source - view.shift)
            found += self.once(("upper", view.a, view.shift), elements * carried)
        return found + self.once(("bits", view), view.n * added(view.bits, view.n))

    def view_carry(self, view: MaskView) -> float:
        """The carry of the sum of the shares of one."""
        return self.view_bits(view) + self.once(("carry", view), view.n * ands(1))

    def view_powers(self, view: MaskView, bits: int, degree: int, lift: bool) -> float:
        """Its powers, once for each degree, and what lifting takes."""
        found = 0.0
        if lift and bits > view.bits:
            found += self.view_carry(view)
            found += self.once(("lift", view, bits), view.n * 2 * value(bits - view.bits))
        for k in range(2, degree + 1):
            each = square(bits) if k == 2 else product(bits)
            found += self.once(("power", view, bits, lift, k), view.n * (1 + lift) * each)
        return found


def _digits(bill: Bill, spec: DigitMonomials) -> float:
    own = sum(ands((1 << bit) - 1) for width in spec.widths for bit in range(1, width))
    return bill.view_bits(spec.view) + spec.view.n * own


def _subsets(subsets: Sequence[int]) -> float:
    needed = with_parts(subsets)
    members = {subset.bit_length() for subset in needed}
    return sum(ands(sum(subset.bit_length() == k for subset in needed)) for k in members)


def _bit_products(bill: Bill, spec: BitProducts) -> float:
    cases = 1 + spec.lift
    each = value(spec.bits) + mux(cases * spec.degree, spec.bits)
    return (
        bill.view_powers(spec.view, spec.bits, spec.degree, bool(spec.lift))
        + spec.planes * spec.view.n * each
    )


def _exponential(bill: Bill, spec: ExpLookup) -> float:
    room, ring = min(spec.bits, spec.scale + spec.look_bits + 5), 2 * FACTOR + 4
    look = MaskView(spec.look, spec.view.n, spec.look_bits, spec.look_bits)
    unit = sum(ands(2 << bit) for bit in range(INDEX_BITS - 1)) + (1 << INDEX_BITS) * (2 + OT_BITS)
    size = joint(ring, FACTOR + 1) + 2 * mux(1, ring) + joint(room - (ring - 2 * FACTOR + spec.scale), 1)
    times = product(room, spec.look_bits) + 2 * mux(1, room - spec.look_bits) + mux(3, room)
    wider = 6 * joint(spec.bits - room, 1) if spec.bits > room else 0.0
    shared = bill.view_bits(spec.view) + bill.view_carry(look)
    return shared + spec.view.n * (unit + size + times + wider)


_PRICES: dict[type[Correlation], Callable[[Bill, Any], float]] = {
    AndMonomials: lambda bill, s: WORD * s.words * _subsets(and_subsets(s.fan_in)),
    BitProducts: _bit_products,
    BitTriples: lambda bill, s: WORD * s.words * 2 * OT_BITS,
    BitValues: lambda bill, s: s.planes * s.n * value(s.bits),
    ColumnProduct: lambda bill, s: s.rows * s.n * product(s.bits),
    CrossProducts: lambda bill, s: s.n * cross(s.bits, s.factor_bits),
    DigitMonomials: _digits,
    DigitTransfers: lambda bill, s: s.n * s.digits * s.width * OT_BITS,
    ExpLookup: _exponential,
    FieldWrap: lambda bill, s: s.n * (s.prime.bit_length() + OT_BITS),
    NodeMonomials: lambda bill, s: WORD * s.words * _subsets(s.subsets()),
    Powers: lambda bill, s: bill.view_powers(MaskView(s.a, s.n, s.bits, s.bits), s.bits, s.degree, False),
    Product: lambda bill, s: s.n * product(s.bits),
    RowProduct: lambda bill, s: s.rows * s.n * product(s.bits),
    RowSquareSum: lambda bill, s: s.rows * s.n * square(s.bits),
    UnitVectors: lambda bill, s: s.n * unit_vector(s.bits),
    ViewPowers: lambda bill, s: bill.view_powers(s.view, s.bits, s.degree, bool(s.lift)),
    WordChoices: lambda bill, s: s.n * OT_BITS,
    WrapProduct: lambda bill, s: s.n * (s.bits + OT_BITS),
}


def made_bytes(specs: Iterable[Correlation]) -> float:
    """Bytes of both directions to make these correlations by OT."""
    bill = Bill()
    return sum(bill.bits(spec) for spec in specs) / 8
