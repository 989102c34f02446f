"""Generates the tables of straight lines (see `protocols.lines`): pieces of equal length that meet.

The lines join points half of the error of a chord away from the curve, so errors on both sides are equal.
Values and slopes are integers, chosen for all lines together: the least maximal error whose jumps stay within half
a unit.
"""

from __future__ import annotations

import numpy as np

from gpu_ss.functions.fitting.polynomials import Function, Real
from gpu_ss.protocols.lines import LineTable

FRAC_BITS, PIECE_BITS, VALUE_BITS, SLOPE_BITS = 12, 8, 13, 9
UNIT = 2.0**-FRAC_BITS
ROOM = 6  # raw units past its end at which a line may be read, see protocols.lines.DROPPED


def lines(name: str, f: Function, index_bits: int, lean: int, low: int, high: int, slope: int) -> LineTable:
    """The function by 2^index_bits lines around 0, `low` below and `high` + slope x above them, raw.

    `lean` x 2^-VALUE_BITS is taken away first, so that slopes are small.
    """
    start = -(1 << (index_bits + PIECE_BITS - 1))
    width = UNIT * (1 << PIECE_BITS)
    knots = np.asarray(UNIT * start + width * np.arange((1 << index_bits) + 1), np.float64)
    curve: Real = f(knots)
    points: Real = curve - (f(knots + width) - 2 * curve + f(knots - width)) / 16
    points[0], points[-1] = UNIT * low, UNIT * high + slope * knots[-1]
    leaning = lean * 2.0 ** (FRAC_BITS - VALUE_BITS)
    away = UNIT * low + leaning * knots

    def rest(x: Real) -> Real:
        return np.asarray(f(x) - UNIT * low - leaning * x, np.float64)

    values, slopes = _rounded(rest, knots, points - away)
    top = max(abs(s) for s in slopes) * ((1 << (PIECE_BITS - 1)) + ROOM)
    most, least = (points.max() / UNIT - low, points.min() / UNIT - low)
    middle = round((most + least) / 2)
    spread = max(most - middle, abs(middle)) + 64
    return LineTable(
        name, FRAC_BITS, index_bits, PIECE_BITS, VALUE_BITS, SLOPE_BITS,
        value_ring=round(spread).bit_length() + 2 + VALUE_BITS - FRAC_BITS,
        slope_ring=top.bit_length() + 2,
        start=start, lean=lean, middle=middle, low=low, high=high, slope=slope,
        values=tuple(values), slopes=tuple(slopes),
    )  # fmt: skip


def _rounded(f: Function, knots: Real, points: Real) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Integer values and slopes of lines near these points: the least maximal error, by where a line may end."""
    width = knots[1] - knots[0]
    half_unit = 2.0 ** -(VALUE_BITS + 1)
    ways: dict[float, tuple[float, list[tuple[int, int]]]] = {float(points[0]): (0.0, [])}
    for start, point in zip(knots, points[1:], strict=False):
        places = np.linspace(0, width, 9)
        curve = f(start + places)
        found: dict[float, tuple[float, list[tuple[int, int]]]] = {}
        for end, (worst, path) in ways.items():
            for slope in _near((point - end) / width * 2.0**SLOPE_BITS):
                rise = slope * 2.0**-SLOPE_BITS
                for value in _near((end + rise * width / 2) * 2.0**VALUE_BITS):
                    line = value * 2.0**-VALUE_BITS + rise * (places - width / 2)
                    error = max(worst, float(np.abs(line - curve).max()))
                    last = float(line[-1])
                    if abs(line[0] - end) <= half_unit and error < found.get(last, (np.inf, []))[0]:
                        found[last] = (error, [*path, (value, slope)])
        ways = found
    best = min(way for end, way in ways.items() if abs(end - points[-1]) <= half_unit)
    values, slopes = zip(*best[1], strict=True)
    return values, slopes


def _near(x: float) -> range:
    return range(round(x) - 1, round(x) + 2)


def clear(table: LineTable, x: Real) -> Real:
    """What the table says at x, without the protocol's roundings."""
    raw = np.floor(x * 2.0**table.frac_bits)
    at = np.clip(np.floor((raw - table.start) / 2**table.piece_bits), -1, len(table.values)).astype(int)
    line = np.clip(at, 0, len(table.values) - 1)
    u = raw - table.start - line * 2.0**table.piece_bits - 2.0 ** (table.piece_bits - 1)
    value = np.array(table.values)[line] * 2.0**-table.value_bits
    value += np.array(table.slopes)[line] * u * 2.0 ** -(table.slope_bits + table.frac_bits)
    value += table.lean * raw * 2.0**-table.value_bits + table.low * 2.0**-table.frac_bits
    beyond = np.where(at < 0, table.low, table.high + table.slope * raw) * 2.0**-table.frac_bits
    return np.where(at == line, value, beyond)
