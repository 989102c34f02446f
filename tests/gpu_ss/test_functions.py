"""Functions against float over their whole range; tolerances are sums of stated errors."""

from __future__ import annotations

from math import erf, pi, sqrt
from typing import Any

import numpy as np
import pytest

from gpu_ss.functions import tables
from gpu_ss.functions.activation import activation, relu
from gpu_ss.functions.exp import exp
from gpu_ss.functions.inverse import reciprocal, rsqrt
from gpu_ss.functions.layernorm import unit_rows
from gpu_ss.functions.maximum import argmax, maximum
from gpu_ss.functions.softmax import softmax
from gpu_ss.functions.tables import make
from gpu_ss.ring import RING64, Ring
from tests.support.backends import open_backend
from tests.support.protocols import both, check_cost, host, real, real_share, shape_share

RNG = np.random.default_rng(9)
UNIT = 2.0**-16
EXTREMES = [0.0, UNIT, -UNIT, 1e3, -1e3, 1e6, -1e6, 2.0**40, -(2.0**40)]


def gelu(x: Any) -> Any:
    return np.array([v * 0.5 * (1 + erf(v / sqrt(2))) if abs(v) < 40 else max(v, 0.0) for v in x])


def gelu_tanh(x: Any) -> Any:
    return 0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))


# Fit error of the table, one unit of the reading (2^-12, slope at most 1.13) and of the result.
FITS = {"gelu": (gelu, 3.1e-4), "gelu_tanh": (gelu_tanh, 3.5e-4), "tanh": (np.tanh, 1.3e-4)}


@pytest.mark.parametrize("backend", ["auto", "cuda-fake"])
@pytest.mark.parametrize("name", list(FITS))
def test_activations_over_the_whole_range(name: str, backend: str) -> None:
    clear, fit = FITS[name]
    x = np.concatenate([np.linspace(-12, 12, 3001), EXTREMES])
    chosen: Any = open_backend(backend) if backend != "auto" else backend
    run = both(lambda p: activation(p, real_share(p, x), name), (chosen, chosen))
    error = np.abs(real(run) - clear(x))
    assert error.max() < fit + 1.2 * 2**-12 + 2 * UNIT
    assert error.mean() < 1.5e-4
    check_cost(activation, run, shape_share(x.shape), name)


@pytest.mark.parametrize(("ring", "out"), [(Ring(48), Ring(58)), (Ring(30), Ring(44)), (Ring(48), Ring(40))])
def test_activation_between_rings(ring: Ring, out: Ring) -> None:
    x = np.linspace(-9, 9, 500)
    run = both(lambda p: activation(p, real_share(p, x, ring, 12), "gelu", 20, out, 12))
    assert run.results[0].ring == out
    assert np.abs(real(run) - gelu(x)).max() < 3.1e-4 + 2 * 2**-12
    check_cost(activation, run, shape_share(x.shape, ring, 12), "gelu", 20, out, 12)


def test_relu_is_exact() -> None:
    x = np.concatenate([RNG.normal(0, 100, 500), EXTREMES])
    run = both(lambda p: relu(p, real_share(p, x)))
    assert np.array_equal(real(run), np.maximum(np.rint(x / UNIT), 0) * UNIT)
    check_cost(relu, run, shape_share(x.shape))


def test_exp_saturates_at_both_ends() -> None:
    x = np.concatenate([np.linspace(-25, 19.9, 2000), [20.2, 21, 1e3, 1e5, -1e3, -1e5, 0.0]])
    run = both(lambda p: exp(p, real_share(p, x)))
    got, expected = real(run), np.exp(np.minimum(x, 29 * np.log(2)))
    # relative: a unit of the exponent (2^-12 ln 2), of the factor 2^-14, and the input's own unit
    tolerance = expected * (2**-12 * np.log(2) * 1.5 + 2**-14 + UNIT) + 3 * 2**-16
    inside = x < 20
    assert (np.abs(got - expected) < tolerance)[inside].all()
    assert (np.abs(got[~inside] / 2.0**29 - 1) < 1e-3).all()
    assert not got[x < -100].any()
    check_cost(exp, run, shape_share(x.shape))


@pytest.mark.parametrize(
    ("function", "clear", "cap"),
    [(reciprocal, lambda x: 1 / x, 2.0**16), (rsqrt, lambda x: 1 / np.sqrt(x), 2.0**8)],
)
def test_inverses_over_the_whole_range(function: Any, clear: Any, cap: float) -> None:
    raw = np.unique(np.rint(2.0 ** np.linspace(0, 61.9, 700)))
    x = raw * UNIT
    run = both(lambda p: function(p, real_share(p, x)))
    got, expected = real(run), np.minimum(clear(x), cap)
    large = raw >= 64  # below, a piece holds a single value and the fit's centre may be half a unit off
    assert (np.abs(got - expected) < 4e-4 * expected + 1.5 * UNIT)[large].all()
    assert (np.abs(got - expected) < 0.05 * expected)[~large].all()
    check_cost(function, run, shape_share(x.shape))


@pytest.mark.parametrize("function", [reciprocal, rsqrt])
def test_inverses_saturate_at_zero_and_below(function: Any) -> None:
    got = real(both(lambda p: function(p, real_share(p, [0.0, -UNIT, -5.0, -(2.0**40)]))))
    cap = 2.0**16 if function is reciprocal else 2.0**8
    assert (got > 0.9 * cap).all()
    assert (got < 1.1 * cap).all()


