"""From breakpoints to a table: pieces by symmetry, fitted together, rounded power by power, mirrored.

All breakpoints are whole units of 2^-FRAC. With an even or odd part only x >= 0 is fitted:

    f(x) = tilt x + even(x)    (GeLU: tilt 1/2; so GeLU(x) = ReLU(x) - h(|x|))
    f(x) = level + odd(x)      (tanh; sigmoid: level 1/2)

and a piece around 0 has the even, or odd, powers alone. Rounding takes the highest power first: it is rounded in
every piece, and what is lower is fitted again to the rest, joints included. So the integers keep the error and the
continuity of the real fit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gpu_ss.errors import FitError
from gpu_ss.functions.activation import FRAC
from gpu_ss.functions.fitting.continuous import Piece, Pin, Solution, solve
from gpu_ss.functions.fitting.library import Limit, Shape, Target
from gpu_ss.functions.fitting.polynomials import Real, expand
from gpu_ss.protocols.piecewise import PiecewiseTable, Window
from gpu_ss.ring import WORD

UNIT = 2.0**-FRAC
MAX_DEGREE = 4
SPARE_BITS = 2  # of a ring above its values, see `activation`
LOOSER = 1.03  # what rounding may make of the error
LEAST_BITS = 6  # of a leading coefficient's unit below that of x^degree


@dataclass(frozen=True)
class Layout:
    """Joints (raw, ascending, from the window's left end to its right; from 0 with a symmetry) and degree.

    centred: the first piece reaches across 0 (with a symmetry only).
    """

    target: Target
    shape: Shape
    joints: tuple[int, ...]
    degree: int
    centred: bool
    norm: str = "minimax"

    @property
    def symmetric(self) -> bool:
        return self.shape.even or self.shape.odd

    def pieces(self) -> list[Piece]:
        """The pieces to be fitted, nothing known but what symmetry says."""
        made, everything = [], tuple(range(self.degree + 1))
        slope = self.shape.right.slope
        for k in range(len(self.joints) - 1):
            start, end = self.joints[k], self.joints[k + 1]
            centre = (start + end) // 2
            line = float(slope) if centre > 0 else 0.0
            made.append(Piece(start * UNIT, end * UNIT, centre * UNIT, everything, line))
        if self.centred:
            reach = self.joints[1] * UNIT
            if self.shape.even:
                made[0] = Piece(0.0, reach, 0.0, everything[::2], 0.0, {1: self.shape.tilt * reach})
            else:
                made[0] = Piece(0.0, reach, 0.0, everything[1::2], 0.0, {0: self.shape.level})
        return made

    def pins(self) -> list[Pin]:
        """The limits at the window's ends; an odd function's centre."""
        last = self.joints[-1] * UNIT
        pins = [Pin(len(self.joints) - 2, last, _at(self.shape.right, last))]
        if not self.symmetric:
            first = self.joints[0] * UNIT
            pins.append(Pin(0, first, _at(self.shape.left, first)))
        elif self.shape.odd and not self.centred:
            pins.append(Pin(0, 0.0, self.shape.level))
        return pins

    def solve(self) -> Solution:
        """The best real coefficients."""
        return solve(self.target.f, self.pieces(), self.pins(), self.norm)

    def tail_error(self) -> float:
        """Largest distance to the limits outside the window, inside the range."""
        return max(
            _tail(self.target, self.shape.right, self.joints[-1] * UNIT, self.target.high),
            _tail(
                self.target,
                self.shape.left,
                (-self.joints[-1] if self.symmetric else self.joints[0]) * UNIT,
                self.target.low,
            ),
        )


def _at(limit: Limit, x: float) -> float:
    return float(limit(np.array([x]))[0])


def _tail(target: Target, limit: Limit, start: float, end: float) -> float:
    x = np.linspace(start, end, 257) if abs(end) > abs(start) else np.array([start])
    return float(np.abs(target.f(x) - limit(x)).max())


@dataclass(frozen=True)
class Rounded:
    """A layout in integers, and the largest error, tails included."""

    layout: Layout
    table: PiecewiseTable
    error: float


def make_table(layout: Layout) -> Rounded:
    """The layout's fit in integers: the least value scale at which rounding does not make it worse.

    Raises FitError if the numbers do not fit a 64-bit ring.
    """
    exact = layout.solve()
    whole = _whole_bits(layout, exact)
    most = WORD - SPARE_BITS - whole
    least = min(layout.degree * FRAC + LEAST_BITS, most)
    if layout.degree * FRAC >= most:
        raise FitError(
            f"x^{layout.degree} with {FRAC} fractional bits and values up to {2**whole} need more than {WORD} "
            "bits; take a lower degree and more pieces"
        )
    tail = layout.tail_error()
    tried = []
    for value_bits in range(least, most + 1, 2):
        found, error = _rounded(layout, value_bits)
        tried.append((max(error, tail), value_bits, found))
        if error <= LOOSER * max(exact.error, tail) + UNIT / 64:
            break
    error, value_bits, found = min(tried, key=lambda t: t[:2])
    return Rounded(layout, _assembled(layout, found, value_bits, whole), error)


def _whole_bits(layout: Layout, solution: Solution) -> int:
    """Bits above the point that the fitted part of values needs."""
    largest = 0.0
    for piece, free in zip(layout.pieces(), solution.coefficients, strict=True):
        x = piece.samples()
        polynomial = replace(piece, line=0.0).fixed(x)
        if free:
            polynomial = polynomial + piece.basis(x) @ np.array([free[k] for k in piece.powers])
        largest = max(largest, float(np.abs(polynomial).max()))
    limits = (layout.shape.left, layout.shape.right)
    largest = max(largest, *(abs(limit.constant) for limit in limits))
    return max(0, int(np.ceil(np.log2(largest + 2.0**-8))))


Integers = list[dict[int, int]]  # by piece: power -> coefficient


def _rounded(layout: Layout, value_bits: int) -> tuple[Integers, float]:
    """Integer coefficients of (raw x - raw centre)^k for each piece, and the error of what they give."""
    pieces = layout.pieces()
    integers: Integers = [{} for _ in pieces]
    for piece, found in zip(pieces, integers, strict=True):
        for k, value in list(piece.known.items()):
            _fix(piece, found, k, round(value / _unit(piece, k, value_bits)), value_bits)
    error = 0.0
    for power in range(layout.degree, -1, -1):
        solution = solve(layout.target.f, pieces, layout.pins(), layout.norm)
        ideal = [free.get(power) for free in solution.coefficients]
        here = [k for k, value in enumerate(ideal) if value is not None]
        for k in here:
            _fix(
                pieces[k],
                integers[k],
                power,
                round((ideal[k] or 0.0) / _unit(pieces[k], power, value_bits)),
                value_bits,
            )
        if power >= 2:
            _other_neighbours(layout, pieces, integers, here, power, value_bits, ideal)
    error = solve(layout.target.f, pieces, layout.pins(), layout.norm).error
    return integers, error


def _other_neighbours(
    layout: Layout,
    pieces: list[Piece],
    integers: Integers,
    here: Sequence[int],
    power: int,
    value_bits: int,
    ideal: Sequence[float | None],
) -> None:
    """Where rounding a coefficient the other way leaves less error, do so: a unit of a leading one is coarse."""

    def error() -> float:
        return solve(layout.target.f, pieces, layout.pins(), layout.norm).error

    best = error()
    for k in here:
        was = integers[k][power]
        exact = (ideal[k] or 0.0) / _unit(pieces[k], power, value_bits)
        _fix(pieces[k], integers[k], power, was + (1 if exact > was else -1), value_bits)
        found = error()
        if found < best:
            best = found
        else:
            _fix(pieces[k], integers[k], power, was, value_bits)


def _unit(piece: Piece, power: int, value_bits: int) -> float:
    """What 1 in the integer coefficient of that power is in the coefficient of t^power."""
    return 2.0**-value_bits * (piece.half / UNIT) ** power


def _fix(piece: Piece, found: dict[int, int], power: int, value: int, value_bits: int) -> None:
    """Make the integer `value` the piece's coefficient of that power, known from now on."""
    found[power] = value
    piece.known[power] = value * _unit(piece, power, value_bits)
    piece.powers = tuple(k for k in piece.powers if k != power)


def _assembled(
    layout: Layout, integers: Sequence[dict[int, int]], value_bits: int, whole_bits: int
) -> PiecewiseTable:
    shape, joints = layout.shape, layout.joints
    starts: list[int] = list(joints[:-1])
    pieces = [_expanded(p, found) for p, found in zip(layout.pieces(), integers, strict=True)]
    linear = [round(p.line) for p in layout.pieces()]
    right = (round(shape.right.constant * 2.0**value_bits),)
    first = round(shape.left.constant * 2.0**value_bits)
    if layout.symmetric:
        skip = 1 if layout.centred else 0
        mirrored = [_mirrored(shape, p, value_bits) for p in pieces[skip:]]
        turn = round(2 * shape.tilt)
        inner = joints[1:-1] if layout.centred else joints[:-1]
        starts = [*(-j for j in reversed(joints[1:])), *inner]
        linear = [*(line - turn if shape.even else line for line in reversed(linear[skip:])), *linear]
        pieces = [*reversed(mirrored), *pieces]
    starts.append(joints[-1])
    linear.append(shape.right.slope)
    window = Window(0, (0,), tuple(starts), tuple((p,) for p in [*pieces, right]), tuple(linear))
    return PiecewiseTable(layout.target.name, FRAC, value_bits, first, (window,), whole_bits=whole_bits)


def _expanded(piece: Piece, found: dict[int, int]) -> tuple[int, ...]:
    local = [found.get(k, 0) for k in range(max(found) + 1)]
    return expand(local, round(piece.centre / UNIT))


def _mirrored(shape: Shape, piece: tuple[int, ...], value_bits: int) -> tuple[int, ...]:
    """The piece of -x: even functions keep its value, odd ones turn it around their level."""
    turned = [c if k % 2 == 0 else -c for k, c in enumerate(piece)]
    if shape.even:
        return tuple(turned)
    return tuple(round(2 * shape.level * 2.0**value_bits) * (k == 0) - c for k, c in enumerate(turned))


def clear(table: PiecewiseTable, raw: Real) -> Real:
    """What the table gives for raw x (whole numbers), exactly as in a ring: `activation` without its rounding."""
    (window,) = table.windows
    x = raw.astype(np.int64).view(np.uint64)
    which = np.searchsorted(np.array(window.starts), raw, side="right")
    value, line = np.full(x.shape, np.uint64(table.first % 2**64)), np.zeros(x.shape)
    for k, ((polynomial,), slope) in enumerate(zip(window.pieces, window.linear, strict=True), 1):
        here = which == k
        value[here] = _horner(polynomial, x[here])
        line[here] = slope * raw[here] * 2.0**-table.frac_bits
    return np.asarray(np.ldexp(value.view(np.int64).astype(np.float64), -table.value_bits) + line, np.float64)


def _horner(polynomial: Sequence[int], x: np.ndarray[tuple[int], np.dtype[np.uint64]]) -> Real:
    total = np.zeros_like(x)
    for c in reversed(polynomial):
        total = total * x + np.uint64(c % 2**64)
    return total  # type: ignore[return-value]


def max_jump(table: PiecewiseTable) -> float:
    """Largest difference of the two pieces that meet at a breakpoint, both read at the breakpoint itself."""
    (window,) = table.windows
    below: tuple[tuple[int, ...], int] = (table.first,), 0
    largest = 0.0
    for start, (polynomial,), slope in zip(window.starts, window.pieces, window.linear, strict=True):
        jump = 0.0
        for (coefficients, line), sign in ((below, -1), ((polynomial, slope), 1)):
            fitted = sum(c * start**k for k, c in enumerate(coefficients))
            jump += sign * (fitted * 2.0**-table.value_bits + line * start * 2.0**-table.frac_bits)
        largest, below = max(largest, abs(jump)), (polynomial, slope)
    return largest
