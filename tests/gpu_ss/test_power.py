"""2^z on own shares, and what two parties alone make of it: softmax and LayerNorm in fields."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from typing import Any

import numpy as np
import pytest

from gpu_ss.economy import ALONE, FIELD_LEAST
from gpu_ss.errors import RingMismatch
from gpu_ss.fixed import encode, own_power
from gpu_ss.functions.layernorm import unit_rows
from gpu_ss.functions.softmax import softmax, softmax_weights
from gpu_ss.party import Party
from gpu_ss.protocols import power
from gpu_ss.ring import RING64, Ring
from gpu_ss.simulate import Simulation, simulate
from gpu_ss.values import AShare
from tests.support.protocols import KEYS, both, check_cost, real, real_share, shape_share

UNIT = 2.0**-16
RESULT = Ring(52)
RNG = np.random.default_rng(9)


def in_fields(run: Callable[[Party], Any]) -> Simulation[Any]:
    """Both ranks with dealt correlations, at the economy of two parties alone."""

    def extend(rank: int, backend: Any, channel: Any, inner: Any) -> Any:
        inner.economy = ALONE
        return inner

    return simulate(run, keys=KEYS, timeout_s=60, extend=extend)


@pytest.mark.parametrize("sign", [1, -1])
def test_own_powers(sign: int) -> None:
    """All fractions: within 0.51 units."""
    fractions = np.arange(1 << 12, dtype=np.uint64)
    exact = 2.0 ** (15 + sign * fractions.astype(float) / 4096)
    assert np.abs(own_power(fractions + np.uint64(7 << 12), 12, 15, sign) - exact).max() < 0.51


@pytest.mark.parametrize("bits", [20, 28, 40, 64])
def test_powers_over_the_whole_range(bits: int) -> None:
    """Within 2^-15 and a unit and a half of 2^-20; exactly 0 below -21."""
    lowest = -min(2.0 ** (bits - 3 - 12), 2.0**40)
    z = np.concatenate(
        [RNG.uniform(-23, 0.9, 3000), RNG.uniform(lowest, 0.9, 300), [0, 0.899, -20, -19.99, -21]]
    )
    z = np.rint(z[z > lowest] * 4096) / 4096
    z[:2] = lowest, max(lowest, -21 - 1 / 4096)
    run = both(lambda p: power.exp2(p, real_share(p, z, Ring(bits), 12), RESULT))
    got, exact = real(run), 2.0**z
    kept = z >= -20
    assert (np.abs(got - exact) < exact * 2.0**-15 + 2.0**-20)[kept].all()
    assert (got[z < -21] == 0).all()
    assert (got[~kept] < 2.0**-18).all()
    assert (got >= 0).all()
    check_cost(power.exp2, run, shape_share(z.shape, Ring(bits), 12), RESULT)


def test_every_wrap_of_the_shares() -> None:
    """Shares on all sides of the wraps at 64 units and of the ring, and no fraction left over."""
    z = np.repeat([0.0, -20.0, -7.0, 0.5], 4096 // 8)
    first = np.tile(np.arange(0, 1 << 28, 1 << 19, dtype=np.uint64), 4)

    def run(party: Party) -> Any:
        words = encode(z, Ring(28), 12)
        mine = first if party.rank == 0 else words - first
        return power.exp2(party, AShare(party.backend.asarray(mine), Ring(28), 12), RESULT)

    got = real(both(run))
    assert (np.abs(got - 2.0**z) <= 2.0**z * 2.0**-15 + 2.0**-20).all()


def test_exponents_must_fit() -> None:
    for ring, frac in ((Ring(19), 12), (Ring(28), 11)):
        with pytest.raises(RingMismatch, match="12 fractional bits in 20 bits"):
            both(lambda p, r=ring, f=frac: power.exp2(p, real_share(p, [-1.0], r, f), RESULT))


@pytest.mark.parametrize(("n", "deviation"), [(128, 0.0), (128, 1.0), (100, 8.0), (512, 64.0), (1024, 1.0)])
def test_softmax(n: int, deviation: float) -> None:
    rows = -(-FIELD_LEAST // n)
    x = RNG.normal(0, deviation, (rows, n))
    x[0] += 300
    run = in_fields(lambda p: softmax(p, real_share(p, x)))
    e = np.exp(x - x.max(axis=1, keepdims=True))
    expected = e / e.sum(axis=1, keepdims=True)
    bound = (2 * 2**-12 * np.log(2) + 3e-4) * expected.max(axis=1, keepdims=True) + 2 * UNIT
    assert (np.abs(real(run) - expected) < bound).all()


def test_softmax_of_extremes_and_masked_keys() -> None:
    x = np.full((20, 130), -1000.0)
    x[0, 5], x[1, 129], x[2, :2], x[3] = 1000.0, 0.0, 50.0, 0.0
    x[4:] = RNG.normal(0, 3, (16, 130))
    keep = (RNG.random(x.shape) < 0.6).astype(float)
    keep[:4] = 1
    keep[4:, 3] = 1
    keep[5] = 0
    keep[5, 7] = 1
    run = in_fields(lambda p: softmax(p, real_share(p, x), real_share(p, keep, RING64, 0, 3)))
    e = np.exp(x - (x - 1e9 * (1 - keep)).max(axis=1, keepdims=True)) * keep
    expected = e / e.sum(axis=1, keepdims=True)
    assert np.abs(real(run) - expected).max() < 6e-4
    assert np.abs(real(run)[(expected == 0) | (x < -900)]).max() <= UNIT
    weights = in_fields(lambda p: softmax_weights(p, real_share(p, x / 8, Ring(28), 12)))
    small = (x - x.max(axis=1, keepdims=True)) / 8 < -22
    assert small.any()
    assert (real(weights)[small] == 0).all()


@pytest.mark.parametrize("n", [60, 768, 1024])
@pytest.mark.parametrize("deviation", [1e-2, 1.0, 1e2, 1e3])
def test_layernorm(n: int, deviation: float) -> None:
    rows = -(-FIELD_LEAST // n)
    x = RNG.normal(0, deviation, (rows, n)) + np.linspace(-1, 1, rows)[:, None] * deviation
    run = in_fields(lambda p: unit_rows(p, real_share(p, x), 1e-12, 24))
    centred = x - x.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    expected = centred / norm
    # input rounding per entry, relative to the row's norm, and the root's fit
    tolerance = UNIT / norm * (1 + sqrt(n) * np.abs(expected)) + 4e-4 * np.abs(expected) + 2**-22
    assert (np.abs(real(run) - expected) < tolerance).all()


def test_layernorm_of_extreme_rows() -> None:
    """Constant rows are zero; a single entry takes all; the largest norm that is allowed."""
    x = np.zeros((40, 64))
    x[0], x[1, 5], x[2, 7], x[3, 9] = 5.0, 1e-3, 16000.0, -16000.0
    x[4:] = RNG.normal(0, 1, (36, 64))
    got = real(in_fields(lambda p: unit_rows(p, real_share(p, x), 1e-12, 20)))
    centred = x - x.mean(axis=1, keepdims=True)
    expected = centred[2:] / np.linalg.norm(centred[2:], axis=1, keepdims=True)
    assert np.abs(got[2:] - expected).max() < 5e-4
    assert np.abs(got[:2]).max() <= 1.0
    assert got[1].argmax() == 5
    unit = in_fields(lambda p: unit_rows(p, real_share(p, x[1:]), 1e-12, 20, centred=True))
    assert np.abs(real(unit)[1:3] - x[2:4] / 16000).max() < 5e-4
