"""Noise: its distribution against the exact one, its cost, what it promises, and what it refuses.

Chi-square statistics are held against the quantile of a false alarm in 2^30; the keys of the simulations are fixed.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from gpu_ss.errors import RangeError
from gpu_ss.functions.noise import HALF, Gaussian, Laplace, gaussian, laplace, part_table, protect
from gpu_ss.functions.privacy import Guarantee
from gpu_ss.ring import Ring
from tests.support.protocols import both, check_cost, real, real_share, reconstruct

COUNT = 20_000
FINE = Decimal("1e-12")
RING = Ring(44)


def laplace_chance(scale: float) -> Callable[[Any], Any]:
    q = math.exp(-1 / scale)
    return lambda z: (1 - q) / (1 + q) * q ** np.abs(z)


def gaussian_chance(deviation: float) -> Callable[[Any], Any]:
    all_z = np.arange(-math.ceil(12 * deviation), math.ceil(12 * deviation) + 1)
    total = np.exp(-(all_z**2) / (2 * deviation**2)).sum()
    return lambda z: np.exp(-(np.asarray(z, float) ** 2) / (2 * deviation**2)) / total


def check_distribution(z: Any, chance: Callable[[Any], Any]) -> None:
    """Chi-square over runs of values of which 20 and more are expected each, and both tails."""
    reach = 40
    while chance(reach) * len(z) > 1e-3:
        reach *= 2
    values = np.arange(-reach, reach + 1)
    expected, observed = chance(values) * len(z), np.bincount(z + reach, minlength=2 * reach + 1)
    groups = np.minimum((np.cumsum(expected) / 20).astype(int), int(len(z) / 20) - 1)
    wanted, seen = np.bincount(groups, expected), np.bincount(groups, observed)
    wanted, seen = wanted[wanted > 0], seen[wanted > 0]
    statistic = ((seen - wanted) ** 2 / wanted).sum()
    assert statistic < stats.chi2.isf(2.0**-30, len(wanted) - 1)


def drawn(run: Any) -> Any:
    return RING.signed(reconstruct(run))


@pytest.mark.parametrize("scale", ["0.4", "3.2", "57"])
def test_laplace_is_the_exact_one(scale: str) -> None:
    noise = Laplace.within(Decimal(scale), FINE)
    run = both(lambda p: laplace(p, COUNT, noise, RING))
    check_distribution(drawn(run), laplace_chance(float(scale)))
    check_cost(laplace, run, COUNT, noise, RING)


@pytest.mark.parametrize("deviation", ["0.7", "4.5", "60"])
def test_gaussian_is_the_exact_one(deviation: str) -> None:
    noise = Gaussian.within(Decimal(deviation), FINE)
    run = both(lambda p: gaussian(p, COUNT, noise, RING))
    check_distribution(drawn(run), gaussian_chance(float(deviation)))
    check_cost(gaussian, run, COUNT, noise, RING)


def test_the_test_would_see_a_wrong_scale() -> None:
    noise = Laplace.within(Decimal("3.2"), FINE)
    z = drawn(both(lambda p: laplace(p, COUNT, noise, RING)))
    with pytest.raises(AssertionError):
        check_distribution(z, laplace_chance(3.6))


@pytest.mark.parametrize("deviation", [22.0, 100.0, 1000.0])
def test_sums_of_narrow_gaussians_are_gaussian(deviation: float) -> None:
    """The exact distribution of the parts' sum against the exact Gaussian, to the last bits of a float."""
    noise = Gaussian.within(Decimal(deviation), FINE)
    found, step, reach = np.ones(1), 1, 0
    assert len(noise.parts) >= 2
    for variance in noise.parts:
        low, thresholds = part_table(variance)
        above = np.array([1.0, *(float(Fraction(HALF - 1 - c, HALF)) for c in thresholds), 0.0])
        part = np.zeros(step * len(thresholds) + 1)
        part[::step] = above[:-1] - above[1:]
        found, reach = np.convolve(found, part), reach - step * low
        step *= 4
    z = np.arange(len(found)) - reach
    exact = gaussian_chance(deviation)(z)
    assert np.abs(found - exact).sum() < 1e-13
    likely = exact > 1e-8
    assert np.abs(found / exact - 1)[likely].max() < 1e-6  # floats: 1e-16 absolute


