"""What is read from model folders, what is refused, and what the messages say."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.models import add_pooling, make_model, random_tokens
from transformer import hf
from transformer.architecture import USUAL, Architecture, Numbers, Ranges
from transformer.client import check_tokens, load_tokenizer, tokenize
from transformer.errors import (
    InputError,
    MalformedModel,
    ModelNotFound,
    RangeTooSmall,
    UnsupportedModel,
)
from transformer.inference import Request
from transformer.model import PrivateModel, check_request
from transformer.parameters import centred, fold, layout
from transformer.ranges import measure, prove_ranges
from transformer.settings import SettingsError, load_settings


def edit(folder: Path, **changes: Any) -> Path:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    return folder


def load(folder: Path) -> PrivateModel:
    return PrivateModel.load(folder)


def test_missing_models(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFound, match=r"no config\.json"):
        load(tmp_path)
    with pytest.raises(ModelNotFound, match="no folder"):
        load(tmp_path / "nothing")
    with pytest.raises(ModelNotFound, match="holds no weights"):
        folder = make_model(tmp_path / "empty")
        (folder / "model.safetensors").unlink()
        load(folder)


def test_unsupported_models(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    for change, message in (
        ({"model_type": "gpt2"}, "supported: bert"),
        ({"architectures": ["BertForTokenClassification"]}, "BertForMaskedLM"),
        ({"hidden_act": "silu"}, "gelu_new"),
        ({"position_embedding_type": "relative_key"}, "absolute"),
        ({"is_decoder": True}, "encoder"),
    ):
        original = (folder / "config.json").read_text()
        with pytest.raises(UnsupportedModel, match=message):
            load(edit(folder, **change))
        (folder / "config.json").write_text(original)


def test_malformed_models(tmp_path: Path) -> None:
    with pytest.raises(MalformedModel, match="lacks"):
        folder = make_model(tmp_path / "a")
        config = json.loads((folder / "config.json").read_text())
        del config["num_hidden_layers"]
        (folder / "config.json").write_text(json.dumps(config))
        load(folder)
    with pytest.raises(MalformedModel, match="not readable JSON"):
        folder = make_model(tmp_path / "b")
        (folder / "config.json").write_text("{")
        load(folder)
    with pytest.raises(MalformedModel, match="missing instead of"):
        load(edit(make_model(tmp_path / "c"), num_hidden_layers=3))
    with pytest.raises(MalformedModel, match="heads do not divide"):
        load(edit(make_model(tmp_path / "d"), num_attention_heads=5))
    with pytest.raises(MalformedModel, match="safetensors"):
        folder = make_model(tmp_path / "e")
        (folder / "model.safetensors").write_bytes(b"\x00" * 100)
        load(folder)
    with pytest.raises(MalformedModel, match="weights-only"):
        folder = make_model(tmp_path / "f", safetensors=False)
        (folder / "pytorch_model.bin").write_bytes(b"garbage")
        load(folder)


def test_weights_files_cannot_run_code(tmp_path: Path) -> None:
    """A torch file with a pickled call is refused, and the call is not made."""
    import torch

    class Attack:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "owned",))

    folder = make_model(tmp_path / "m", safetensors=False)
    torch.save({"embeddings.word_embeddings.weight": Attack()}, folder / "pytorch_model.bin")
    with pytest.raises(MalformedModel):
        load(folder)
    assert not (tmp_path / "owned").exists()


def test_other_files_in_the_folder_are_left_alone(tmp_path: Path) -> None:
    """Adapters, optimizer states, parts of a second model: what is read is the model itself, whole, or nothing."""
    from safetensors.numpy import load_file, save_file

    folder = make_model(tmp_path)
    wanted = hf.read_weights(hf.find_model(folder))
    save_file({"encoder.layer.0.output.dense.bias": np.zeros(32, np.float32)}, folder / "other.safetensors")
    (folder / "adapter_model.safetensors").write_bytes(b"of something else")
    found = hf.read_weights(hf.find_model(folder))
    assert all(np.array_equal(found[name], value) for name, value in wanted.items())
    (folder / "adapter_model.safetensors").unlink()
    stored = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").rename(folder / "weights.safetensors")
    with pytest.raises(MalformedModel, match="twice"):
        hf.read_weights(hf.find_model(folder))
    names = sorted(stored)
    for part, chosen in enumerate((names[::2], names[1::2]), 1):
        save_file({name: stored[name] for name in chosen}, folder / f"model-{part:05}-of-00002.safetensors")
    found = hf.read_weights(hf.find_model(folder))
    assert all(np.array_equal(found[name], value) for name, value in wanted.items())
    (folder / "model-00002-of-00002.safetensors").unlink()
    with pytest.raises(MalformedModel, match="missing"):
        load(folder)


@pytest.mark.parametrize("known", [True, False])
def test_code_beside_a_tokenizer_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    """Nor is anybody asked whether it should be."""
    folder = make_model(tmp_path)
    (folder / "own.py").write_text(f"import pathlib\npathlib.Path({str(tmp_path / 'owned')!r}).touch()\n")
    settings = {"auto_map": {"AutoTokenizer": ["own.Tokenizer", None]}}
    settings["tokenizer_class"] = "BertTokenizer" if known else "OwnTokenizer"  # type: ignore[assignment]
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    edit(folder, model_type="bert" if known else "own")
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("asked"))
    with suppress(MalformedModel):
        load_tokenizer(folder)
    assert not (tmp_path / "owned").exists()


def test_weights_must_be_finite(tmp_path: Path) -> None:
    import torch

    folder = make_model(tmp_path, safetensors=False)
    state = torch.load(folder / "pytorch_model.bin", weights_only=True)
    for value in (float("nan"), float("-inf"), 1e30):
        state["encoder.layer.0.output.dense.weight"][3, 4] = value
        torch.save(state, folder / "pytorch_model.bin")
        with pytest.raises(MalformedModel, match="finite"):
            load(folder)


def _huge(tensor: Any) -> Any:
    """As many numbers up to 1e19, no two alike: LayerNorm takes the mean of rows away."""
    import torch

    return torch.linspace(-1e19, 1e19, tensor.numel()).reshape(tensor.shape)


def test_weights_beyond_every_range_are_named(tmp_path: Path) -> None:
    """As large as they may be to be read: what is proven from them is still a number."""
    import torch

    folder = make_model(tmp_path, safetensors=False)
    clean = torch.load(folder / "pytorch_model.bin", weights_only=True)
    for part in (
        "LayerNorm.weight",
        "LayerNorm.bias",
        "query.weight",
        "output.dense.weight",
        "pooler.dense.bias",
    ):
        state = {name: _huge(v) if part in name else v for name, v in clean.items()}
        torch.save(state, folder / "pytorch_model.bin")
        with pytest.raises(RangeTooSmall):
            load(folder)


def test_old_names_are_understood() -> None:
    assert hf.canonical("bert.embeddings.LayerNorm.gamma") == "embeddings.LayerNorm.weight"
    assert hf.canonical("encoder.layer.0.output.LayerNorm.beta") == "encoder.layer.0.output.LayerNorm.bias"


def test_unsupported_pooling(tmp_path: Path) -> None:
    folder = add_pooling(make_model(tmp_path))
    config = folder / "1_Pooling" / "config.json"
    config.write_text(json.dumps({"pooling_mode_max_tokens": True}))
    with pytest.raises(UnsupportedModel, match="mean"):
        load(folder)


def test_ranges_hold_on_random_rows(tmp_path: Path) -> None:
    """The proven bounds are above everything a random unit row produces."""
    folder = hf.find_model(make_model(tmp_path, initializer_range=0.5))
    arch = hf.read_architecture(folder)
    tensors = fold(hf.read_weights(folder), Numbers(arch=arch, ranges=Ranges()))
    proof = measure(tensors, arch)
    rng = np.random.default_rng(0)
    t = rng.normal(size=(500, arch.hidden))
    t /= np.linalg.norm(t, axis=1, keepdims=True)
    n, size = arch.hidden, arch.head_size
    for i, bounds in enumerate(proof.layers):
        qkv = t @ tensors[f"{i}.qkv"] + tensors[f"{i}.qkv.bias"]
        for h in range(arch.heads):
            q, k = (qkv[:, j * n + h * size : j * n + (h + 1) * size] for j in (0, 1))
            assert np.abs(q @ k.T).max() <= bounds["score"]
        assert np.abs(qkv[:, 2 * n :]).max() <= bounds["value"]
        inner = t @ tensors[f"{i}.ffn1"] + tensors[f"{i}.ffn1.bias"]
        assert np.abs(inner).max() <= bounds["activation"]
        out = (
            np.maximum(inner, 0) @ tensors[f"{i}.ffn2"]
            + tensors[f"{i}.ffn2.bias"]
            + centred(t * tensors[f"{i}.ffn.skip"])
        )
        assert np.abs(out.mean(axis=1)).max() < 1e-12, "weights centre what is normalised"
        assert np.linalg.norm(out, axis=1).max() <= bounds["norm"]


def test_models_beyond_the_ring_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RangeTooSmall, match=r"bits too many|beyond what"):
        load(make_model(tmp_path, initializer_range=300.0))


def test_published_ranges_are_powers_of_two_above_what_was_proven(tmp_path: Path) -> None:
    folder = hf.find_model(make_model(tmp_path, initializer_range=0.6))
    arch = hf.read_architecture(folder)
    tensors = fold(hf.read_weights(folder), Numbers(arch=arch, ranges=Ranges()))
    proof, ranges = measure(tensors, arch), prove_ranges(tensors, arch)
    wider = 0
    for proven, published in zip((proof.head, *proof.layers), (ranges.head, *ranges.layers), strict=True):
        for name, bound in proven.items():
            exponent, least = getattr(published, name), getattr(USUAL, name)
            assert bound < 2.0**exponent
            assert exponent == least or bound > 0.98 * 2.0 ** (exponent - 1), "and no more"
            wider += exponent > least
    assert wider > 5


def test_layout_is_public(tmp_path: Path) -> None:
    """Names, shapes and scales follow from the card alone, which says nothing about weights."""
    models = [load(make_model(tmp_path / str(seed), seed=seed)) for seed in (1, 2)]
    same = {"name": "x", "ranges": models[0].card.ranges}
    cards = [model.card.model_copy(update=same) for model in models]
    assert layout(cards[0].numbers) == layout(cards[1].numbers)
    assert cards[0] == cards[1]
    assert "hidden" in repr(models[0])


def test_tokenizing(tmp_path: Path) -> None:
    folder = make_model(tmp_path)
    card, tokenizer = load(folder).card, load_tokenizer(folder)
    tokens = tokenize(["the cat sat", "a dog"], tokenizer, card)
    assert tokens.ids.shape == (2, 5)
    assert tokens.keep.sum(axis=1).tolist() == [5, 4]
    assert "ids=<hidden>" in repr(tokens)
    padded = tokenize(["the cat sat"], tokenizer, card, pad_to=12)
    assert padded.request == Request(batch=1, length=12)
    pair = tokenize([("the cat", "a dog")], tokenizer, card)
    assert pair.types.max() == 1
    for texts, message in (
        ([], "no text"),
        (["the cat", "  "], "text 2 is empty"),
        (["a " * 40], "42 tokens"),
    ):
        with pytest.raises(InputError, match=message):
            tokenize(texts, tokenizer, card)
    with pytest.raises(InputError, match="at most 3 fit"):
        tokenize(["the cat sat"], tokenizer, card, pad_to=3)


def test_tokens_must_fit_the_model(tmp_path: Path) -> None:
    card = load(make_model(tmp_path)).card
    good = random_tokens(2, 5)
    check_tokens(good, card)
    for field, change in (("ids", 99), ("types", 7), ("keep", 3)):
        broken = random_tokens(2, 5)
        getattr(broken, field)[0, 0] = change
        with pytest.raises(InputError):
            check_tokens(broken, card)
    nothing = random_tokens(2, 5)
    nothing.keep[1] = 0
    with pytest.raises(InputError, match="at least one token"):
        check_tokens(nothing, card)
    with pytest.raises(InputError, match="too long"):
        check_request(Request(batch=1, length=25), card)
    with pytest.raises(InputError, match="smaller batches"):
        check_request(Request(batch=1 << 16, length=24), card)


def test_settings_file(tmp_path: Path) -> None:
    file = tmp_path / "fastlmpi.toml"
    file.write_text('server = "tcp://10.0.0.1:1"\nrecv_timeout_s = 7\n')
    settings = load_settings(file, {"backend": "cpu", "model": None})
    assert (settings.server, settings.backend, settings.zmq.recv_timeout_s) == ("tcp://10.0.0.1:1", "cpu", 7)
    assert load_settings(file, {"server": "tcp://b:2"}).server == "tcp://b:2"
    assert load_settings(None, {"device": 1, "backend": "auto"}).backend_name == "cuda:1"
    assert load_settings(None, {"backend": "reference"}).backend_name == "reference"
    for text, message in (
        ("nonsense = 1", "nonsense"),
        ('backend = "cpu"\ndevice = 0', "device is for backend cuda"),
        ("device = -1", "device"),
        ("gpu_memory_limit_mb = 0", "gpu_memory_limit_mb"),
        ('backend = "tpu"', "backend"),
        ("[", "fastlmpi.toml"),
    ):
        file.write_text(text)
        with pytest.raises(SettingsError, match=message):
            load_settings(file, {})
    with pytest.raises(SettingsError, match="no settings file"):
        load_settings(tmp_path / "none.toml", {})


def test_architecture_bounds() -> None:
    with pytest.raises(ValueError, match="layers"):
        Architecture(
            layers=0,
            hidden=8,
            heads=2,
            ffn=8,
            vocab=5,
            max_length=8,
            types=2,
            eps=0,
            activation="gelu",
            task="features",
        )
