"""Protocols with correlations made by the two parties alone: the same results as with a dealer's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.economy import ALONE
from gpu_ss.party import Party
from gpu_ss.plan import make_plan
from gpu_ss.simulate import simulate
from tests.support.ot import alone
from tests.support.protocols import host
from tests.support.runs import RUNS_BY_NAME, N

#: Weights that are opened under a mask, products of matrices, products in fields and of extended openings are not
#: made by OT; noise differs at every run: see tests/two_process/test_privacy.py.
OTHERS = (
    "weights", "affine", "matmul", "power", "field rows", "extended rows", "extended factors", "laplace",
    "gaussian",
)  # fmt: skip
NAMES = [name for name in RUNS_BY_NAME if name not in OTHERS]


def clear(simulation: Any) -> Any:
    left, right = (found[-1] if isinstance(found, list) else found for found in simulation.results)
    if hasattr(left, "planes"):
        return host(left.planes) ^ host(right.planes)
    return left.ring.signed(left.ring.reduce(host(left.data) + host(right.data))) / 2.0**left.frac_bits


@pytest.mark.parametrize("name", NAMES)
def test_as_with_a_dealer(name: str) -> None:
    x = np.random.default_rng(5).normal(0, 3, N)

    def prepared(party: Party) -> Any:
        plan = make_plan(party.rank, lambda p: RUNS_BY_NAME[name](p, x), economy=ALONE)
        party.provider.prepare(plan.specs)
        before = party.channel.traffic.report()
        found = RUNS_BY_NAME[name](party, x)
        sent = (party.channel.traffic.report() - before).rounds
        assert sent == plan.rounds, "the online phase is the same"
        return found

    found = clear(simulate(prepared, extend=alone))
    expected = clear(simulate(lambda party: RUNS_BY_NAME[name](party, x)))
    if found.dtype == np.uint64:
        assert np.array_equal(found, expected)
    else:  # both round by up to a unit of the scale in each of a few truncations, the exponential to 2^-13
        np.testing.assert_allclose(found, expected, atol=8 * 2.0**-12, rtol=2.0**-12)
