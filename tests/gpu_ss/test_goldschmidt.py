"""Goldschmidt's iterations as SecFormer has them, in their window, below and above it, and what they are for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.economy import ALONE
from gpu_ss.errors import RingMismatch
from gpu_ss.functions.goldschmidt import (
    DEFLATED_BITS,
    ERROR,
    INVERSE,
    INVERSE_ROOT,
    Iteration,
    deflated_inverse,
)
from gpu_ss.functions.layernorm import unit_rows
from gpu_ss.functions.row_weights import DEFLATED_RANGE, LN2, deflated_squares, relu_cubes
from gpu_ss.provider.insecure import InsecureProvider
from gpu_ss.ring import RING64, Ring
from tests.gpu_ss.test_row_weights import FRAC, RING, rows
from tests.support.protocols import (
    both,
    check_cost,
    real,
    real_share,
    reconstruct,
    shape_share,
    words_share,
)

RNG = np.random.default_rng(6)
P = 2.0**-16


@pytest.fixture(params=[False, True], ids=["dealt", "alone"])
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param:
        monkeypatch.setattr(InsecureProvider, "economy", ALONE)
    return bool(request.param)


@pytest.mark.parametrize("way", [INVERSE_ROOT, INVERSE])
def test_the_steps_suffice_in_the_window_and_not_outside(way: Iteration) -> None:
    """In float64: what the window is chosen by."""
    q = np.geomspace(way.low, way.high, 5001)
    power = -1.0 if way.degree == 2 else -0.5
    exact = (q * way.eta) ** power
    assert np.abs(way.clear(q * way.eta) / exact - 1).max() < ERROR
    below = np.geomspace(way.low / 1e6, way.low, 100, endpoint=False)
    assert (way.clear(below * way.eta) < (below * way.eta) ** power).all(), "too small, never large"
    with np.errstate(over="ignore", invalid="ignore"):
        (beyond,) = way.clear(np.array([1.5 * way.high * way.eta]))
    assert not 0.9 < beyond / (1.5 * way.high * way.eta) ** power < 1.1


@pytest.mark.parametrize(
    ("way", "unit", "bound"),
    [
        (INVERSE_ROOT, 0.6 * 4.0**20, 2.0**60),
        (INVERSE_ROOT, 0.6 * 4.0**24, 2.0**60),
        (INVERSE, 4.0**10, 2.0**47),
        (INVERSE, 4.0**16, 2.0**45),
    ],
)
def test_every_size_of_number(way: Iteration, unit: float, bound: float) -> None:
    q = np.exp(RNG.uniform(np.log(1e-7), np.log(bound / way.eta / unit), 600))
    q[:6] = way.low * 1.0001, way.low * 0.9999, way.high * 0.9999, way.high * 1.0001, 1, 2
    words = np.clip(np.rint(q * way.eta * unit), 1, bound).astype(np.uint64)
    words[6:8] = 1, round(bound)
    run = both(lambda p: deflated_inverse(p, words_share(p, words), way, unit, bound))
    found, clear = reconstruct(run).astype(np.float64), words.astype(np.float64)
    exact = 2.0**61 / (clear if way.degree == 2 else np.sqrt(clear))
    factors = way.factors(unit, bound)
    chosen = np.searchsorted([way.end(factor) for factor in factors[:-1]], words, side="right")
    q = clear * np.array(factors)[chosen] / 2.0**DEFLATED_BITS
    inside = q >= way.low
    # roundings of q add up to about two of the first's; then a unit, and the factor's 17 bits
    most = ERROR + 2 * 2.0**-way.frac_bits / q + 2 / exact + 2.0**-16
    assert (np.abs(found / exact - 1) < most)[inside].all()
    growth = 2.0 if way.degree == 2 else 1.5
    limit = 2.0**61 * (factors[0] / 2.0**DEFLATED_BITS) ** (1 if way.degree == 2 else 0.5) * growth**way.steps
    assert found.min() >= 0
    assert found.max() <= 1.001 * limit, "below the window it stops there"
    check_cost(deflated_inverse, run, shape_share(words.shape, RING64, 0), way, unit, bound)


def test_rows_by_the_iteration(alone: bool) -> None:
    """Rows of every length, constant ones too: as LayerNorm's, but for very short ones, which become shorter."""
    n = 48
    x = RNG.normal(0, 1, (64, n)) * np.geomspace(1e-3, 120, 64)[:, None] + RNG.normal(0, 3, (64, 1))
    x[0], x[1, :], x[2] = 2.5, 0.0, -900.0
    x[2, 5] = 900.0
    x = np.rint(x * 2**20) / 2**20
    run = both(
        lambda p: unit_rows(p, real_share(p, x, RING64, 20), 1e-12, 24, RING64, 18, False, INVERSE_ROOT)
    )
    centred = x - x.mean(axis=1, keepdims=True)
    squares = (centred**2).sum(axis=1)
    expected = centred / np.sqrt(np.where(squares > 0, squares, 1))[:, None]
    error = np.abs(real(run) - expected).max(axis=1)
    usual = squares > 2 * INVERSE_ROOT.low * INVERSE_ROOT.eta
    assert error[usual].max() < 2 * ERROR
    lengths = np.linalg.norm(real(run), axis=1)
    assert (lengths < 1 + 2 * ERROR).all()
    assert (lengths[squares < 1e-3] < 0.1).all(), "short rows, and constant ones"
    if not alone:
        check_cost(
            unit_rows, run, shape_share(x.shape, RING64, 20), 1e-12, 24, RING64, 18, False, INVERSE_ROOT
        )


