"""Functions of one variable by straight lines, for two parties alone: few transfers however many lines there are.

x = 2^k z + u: each party cuts its own share, so z is what the upper parts add up to, plus the carry c of the lower
ones. z says which line; u, below 2^k, is at which place of it.

1. The carry c, without the lowest DROPPED bits, from transfers on the parties' own digits (`digits`): z may be one
   less than floor(x / 2^k) where u is then 2^k or a little more. Lines that meet make that harmless.
2. The index z modulo 2^m is opened under the random number of a shared unit vector. Turned by what was opened, the
   unit vector picks the line: XOR shares of it make additive shares of sigma T[z] for any public table T of words,
   without communication, where the sign sigma = +-1 is one XOR-shared bit, known beforehand.
3. sigma (value + slope (u - 2^(k-1))): u is the sum of two numbers that one party each knows, so slope times u is
   products of one party's word with the other one's bits (`CrossProducts`); the carry's part is a bit times a word.
4. The sign is undone by one bit times a word.
5. Is x on the lines at all? The bits of z above m are all zero or not: with S = what they add up to without the
   carry C of those below, inside = [S = 0] (1 - C) or [S = -1] C. Both equalities, and the sign of S, are further
   questions about the digits of step 1. Inside picks the lines, else the sign picks what is beyond.

Opened: the index under a uniform number; slopes and bits under uniform words and bits (`CrossProducts`); what
`digits`, `ands`, `times_bit`, `bit_values` and `truncate` open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from gpu_ss.cost import FREE, Cost, opening
from gpu_ss.economy import OT_BITS
from gpu_ss.errors import RingMismatch
from gpu_ss.party import Item, Party, Round, Steps, protocol, together
from gpu_ss.protocols.digits import Ask, Digit, answers, answers_cost, widths_of
from gpu_ss.protocols.io import add_public
from gpu_ss.protocols.millionaire import (
    ands,
    ands_cost,
    cheaper,
    cross_sum,
    joined,
    times_bit,
    times_bit_cost,
)
from gpu_ss.protocols.select import bit_values, bit_values_cost
from gpu_ss.protocols.trunc import extend, truncate, truncate_cost
from gpu_ss.provider.specs.bits import words_of
from gpu_ss.provider.specs.tables import UnitVectors
from gpu_ss.provider.specs.transfers import CrossProducts
from gpu_ss.ring import WORD, Array, Ring, wire_bytes
from gpu_ss.values import AShare, BShare

DROPPED = 3  # bits of x that the carry is found without
WIDE = 5  # a digit with one question may be so wide: more bits, but a round and two OTs less
FIELD = 28  # bits of a table's word for the value, then as many for the slope, then a 1: it counts entries
ONE = np.uint64(1)


@dataclass(frozen=True, slots=True)
class LineTable:
    """Lines of equal length side by side, and what is beyond.

    Line i is for raw x from start + i 2^piece_bits on. With u the raw distance from there, it is `low` (raw) +
    values[i] 2^-value_bits + slopes[i] (u - 2^(piece_bits - 1)) 2^-(slope_bits + frac_bits)
    + lean x 2^-value_bits. Below all lines the function is `low`, above them `high` + slope x (raw, frac_bits).

    Rings: `slope_ring` holds the second term at its scale with two bits to spare; `value_ring` the whole at scale
    value_bits, and at scale frac_bits, less `middle`, still with two bits to spare.
    """

    name: str
    frac_bits: int
    index_bits: int
    piece_bits: int
    value_bits: int
    slope_bits: int
    value_ring: int
    slope_ring: int
    start: int
    lean: int
    middle: int
    low: int
    high: int
    slope: int
    values: tuple[int, ...]
    slopes: tuple[int, ...]

    @property
    def span_bits(self) -> int:
        """Bits of x below those that are equal on all lines."""
        return self.index_bits + self.piece_bits

    @property
    def least_bits(self) -> int:
        """The smallest ring that x can have."""
        return max(self.span_bits + 2, self.value_ring)

    def words(self) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
        """Value, slope and a 1 in one word for each line."""
        values = np.array([v % (1 << self.value_ring) for v in self.values], np.uint64)
        slopes = np.array([s % (1 << self.slope_ring) for s in self.slopes], np.uint64)
        return values | slopes << np.uint64(FIELD) | ONE << np.uint64(2 * FIELD)


# -- cost ------------------------------------------------------------------------------------------------


def _widths(table: LineTable, bits: int) -> tuple[list[int], list[int], list[int]]:
    """Digits: below a line's length, of the index, and above; the top bit stands alone."""
    parts = (table.piece_bits - DROPPED, table.index_bits, bits - 1 - table.span_bits)
    lower, index, upper = (widths_of(part) for part in parts)
    return [parts[0]] if parts[0] <= WIDE else lower, index, upper


