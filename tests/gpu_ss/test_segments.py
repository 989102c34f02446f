"""Published activations against their own formulas over the whole range, with a dealer's economy and alone."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gpu_ss.economy import ALONE
from gpu_ss.functions import fourier, published, quadratic
from gpu_ss.functions.activation import FRAC
from gpu_ss.functions.fitting.segments_of_gelu import build
from gpu_ss.functions.fourier import fourier_gelu
from gpu_ss.functions.quadratic import quad
from gpu_ss.functions.segmented import Segments, segmented
from gpu_ss.protocols.periodic import WAVE_FRAC, WAVE_RING, sine_series
from gpu_ss.provider.insecure import InsecureProvider
from gpu_ss.ring import RING64, Ring
from tests.support.protocols import both, check_cost, real, real_share, shape_share

UNIT = 2.0**-16
READ = 2.0**-FRAC
FAR = [1e3, -1e3, 1e5, -1e5, 2.0**20, -(2.0**20), 2.0**33, -(2.0**33), UNIT, -UNIT, 0.0]
X = np.concatenate([np.linspace(-12, 12, 2001), FAR])
ALL = [published.FASTLMPI, published.FASTLMPI_PAPER, published.BOLT, published.PUMA, published.BUMBLEBEE]


def gelu(x: Any) -> Any:
    return np.array([0.5 * v * math.erfc(-v / math.sqrt(2)) for v in x])


def near(segments: Segments, x: Any) -> Any:
    """The largest and the smallest value of the function where x may be read: at x and a unit to either side.

    So a jump at a cut is allowed for only next to it.
    """
    around = np.stack([segments(x + step) for step in (-1.01 * READ, 0, 1.01 * READ)])
    return around.min(axis=0), around.max(axis=0)


@pytest.mark.parametrize("segments", ALL, ids=lambda s: s.name)
def test_segments_over_the_whole_range(segments: Segments) -> None:
    run = both(lambda p: segmented(p, real_share(p, X), segments))
    low, high = near(segments, X)
    # a unit of u times its slope (below 0.5 in all), coefficients of u^3 to 2^-22 for u up to 25, result's units
    slack = 0.5 * READ + 2.0**-23 * 730 + 2 * UNIT
    got = real(run)
    assert (got > low - slack).all()
    assert (got < high + slack).all()
    check_cost(segmented, run, shape_share(X.shape), segments)


@pytest.mark.parametrize("segments", [published.FASTLMPI, published.PUMA], ids=lambda s: s.name)
def test_segments_of_two_parties_alone(segments: Segments, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same by selections of two parties, whose correlations are another test's matter."""
    monkeypatch.setattr(InsecureProvider, "economy", ALONE)
    run = both(lambda p: segmented(p, real_share(p, X), segments))
    low, high = near(segments, X)
    assert (real(run) > low - READ).all()
    assert (real(run) < high + READ).all()


@pytest.mark.parametrize(("ring", "out"), [(Ring(48), Ring(58)), (Ring(48), Ring(40))])
def test_segments_between_rings(ring: Ring, out: Ring) -> None:
    x = np.linspace(-9, 9, 300)
    args = (published.FASTLMPI, 24, out, 12)
    run = both(lambda p: segmented(p, real_share(p, x, ring, 12), *args))
    assert (run.results[0].ring, run.results[0].frac_bits) == (out, 12)
    assert np.abs(real(run) - gelu(x)).max() < 4.8e-4 + 2.5 * READ
    check_cost(segmented, run, shape_share(x.shape, ring, 12), *args)


def test_our_fit_is_what_its_generator_gives() -> None:
    """To what nine digits leave, and another linear program's rounding may change."""
    window, pieces = build()
    assert window == published.WINDOW
    for checked_in, made in zip(published.FASTLMPI.pieces[3:5], pieces, strict=True):
        assert np.allclose(-np.array(checked_in), made, rtol=1e-6, atol=1e-8)