@pytest.mark.parametrize("range_bits", [10, DEFLATED_RANGE])
def test_squares_over_their_sum(alone: bool, range_bits: int) -> None:
    y = rows()[None]
    keep = (RNG.random((1, y.shape[-1])) < 0.7).astype(float)
    keep[0, 1] = 1
    run = both(
        lambda p: deflated_squares(
            p, real_share(p, y, RING, FRAC), real_share(p, keep, RING64, 0, 3), range_bits
        )
    )
    squares = (y * LN2 + 5) ** 2 * keep[:, None]
    expected = squares / squares.sum(axis=-1, keepdims=True)
    # scores are read to 2^-8 or better, beside a 5; the iteration's error of a weight
    assert np.abs(real(run) - expected).max() < ERROR + 2 * P
    assert np.abs(real(run)[..., keep[0] == 0]).max() <= P
    if not alone:
        check_cost(
            deflated_squares,
            run,
            shape_share(y.shape, RING, FRAC),
            shape_share(keep.shape, RING64, 0),
            range_bits,
        )


def test_small_sums_and_large_scores() -> None:
    """Scores near -5 leave little to divide by: weights below 1, a row of nothing all 0."""
    y = np.full((1, 2, 8), -5 / LN2)
    y[0, 1, 3] += 1.0
    y = np.rint(y * 2**FRAC) / 2**FRAC

    def run(p: Any, range_bits: int) -> Any:
        return deflated_squares(
            p, real_share(p, y, RING, FRAC), real_share(p, np.ones((1, 8)), RING64, 0, 3), range_bits
        )

    weights = real(both(lambda p: run(p, 10)))
    assert np.abs(weights[0, 0]).max() <= 2 * P
    assert 0.3 < weights[0, 1, 3] < 1
    with pytest.raises(RingMismatch, match="too large"):
        both(lambda p: run(p, DEFLATED_RANGE + 1))


def test_scores_of_a_wide_ring_are_read_without_overflow() -> None:
    y = np.array([[[2.0**20, -(2.0**20), 0.0, 1.0]]])
    run = both(lambda p: relu_cubes(p, real_share(p, y, Ring(38), FRAC), 22))
    assert np.abs(real(run) - [[[1.0, 0, 0, 0]]]).max() < 1e-3
