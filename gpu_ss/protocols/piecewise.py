"""Piecewise polynomials of a shared value, with public breakpoints and coefficients.

f(x) = first + sum_k [x >= t_k] (P_k - P_(k-1))(x). One opening of x (round 1) serves the comparisons with all
thresholds (the rounds of the tree) and the powers; the selection bits are then opened (last round) against
correlations rho_k r^j. Where a polynomial overflows the ring, far from its piece, its bit is 0 and the
product is exactly 0: no range assumption is hidden there.

Functions of a wide dynamic range (1/x, 1/sqrt(x)) use windows: x shifted right by several amounts, each
opened under its own mask, each serving the pieces that lie in its range of magnitudes; and within a
window a coarser reading of the same opened word for the quadratic term, whose coefficient would vanish
at full resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise, zip_longest
from math import comb

import numpy as np

from gpu_ss.cost import FREE, Cost, opening
from gpu_ss.errors import RingMismatch
from gpu_ss.party import Item, Party, Round, Steps, protocol, together
from gpu_ss.protocols.compare import OpenedNumber, at_least, shape_for, tree_cost
from gpu_ss.protocols.io import add_public
from gpu_ss.protocols.millionaire import times_bit
from gpu_ss.protocols.select import Chooser, Variable, chooser_cost
from gpu_ss.provider.base import Material
from gpu_ss.provider.correlation import Mask
from gpu_ss.provider.specs.arithmetic import Powers
from gpu_ss.provider.specs.bits import MaskView, words_of
from gpu_ss.ring import Array, Ring
from gpu_ss.values import AShare, BShare

Polynomials = tuple[tuple[int, ...], ...]  # one coefficient tuple per variable of the window


@dataclass(frozen=True, slots=True)
class Window:
    """Pieces that read x >> shift. `starts[k]` (in that unit) begins piece k, whose value is the sum over
    the variables v_i = x >> (shift + coarser[i]) of `pieces[k][i]` (integer coefficients, constant first).
    `linear[k]` times x itself is added, at x's own scale, exactly."""

    shift: int
    coarser: tuple[int, ...]
    starts: tuple[int, ...]
    pieces: tuple[Polynomials, ...]
    linear: tuple[int, ...] = ()

    def degree(self, variable: int) -> int:
        return max(1, max(len(piece[variable]) for piece in self.pieces) - 1)


@dataclass(frozen=True, slots=True)
class PiecewiseTable:
    """Windows from the smallest x to the largest, the value `first` below all pieces, and the scales.

    x has `frac_bits` fractional bits, the value `value_bits`, and is below 2^whole_bits. With `lift`, x is known to
    be positive wherever a piece applies and values need more bits than a window's ring has.
    """

    name: str
    frac_bits: int
    value_bits: int
    first: int
    windows: tuple[Window, ...]
    lift: bool = False
    whole_bits: int = 0

    @property
    def plain(self) -> bool:
        """Whether it has one window that reads x itself, in a ring that holds its values."""
        first = self.windows[0]
        return not self.lift and len(self.windows) == 1 and (first.shift, first.coarser) == (0, (0,))

    def restricted(self, low: int, high: int) -> PiecewiseTable:
        """The same function for raw x known to be in [low, high]: fewer pieces; saturated outside."""
        windows = []
        for w, upper in zip(self.windows, [*self.windows[1:], None], strict=True):
            ends = [
                *(s << w.shift for s in w.starts[1:]),
                upper.starts[0] << upper.shift if upper else high + 1,
            ]
            kept = [k for k, end in enumerate(ends) if end > low and w.starts[k] << w.shift <= high]
            if kept:
                pick = slice(kept[0], kept[-1] + 1)
                windows.append(
                    replace(w, starts=w.starts[pick], pieces=w.pieces[pick], linear=w.linear[pick])
                )
        first = windows[0]
        value = sum(
            c * (low >> (first.shift + coarser)) ** i
            for coarser, coefficients in zip(first.coarser, first.pieces[0], strict=True)
            for i, c in enumerate(coefficients)
        )
        return replace(self, first=value, windows=tuple(windows))


@dataclass(frozen=True, slots=True)
class Evaluated:
    """Result of `evaluate`: the polynomial part (scale value_bits) and the linear part (x's scale) or None."""

    value: AShare
    linear: AShare | None