@pytest.mark.parametrize("n", [1, 2, 7, 16, 17, 128, 129, 300])
def test_maximum_and_argmax(n: int) -> None:
    x = RNG.normal(0, 100, (11, n))
    x[0] = 3.0
    x[1, n // 2] = x[1, -1] = 2.0**30
    x[2] = -(2.0**40)
    exact = np.rint(x / UNIT) * UNIT
    run = both(lambda p: maximum(p, real_share(p, x)))
    assert np.array_equal(real(run), exact.max(axis=1))
    check_cost(maximum, run, shape_share(x.shape))
    run = both(lambda p: argmax(p, real_share(p, x / 2**16)))
    index = run.results[0].ring.reduce(sum(host(r.data) for r in run.results))
    assert np.array_equal(index, np.rint(x / 2**16 / UNIT).argmax(axis=1))
    check_cost(argmax, run, shape_share(x.shape))


@pytest.mark.parametrize("deviation", [0.0, 1e-3, 1.0, 8.0, 64.0])
@pytest.mark.parametrize("n", [1, 2, 16, 17, 100, 512, 1024])
def test_softmax_flat_and_sharp(n: int, deviation: float) -> None:
    x = RNG.normal(0, deviation, (6, n)) + np.array([0, 0, 5, -5, 300, -300])[:, None]
    run = both(lambda p: softmax(p, real_share(p, x)))
    e = np.exp(x - x.max(axis=1, keepdims=True))
    expected = e / e.sum(axis=1, keepdims=True)
    # a unit of the exponents of numerator and largest term, the inverse's fit, and the result's unit
    assert np.abs(real(run) - expected).max() < (2 * 2**-12 * np.log(2) + 3e-4) * expected.max() + 2 * UNIT
    check_cost(softmax, run, shape_share(x.shape))


def test_softmax_of_one_hot_rows_and_extremes() -> None:
    x = np.full((4, 130), -1000.0)
    x[0, 5], x[1, 129], x[2, :2], x[3] = 1000.0, 0.0, 50.0, 0.0
    got = real(both(lambda p: softmax(p, real_share(p, x))))
    assert abs(got[0, 5] - 1) < 5e-4
    assert abs(got[1, 129] - 1) < 5e-4
    assert np.abs(got[2, :2] - 0.5).max() < 5e-4
    assert np.abs(got[3] - 1 / 130).max() < 5e-5
    assert np.abs(np.delete(got[0], 5)).max() <= UNIT


def test_masked_keys_get_nothing() -> None:
    x, keep = RNG.normal(0, 3, (5, 40)), (RNG.random((5, 40)) < 0.6).astype(float)
    keep[:, 3] = 1
    keep[4] = 0
    keep[4, 7] = 1
    got = real(both(lambda p: softmax(p, real_share(p, x), real_share(p, keep, RING64, 0, 3))))
    e = np.exp(x) * keep
    assert np.abs(got - e / e.sum(axis=1, keepdims=True)).max() < 6e-4
    assert np.abs(got[keep == 0]).max() <= UNIT


@pytest.mark.parametrize("n", [2, 3, 60, 768, 1000])
@pytest.mark.parametrize("variance", [1e-4, 1.0, 1e4, 1e6])
def test_layernorm_of_small_and_large_rows(n: int, variance: float) -> None:
    x = RNG.normal(0, sqrt(variance), (8, n)) + np.array([0, 1, -1, 10, -10, 100, 0, 0])[:, None] * sqrt(
        variance
    )
    run = both(lambda p: unit_rows(p, real_share(p, x), 1e-12, 24))
    centred = x - x.mean(axis=1, keepdims=True)
    expected = centred / np.sqrt(n * (x.var(axis=1, keepdims=True) + 1e-12))
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    # input rounding and one unit of centring per entry, relative to the row's norm, and the root's fit
    tolerance = 2.5 * UNIT / norm * (1 + sqrt(n) * np.abs(expected)) + 4e-4 * np.abs(expected) + 2**-22
    assert (np.abs(real(run) - expected) < tolerance).all()
    check_cost(unit_rows, run, shape_share(x.shape), 1e-12, 24)


def test_constant_rows_are_zero() -> None:
    x = np.array([[5.0] * 30, [0.0] * 30, [-1e4] * 30])
    got = real(both(lambda p: unit_rows(p, real_share(p, x), 1e-12, 20)))
    assert np.abs(got).max() <= 1.0
    assert np.abs(got * sqrt(30)).max() < 30 * sqrt(30) * UNIT / sqrt(1e-12 * 30) or np.abs(got).max() < 1e-5


def test_tables_match_their_generator() -> None:
    for name in tables.NAMES:
        assert make.build(name) == tables.table(name), (
            f"regenerate with python -m gpu_ss.functions.tables.make: {name}"
        )


@pytest.mark.parametrize("name", list(FITS))
def test_tables_are_continuous(name: str) -> None:
    table = tables.table(name)
    (window,) = table.windows
    scale = 2.0**-table.value_bits

    def value(piece: int, x: int) -> float:
        if piece < 0:
            return table.first * scale
        polynomial = sum(c * x**i for i, c in enumerate(window.pieces[piece][0]))
        return polynomial * scale + window.linear[piece] * x * 2.0**-table.frac_bits

    for piece, start in enumerate(window.starts):
        jump = abs(value(piece, start) - value(piece - 1, start))
        assert jump < 2 * FITS[name][1] + 2.0**-table.frac_bits
