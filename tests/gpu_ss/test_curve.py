"""Curves by cells: the whole range, every border of the table and of the range, cost, where they do not hold."""

from __future__ import annotations

from math import erf
from typing import Any

import numpy as np
import pytest

from gpu_ss.functions.tables import curve_table
from gpu_ss.protocols.curve import CELL, INDEX, curve_holds, look_up_curve
from gpu_ss.ring import Ring
from tests.support.backends import open_backend
from tests.support.protocols import both, check_cost, real, real_share, shape_share

UNIT = 2.0**-12


def gelu(x: Any) -> Any:
    return 0.5 * x * (1 + np.vectorize(erf)(x / np.sqrt(2)))


def numbers(limit: float) -> Any:
    """All over the table, all over the range, and again and again where something begins or ends."""
    borders = [k + d * UNIT for k in (-12, -8, -4, 0, 4, 8, 12) for d in (-1, 0, 1)] + [
        limit - UNIT,
        UNIT - limit,
    ]
    x = np.concatenate(
        [np.linspace(-13, 13, 1500), np.linspace(UNIT - limit, limit - UNIT, 800), borders * 12]
    )
    return np.rint(x[np.abs(x) < limit] / UNIT) * UNIT


@pytest.mark.parametrize("backend", ["auto", "cuda-fake"])
@pytest.mark.parametrize(
    ("bits", "out", "frac"), [(24, Ring(53), 12), (18, Ring(40), 12), (20, Ring(30), 14)]
)
def test_over_the_whole_range(bits: int, out: Ring, frac: int, backend: str) -> None:
    """Lines that hold a cell both ways leave (2 / 32)^2 / 16 of the second derivative, 0.8; the table's units 2^-10
    of its slope times a cell; beyond 4, x Phi(-x) is less than 1.3e-4; the result's own unit."""
    x, table = numbers(2.0 ** (bits - 14)), curve_table("gelu")
    chosen: Any = open_backend(backend) if backend != "auto" else backend
    run = both(
        lambda p: look_up_curve(p, real_share(p, x, Ring(48), 12), table, bits, out, frac), (chosen, chosen)
    )
    error = np.abs(real(run) - gelu(x))
    assert error.max() < 0.8 / 64**2 + 2**-15 + 2.0**-frac
    assert error.mean() < 1e-4
    far = np.abs(x) > 8 + 2**-4
    assert np.abs(real(run) - np.maximum(x, 0))[far].max() <= 2.0**-frac  # exact, rounded once
    check_cost(look_up_curve, run, shape_share(x.shape, Ring(48), 12), table, bits, out, frac)


@pytest.mark.parametrize("name", ["gelu", "gelu_tanh"])
def test_tables_go_on_as_their_limits(name: str) -> None:
    table, quarter = curve_table(name), 1 << (INDEX - 2)
    assert not any(table.values[:quarter]) and not any(table.slopes[:quarter])
    assert set(table.slopes[3 * quarter :]) == {512}
    assert table.values[-1] == (2 * quarter - 1) << (21 - 12 + CELL)


def test_where_it_holds() -> None:
    assert curve_holds(24, Ring(53), 12) and curve_holds(18, Ring(18), 12)
    refused = [(25, 53, 12), (17, 53, 12), (24, 64, 12), (24, 23, 12), (24, 50, 11)]
    assert not any(curve_holds(bits, Ring(ring), frac) for bits, ring, frac in refused)
