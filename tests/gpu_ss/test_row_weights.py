"""Published ways to the weights of a softmax's row, against their formulas, with rows at every extreme."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.economy import ALONE
from gpu_ss.functions.row_weights import (
    CAP,
    LN2,
    limit_weights,
    octave_weights,
    octaves,
    relu_cubes,
    shifted_squares,
)
from gpu_ss.provider.insecure import InsecureProvider
from gpu_ss.ring import RING64, Ring
from tests.support.protocols import both, check_cost, real, real_share, shape_share

RNG = np.random.default_rng(4)
RING, FRAC = Ring(28), 12  # of scores in a layer
P = 2.0**-16


def rows(n: int = 33) -> Any:
    """Scores in units of log2: usual, equal, one-hot, two equal, far apart, all at either end."""
    y = RNG.normal(0, 4, (9, n))
    y[1], y[2], y[3], y[4] = 3.0, -40.0, 0.0, 60 * np.sign(y[4])
    y[2, n // 2] = 0.0
    y[3, :2] = 700.0
    y[5], y[6], y[7] = -1000.0, 1000.0, np.linspace(-20, 0, n)
    y[5, -1] = 1000.0
    return np.rint(y * 2**FRAC) / 2**FRAC


@pytest.fixture(params=[False, True], ids=["dealt", "alone"])
def alone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    if request.param:
        monkeypatch.setattr(InsecureProvider, "economy", ALONE)
    return bool(request.param)


@pytest.mark.parametrize(("doublings", "lowest"), [(5, -14.0), (6, -13.0)])
def test_limit_of_powers(doublings: int, lowest: float, alone: bool) -> None:
    y = rows()
    run = both(lambda p: limit_weights(p, real_share(p, y, RING, FRAC), doublings, lowest))
    x = (y - y.max(axis=1, keepdims=True)) * LN2
    expected = np.where(x >= lowest, (1 + x / 2**doublings) ** 2**doublings, 0)
    # every squaring doubles what a unit of 2^-19 has left of the one before
    assert np.abs(real(run) - expected).max() < 2.0**-19 * 2 ** (doublings + 1)
    assert not real(run)[x < lowest - 2.0**-FRAC].any(), "exactly 0 below"
    if not alone:
        check_cost(limit_weights, run, shape_share(y.shape, RING, FRAC), doublings, lowest)


def test_octaves(alone: bool) -> None:
    y = rows()
    run = both(lambda p: octave_weights(p, real_share(p, y, RING, FRAC)))
    z = y - y.max(axis=1, keepdims=True)
    assert np.abs(real(run) - octaves(z)).max() < 2.0**-16
    assert np.abs(octaves(z) - 2.0**z).max() < 2e-3
    assert real(run)[z < -13].max() <= 2.0**-32, "a unit of the result at most"
    if not alone:
        check_cost(octave_weights, run, shape_share(y.shape, RING, FRAC))


def test_squares_of_shifted_scores(alone: bool) -> None:
    y = rows()[None]
    keep = (RNG.random((1, y.shape[-1])) < 0.7).astype(float)
    keep[0, 1] = 1
    run = both(
        lambda p: shifted_squares(p, real_share(p, y, RING, FRAC), real_share(p, keep, RING64, 0, 3), 10)
    )
    squares = (y * LN2 + 5) ** 2 * keep[:, None]
    expected = squares / squares.sum(axis=-1, keepdims=True)
    # 13 bits of a row's entries beside its norm, the root's fit of 3e-4 twice
    assert np.abs(real(run) - expected).max() < 6e-4 + 2 * P
    assert np.abs(real(run)[..., keep[0] == 0]).max() <= 2 * P
    if not alone:
        check_cost(
            shifted_squares, run, shape_share(y.shape, RING, FRAC), shape_share(keep.shape, RING64, 0), 10
        )


def test_cubes_of_relu(alone: bool) -> None:
    y = rows()
    run = both(lambda p: relu_cubes(p, real_share(p, y, RING, FRAC), 10))
    cubes = np.clip(y * LN2 / 2 + 1, 0, CAP) ** 3
    sums = cubes.sum(axis=-1, keepdims=True)
    expected = np.where(sums > 0, cubes / np.where(sums > 0, sums, 1), 0)
    assert np.abs(real(run) - expected).max() < 8e-4 + 2 * P
    assert not real(run)[5, :-1].any(), "a row far below one score gives that score all"
    if not alone:
        check_cost(relu_cubes, run, shape_share(y.shape, RING, FRAC), 10)
