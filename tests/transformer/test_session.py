"""What one party tells the other when it gives up, and what it refuses before it begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.job import null_share
from gpu_ss.economy import ALONE
from gpu_ss.errors import SharingError, StoreError
from gpu_ss.functions.activation import relu
from gpu_ss.plan import make_plan
from gpu_ss.provider.specs.transfers import DigitTransfers
from gpu_ss.ring import RING64
from he_bridge.errors import ParameterError
from net import RemoteError, memory_pair
from tests.support.models import make_model
from transformer.errors import InputError
from transformer.model import PrivateModel, plan_within
from transformer.session import telling_why
from transformer.terms import Terms


@pytest.mark.parametrize(
    "error", [ParameterError("weights reach 43296999552"), StoreError("/home/me/store: 5 MB used")]
)
def test_the_peer_is_told_no_figures_of_weights_and_no_paths(error: SharingError) -> None:
    left, right = memory_pair("server", "client", timeout_s=5)
    with pytest.raises(type(error)), telling_why(left):
        raise error
    with pytest.raises(RemoteError) as told:
        right.recv("timing", [1])
    assert not any(character.isdigit() for character in str(told.value))
    assert "/" not in str(told.value)


def test_a_query_too_large_for_memory_is_refused(tmp_path: Path) -> None:
    model = PrivateModel.load(make_model(tmp_path / "model"), None, Terms(trust="two-party", products="he"))
    plan = model.plan(2, 8)
    assert plan_within(model.card, plan.request, plan.held_bytes) == plan
    with pytest.raises(InputError, match="memory_limit_mb"):
        plan_within(model.card, plan.request, plan.held_bytes - 1)
    assert PrivateModel.load(tmp_path / "model").plan(2, 8).held_bytes == 0, "a dealer streams"


def test_the_network_of_the_terms_decides_between_rounds_and_bytes() -> None:
    def specs(network: str) -> list[type]:
        economy = Terms(trust="two-party", products="he", network=network).economy
        plan = make_plan(0, lambda p: relu(p, null_share(p, (10_000,), RING64, 16)), economy=economy)
        return [type(spec) for spec in plan.specs]

    assert Terms(trust="two-party", products="he").economy == ALONE
    assert DigitTransfers in specs("lan"), "few bytes"
    assert DigitTransfers not in specs("wan"), "few rounds"
    assert specs("100,40") == specs("wan")
    for wrong in ("none", "fast", "-1,3"):
        with pytest.raises(ValueError, match=r"network|link"):
            Terms(network=wrong)
