"""2^y by one table look-up, right over the whole range of y.

y is open as C = y + r. Split C into l (FRAC bits below the point), h (six bits above) and the rest; r likewise
into rl and rh. Then 2^y = 2^(h - rh + l) 2^(-rl) as long as y is in the table's range: h' = h - rh modulo 64
may be off by one from floor(y), which the signed remainder l - rl repairs.

1. The dealer shares the unit vector of rh by XOR: the shares differ in one place only, so
   sum_j +-bit_j T(h - j, l) is an additive sharing of sigma T(h', l), sigma = +-1 known to the dealer alone.
2. That value, small, is opened under a mask of its own ring; the dealer's shares of K = sigma 2^(-rl), of
   K times the mask and of K times the mask's wrap-around turn it into shares of 2^y in a large ring.
3. Outside the range the look-up is meaningless; a comparison made from the same opening of y gives a gate
   bit g, opened under a uniform bit, and the dealer's shares are given times that bit too: the result is
   exactly g * 2^y. So 2^y is 0 below the range, and saturates above it. Where the table's lower half is 0 and y
   stays below its end, the gate needs no comparison (`_exp2_near`): look-up and gate take one round.

Everything opened is uniform in its group: y + r, the look-up's value + mask, comparison nodes, gate bits.
Relative error about 2^-14, plus an absolute unit of 2^-scale.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from gpu_ss.cost import Cost, opening
from gpu_ss.party import Item, Party, Round, Steps, local, together
from gpu_ss.protocols.compare import OpenedNumber, at_least, shape_for, tree_cost
from gpu_ss.protocols.select import bit_values, bit_values_cost
from gpu_ss.provider.correlation import BitMask, Mask
from gpu_ss.provider.specs.bits import words_of
from gpu_ss.provider.specs.counts import DigitUnits, digit_words
from gpu_ss.provider.specs.tables import ExpLookup, NearLookup
from gpu_ss.ring import Array, Ring, wire_bytes
from gpu_ss.values import AShare

FRAC = 12  # fractional bits of the exponent
FACTOR_SCALE = 14  # fractional bits of the dealer's 2^(-rl)


@dataclass(frozen=True, slots=True)
class ExpRange:
    """2^y for y in [low, high): 0 below; `scale` fractional bits in the look-up."""

    low: int
    high: int
    scale: int

    @property
    def look_bits(self) -> int:
        """Ring of the look-up: |sigma T| <= 2^(high + 1 + scale) needs three bits of room."""
        return self.high + self.scale + 4

    @property
    def table_low(self) -> int:
        """The 64 exponents h' the table reads; h' is at most one from floor(y)."""
        return self.high + 3 - 64

    @property
    def result_bits(self) -> int:
        """Fractional bits of the result."""
        return self.scale + FACTOR_SCALE


SOFTMAX = ExpRange(low=-20, high=1, scale=18)
WIDE = ExpRange(low=-18, high=29, scale=18)


@cache
def fractions() -> NDArray[np.uint64]:
    """round(2^(l / 2^FRAC) * 2^30) for l in [0, 2^FRAC), by integer square roots: the same everywhere."""
    guard = 60
    roots = []  # 2^(1/2), 2^(1/4), ... with `guard` extra bits
    value = 2 << guard
    for _ in range(FRAC):
        value = isqrt(value << guard)
        roots.append(value)
    table = []
    for step in range(1 << FRAC):
        product = 1 << guard
        for k, root in enumerate(roots):
            if step >> (FRAC - 1 - k) & 1:
                product = product * root >> guard
        table.append((product + (1 << (guard - 31))) >> (guard - 30))
    return np.array(table, np.uint64)


def exp2_cost(n: int, compare_bits: int, span: ExpRange, ring: Ring, saturate: bool = False) -> Cost:
    """Cost of `exp2_opened` for n exponents."""
    if not saturate and near(span, compare_bits):
        low, high = _gate_digits(compare_bits)
        dealt = wire_bytes(3 * n << GATE_BITS, ring.bits) + 8 * n * (
            1 + digit_words(low, GATE_BITS) + digit_words(high, GATE_BITS)
        )
        return opening((n, span.look_bits), (n, GATE_BITS)) + Cost(offline=dealt)
    gates = 1 + saturate
    look = opening((n, span.look_bits)) + Cost(offline=8 * n + wire_bytes(6 * n, ring.bits))
    nodes = tree_cost(n, shape_for(compare_bits, gates), gates)
    cost = (look & nodes) + opening((words_of(n), 64))
    return cost & bit_values_cost(n, 1, ring) if saturate else cost


def exp2_opened(
    party: Party, number: OpenedNumber, span: ExpRange, ring: Ring, saturate: bool = False
) -> Steps[AShare]:
    """2^y of an opened y with FRAC fractional bits, flat, with span.result_bits fractional bits.

    0 below span.low. Above span.high: 2^high if `saturate`, else y must be known to stay below it.
    """
    if not saturate and near(span, number.view.bits) and not party.economy.alone:
        return (yield from _exp2_near(party, number, span, ring))
    backend, view = party.backend, number.view
    n, words = view.n, words_of(view.n)
    look = party.provider.take(Mask((n,), span.look_bits))
    gate = party.provider.take(BitMask(1, words))
    unit, factors = party.provider.take(
        ExpLookup(view, look.number, gate.number, FRAC, span.look_bits, FACTOR_SCALE, ring.bits)
    ).arrays
    value = _looked_up(party, number.words, unit, span) + look.only
    limits = [span.low << FRAC, *([span.high << FRAC] if saturate else [])]
    (opened,), gates = yield from together(
        _one("exp", Item(value, (n,), span.look_bits)), at_least(party, number, limits)
    )
    inside = gates.bit(0) ^ gates.bit(1) if saturate else gates
    (d,), above = yield from together(
        _one("exp.gate", Item(inside.planes ^ gate.only, (1, words), 64, xor=True)),
        bit_values(party, gates.bit(1), ring) if saturate else local(None),
    )
    data = backend.exp_finish(opened, d, factors, span.look_bits)
    if above is not None:
        data = data + above[0] * np.uint64(1 << (span.high + span.result_bits))
    return AShare(data, ring, span.result_bits)


def _looked_up(party: Party, words: Array, unit: Array, span: ExpRange) -> Array:
    """Shares of sigma T, biased so that its wrap can be told."""
    backend = party.backend
    table = backend.constant(fractions)
    value = backend.exp_lookup(words, unit, table, FRAC, span.scale, span.table_low, party.lead)
    return value + (np.uint64(1 << (span.look_bits - 2)) & party.lead)


GATE_BITS = 2  # of the counts that gate
HALF_TABLE = 5  # bits of an index into half of the table
DIGIT_BITS = 6  # of a digit of what is above, at most


def near(span: ExpRange, bits: int) -> bool:
    """Whether a gate is counted: T is 0 in the lower half of the table, and two digits hold y's bits above."""
    upper = bits - FRAC - HALF_TABLE
    return span.table_low + (1 << HALF_TABLE) < -span.scale and 2 <= upper <= 2 * DIGIT_BITS


