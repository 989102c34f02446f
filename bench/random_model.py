"""A model with random weights in a folder of HuggingFace's format, so that the product reads it like any other."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from safetensors.numpy import save_file

from bench.options import Sizes
from transformer.architecture import Architecture
from transformer.hf import expected_shapes

SEED = 9
SPREAD = 0.04  # of trained BERT matrices
MIN_POSITIONS = 512


@contextmanager
def model_folder(sizes: Sizes) -> Iterator[Path]:
    """The folder of `sizes`, or one made for the duration of the block."""
    if sizes.folder is not None:
        yield sizes.folder
        return
    with TemporaryDirectory(prefix="fastlmpi-bench-model-") as scratch:
        folder = Path(scratch) / "random-bert"
        folder.mkdir()
        write_model(folder, sizes)
        yield folder


def write_model(folder: Path, sizes: Sizes) -> None:
    """config.json and model.safetensors of a BertModel of these sizes."""
    arch = Architecture(
        layers=sizes.layers, hidden=sizes.hidden, heads=sizes.heads, ffn=sizes.ffn, vocab=sizes.vocab,
        max_length=max(sizes.seq, MIN_POSITIONS), types=2, eps=1e-12, activation="gelu", task="features",
        pooler=True,
    )  # fmt: skip
    config = {
        "model_type": "bert",
        "architectures": ["BertModel"],
        "num_hidden_layers": arch.layers,
        "hidden_size": arch.hidden,
        "num_attention_heads": arch.heads,
        "intermediate_size": arch.ffn,
        "vocab_size": arch.vocab,
        "max_position_embeddings": arch.max_length,
        "type_vocab_size": arch.types,
        "layer_norm_eps": arch.eps,
        "hidden_act": "gelu",
    }
    (folder / "config.json").write_text(json.dumps(config, indent=1), encoding="utf-8")
    random = np.random.default_rng(SEED)
    tensors = {}
    for name, shape in expected_shapes(arch).items():
        tensor = random.normal(0, SPREAD, shape).astype(np.float32)
        tensors[name] = tensor + np.float32(name.endswith("LayerNorm.weight"))
    save_file(tensors, folder / "model.safetensors")