def test_our_fit_keeps_its_promises() -> None:
    """Degree 4, error 4.8e-4 (asked 1.5e-3), mean 1.3e-4 (asked 1.5e-4), no jumps, exact limits."""
    segments, x = published.FASTLMPI, np.linspace(-10, 10, 200_001)
    error = np.abs(segments(x) - gelu(x))
    assert error.max() < 4.8e-4
    assert error.mean() < 1.3e-4
    assert max(len(piece) for piece in segments.pieces) == 5
    for cut in segments.cuts:
        sides = segments(np.array([cut - 1e-9, cut + 1e-9]))
        assert abs(sides[1] - sides[0]) < 1e-4
    assert np.array_equal(segments(np.array([-1e6, -3.7, 3.7, 1e6])), [0, 0, 3.7, 1e6])


@pytest.mark.parametrize(
    ("segments", "largest"),
    [
        (published.FASTLMPI_PAPER, 4.4e-3),
        (published.BOLT, 9.4e-3),
        (published.PUMA, 2.0e-2),
        (published.BUMBLEBEE, 3.4e-2),
    ],
    ids=lambda v: getattr(v, "name", None),
)
def test_published_fits_are_as_good_as_published(segments: Segments, largest: float) -> None:
    """Their known errors; a mistyped coefficient would show here."""
    x = np.linspace(-10, 10, 100_001)
    assert 0.9 * largest < np.abs(segments(x) - gelu(x)).max() < largest


def test_segments_that_cannot_be() -> None:
    for pieces, slopes in (
        (((0.0,), (0.0,)), (0,)),
        (((0.0,), (0.0, 1.0)), (0, 1)),
        (((0.0,), (0,) * 5 + (1.0,), (0.0,)), (0, 0, 1)),
    ):
        with pytest.raises(ValueError, match="bad"):
            Segments("bad", (0.0, 1.0)[: len(pieces) - 1], pieces, slopes)


def test_a_series_of_sines_of_any_share() -> None:
    bits, factors = 18, fourier.BETA
    angle = np.concatenate([np.arange(0, 1 << bits, 101), [0, 1, (1 << bits) - 1]]).astype(np.float64)
    ring = Ring(bits)
    run = both(lambda p: sine_series(p, real_share(p, angle, RING64, 0).narrowed(ring), factors))
    turn = 2 * np.pi * angle / 2**bits
    expected = sum(f * np.sin((k + 1) * turn) for k, f in enumerate(factors))
    assert run.results[0].ring == WAVE_RING
    # four factors of 14 bits, rounded, for each frequency
    assert np.abs(real(run) - expected).max() < 2 * 2.0**-WAVE_FRAC * (len(factors) + sum(map(abs, factors)))
    check_cost(sine_series, run, shape_share(angle.shape, ring, 0), factors)


@pytest.mark.parametrize("alone", [False, True])
def test_gelu_by_fourier(alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if alone:
        monkeypatch.setattr(InsecureProvider, "economy", ALONE)
    x = np.concatenate([np.linspace(-12, 12, 2001), FAR])
    run = both(lambda p: fourier_gelu(p, real_share(p, x)))
    around = np.stack([fourier.clear(x + step) for step in (-1.5 * READ, 0, 1.5 * READ)])
    # the series: an angle's unit is 1e-4 of x, times x / 2 and the slope 1.2 of erf; products of 14 bits
    slack = 1.2 * 1.2e-4 * 2.4 + 2.0**-13
    assert (real(run) > around.min(axis=0) - slack).all()
    assert (real(run) < around.max(axis=0) + slack).all()
    outside = np.abs(x) > 2.41
    assert np.abs(real(run) - np.where(x > 0, x, 0))[outside].max() <= 1.1 * READ
    if not alone:
        check_cost(fourier_gelu, run, shape_share(x.shape))


def test_fourier_has_its_published_error() -> None:
    x = np.linspace(-10, 10, 100_001)
    assert 1.9e-2 < np.abs(fourier.clear(x) - gelu(x)).max() < 2.0e-2


def test_quad() -> None:
    x = np.concatenate([np.linspace(-50, 50, 501), [2.0**18, -(2.0**18)]])
    run = both(lambda p: quad(p, real_share(p, x, Ring(48), FRAC), RING64))
    exact = quadratic.clear(np.rint(x / READ) * READ)
    assert np.abs(real(run) - exact).max() <= 1.01 * READ
    check_cost(quad, run, shape_share(x.shape, Ring(48), FRAC), RING64)