def _gate_digits(bits: int) -> tuple[int, int]:
    """Widths of the lower and the upper digit of y's bits above."""
    upper = bits - FRAC - HALF_TABLE
    return upper // 2, upper - upper // 2


def _exp2_near(party: Party, number: OpenedNumber, span: ExpRange, ring: Ring) -> Steps[AShare]:
    """`exp2_opened` in one round, for y below the upper end of the table.

    With w = h' - table_low of the whole y, T is 0 but for w modulo 64 in [32, 64). Let G = (p >> 5) - (q >> 5), p
    and q being what the opening and its mask have of w: w = 32 G + delta with |delta| < 32. So w in [32, 64) has G
    in {1, 2}, and any other w of such a G gives T = 0: the gate [G = 1] + [G = 2] is exact. It asks whether q >> 5
    is one of two public numbers, in two digits; of their unit vectors, modulo 4, public weights make a count that
    is 3 exactly for a match of both digits: [upper] + 2 [lower], twice the other [lower] added, if both numbers
    have one upper digit; else 2 [upper] + [lower] of the other one, where what matches no pair gives 0, 1 or 2.
    Opened: the look-up and that count, under uniform masks of their rings.
    """
    view, take = number.view, party.provider.take
    look, gate = take(Mask((view.n,), span.look_bits)), take(Mask((view.n,), GATE_BITS))
    low, high = _gate_digits(view.bits)
    starts = FRAC + HALF_TABLE, FRAC + HALF_TABLE + low
    digits = take(DigitUnits(view, starts, (low, high), GATE_BITS)).only
    scales = GATE_BITS, FRAC, span.look_bits, FACTOR_SCALE, ring.bits
    unit, factors = take(NearLookup(view, look.number, gate.number, *scales)).arrays
    value = _looked_up(party, number.words, unit, span)
    backend, offset = party.backend, span.table_low << FRAC
    count = backend.near_counts(number.words, digits, offset, FRAC + HALF_TABLE, (low, high))
    opened, counted = yield Round(
        "exp",
        (
            Item(value, (view.n,), span.look_bits, mask=look.only),
            Item(count, (view.n,), GATE_BITS, mask=gate.only),
        ),
    )
    return AShare(backend.picked_product(opened, counted, factors, 3, span.look_bits), ring, span.result_bits)


def _one(tag: str, item: Item) -> Steps[list[Array]]:
    return (yield Round(tag, (item,)))