def _evaluate_cost(
    x: AShare, table: PiecewiseTable, compare_bits: int | None = None, ring: Ring | None = None
) -> Cost:
    opened, trees, chosen = [], FREE, FREE
    result = (ring or x.ring).bits
    for k, w in enumerate(table.windows):
        bits = x.ring.bits - w.shift
        opened.append((x.size, bits))
        compare = _compare_bits(w, x.ring.bits, compare_bits)
        trees = trees & tree_cost(x.size, shape_for(compare, len(w.starts), table.lift), len(w.starts))
        own = not table.lift
        variables = [(w.degree(i), table.lift, own and c == 0) for i, c in enumerate(w.coarser)]
        count = len(w.starts) + (k + 1 < len(table.windows))
        chosen = chosen & chooser_cost(x.size, result, count, variables)
    return opening(*opened) + trees + chosen


@protocol(cost=_evaluate_cost, paper="piecewise")
def evaluate(
    party: Party,
    x: AShare,
    table: PiecewiseTable,
    compare_bits: int | None = None,
    ring: Ring | None = None,
) -> Steps[Evaluated]:
    """f(x) by the table, at its scales, in x's ring, or in `ring` (larger only for lifted tables).

    Needs |x| < 2^(bits-2) units; a lifted table is for few elements. `compare_bits` may be smaller than the
    ring when |x| < 2^(compare_bits-2) units is known. Opened: x (each window) under a uniform mask, comparison
    nodes and selection bits under uniform bits. Exact for the table's polynomials but for the window's own
    rounding of x.
    """
    if x.frac_bits != table.frac_bits:
        raise RingMismatch(f"table {table.name} reads {table.frac_bits} fractional bits, got {x!r}")
    ring = ring or x.ring
    if ring.bits > x.ring.bits and not table.lift:
        raise RingMismatch(f"table {table.name} cannot leave the ring of {x!r}")
    windows = yield from _open_windows(party, x, table)
    runs = [_compare(party, window, compare_bits, table.lift) for window in windows]
    bits = yield from together(*runs)
    if party.economy.alone and table.plain:
        return (yield from _choose_alone(party, x, table, ring, windows[0], bits[0]))
    return (yield from _choose(party, x, table, ring, windows, bits))


def _compare_bits(window: Window, ring_bits: int, compare_bits: int | None) -> int:
    """Bits that the comparisons of a window look at: `compare_bits` are counted in x's own units."""
    return min(compare_bits or ring_bits, ring_bits) - window.shift


def _compare(party: Party, window: _OpenWindow, compare_bits: int | None, few: bool) -> Steps[BShare]:
    number, starts = window.number(compare_bits), window.spec.starts
    return at_least(party, number, starts, shape_for(number.view.bits, len(starts), few, party.economy))


@dataclass(frozen=True, slots=True)
class _OpenWindow:
    spec: Window
    words: Array
    mask: Material
    bits: int

    def number(self, compare_bits: int | None) -> OpenedNumber:
        bits = _compare_bits(self.spec, self.bits + self.spec.shift, compare_bits)
        return OpenedNumber(
            self.words.reshape(-1), MaskView(self.mask.number, self.words.size, self.bits, bits)
        )

    def variable(self, index: int, lift: bool) -> Variable:
        coarser = self.spec.coarser[index]
        view = MaskView(self.mask.number, self.words.size, self.bits, self.bits - coarser, coarser)
        own = None if lift or coarser else self.mask.only.reshape(1, -1)
        return Variable(view, self.spec.degree(index), lift, own)

    def value(self, index: int) -> Array:
        coarser = self.spec.coarser[index]
        return self.words >> np.uint64(coarser) if coarser else self.words


def _open_windows(party: Party, x: AShare, table: PiecewiseTable) -> Steps[list[_OpenWindow]]:
    """Open x >> shift for every window (T0: each party shifts its share)."""
    masks, items = [], []
    for w in table.windows:
        ring = Ring(x.ring.bits - w.shift)
        mask = party.provider.take(Mask(x.shape, ring.bits))
        share = x.data if w.shift == 0 else x.ring.reduce(x.data) >> np.uint64(w.shift)
        masks.append(mask)
        items.append(Item(share, x.shape, ring.bits, mask=mask.only))
    opened = yield Round(table.name, tuple(items))
    return [
        _OpenWindow(w, words, mask, x.ring.bits - w.shift)
        for w, words, mask in zip(table.windows, opened, masks, strict=True)
    ]


