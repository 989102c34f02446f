"""Inverses by lines in tables: over the whole range and at every border, their cost, where they do not hold."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.clear import ClearParty
from gpu_ss.protocols.inverses import INDEX, inverses, line_tables, windows_for
from gpu_ss.ring import Ring
from gpu_ss.values import AShare
from tests.support.backends import open_backend
from tests.support.protocols import both, check_cost, reconstruct, shape_share, words_share

RANGES = [
    ("rsqrt", 1, 1 << 62, 64),
    ("rsqrt", 300, 1 << 40, 60),
    ("reciprocal", 1 << 19, 128 << 21, 52),
    ("reciprocal", 1 << 19, 1 << 21, 52),
]
#: Rounding of the table's values (2^-21 of the window's largest, of which they are 2^-5.5 at least in the exact
#: window, 2^-4 in others), of both places (2^-12 of a cell, with a slope of at most 2^-8), and the lines' own 1e-5.
TOLERANCE = 3e-5


def numbers(low: int, high: int, starts: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Of every magnitude, and around the places where windows begin and must hold."""
    rng = np.random.default_rng(3)
    x = np.exp2(rng.uniform(np.log2(low), np.log2(high), 300)).astype(np.uint64)
    edges = [(1 << (start + k)) + d for start in starts[1:] for k in (-1, 0, 1) for d in (-1, 0, 1)]
    inside = [e for e in (*edges, low, low + 1, high - 1) if low <= e < high]
    return np.concatenate([np.clip(x, low, high - 1), np.array(inside, np.uint64)])


@pytest.mark.parametrize(("name", "low", "high", "bits"), RANGES)
def test_over_the_whole_range(name: str, low: int, high: int, bits: int) -> None:
    windows, ring = windows_for(name, low, high, bits), Ring(bits)
    assert windows is not None
    x = numbers(low, high, windows.starts)
    exact = x.astype(np.float64) ** (-0.5 if name == "rsqrt" else -1.0)
    run = both(lambda p: inverses(p, words_share(p, x, ring, 0), windows))
    assert np.abs(reconstruct(run).view(np.int64) / 2.0**61 / exact - 1).max() < TOLERANCE
    check_cost(inverses, run, shape_share(x.shape, ring), windows)
    clear = (
        inverses(ClearParty(open_backend("reference")), AShare(x, ring, 0), windows).data.view(np.int64)
        / 2.0**61
    )
    assert np.abs(clear / exact - 1).max() < TOLERANCE


def test_zero_has_the_value_of_one() -> None:
    windows = windows_for("rsqrt", 1, 1 << 62, 64)
    run = both(lambda p: inverses(p, words_share(p, np.arange(2, dtype=np.uint64)), windows))
    assert list(reconstruct(run)) == [1 << 61, 1 << 61]


def test_lines_meet_the_function() -> None:
    """Half of a line's error is at its middle, the other half at its ends."""
    h = np.arange(1 << INDEX)
    for roots, first in ((2, 128), (1, 256)):
        value, slope = line_tables(roots, False).view(np.int64) / 2.0**20
        inner = h[first:-1]
        for place in (-1.0, -0.5, 0.0, 0.5, 1.0):
            exact = (first / (inner + place)) ** (1 / roots)
            assert np.abs((value + place * slope)[inner] / exact - 1).max() < 1.5e-5
        assert line_tables(roots, True).view(np.int64)[1].max() == 0


@pytest.mark.parametrize(
    ("name", "low", "high", "bits"),
    [("reciprocal", 1, 1 << 30, 64), ("reciprocal", 1 << 19, 1 << 36, 64), ("rsqrt", 1, 1 << 20, 16)],
)
def test_where_no_tables_hold(name: str, low: int, high: int, bits: int) -> None:
    assert windows_for(name, low, high, bits) is None
