"""A whole small model with its products by encryption: ahead of a query, directly, through TenSEAL."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fastlmpi[he]'")

from gpu_ss.party import Party
from gpu_ss.simulate import Simulation, simulate
from tests.support.models import make_model, random_tokens
from transformer import hf
from transformer.inference import infer
from transformer.model import PrivateModel, plan_for
from transformer.reference import cosines, load_reference, run_reference, tokens_only
from transformer.setup import from_words, nothing, set_up
from transformer.terms import Terms

BATCH, LENGTH = 2, 6


def run(model: PrivateModel, queries: int = 1) -> tuple[Simulation[Any], Any]:
    """Queries of one session, each planned and prepared; outputs, and the traffic of each phase beside its plan."""
    card, numbers, tokens = model.card, model.numbers, random_tokens(BATCH, LENGTH)

    def both(party: Party) -> list[Any]:
        encoder = set_up(party, numbers, from_words(model.words) if party.rank else nothing, card.terms)
        found = []
        for _ in range(queries):
            plan = plan_for(card, tokens.request).query.moved(party.provider.taken)
            steps: list[tuple[int, int]] = []
            shown = steps.append
            party.provider.prepare(plan.specs, lambda done, total, shown=shown: shown((done, total)))
            before = party.channel.traffic.report()
            watched: list[str] = []
            party.watch = watched.append
            outputs = infer(party, encoder, tokens.request, None if party.rank else tokens)
            spent = party.channel.traffic.report() - before
            found.append((outputs, spent, plan, steps, len(watched)))
        return found

    return simulate(both, extend=card.terms.extension, timeout_s=120), tokens


def assert_right(simulation: Simulation[Any], folder: Path, model: PrivateModel, tokens: Any) -> None:
    reference = run_reference(load_reference(hf.find_model(folder), model.card.arch), model.card.arch, tokens)
    for outputs, *_ in simulation.results[0]:
        for name, values in outputs.items():
            pair = values, reference[name]
            if values.ndim == 3:
                pair = tokens_only(pair[0], tokens.keep), tokens_only(pair[1], tokens.keep)
            assert min(cosines(*pair)) > 0.9999


def assert_as_planned(simulation: Simulation[Any]) -> None:
    """Rounds and bytes of the query, tag by tag, are those of the plan; progress only grows."""
    for rank, results in enumerate(simulation.results):
        for _, spent, plan, steps, watched in results:
            assert spent.rounds == plan.rounds == watched
            by_tag = {tag: sent.payload for tag, (sent, _) in spent.by_tag.items()}
            assert by_tag == {tag: cost.sent[rank] for tag, cost in plan.tags.items()}
            assert all(left[0] <= right[0] for left, right in pairwise(steps))
            assert steps[-1][0] == steps[-1][1]


@pytest.mark.parametrize("trust", ["dealer", "two-party"])
@pytest.mark.parametrize("linear", ["offline", "direct"])
def test_every_product_by_encryption(tmp_path: Path, linear: Any, trust: Any) -> None:
    folder = make_model(tmp_path)
    model = PrivateModel.load(folder, None, Terms(trust=trust, products="he", linear=linear))
    simulation, tokens = run(model, queries=2)
    assert_right(simulation, folder, model, tokens)
    assert_as_planned(simulation)
    tags = {tag for _, _, plan, *_ in simulation.results[0] for tag in plan.tags}
    assert ("he/inputs" in tags) == (linear == "direct")
    assert ("affine" in tags) == (linear == "offline")


def test_through_tenseal(tmp_path: Path) -> None:
    folder = make_model(
        tmp_path, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    model = PrivateModel.load(folder, None, Terms(products="he", engine="tenseal"))
    simulation, tokens = run(model)
    assert_right(simulation, folder, model, tokens)
    sent = simulation.traffic[0].by_tag
    assert sent["he.seal.up"][0].payload > 0
