"""Generates the piecewise tables: minimax fits, rounded to integers coefficient by coefficient.

    python -m gpu_ss.functions.tables.make [--check]

How a piece is fitted and rounded: `gpu_ss.functions.fitting.polynomials`.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from gpu_ss.functions.fitting.library import gelu, gelu_tanh
from gpu_ss.functions.fitting.polynomials import (
    Function,
    Real,
    cut,
    expand,
    fit_error,
    integer_piece,
    minimax,
)
from gpu_ss.functions.tables import (
    ACTIVATIONS,
    CURVES,
    INVERSE_BITS,
    LINES,
    NAMES,
    QUADRATIC,
    curve_table,
    from_json,
    line_table,
    table,
    to_json,
)
from gpu_ss.functions.tables.lines import lines
from gpu_ss.protocols.curve import CELL, FRAC, INDEX, VALUE, CurveTable
from gpu_ss.protocols.lines import LineTable
from gpu_ss.protocols.piecewise import PiecewiseTable, Window

# -- activations: one window, saturated tails -------------------------------------------------------------


def activation(
    name: str, f: Function, cuts: Sequence[float], degree: int, frac_bits: int, value_bits: int, slope: int
) -> PiecewiseTable:
    """A function with f(-inf) constant and f(inf) = slope * x + constant, saturated outside the cuts.

    Pieces from the first cut above 0 on carry the linear part `slope * x` apart, so that only a small
    remainder is fitted and scaled.
    """
    starts = [round(c * 2**frac_bits) for c in cuts]
    middle = next(k for k, c in enumerate(cuts) if c > 0)
    linear = [slope if k >= middle else 0 for k in range(len(starts))]
    pieces = []
    for k in range(len(starts) - 1):

        def remainder(x: Real, line: int = linear[k]) -> Real:
            return np.asarray(f(x) - line * x, np.float64)

        pieces.append(integer_piece(remainder, starts[k], starts[k + 1], degree, frac_bits, value_bits))
    far = np.array([64.0])
    pieces.append((round(float((f(far) - slope * far)[0]) * 2.0**value_bits),))
    first = round(float(f(-far)[0]) * 2.0**value_bits)
    window = Window(0, (0,), tuple(starts), tuple((p,) for p in pieces), tuple(linear))
    return PiecewiseTable(name, frac_bits, value_bits, first, (window,))


def mirrored(cuts: Sequence[float]) -> list[float]:
    """Cuts at +-c."""
    return sorted([-c for c in cuts] + list(cuts))


def symmetric_cuts(f: Function, tail: Function, degree: int, error: float, middle: float) -> list[float]:
    """+-cuts: a middle piece as wide as the error allows (at most `middle`), then pieces of the tail."""
    low, high = 0.05, middle
    for _ in range(30):
        half = 0.5 * (low + high)
        low, high = (half, high) if fit_error(f, -half, half, degree) <= error else (low, half)
    end = next(t for t in np.arange(1.0, 12.0, 0.01) if np.abs(tail(np.array([t])))[0] <= error)
    return mirrored(cut(tail, low, float(end), degree, error))


# -- 1/x and 1/sqrt(x): windows over the whole range of a ring ---------------------------------------------


def inverse(name: str, power: float, per_octave: int, top_octave: int, frac_bits: int) -> PiecewiseTable:
    """2^61 * raw_x^power for raw x from 1 to 2^top_octave, `per_octave` quadratic pieces per octave.

    Each window reads x >> shift with at least 14 bits; the linear term (x - centre) uses that number, the
    quadratic term (x - centre)^2 a coarser reading of it. Windows are as long as the coefficients keep
    enough bits.
    """
    starts = _breakpoints(per_octave, top_octave)
    windows, k = [], 0
    while k < len(starts) - 1:
        shift = max(0, starts[k].bit_length() - 15) if k else 0
        end = k + 1
        while end < len(starts) - 1 and _window_holds(power, starts[k], starts[end + 1], shift):
            end += 1
        windows.append(_window(power, starts[k : end + 1], shift))
        k = end
    if top_octave < 62:  # beyond the top the value is below any unit: exactly 0
        last = windows[-1]
        end, nothing = (1 << top_octave) >> last.shift, ((0,), (0,))
        windows[-1] = replace(last, starts=(*last.starts, end), pieces=(*last.pieces, nothing))
    return PiecewiseTable(name, frac_bits, INVERSE_BITS, 1 << INVERSE_BITS, tuple(windows), lift=True)


def _breakpoints(per_octave: int, top: int) -> list[int]:
    points = {round(2.0 ** (k / per_octave)) for k in range(per_octave * top + 1)}
    return sorted(points)


def _window_holds(power: float, first: int, last: int, shift: int) -> bool:
    """Both coefficients keep enough bits at the window's end, and the coarse variable at its start."""
    coarser = _coarser(power, last, shift)
    enough = coarser == 0 or (first >> shift).bit_length() - coarser >= 9
    return enough and _linear_bits(power, last, shift) >= 8


def _linear_bits(power: float, x: int, shift: int) -> float:
    """log2 of the linear coefficient at raw x for the variable x >> shift."""
    return INVERSE_BITS + math.log2(abs(power)) + (power - 1) * math.log2(x) + shift