def test_thresholds_are_the_cumulative_distribution() -> None:
    low, thresholds = part_table(Decimal("6.25"))
    above = [Fraction(HALF - 1 - c, HALF) for c in thresholds]
    chance = gaussian_chance(2.5)
    for k, found in enumerate(above):
        assert float(found) == pytest.approx(
            float(chance(np.arange(low + k + 1, 60)).sum()), rel=1e-9, abs=1e-15
        )
    laplace_bits = Laplace.within(Decimal(8), FINE)
    for i, c in enumerate(laplace_bits.thresholds):
        assert float(Fraction(HALF - 1 - c, HALF)) == pytest.approx(1 / (1 + math.exp(2**i / 8)), rel=1e-9)


# -- guarantees -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epsilon", [0.1, 1.0, 8.0])
def test_the_gaussian_keeps_its_epsilon_and_delta(epsilon: float) -> None:
    """The exact delta, sum of max(p - e^epsilon p', 0), for a shift by the sensitivity; with 2/5 less it fails."""
    guarantee = Guarantee(mechanism="gaussian", epsilon=epsilon, delta=1e-5, sensitivity=7)

    def delta(deviation: float) -> float:
        z = np.arange(-int(12 * deviation) - 8, int(12 * deviation) + 9)
        p, q = gaussian_chance(deviation)(z), gaussian_chance(deviation)(z - 7)
        return float(np.maximum(p - math.exp(epsilon) * q, 0).sum())

    deviation = float(guarantee.scale())
    assert delta(deviation) <= 1e-5 / 2 < delta(deviation / 1.6)


def test_laplace_keeps_its_epsilon() -> None:
    guarantee = Guarantee(mechanism="laplace", epsilon=0.5, delta=1e-6, sensitivity=3)
    chance, z = laplace_chance(float(guarantee.scale())), np.arange(-50, 51)
    assert np.abs(np.log(chance(z)) - np.log(chance(z - 3))).max() <= 0.5 + 1e-12


def test_what_is_cut_away_is_counted() -> None:
    guarantee = Guarantee(mechanism="laplace", epsilon=1, delta=1e-6, sensitivity=1)
    assert float(guarantee.distance) * (1 + math.e) == pytest.approx(5e-7)
    for distance in ("1e-6", "1e-15"):
        noise = Laplace.within(Decimal(100), Decimal(distance))
        assert 2 * math.exp(-noise.limit / 100) <= float(noise.distance) <= float(distance)
    with pytest.raises(RangeError, match="larger delta"):
        Laplace.within(Decimal(100), Decimal("1e-19"))
    with pytest.raises(RangeError, match="larger delta"):
        Gaussian.within(Decimal(100), Decimal("1e-19"))


@pytest.mark.parametrize("mechanism", ["laplace", "gaussian"])
def test_results_get_noise_of_the_stated_scale(mechanism: Any) -> None:
    guarantee = Guarantee(mechanism=mechanism, epsilon=2, delta=1e-6, sensitivity=0.01)
    x = np.linspace(-5, 5, 3000)

    def run(party: Any) -> Any:
        wide, narrow = real_share(party, x, Ring(48), 20), real_share(party, x, Ring(40), 8)
        return party.run(protect(party, [wide, narrow], guarantee))[0]

    found = both(run)
    share = found.results[0]
    assert (share.ring, share.frac_bits) == (Ring(44), 16)
    noise = real(found) - x
    moved = 2.0**-15 * (3000 if mechanism == "laplace" else math.sqrt(3000))
    scale = float(guarantee.scale(moved)) * (math.sqrt(2) if mechanism == "laplace" else 1)
    assert noise.std() == pytest.approx(scale, rel=0.2)  # seven deviations of a Laplace's empirical one
    assert abs(noise.mean()) < 7 * scale / math.sqrt(3000) + 2.0**-16


def test_noise_that_does_not_fit_is_refused() -> None:
    guarantee = Guarantee(mechanism="laplace", epsilon=0.01, delta=1e-6, sensitivity=1000)
    with pytest.raises(RangeError, match="larger epsilon"):
        both(lambda p: p.run(protect(p, [real_share(p, [1.0], Ring(24), 12)], guarantee)))


@pytest.mark.parametrize("wrong", [{"epsilon": 0}, {"delta": 0}, {"delta": 0.7}, {"sensitivity": -1}])
def test_senseless_guarantees_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Guarantee(**{"epsilon": 1, "delta": 1e-6, "sensitivity": 1} | wrong)