def _questions(table: LineTable, bits: int) -> list[tuple[int, int]]:
    """(width, questions) of each digit."""
    lower, index, upper = _widths(table, bits)
    counts = [1] + [2] * (len(lower) + len(index) - 1) + [3] * len(upper)
    return list(zip([*lower, *index, *upper], counts, strict=True))


def _joined_cost(words: int, count: int) -> Cost:
    cost = FREE
    while count > 1:
        groups = [((count // 2 - 1) * words, 2)] if count > 3 else []
        cost = cost + ands_cost(*groups, (words, 1))
        count = -(-count // 2)
    return cost


def _above_cost(words: int, count: int) -> Cost:
    cost = FREE
    while count > 1:
        cost = cost + ands_cost((count // 2 * words, 2), (count // 2 * words, 1))
        count = -(-count // 2)
    return cost


def _region_cost(n: int, table: LineTable, bits: int) -> Cost:
    words = words_of(n)
    _, index, upper = _widths(table, bits)
    found = _joined_cost(words, 1 + len(index)) & _above_cost(words, len(upper))
    return found + ands_cost((words, 1), (words, 1)) + ands_cost((words, 2))


def _line_cost(n: int, table: LineTable) -> Cost:
    words, ring, k = words_of(n), table.slope_ring, table.piece_bits
    unit = Cost(offline=8 * words << table.index_bits)
    products = opening((n, ring), (k * words, WORD)) + Cost(offline=2 * wire_bytes(k * n, ring))
    shift = table.slope_bits + table.frac_bits - table.value_bits
    return (
        bit_values_cost(n, 1, Ring(table.index_bits))
        + (opening((n, table.index_bits)) + unit)
        + (products & times_bit_cost(n, ring - k))
        + truncate_cost(n, ring, shift, table.value_ring)
        + times_bit_cost(n, table.value_ring - 1)
    )


def lines_cost(n: int, table: LineTable, bits: int) -> Cost:
    """Cost of `evaluate_lines` for n elements of a ring of `bits` bits."""
    words = words_of(n)
    lower, _, _ = _widths(table, bits)
    read = table.value_ring - (table.value_bits - table.frac_bits)
    cost = answers_cost(words, _questions(table, bits)) + _joined_cost(words, len(lower))
    cost = cost + (_line_cost(n, table) & (_region_cost(n, table, bits) + times_bit_cost(n, bits)))
    return cost + times_bit_cost(n, read) + truncate_cost(n, read, 0, bits)


def made_ots(table: LineTable, bits: int) -> int:
    """OTs that `evaluate_lines` takes for each element where two parties make its correlations."""
    lower, index, upper = _widths(table, bits)
    ands = len(lower) - 1 + len(index) + 2 * (len(upper) - 1) + 3 + table.index_bits - 1
    muxes, values, wraps = 4, table.index_bits, 2
    one_way = sum(width for width, _ in _questions(table, bits)) + values + wraps
    return one_way + 2 * (ands + table.piece_bits + muxes)


def made_bits(table: LineTable, bits: int) -> float:
    """Bits of traffic of both phases and directions for each element where two parties make the correlations."""
    cost, ring, m, k = lines_cost(WORD, table, bits), table.slope_ring, table.index_bits, table.piece_bits
    shift = table.slope_bits + table.frac_bits - table.value_bits
    read = table.value_ring - (table.value_bits - table.frac_bits)
    vectors = sum(2 * (1 + (1 << j)) for j in range(1, m)) + sum(range(2, m + 1))
    wraps = table.value_ring - (ring - shift) + bits - read
    made = vectors + (k - 1) * (2 * ring - k) + m + wraps
    return 8 * (cost.sent0 + cost.sent1) / WORD + made + OT_BITS * made_ots(table, bits)


#: What quadratic pieces take for each element in both phases and directions, and their rounds (`piecewise`).
QUADRATIC_BITS, QUADRATIC_ROUNDS = 2700, 4


def lines_are_cheaper(party: Party, n: int, table: LineTable, bits: int) -> bool:
    """Whether n elements are cheaper by lines than by quadratic pieces: many rounds, but a third of the bytes."""
    bits = max(bits, table.least_bits)
    rounds = lines_cost(WORD, table, bits).rounds, QUADRATIC_ROUNDS
    return cheaper(party, n, rounds, (made_bits(table, bits), QUADRATIC_BITS))


# -- protocol --------------------------------------------------------------------------------------------


@protocol(cost=lambda x, table: lines_cost(x.size, table, x.ring.bits), paper="RRKC20")
def evaluate_lines(party: Party, x: AShare, table: LineTable) -> Steps[AShare]:
    """The table's function at x, at x's scale and in its ring.

    Needs x, and the values, below 2^(bits-2) units. Error: the table's, one unit of value_bits and one of
    frac_bits; exact beyond the lines.
    """
    if x.frac_bits != table.frac_bits or x.ring.bits < table.least_bits:
        raise RingMismatch(
            f"{table.name} reads {table.frac_bits} fractional bits in {table.least_bits} bits or more, got {x!r}"
        )
    n, flat = x.size, x.reshape(-1)
    own = x.ring.reduce(add_public(party, flat, -table.start).data)
    shares = _Cut(party, own, table, x.ring.bits)
    found = yield from answers(party, n, shares.digits())
    lower, index, upper = shares.sorted(found)
    carry = yield from _carry(party, lower)
    line, (inside, beyond) = yield from together(
        _line(party, flat, own, carry, table), _regions(party, flat, shares, carry, index, upper, table)
    )
    chosen = yield from times_bit.steps(party, inside, line)
    centred = yield from extend.steps(party, add_public(party, chosen, -table.middle), x.ring)
    result = add_public(party, centred + beyond, table.middle + table.low)
    return result.reshape(*x.shape)


class _Cut:
    """The bits of a party's own share, as digits for `answers`."""

    def __init__(self, party: Party, own: Array, table: LineTable, bits: int) -> None:
        backend, span = party.backend, table.span_bits
        planes = backend.to_planes(own, bits)
        size = bits - span
        negative = backend.to_planes(Ring(size).reduce(np.uint64(0) - (own >> np.uint64(span))), size)
        full = party.lead  # rank 0 compares with the complement: a + b carries where ~a < b
        self._planes, self._mine, self._negative = planes, planes ^ full, negative
        self._widths = _widths(table, bits)
        self._start = span
        #: Of the top bits: their sum, [a + b = -1] and [a + b = 0].
        self.top = planes[-1]
        self.zero_top = negative[-1] ^ full
        if party.rank == 1:
            self.zero_top = planes[-1]

    def digits(self) -> list[Digit]:
        """All digits, low ones first."""
        lower, index, upper = self._widths
        found, at = [], DROPPED
        for number, width in enumerate([*lower, *index, *upper]):
            mine, part = self._mine[at : at + width], slice(at - self._start, at - self._start + width)
            questions = [(Ask.LESS, mine), (Ask.EQUAL, mine), (Ask.EQUAL, self._negative[part])]
            count = 1 if number == 0 else 2 if at < self._start else 3
            found.append(Digit(self._planes[at : at + width], tuple(questions[:count])))
            at += width
        return found

    def sorted(self, found: Sequence[Array]) -> tuple[Sequence[Array], ...]:
        """Answers of the lower, the index and the upper digits."""
        ends = accumulate((len(widths) for widths in self._widths), initial=0)
        return tuple(found[a:b] for a, b in pairwise(ends))


def _carry(party: Party, lower: Sequence[Array]) -> Steps[Array]:
    """The carry [1, W] out of digits whose answers these are; of the lowest "less" is enough."""
    xp = party.backend.xp
    less = xp.stack([answer[0] for answer in lower])
    equal = xp.stack([answer[min(1, len(answer) - 1)] for answer in lower])
    return (yield from joined(party, less, equal))


def _regions(
    party: Party,
    x: AShare,
    shares: _Cut,
    carry: Array,
    index: Sequence[Array],
    upper: Sequence[Array],
    table: LineTable,
) -> Steps[tuple[BShare, AShare]]:
    """Whether x is on the lines; and what is beyond where it is above them, less `low`, else 0."""
    xp, n = party.backend.xp, x.size
    (out,), (borrow, minus, zero) = yield from together(
        _carry(party, [carry, *index]), _above(party, xp.stack(upper).transpose(1, 0, 2))
    )
    (minus,), (zero,) = yield from ands(party, [(shares.top, minus), (shares.zero_top, zero)])
    (both,) = yield from ands(party, [(out, xp.stack([zero, minus ^ zero]))])
    inside = zero ^ both[1]
    above = party.lead ^ shares.top ^ borrow[0] ^ zero ^ both[0]
    tail = add_public(party, x.times(table.slope), table.high - table.low)
    beyond = yield from times_bit.steps(party, BShare(above[None], (n,)), tail)
    return BShare(inside[None], (n,)), beyond


def _above(party: Party, found: Array) -> Steps[tuple[Array, Array, Array]]:
    """Of digits' answers [3, D, W] those of all digits together, [1, W] each: "less", and both "equal"."""
    xp = party.backend.xp
    less, minus, zero = found
    while len(less) > 1:
        pairs, words = len(less) // 2, less.shape[1]
        high, low = slice(1, 2 * pairs, 2), slice(0, 2 * pairs, 2)
        payload = xp.stack([less[low], minus[low]]).reshape(2, -1)
        first, second = yield from ands(
            party,
            [
                (minus[high].reshape(-1), payload),
                (zero[high].reshape(-1), zero[low].reshape(1, -1)),
            ],
        )
        rest = slice(2 * pairs, None)
        less = xp.concatenate([less[high] ^ first[0].reshape(pairs, words), less[rest]])
        minus = xp.concatenate([first[1].reshape(pairs, words), minus[rest]])
        zero = xp.concatenate([second[0].reshape(pairs, words), zero[rest]])
    return less, minus, zero


def _line(party: Party, x: AShare, own: Array, carry: Array, table: LineTable) -> Steps[AShare]:
    """The line's value at x, less `low`, at x's scale: right wherever x is on a line."""
    n = x.size
    ring, value_ring = Ring(table.slope_ring), Ring(table.value_ring)
    value, slope, negative = yield from _look_up(party, own, carry, table)
    product, turned = yield from together(
        _times_own(party, own, slope, table),
        times_bit.steps(party, BShare(carry, (n,)), AShare(slope, Ring(ring.bits - table.piece_bits))),
    )
    half = np.uint64(1 << (table.piece_bits - 1))
    rise = product - (turned.data << np.uint64(table.piece_bits)) - slope * half
    scale = table.slope_bits + table.frac_bits
    rise = yield from truncate.steps(party, AShare(rise, ring, scale), scale - table.value_bits, value_ring)
    signed = AShare(value, value_ring, table.value_bits) + rise
    flipped = yield from times_bit.steps(party, negative, signed.narrowed(Ring(value_ring.bits - 1)))
    data = signed.data - (flipped.data << ONE) + x.data * np.uint64(table.lean % 2**WORD)
    line = AShare(data, value_ring, table.value_bits)
    shift = table.value_bits - table.frac_bits
    return (yield from truncate.steps(party, line, shift, Ring(value_ring.bits - shift)))


def _look_up(party: Party, own: Array, carry: Array, table: LineTable) -> Steps[tuple[Array, Array, BShare]]:
    """Shares of sigma value and sigma slope of the line that x is on, and the bit [sigma = -1]."""
    backend, n, ring = party.backend, int(own.size), Ring(table.index_bits)
    carried = yield from bit_values(party, BShare(carry, (n,)), ring)
    made: Sequence[Array] = party.provider.take(UnitVectors(n, table.index_bits)).arrays
    r, planes = made
    index = (own >> np.uint64(table.piece_bits)) + carried[0]
    (opened,) = yield Round("index", (Item(index + r, (n,), ring.bits),))
    unit = backend.xp.stack(
        [backend.from_planes(planes[at : at + WORD], n) for at in range(0, len(planes), WORD)]
    )
    sums = backend.table_sums(opened, unit, backend.constant(LineTable.words, table))
    fields = [sums & np.uint64((1 << FIELD) - 1), sums >> np.uint64(FIELD) & np.uint64((1 << FIELD) - 1)]
    fields.append(sums >> np.uint64(2 * FIELD))
    if party.rank == 1:  # the shares of the other entries are equal, so their difference leaves the one
        fields = [np.uint64(0) - field for field in fields]
    value, slope, sigma = fields
    return value, slope, BShare(backend.bit_plane(sigma, 1), (n,))


def _times_own(party: Party, own: Array, word: Array, table: LineTable) -> Steps[Array]:
    """Shares of (w_0 + w_1)(u_0 + u_1) for shares w of a word and each party's own number u of piece_bits bits."""
    n, bits, k = int(own.size), table.slope_ring, table.piece_bits
    made: Sequence[Array] = party.provider.take(CrossProducts(n, bits, k)).arrays
    u = own & np.uint64((1 << k) - 1)
    asked, hidden = party.backend.to_planes(u, k) ^ made[2 + party.rank], word - made[party.rank]
    total, both = yield Round(
        "line", (Item(hidden, (n,), bits), Item(asked, (k, words_of(n)), WORD, xor=True))
    )
    return u * word + cross_sum(party, made, u, total - hidden, asked, both ^ asked)
