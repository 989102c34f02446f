"""What `widths.py` describes, measured on texts in clear."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from transformer import hf
from transformer.architecture import Architecture
from transformer.client import Limits, check_texts, load_tokenizer, tokenize
from transformer.emulation import Emulator, batches
from transformer.inference import Tokens
from transformer.model import PrivateModel, folded
from transformer.parameters import Real
from transformer.profiles import PROFILES
from transformer.session import Progress, no_progress
from transformer.widths import LEAST, Measured, Widths, tensors_digest

MARGIN_BITS = 1  # that squared norms may exceed the largest seen, unless another margin is asked for


def measure_widths(
    model: PrivateModel,
    name: str | Path | None,
    texts: Sequence[str],
    margin_bits: int,
    progress: Progress = no_progress,
) -> Widths:
    """The widths of a model (`name`: its folder) on texts, which are emulated with its profile.

    The longest is also padded to the model's limit, because padding has queries and keys too.
    """
    check_texts(texts)
    arch, profile = model.card.arch, PROFILES[model.card.terms.profile]
    tensors = folded(hf.find_model(name), arch, profile)
    emulator, largest = Emulator(model), np.zeros((arch.layers, 2))
    tokens, done = tokenize(list(texts), load_tokenizer(hf.find_model(name).path), Limits(arch)), 0
    for part in _parts(tokens, arch):
        for i, rows in enumerate(emulator.run(part).rows[: arch.layers]):
            largest[i] = np.maximum(largest[i], squared_norms(tensors, arch, str(i), rows))
        done += len(part.ids)
        progress("calibrate", done, len(texts) + 1)
    layers = tuple(Measured(query=exponent(q, margin_bits), key=exponent(k, margin_bits)) for q, k in largest)
    return Widths(
        model=tensors_digest(tensors),
        profile=model.card.terms.profile,
        texts=len(texts),
        margin_bits=margin_bits,
        layers=layers,
    )


def _parts(tokens: Tokens, arch: Architecture) -> Iterator[Tokens]:
    """All texts in batches, and the longest once more with padding up to the model's limit."""
    for _, part in batches(tokens):
        yield part
    longest = int(tokens.keep.sum(axis=1).argmax())
    missing = ((0, 0), (0, arch.max_length - tokens.ids.shape[1]))
    arrays = (
        np.pad(array[longest : longest + 1], missing) for array in (tokens.ids, tokens.types, tokens.keep)
    )
    yield Tokens(*arrays)


def squared_norms(tensors: dict[str, Real], arch: Architecture, name: str, rows: Real) -> list[float]:
    """The largest squared norm of a query and of a key of any head, for normalised rows that enter a layer."""
    qkv = rows @ tensors[f"{name}.qkv"] + tensors[f"{name}.qkv.bias"]
    parts = qkv.reshape(-1, 3, arch.heads, arch.head_size)
    return [float((parts[:, j] ** 2).sum(axis=-1).max()) for j in (0, 1)]


def exponent(largest: float, margin_bits: int) -> int:
    """What is published of a squared norm."""
    return max(LEAST, math.ceil(math.log2(largest)) + margin_bits)
