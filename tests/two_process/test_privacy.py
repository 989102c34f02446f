"""Noise on the results of real sessions, with a dealer and without: as much as stated, and agreed on.

The sum of squares of n values over the variance is chi-square with n degrees of freedom; a false alarm in 2^30.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from gpu_ss.functions.privacy import Guarantee
from tests.support.parties import Parties, couple, parties

TEXTS = ("the cat sat on the mat .", "a dog ran", "the dog sat")
STATED = Guarantee(mechanism="gaussian", epsilon=4, delta=1e-6, sensitivity=0.5)
OPTIONS = ["--dp-epsilon", "4", "--dp-delta", "1e-6", "--dp-sensitivity", "0.5"]


@pytest.fixture(scope="module", params=["dealer", "two-party"])
def noisy(request: pytest.FixtureRequest, folder: Path, model: Path) -> Iterator[Parties]:
    start = parties if request.param == "dealer" else couple
    with start(folder, model, OPTIONS) as running:
        yield running


def test_the_result_has_the_stated_noise(noisy: Parties) -> None:
    result = noisy.answer(*TEXTS, extra=OPTIONS)
    assert result["privacy"] == STATED.model_dump()
    noise = np.array(result["outputs"]) - np.array(result["reference"])
    squares = (
        noise / float(STATED.scale())
    ) ** 2  # rounding and the model's own errors: below a thousandth of it
    low, high = stats.chi2.ppf(2.0**-31, noise.size), stats.chi2.isf(2.0**-31, noise.size)
    assert low * 0.99 < squares.sum() < high * 1.01
    again = np.array(noisy.answer(*TEXTS)["outputs"]) - np.array(result["outputs"])
    assert np.abs(again).max() > float(STATED.scale()) / 10, "fresh noise for every query"


def test_another_guarantee_than_the_server_gives_is_refused(noisy: Parties) -> None:
    done = noisy.query(TEXTS[0], extra=["--dp-epsilon", "1", "--dp-sensitivity", "0.5"])
    assert done.returncode == 1
    assert "epsilon 1" in done.stderr
    assert "epsilon 4" in done.stderr


def test_half_a_guarantee_is_refused(noisy: Parties) -> None:
    done = noisy.query(TEXTS[0], extra=["--dp-epsilon", "1"])
    assert done.returncode == 1
    assert "dp_sensitivity" in done.stderr
