"""Every profile on a whole model: against its own functions in float, its plan, its emulation, its ranges."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from pydantic import ValidationError

from gpu_ss.backend import get_backend
from gpu_ss.clear import ClearParty
from gpu_ss.errors import CorrelationError
from gpu_ss.party import Item, Round
from gpu_ss.provider.insecure import InsecureProvider
from tests.support.float_profiles import float_rows
from tests.support.models import WORDS, make_model, random_tokens
from tests.transformer.test_models import check_plan, run_private
from transformer import hf
from transformer.emulation import Emulator, batches
from transformer.inference import Tokens
from transformer.model import PrivateModel
from transformer.parameters import fold
from transformer.profiles import PROFILES
from transformer.ranges import measure
from transformer.reference import layer_norms, load_reference, tokens_only
from transformer.terms import ProfileName, Terms

NAMES = get_args(ProfileName)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("profiles") / "model")


def load(folder: Path, name: ProfileName, **terms: Any) -> PrivateModel:
    return PrivateModel.load(folder, None, Terms(profile=name, **terms))


def last_rows(folder: Path, states: Any) -> Any:
    """Hidden states as rows times the row factor."""
    model = load_reference(hf.find_model(folder), hf.read_architecture(hf.find_model(folder)))
    gamma, beta = layer_norms(model)[-1]
    return (states - beta) / gamma


def test_every_name_has_a_profile_that_says_what_it_is() -> None:
    assert tuple(PROFILES) == NAMES
    for name, profile in PROFILES.items():
        assert profile.name == name
        assert profile.softmax
        assert profile.gelu
        assert profile.source
    tuned = {name for name, profile in PROFILES.items() if profile.tuned}
    assert tuned == {"secformer", "mpcformer", "the-x", "gaussian-kernel"}
    with pytest.raises(ValidationError, match="profile"):
        Terms(profile="exact")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_computes_its_functions_and_costs_its_plan(folder: Path, name: ProfileName) -> None:
    """Private against float64 with the same functions; emulated against private; traffic as planned."""
    model, tokens = load(folder, name), random_tokens(3, 9)
    outputs, spent = run_private(model, tokens)
    check_plan(model, tokens, spent)
    private = tokens_only(outputs["last_hidden_state"], tokens.keep)
    emulated = tokens_only(Emulator(model).run(tokens).outputs["last_hidden_state"], tokens.keep)
    assert np.abs(private - emulated).max() < 6e-3, "units of truncation, through two layers"
    assert np.abs(private - emulated).mean() < 4e-4
    weights = hf.read_weights(hf.find_model(folder))
    expected = float_rows(model, name, fold(weights, model.numbers), tokens) * model.numbers.row_factor
    found = last_rows(folder, outputs["last_hidden_state"])
    error = np.abs(tokens_only(found - expected, tokens.keep))
    # the gammas of this model go down to 0.1 or so, and errors in units of a row are divided by them
    assert error.mean() < 2e-3
    assert error.max() < 5e-2


@pytest.mark.parametrize("name", ["precise", "fastlmpi", "puma", "secformer", "the-x"])
def test_emulation_of_two_parties_alone(
    folder: Path, name: ProfileName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Enough tokens that powers and rows are in fields: as private, near the dealer's, and planned."""
    tokens = random_tokens(4, 24)
    alone = load(folder, name, trust="two-party", products="he")
    both = [Emulator(m).run(tokens).outputs["last_hidden_state"] for m in (alone, load(folder, name))]
    first, second = (tokens_only(x, tokens.keep) for x in both)
    assert np.abs(first - second).max() < 2e-2
    summary = alone.plan(4, 24).summary()
    assert summary["profile"] == name
    assert summary["transfer_bytes"] > 0  # type: ignore[operator]
    monkeypatch.setattr(InsecureProvider, "economy", alone.card.terms.economy)
    outputs, _ = run_private(load(folder, name), tokens)
    private = tokens_only(outputs["last_hidden_state"], tokens.keep)
    assert np.abs(private - first).max() < 6e-3, "units of truncation, through two layers"
    assert np.abs(private - first).mean() < 4e-4


