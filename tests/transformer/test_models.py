"""Private inference of every supported kind of model against torch, both parties in one process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_ss.party import Party
from gpu_ss.plan import Plan
from tests.support.backends import open_backend
from tests.support.models import WORDS, add_pooling, make_model, random_tokens
from tests.support.protocols import both
from transformer import hf
from transformer.inference import Tokens, infer, plan_inference, plan_setup
from transformer.model import PrivateModel
from transformer.reference import cosines, load_reference, run_reference, tokens_only
from transformer.setup import from_words, nothing, set_up
from transformer.terms import PRIVATE, Terms


def run_private(
    model: PrivateModel, tokens: Tokens, backends: Any = ("auto", "auto")
) -> tuple[dict[str, Any], list[Any]]:
    """Outputs at the client, and each rank's traffic of the query beside its plan."""
    card, numbers = model.card, model.numbers

    def run(party: Party) -> Any:
        has_weights = party.rank == 1 or card.terms.public
        encoder = set_up(party, numbers, from_words(model.words) if has_weights else nothing, card.terms)
        before = party.channel.traffic.report()
        first = party.provider.taken
        outputs = infer(party, encoder, tokens.request, tokens if party.rank == 0 else None)
        return outputs, party.channel.traffic.report() - before, first, party.provider.taken

    simulation = both(run, backends)
    outputs, server_outputs = (r[0] for r in simulation.results)
    assert all(v is None for v in server_outputs.values()), "only the client learns the result"
    return outputs, [r[1:] for r in simulation.results]


def check_plan(model: PrivateModel, tokens: Tokens, spent: list[Any]) -> None:
    """The counted traffic is the planned one, message by message."""
    for rank, (traffic, first, last) in enumerate(spent):
        plan: Plan = plan_inference(rank, model.numbers, tokens.request, model.card.terms, first)
        assert plan.taken == last
        assert plan.rounds == traffic.rounds
        assert plan.sent[rank] == traffic.sent.payload
        assert plan.sent[1 - rank] == traffic.received.payload
        by_tag = {tag: sent.payload for tag, (sent, _) in traffic.by_tag.items()}
        assert by_tag == {tag: cost.sent[rank] for tag, cost in plan.tags.items()}


def compare(
    folder: Path, tokens: Tokens, task: Any = None, terms: Terms = PRIVATE, backends: Any = ("auto", "auto")
) -> Any:
    """Run private and clear, check the plan, return both outputs."""
    model = PrivateModel.load(folder, task, terms)
    arch = model.card.arch
    outputs, spent = run_private(model, tokens, backends)
    check_plan(model, tokens, spent)
    reference = run_reference(load_reference(hf.find_model(folder), arch), arch, tokens)
    assert outputs.keys() == reference.keys()
    return arch, outputs, reference


def assert_close(outputs: Any, reference: Any, tokens: Tokens, tolerance: float = 8e-3) -> None:
    """Every output of every real token agrees; errors are those of two layers of fixed point and fits."""
    for name, value in outputs.items():
        expected = reference[name]
        if value.ndim == 3:
            value, expected = tokens_only(value, tokens.keep), tokens_only(expected, tokens.keep)
        assert value.shape == expected.shape
        assert np.abs(value - expected).max() < tolerance * max(1.0, np.abs(expected).max()), name
        assert min(cosines(value, expected)) > 0.9999, name


@pytest.mark.parametrize("safetensors", [True, False])
def test_features_with_pooler(tmp_path: Path, safetensors: bool) -> None:
    tokens = random_tokens(3, 9)
    _, outputs, reference = compare(make_model(tmp_path, safetensors=safetensors), tokens)
    assert set(outputs) == {"last_hidden_state", "pooler_output"}
    assert_close(outputs, reference, tokens)


@pytest.mark.parametrize(
    ("hidden", "heads", "ffn", "batch", "length"),
    [(6, 2, 5, 1, 1), (60, 5, 33, 2, 17), (12, 1, 64, 1, 24), (2, 1, 1, 1, 2), (64, 8, 65, 5, 3)],
)
def test_odd_shapes(tmp_path: Path, hidden: int, heads: int, ffn: int, batch: int, length: int) -> None:
    folder = make_model(
        tmp_path, hidden_size=hidden, num_attention_heads=heads, intermediate_size=ffn, num_hidden_layers=1
    )
    tokens = random_tokens(batch, length)
    _, outputs, reference = compare(folder, tokens)
    if hidden > 2:  # two centred numbers are +-1: a cosine says nothing about them
        assert_close(outputs, reference, tokens)


@pytest.mark.parametrize("activation", ["gelu", "gelu_new", "relu"])
@pytest.mark.parametrize("types", [2, 1])
def test_activations_and_types(tmp_path: Path, activation: str, types: int) -> None:
    folder = make_model(tmp_path, hidden_act=activation, type_vocab_size=types)
    tokens = random_tokens(2, 6, types=types)
    _, outputs, reference = compare(folder, tokens)
    assert_close(outputs, reference, tokens)


def test_classification(tmp_path: Path) -> None:
    labels = {0: "calm", 1: "urgent", 2: "unknown"}
    folder = make_model(
        tmp_path, "BertForSequenceClassification", id2label=labels, label2id={v: k for k, v in labels.items()}
    )
    tokens = random_tokens(6, 8)
    arch, outputs, reference = compare(folder, tokens)
    assert arch.labels == ("calm", "urgent", "unknown")
    assert_close(outputs, reference, tokens)
    assert np.array_equal(outputs["logits"].argmax(axis=1), reference["logits"].argmax(axis=1))


