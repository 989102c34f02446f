"""Calibrated widths: measured, written, used, checked in clear and between parties."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.support.models import make_model
from tests.transformer.test_models import check_plan, run_private
from transformer import hf
from transformer.architecture import Bounds, Ranges
from transformer.calibrate import measure_widths
from transformer.client import load_tokenizer, tokenize
from transformer.emulation import Emulator
from transformer.errors import InputError, WidthsExceeded
from transformer.inference import Tokens
from transformer.model import PrivateModel, folded
from transformer.profiles import PRECISE
from transformer.ranges import head_norms
from transformer.terms import Terms
from transformer.widths import Measured, Widths, calibrated, read_widths, tensors_digest

TEXTS = ["the cat sat on a mat .", "a dog ran .", "the dog sat on the cat ."]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Queries and keys of a few units: proven scores of hundreds."""
    return make_model(tmp_path_factory.mktemp("widths") / "model", initializer_range=0.5)


@pytest.fixture(scope="module")
def tokens(folder: Path) -> Tokens:
    return tokenize(TEXTS, load_tokenizer(folder), PrivateModel.load(folder).card)


@pytest.fixture(scope="module")
def widths(folder: Path) -> Widths:
    return measure_widths(PrivateModel.load(folder), folder, TEXTS, 0)


def load(folder: Path, widths: Widths, file: Path, terms: Terms | None = None) -> PrivateModel:
    widths.write(file)
    return PrivateModel.load(folder, None, terms or Terms(), file)


def lowered(widths: Widths, layer: int, **change: int) -> Widths:
    layers = list(widths.layers)
    layers[layer] = layers[layer].model_copy(update=change)
    return widths.model_copy(update={"layers": tuple(layers)})


def test_measured_bounds_are_tight(folder: Path, widths: Widths, tokens: Tokens) -> None:
    """What is written is above what any head's queries and keys reach, and below twice what they may reach."""
    arch = hf.read_architecture(hf.find_model(folder))
    tensors = folded(hf.find_model(folder), arch, PRECISE)
    rows = Emulator(PrivateModel.load(folder)).run(tokens).rows
    for i, measured in enumerate(widths.layers):
        qkv = rows[i] @ tensors[f"{i}.qkv"] + tensors[f"{i}.qkv.bias"]
        heads = (qkv.reshape(-1, 3, arch.heads, arch.head_size) ** 2).sum(axis=-1)
        proven = np.max(head_norms(tensors, arch, str(i)), axis=0) ** 2
        for j, exponent in enumerate((measured.query, measured.key)):
            assert heads[:, j].max() < 2.0**exponent
            assert 2.0**exponent < 2 * proven[j]
    model = PrivateModel.load(folder)
    wider = measure_widths(model, folder, TEXTS, 3)
    assert all(
        b.query == a.query + 3 for a, b in zip(widths.layers, wider.layers, strict=True) if a.query > 2
    )


def test_the_same_result_in_narrower_rings(
    folder: Path, widths: Widths, tokens: Tokens, tmp_path: Path
) -> None:
    model, proven = load(folder, widths, tmp_path / "w.json"), PrivateModel.load(folder)
    for found, before in zip(model.card.ranges.layers, proven.card.ranges.layers, strict=True):
        assert found.score < before.score
        assert found.query is not None
    outputs, spent = run_private(model, tokens)
    check_plan(model, tokens, spent)
    expected, _ = run_private(proven, tokens)
    kept = tokens.keep.astype(bool)
    assert outputs.keys() == expected.keys()
    for name, value in outputs.items():
        difference = np.abs(value - expected[name])
        assert (difference[kept] if value.ndim == 3 else difference).max() < 8e-3
    emulated = Emulator(model).run(tokens).outputs["last_hidden_state"]
    assert np.abs(emulated - outputs["last_hidden_state"])[kept].max() < 8e-3


@pytest.mark.parametrize(("layer", "name"), [(0, "query"), (0, "key"), (1, "query"), (1, "key")])
def test_a_violated_bound_is_an_error(
    folder: Path, widths: Widths, tokens: Tokens, tmp_path: Path, layer: int, name: str
) -> None:
    """A bound lower than what these texts reach: in clear it is named, between parties the client is told."""
    low = getattr(widths.layers[layer], name) - 2  # one bit for the text that was padded to the limit
    assert low >= 2
    model = load(folder, lowered(widths, layer, **{name: low}), tmp_path / "w.json")
    wanted = {"query": "queries", "key": "keys"}[name]
    with pytest.raises(WidthsExceeded, match=f"layer {layer}, {wanted}"):
        Emulator(model).run(tokens)
    with pytest.raises(WidthsExceeded, match="calibrated"):
        run_private(model, tokens)


def test_nothing_of_the_result_is_revealed(
    folder: Path, widths: Widths, tokens: Tokens, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words that the client gets together are all 0, in every output."""
    from transformer import inference

    seen = []

    def noting(party: object, x: object, words: object) -> object:
        if words is not None:
            seen.append(np.asarray(words))
        return original(party, x, words)  # type: ignore[arg-type]

    original = inference._to_real
    monkeypatch.setattr(inference, "_to_real", noting)
    low = widths.model_copy(update={"layers": tuple(Measured(query=2, key=2) for _ in widths.layers)})
    with pytest.raises(WidthsExceeded):
        run_private(load(folder, low, tmp_path / "w.json"), tokens)
    assert len(seen) == 3, "hidden states, pooled vector, and the bit"
    assert not any(words.any() for words in seen)


def test_files_of_others_are_refused(folder: Path, widths: Widths, tmp_path: Path) -> None:
    file = tmp_path / "w.json"
    other = make_model(tmp_path / "other", initializer_range=0.5, seed=2)
    with pytest.raises(InputError, match="another model"):
        load(other, widths, file)
    with pytest.raises(InputError, match="profile"):
        load(folder, widths, file, Terms(profile="bolt"))
    with pytest.raises(InputError, match="trust dealer"):
        load(folder, widths, file, Terms(trust="two-party", products="he"))
    for text in ("{", '{"version": 2}', widths.model_dump_json().replace('"texts":3', '"texts":3,"more":1')):
        file.write_text(text)
        with pytest.raises(InputError, match="calibrate"):
            read_widths(file)
    with pytest.raises(InputError, match="cannot be read"):
        read_widths(tmp_path / "none")


def test_bounds_that_the_check_cannot_hold_are_refused(folder: Path, widths: Widths) -> None:
    """Queries that may reach 2^19: their squares would leave the ring in which they are compared."""
    found = hf.find_model(folder)
    arch = hf.read_architecture(found)
    tensors, n = folded(found, arch, PRECISE), arch.hidden
    for factor, columns in ((2.0**17, slice(0, n)), (2.0**-13, slice(n, 2 * n))):
        tensors["0.qkv"][:, columns] *= factor
        tensors["0.qkv.bias"][columns] *= factor
    ranges = Ranges(layers=(Bounds(score=24), Bounds(score=24)))
    own = widths.model_copy(update={"model": tensors_digest(tensors)})
    with pytest.raises(InputError, match="too large to be checked"):
        calibrated(ranges, own, tensors, arch, Terms())
