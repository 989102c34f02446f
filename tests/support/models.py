"""Small random BERT models in the formats users have, saved as HuggingFace saves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from transformer.inference import Tokens

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "the",
    "cat",
    "dog",
    "sat",
    "ran",
    "on",
    "a",
    "mat",
    ".",
]


def make_model(
    folder: Path, kind: str = "BertModel", safetensors: bool = True, seed: int = 1, **config: Any
) -> Path:
    """A model folder with random weights, config, and a word tokenizer."""
    import torch
    import transformers

    torch.manual_seed(seed)
    settings = {
        "vocab_size": len(WORDS),
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "intermediate_size": 48,
        "max_position_embeddings": 24,
        "initializer_range": 0.2,
    } | config
    model = getattr(transformers, kind)(transformers.BertConfig(**settings))
    for name, value in model.named_parameters():  # LayerNorms of trained models are not the identity
        if "LayerNorm" in name:
            torch.nn.init.normal_(value, 1.0 if name.endswith("weight") else 0.0, 0.3)
    folder.mkdir(parents=True, exist_ok=True)
    if safetensors:
        model.save_pretrained(folder)
    else:
        model.config.save_pretrained(folder)
        torch.save(model.state_dict(), folder / "pytorch_model.bin")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", encoding="utf-8")
    tokenizer = {"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 24}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    return folder


def add_pooling(folder: Path, mode: str = "mean", normalise: bool = True) -> Path:
    """Make it a sentence-transformers folder."""
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalise else [])]
    modules = [
        {"idx": i, "name": str(i), "path": "", "type": f"sentence_transformers.models.{k}"}
        for i, k in enumerate(kinds)
    ]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    name = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token"}[mode]
    flags = {
        "word_embedding_dimension": 32,
        "pooling_mode_mean_tokens": False,
        "pooling_mode_cls_token": False,
        name: True,
    }
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(flags), encoding="utf-8")
    return folder


def random_tokens(batch: int, length: int, vocab: int = len(WORDS), types: int = 2, seed: int = 3) -> Tokens:
    """Random ids and types, each row a different number of tokens."""
    rng = np.random.default_rng(seed)
    keep = np.zeros((batch, length), np.int64)
    for row, count in enumerate(rng.integers(1, length + 1, batch)):
        keep[row, : length if row == 0 else count] = 1
    ids = rng.integers(0, vocab, (batch, length))
    kinds = rng.integers(0, types, (batch, length)) if types else np.zeros((batch, length), np.int64)
    return Tokens(ids, kinds, keep)