def test_batches_keep_every_text_and_drop_padding_only() -> None:
    tokens = random_tokens(40, 24)
    seen = np.concatenate([order for order, _ in batches(tokens, 100)])
    assert sorted(seen) == list(range(40))
    for order, part in batches(tokens, 100):
        assert part.ids.size <= max(100, part.ids.shape[1])
        assert part.keep.any(axis=0).all()
        for row, k in enumerate(order):
            assert part.keep[row].sum() == tokens.keep[k].sum()
            length = part.ids.shape[1]
            assert np.array_equal(part.ids[row], tokens.ids[k][:length])


def test_emulation_of_a_text_does_not_depend_on_its_batch(folder: Path) -> None:
    emulator, tokens = Emulator(load(folder, "precise")), random_tokens(5, 12)
    whole = emulator.run(tokens).outputs["last_hidden_state"]
    for order, part in batches(tokens, 20):
        found = emulator.run(part).outputs["last_hidden_state"]
        for row, k in enumerate(order):
            count = int(part.keep[row].sum())
            assert np.array_equal(found[row, :count], whole[k, :count])


def test_a_clear_party_knows_what_it_cannot_do() -> None:
    party = ClearParty(get_backend("reference"))
    with pytest.raises(CorrelationError, match="needs a definition"):
        party.exchange(Round("one-way", (Item(None, (3,), 64, sender=1),)))


def test_ranges_hold_what_a_profile_can_reach(folder: Path) -> None:
    """A quadratic activation grows, and a kernel that is not normalised sums its values."""
    found = hf.find_model(folder)
    arch = hf.read_architecture(found)
    tensors = fold(hf.read_weights(found), load(folder, "precise").numbers)
    bounds = {name: measure(tensors, arch, PROFILES[name]).largest("norm") for name in NAMES}
    assert bounds["mpcformer"] > bounds["precise"]
    assert bounds["gaussian-kernel"] > 2 * bounds["precise"]
    assert bounds["precise"] <= bounds["puma"] < 1.1 * bounds["precise"]


def test_extreme_inputs_stay_within_the_ranges(tmp_path: Path) -> None:
    """Weights ten times as large: scores in the hundreds; every profile still computes its functions."""
    folder = make_model(tmp_path, num_hidden_layers=1, initializer_range=0.75)
    tokens = random_tokens(2, 7, len(WORDS))
    weights = hf.read_weights(hf.find_model(folder))
    for name in ("bolt", "puma", "the-x", "secformer", "gaussian-kernel"):
        model = load(folder, name)  # type: ignore[arg-type]
        expected = float_rows(model, name, fold(weights, model.numbers), tokens)
        rows = Emulator(model).run(tokens).rows[-1]
        error, size = (
            tokens_only(x * model.numbers.row_factor, tokens.keep) for x in (rows - expected, expected)
        )
        usual = np.sqrt((size**2).sum() / (tokens.keep.sum() * 32))  # 1 where rows are normalised
        assert np.abs(error).max() < 3e-2 * usual, name


def tokens_of(ids: list[list[int]], keep: list[list[int]]) -> Tokens:
    return Tokens(np.array(ids), np.zeros((len(ids), len(ids[0])), np.int64), np.array(keep))


@pytest.mark.parametrize("name", NAMES)
def test_padding_changes_nothing(folder: Path, name: ProfileName) -> None:
    """Two tokens alone, and the same two before padding of any content."""
    emulator = Emulator(load(folder, name))
    short = emulator.run(tokens_of([[2, 6]], [[1, 1]])).outputs["last_hidden_state"]
    padded = emulator.run(tokens_of([[2, 6, 9, 13, 1]], [[1, 1, 0, 0, 0]])).outputs["last_hidden_state"]
    assert np.abs(padded[:, :2] - short).max() < 4e-3