def _window(power: float, starts: Sequence[int], shift: int) -> Window:
    coarser = _coarser(power, starts[-1], shift)
    pieces = [_inverse_piece(power, a, b, shift, coarser) for a, b in pairwise(starts)]
    firsts = tuple(s >> shift for s in starts[:-1])
    return Window(shift, (0, coarser), firsts, tuple(pieces))


def _coarser(power: float, x: int, shift: int) -> int:
    """How much coarser the quadratic variable is: its coefficient gets about 7 bits at the window's end."""
    bits = INVERSE_BITS + math.log2(abs(power * (power - 1) / 2)) + (power - 2) * math.log2(x) + 2 * shift
    return max(0, math.ceil((7 - bits) / 2))


def _inverse_piece(
    power: float, start: int, end: int, shift: int, coarser: int
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Coefficients in x >> shift (linear) and x >> (shift + coarser) (quadratic) on raw [start, end)."""
    unit, coarse = 2.0**shift, 2.0 ** (shift + coarser)
    centre, far = round(0.5 * (start + end) / unit), round(0.5 * (start + end) / coarse)
    middle, offset = centre * unit, far * coarse - centre * unit
    half = max(end - middle, middle - start)

    def f(x: Real) -> Real:
        return np.asarray(x**power, np.float64)

    fit = minimax(f, middle - half, middle + half, 2, weight=lambda x: x**-power)
    c0, c1, c2 = (c * 2.0**INVERSE_BITS / half**k for k, c in enumerate(fit))  # powers of (x - middle)
    quadratic = round(c2 * coarse**2)
    c0 -= c2 * offset**2  # (x - middle)^2 = (x - far)^2 + 2 offset (x - middle) - offset^2
    c1 += 2 * c2 * offset
    return expand((round(c0), round(c1 * unit)), centre), expand((0, 0, quadratic), far)


# -- the product's tables ----------------------------------------------------------------------------------


def _cubics(name: str) -> PiecewiseTable:
    """Few pieces: what a dealer's correlations are cheapest for."""
    if name == "tanh":
        cuts = symmetric_cuts(np.tanh, lambda x: 1 - np.tanh(x), 3, 1e-4, 1.0)
        return activation(name, np.tanh, cuts, 3, 12, 46, slope=0)
    f = gelu if name == "gelu" else gelu_tanh
    return activation(name, f, symmetric_cuts(f, lambda x: f(-x), 3, 3e-4, 1.0), 3, 12, 46, slope=1)


def _quadratics(name: str) -> PiecewiseTable:
    """No cubes, and so 12 bits less: twice the pieces at half the price where parties make the products."""
    if name == "tanh" + QUADRATIC:
        cuts = symmetric_cuts(np.tanh, lambda x: 1 - np.tanh(x), 2, 4e-4, 1.0)
        return activation(name, np.tanh, cuts, 2, 12, 34, slope=0)
    f = gelu if name == "gelu" + QUADRATIC else gelu_tanh
    return activation(name, f, symmetric_cuts(f, lambda x: f(-x), 2, 4e-4, 1.0), 2, 12, 34, slope=1)


def build(name: str) -> PiecewiseTable:
    """Generate one table."""
    if name in ACTIVATIONS:
        return _cubics(name)
    if name.endswith(QUADRATIC):
        return _quadratics(name)
    if name == "reciprocal":
        return inverse(name, -1.0, 6, 36, 16)
    return inverse(name, -0.5, 4, 62, 16)


def build_lines(name: str) -> LineTable:
    """Generate one table of lines: 128 between -4 and 4, 0 below and x above; half of x is taken away."""
    return lines(f"{name}_lines", gelu if name == "gelu" else gelu_tanh, 7, lean=1, low=0, high=0, slope=1)


def build_curve(name: str) -> CurveTable:
    """Generate one table of cells: lines between -4 and 4, 0 below and x above; each holds a cell both ways."""
    f, width = gelu if name == "gelu" else gelu_tanh, 2.0 ** (CELL - FRAC)
    cells = 1 << INDEX
    values, slopes = [0] * (cells // 4), [0] * (cells // 4)
    for k in range(cells // 4, cells):
        at = (k - cells // 2) * width
        low, middle, high = (float(y) for y in f(np.array([at - width, at, at + width])))
        if k >= cells // 4 * 3:
            low, middle, high = at - width, at, at + width
        values.append(round((low + 2 * middle + high) / 4 * 2.0**VALUE))
        slopes.append(round((high - low) / (2 * width) * 2.0 ** (VALUE - FRAC)))
    return CurveTable(f"{name}_curve", tuple(values), tuple(slopes))


def main(argv: Sequence[str]) -> int:
    """Write the tables, or with --check compare them with what is checked in."""
    different = []
    for name in NAMES:
        made = build(name)
        if "--check" not in argv:
            _write(name, to_json(made))
        elif from_json(to_json(made)) != table(name):
            different.append(name)
    for name in LINES:
        straight = build_lines(name)
        if "--check" not in argv:
            _write(straight.name, asdict(straight))
        elif straight != line_table(name):
            different.append(straight.name)
    for name in CURVES:
        cells = build_curve(name)
        if "--check" not in argv:
            _write(cells.name, asdict(cells))
        elif cells != curve_table(name):
            different.append(cells.name)
    if different:
        sys.stderr.write(f"tables differ from their generator: {', '.join(different)}\n")
    return 1 if different else 0


def _write(name: str, data: dict[str, Any]) -> None:
    path = Path(__file__).parent / f"{name}.json"
    path.write_text(json.dumps(data, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