def test_masked_language_model(tmp_path: Path) -> None:
    folder = make_model(tmp_path, "BertForMaskedLM")
    tokens = random_tokens(2, 7)
    _, outputs, reference = compare(folder, tokens)
    assert outputs["logits"].shape == (2, 7, len(WORDS))
    assert_close(outputs, reference, tokens)


@pytest.mark.parametrize(("mode", "normalise"), [("mean", True), ("mean", False), ("cls", True)])
def test_sentence_embeddings(tmp_path: Path, mode: str, normalise: bool) -> None:
    folder = add_pooling(make_model(tmp_path), mode, normalise)
    tokens = random_tokens(4, 10)
    arch, outputs, reference = compare(folder, tokens)
    assert (arch.task, arch.pooling, arch.normalise) == ("embedding", mode, normalise)
    assert_close(outputs, reference, tokens)


def test_public_weights_send_less_and_give_the_same(tmp_path: Path) -> None:
    folder, tokens = make_model(tmp_path), random_tokens(2, 6)
    _, outputs, reference = compare(folder, tokens, terms=Terms(weights="public"))
    assert_close(outputs, reference, tokens)
    plans = [PrivateModel.load(folder, None, t).plan(2, 6) for t in (Terms(), Terms(weights="public"))]
    private, public_ = (p.summary() for p in plans)
    assert public_["setup_bytes"] == 0
    assert private["setup_bytes"] > 0
    assert "affine" not in plans[1].query.tags
    assert public_["rounds"] < private["rounds"]


def test_a_released_table_saves_its_product(tmp_path: Path) -> None:
    folder, tokens = make_model(tmp_path), random_tokens(2, 6)
    terms = Terms(weights="released-table")
    _, outputs, reference = compare(folder, tokens, terms=terms)
    assert_close(outputs, reference, tokens)
    secret, released = (PrivateModel.load(folder, None, t).plan(2, 6) for t in (Terms(), terms))
    assert released.query.rounds == secret.query.rounds - 1
    assert released.query.sent[0] < secret.query.sent[0]
    assert released.setup.tags["reveal"].sent == [0, 3 * (len(WORDS) + 2) * 32]
    assert released.summary()["weights"] == "released-table"


def test_any_length_up_to_the_maximum(tmp_path: Path) -> None:
    folder = make_model(tmp_path, num_hidden_layers=1)
    for length in (1, 2, 16, 17, 24):
        tokens = random_tokens(1, length)
        _, outputs, reference = compare(folder, tokens)
        assert_close(outputs, reference, tokens)


def test_the_gpu_host_code_gives_the_same_result(tmp_path: Path) -> None:
    """The CUDA backend on its stand-in, beside a CPU party, runs a whole model bit for bit like two CPU parties."""
    folder, tokens = make_model(tmp_path, num_hidden_layers=1), random_tokens(2, 5)
    model = PrivateModel.load(folder)
    cpu, _ = run_private(model, tokens, ("cpu", "cpu"))
    mixed, _ = run_private(model, tokens, (open_backend("cuda-fake"), "cpu"))
    for name, value in cpu.items():
        assert np.array_equal(value, mixed[name])


def test_large_weights_widen_the_published_ranges(tmp_path: Path) -> None:
    wide = PrivateModel.load(make_model(tmp_path / "wide", initializer_range=2.5))
    usual = PrivateModel.load(make_model(tmp_path / "usual"))
    assert all(
        w.norm > u.norm for w, u in zip(wide.card.ranges.layers, usual.card.ranges.layers, strict=True)
    )
    tokens = random_tokens(2, 6)
    outputs, spent = run_private(wide, tokens)
    check_plan(wide, tokens, spent)
    arch = wide.card.arch
    reference = run_reference(load_reference(hf.find_model(tmp_path / "wide"), arch), arch, tokens)
    value, expected = (tokens_only(x["last_hidden_state"], tokens.keep) for x in (outputs, reference))
    assert min(cosines(value, expected)) > 0.999


def test_a_plan_numbers_what_the_set_up_opened(tmp_path: Path) -> None:
    model = PrivateModel.load(make_model(tmp_path))
    setup = plan_setup(0, model.numbers, Terms())
    assert setup.plan.taken == len(setup.model.weights)
    assert setup.plan.sent[0] == 0, "the client sends nothing while weights are opened"
    assert setup.plan.offline_bytes == 0


def test_a_plan_says_what_two_parties_exchange_offline(tmp_path: Path) -> None:
    """By which way, and more for more."""
    model = make_model(tmp_path / "model")
    small, large = (
        PrivateModel.load(model, None, Terms(trust="two-party", products="he")).plan(1, n).summary()
        for n in (4, 8)
    )
    assert small["dealer_bytes"] == 0
    for key in ("encryption_bytes", "transfer_bytes"):
        assert 0 < small[key] < large[key]  # type: ignore[operator]
    dealt = PrivateModel.load(model).plan(1, 8).summary()
    assert (dealt["encryption_bytes"], dealt["transfer_bytes"]) == (0, 0)