def _choose(
    party: Party,
    x: AShare,
    table: PiecewiseTable,
    ring: Ring,
    windows: list[_OpenWindow],
    bits: list[BShare],
) -> Steps[Evaluated]:
    """The selection round. At the border of two windows the upper one's first bit also ends the lower one."""
    xp, choosers = party.backend.xp, []
    for k, window in enumerate(windows):
        planes = bits[k].planes
        if k + 1 < len(windows):
            planes = xp.concatenate([planes, bits[k + 1].planes[:1]])
        variables = [window.variable(i, table.lift) for i in range(len(window.spec.coarser))]
        choosers.append(Chooser(party, BShare(planes, (x.size,)), variables, ring))
    opened = yield Round(table.name, tuple(c.item for c in choosers))
    value: Array = None
    linear: Array | None = None
    for k, (window, chooser, d) in enumerate(zip(windows, choosers, opened, strict=True)):
        values = [window.value(i) for i in range(len(window.spec.coarser))]
        part = chooser.finish(party, d, values, _steps(table, k))
        value = part if value is None else value + part
        if any(window.spec.linear):
            rises = _differences([0, *window.spec.linear])
            linear = chooser.finish(party, d, values[:1], [[[0, rise] for rise in rises]])
    share = AShare(value.reshape(x.shape), ring, table.value_bits)
    result = add_public(party, share, table.first)
    if linear is None:
        return Evaluated(result, None)
    return Evaluated(result, AShare(linear.reshape(x.shape), ring, x.frac_bits))


def _choose_alone(
    party: Party, x: AShare, table: PiecewiseTable, ring: Ring, window: _OpenWindow, bits: BShare
) -> Steps[Evaluated]:
    """The same by OT (`millionaire.times_bit`): each step's polynomial is summed up first, so a bit costs one word.

    A third of the bytes that products of the bits with all powers would take.
    """
    xp, n = party.backend.xp, x.size
    powers = _power_shares(party, window, window.spec.degree(0), ring)
    rises = _differences([0, *window.spec.linear]) if any(window.spec.linear) else []
    rows = [_combined(powers, step) for step in _steps(table, 0)[0]]
    rows += [powers[1] * np.uint64(rise % 2**64) for rise in rises if rise]
    planes = [*bits.planes, *(plane for plane, rise in zip(bits.planes, rises, strict=False) if rise)]
    filled = 64 * words_of(n)
    steps = party.backend.zeros((len(rows), filled))
    for k, row in enumerate(rows):
        steps[k, :n] = row
    chosen = yield from times_bit.steps(
        party,
        BShare(xp.stack(planes).reshape(1, -1), (len(rows) * filled,)),
        AShare(steps.reshape(-1), ring, table.value_bits),
    )
    found = chosen.data.reshape(len(rows), filled)[:, :n]
    pieces = len(window.spec.starts)
    value = AShare(found[:pieces].sum(axis=0).reshape(x.shape), ring, table.value_bits)
    result = add_public(party, value, table.first)
    if not rises:
        return Evaluated(result, None)
    return Evaluated(result, AShare(found[pieces:].sum(axis=0).reshape(x.shape), ring, x.frac_bits))


def _power_shares(party: Party, window: _OpenWindow, degree: int, ring: Ring) -> list[Array]:
    """Shares of 1, v, ..., v^degree for the opened v = C - r: sums of public powers of C times shares of r^j."""
    n, c = window.words.size, window.words.reshape(-1)
    r = [window.mask.only.reshape(-1)]
    if degree > 1:
        r += list(party.provider.take(Powers(window.mask.number, n, degree, ring.bits)).only)
    public = [c * np.uint64(0) + np.uint64(1)]
    for _ in range(degree):
        public.append(public[-1] * c)
    shares = []
    for k in range(degree + 1):
        total = public[k] & party.lead
        for j in range(1, k + 1):
            total = total + public[k - j] * r[j - 1] * np.uint64((-1) ** j * comb(k, j) % 2**64)
        shares.append(total)
    return shares


def _combined(powers: list[Array], coefficients: Sequence[int]) -> Array:
    total = powers[0] * np.uint64(coefficients[0] % 2**64)
    for power, coefficient in zip(powers[1:], coefficients[1:], strict=False):
        total = total + power * np.uint64(coefficient % 2**64)
    return total


@cache
def _steps(table: PiecewiseTable, k: int) -> tuple[tuple[tuple[int, ...], ...], ...]:
    """What each selection bit of window k adds, per variable: P_k - P_(k-1), and -P_last for the border bit."""
    window = table.windows[k]
    border = k + 1 < len(table.windows)
    result = []
    for i in range(len(window.coarser)):
        pieces = [tuple(piece[i]) for piece in window.pieces]
        below = (table.first if i == 0 and k == 0 else 0,)
        rows = [_minus(piece, previous) for piece, previous in zip(pieces, (below, *pieces), strict=False)]
        result.append((*rows, tuple(-c for c in pieces[-1])) if border else tuple(rows))
    return tuple(result)


def _minus(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(p - q for p, q in zip_longest(a, b, fillvalue=0))


def _differences(values: list[int]) -> list[int]:
    return [b - a for a, b in pairwise(values)]
