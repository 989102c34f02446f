"""Where to cut: candidates at zeros of derivatives, a window searched from the tails, a local search from the best.

A function bends most evenly between the zeros of its higher derivatives (GeLU'' vanishes at +-sqrt 2, where
FASTLMPI cuts it). Those zeros, kinks, and steps of equal or growing length are the starts; windows are tried where
the tail is a given distance from its limit; then joints and window are moved as long as the fit gets better.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, islice

import numpy as np
from scipy.optimize import brentq

from gpu_ss.errors import FitError
from gpu_ss.functions.fitting.library import Limit, Shape, Target, shape
from gpu_ss.functions.fitting.polynomials import Function
from gpu_ss.functions.fitting.segments import MAX_DEGREE, UNIT, Layout, Rounded, make_table
from gpu_ss.protocols.piecewise import PiecewiseTable

MAX_PIECES = 24
TAILS = (4.0, 2.0, 1.0, 0.5, 0.1)  # of the wanted error
STARTS = 6  # of all combinations: those that look best and are tried
MOST_STARTS = 24  # combinations of candidates in a window
GRID = 4000  # steps across the range
GAP = 64  # raw units between joints
KINK = 0.05
SERIES = 160  # terms of the Chebyshev series whose derivatives are taken

HOPEFUL = 3.0  # how far above the error aimed at a start may be to be improved
FINEST = 8  # raw units, of the last step

#: Told how many layouts have been tried.
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Wanted:
    """degree: 1 to 4. pieces: between the limits, on the whole axis (None: the fewest that keep `error`).
    norm: `minimax` or `squares`. error: the largest error aimed at.
    """

    degree: int = 3
    pieces: int | None = None
    norm: str = "minimax"
    error: float = 5e-4

    def __post_init__(self) -> None:
        if not 1 <= self.degree <= MAX_DEGREE:
            raise FitError(
                f"a degree is 1 to {MAX_DEGREE} (a 64-bit ring holds no higher power), not {self.degree}"
            )
        if self.pieces is not None and not 1 <= self.pieces <= MAX_PIECES:
            raise FitError(f"a fit has 1 to {MAX_PIECES} pieces, not {self.pieces}")
        if self.norm not in ("minimax", "squares"):
            raise FitError(f"the norm is minimax or squares, not {self.norm!r}")
        if not 2.0**-16 <= self.error < 1.0:
            raise FitError(f"an error to aim at lies between 2^-16 and 1, not at {self.error:g}")


@dataclass(frozen=True)
class Fitted:
    """The table, the layout it was made from, and the candidates at zeros of derivatives."""

    table: PiecewiseTable
    layout: Layout
    candidates: tuple[float, ...]
    wanted: Wanted


def fit(target: Target, wanted: Wanted, progress: Progress = lambda tried: None) -> Fitted:
    """The best table found. Raises FitError if the error that is aimed at cannot be reached."""
    found = shape(target, 4 * wanted.error)
    candidates = derivative_zeros(target)
    search = _Search(target, found, wanted, candidates, progress)
    rounded = make_table(search.best(wanted.pieces)) if wanted.pieces else search.fewest()
    return Fitted(rounded.table, rounded.layout, candidates, wanted)


def derivative_zeros(target: Target) -> tuple[float, ...]:
    """Zeros of the second to the fourth derivative in the range; kinks if the function is not smooth there."""
    series = np.polynomial.Chebyshev.interpolate(_scalar(target.f), SERIES, domain=[target.low, target.high])
    size = np.abs(series.coef)
    if size[-16:].max() > 1e-9 * size.max():
        return kinks(target)
    series = series.trim(1e-13 * size.max())
    zeros: list[float] = []
    grid = np.linspace(target.low, target.high, 2001)
    for order in (2, 3, 4):
        d = series.deriv(order)
        values = d(grid)
        values[np.abs(values) < 1e-4 * np.abs(values).max()] = 0.0
        for k in np.flatnonzero(values[:-1] * values[1:] < 0):
            zeros.append(float(brentq(d, grid[k], grid[k + 1])))
        zeros += [
            float(grid[k]) for k in np.flatnonzero((values[1:-1] == 0) & (values[:-2] * values[2:] < 0)) + 1
        ]
    zeros.sort()
    return tuple(z + 0.0 for k, z in enumerate(zeros) if k == 0 or z - zeros[k - 1] > 1e-3)


def kinks(target: Target) -> tuple[float, ...]:
    """Where the slope changes by KINK and more from one unit to the next."""
    x = np.arange(np.ceil(target.low / UNIT), np.floor(target.high / UNIT) + 1) * UNIT
    bend = np.abs(np.diff(target.f(x), 2)) / UNIT
    sharp = np.flatnonzero(bend > KINK)
    peaks = [k for k in sharp if bend[k] == bend[max(0, k - 1) : k + 2].max()]
    return tuple(float(x[k + 1]) for k in peaks[:MAX_PIECES])


def _scalar(f: Function) -> Function:
    return lambda x: np.asarray(f(np.atleast_1d(x)), np.float64)


class _Search:
    """Tries layouts and remembers their errors."""

    def __init__(
        self, target: Target, found: Shape, wanted: Wanted, candidates: tuple[float, ...], progress: Progress
    ) -> None:
        self._target, self._shape, self._wanted = target, found, wanted
        self._candidates = candidates
        self._progress = progress
        self._errors: dict[tuple[bool, tuple[int, ...]], float] = {}
        self._symmetric = found.even or found.odd

    def fewest(self) -> Rounded:
        """The table with the fewest pieces that keeps the error aimed at."""
        pieces, hopeful = 1, HOPEFUL * self._wanted.error
        while pieces <= MAX_PIECES:
            layout = self._first(pieces)
            if self.error(layout) <= hopeful:
                layout = self._improved(layout)
            if self.error(layout) <= self._wanted.error:
                rounded = make_table(layout)
                if rounded.error <= self._wanted.error:
                    return rounded
            pieces += 1
        raise FitError(
            f"{MAX_PIECES} pieces of degree {self._wanted.degree} do not reach an error of {self._wanted.error:g}; "
            "narrow --range, or allow a larger --error or degree"
        )

    def best(self, pieces: int) -> Layout:
        """The best layout with so many pieces."""
        return self._improved(self._first(pieces))

    def _first(self, pieces: int) -> Layout:
        """The best of the starts."""
        centred = self._symmetric and pieces % 2 == 1
        count = (pieces + 1) // 2 if self._symmetric else pieces
        wanted = self._wanted
        layouts = [
            Layout(self._target, self._shape, joints, wanted.degree, centred, wanted.norm)
            for joints in self._starts(count)
        ]
        close = sorted(layouts, key=self._guess)[:STARTS]
        return min(close, key=self.error)

    def _guess(self, layout: Layout) -> float:
        """About the error: that of least squares, which is found many times faster."""
        return self._error(replace(layout, norm="squares"))

    def error(self, layout: Layout) -> float:
        """Largest error of a layout, tails included (1e9 for one that is not allowed)."""
        key = layout.centred, layout.joints
        if key not in self._errors:
            self._errors[key] = self._error(layout)
            self._progress(len(self._errors))
        return self._errors[key]

    def _error(self, layout: Layout) -> float:
        low, high = self._ends()
        joints = layout.joints
        if joints[0] < low or joints[-1] > high or min(np.diff(joints)) < GAP:
            return 1e9
        return max(layout.solve().error, layout.tail_error())

    def _ends(self) -> tuple[int, int]:
        """The range, raw: with a symmetry its upper half."""
        low, high = self._target.low, self._target.high
        if self._symmetric:
            low, high = 0.0, min(-low, high)
        return round(low / UNIT), round(high / UNIT)

    def _starts(self, count: int) -> Iterator[tuple[int, ...]]:
        """Joints to start from: windows by the tails, cut at derivative zeros, evenly, or by a power law."""
        seen = set()
        zeros = [round(abs(z) / UNIT if self._symmetric else z / UNIT) for z in self._candidates]
        for first, last in self._windows(zeros):
            inside = sorted({z for z in zeros if first + GAP < z < last - GAP})
            cuts = list(islice(combinations(inside, count - 1), MOST_STARTS))
            if len(inside) < count - 1:
                cuts.append(_filled([first, *inside, last], count)[1:-1])
            steps = np.arange(1, count) / count
            for power in (1.0, 0.75, 1.5):
                cuts.append(tuple(round(first + (last - first) * s**power) for s in steps))
            for inner in cuts:
                joints = (first, *inner, last)
                if joints not in seen and len(joints) == count + 1:
                    seen.add(joints)
                    yield joints

    def _windows(self, zeros: Sequence[int]) -> Iterator[tuple[int, int]]:
        """By the tails' distance from their limits; an end near a candidate is that candidate."""
        low, high = self._ends()
        for tail in TAILS:
            error = tail * self._wanted.error
            right = _settled(self._target, self._shape.right, low, high, error)
            left = low if self._symmetric else _settled(self._target, self._shape.left, high, low, error)
            near = (high - low) // GRID
            left, right = (next((z for z in zeros if abs(z - e) <= near), e) for e in (left, right))
            left = min(left, high - GAP)
            yield left, max(right, left + GAP)

    def _improved(self, layout: Layout) -> Layout:
        """Pattern search: each free joint is moved by steps that halve when nothing gets better."""
        joints = list(layout.joints)
        free = list(range(1, len(joints) - 1))
        if not self._shape.right.clamped:
            free.append(len(joints) - 1)
        if not self._symmetric and not self._shape.left.clamped:
            free.insert(0, 0)
        best, step = self.error(layout), (joints[-1] - joints[0]) // 8
        while step >= FINEST:
            better, passes = True, 0
            while better and passes < 6:
                better, passes = False, passes + 1
                for k in free:
                    for move in (step, -step):
                        moved = joints.copy()
                        moved[k] += move
                        error = self.error(replace(layout, joints=tuple(moved)))
                        if error < best * (1 - 1e-6):
                            joints, best, better = moved, error, True
                            break
            step //= 2
        return replace(layout, joints=tuple(joints))


def _filled(joints: list[int], count: int) -> tuple[int, ...]:
    """These joints and the middles of the longest gaps between them, until there are `count` pieces."""
    while len(joints) <= count:
        gaps = np.diff(joints)
        k = int(gaps.argmax())
        joints = [*joints[: k + 1], joints[k] + int(gaps[k]) // 2, *joints[k + 1 :]]
    return tuple(joints)


def _settled(target: Target, limit: Limit, start: int, end: int, error: float) -> int:
    """Raw x from which on, towards `end`, the function stays within `error` of its limit; at most `end`."""
    if limit.clamped:
        return end
    x = np.linspace(start * UNIT, end * UNIT, GRID + 1)
    outside = np.flatnonzero(np.abs(target.f(x) - limit(x)) > error)
    return round(x[min(outside[-1] + 1, len(x) - 1)] / UNIT) if len(outside) else start
