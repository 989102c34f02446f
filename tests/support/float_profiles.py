"""The encoder in float64 with each profile's functions: what a profile is meant to compute."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from gpu_ss.functions import fourier, published, quadratic
from gpu_ss.functions.row_weights import CAP
from transformer.inference import Tokens
from transformer.parameters import LOG2_E
from transformer.profiles import SATURATION

Weights = Callable[[Any], Any]


def _exact_gelu(x: Any) -> Any:
    return x * 0.5 * np.vectorize(math.erfc)(-x / math.sqrt(2))


def _limit(doublings: int, lowest: float) -> Weights:
    def weights(x: Any) -> Any:
        below = x - x.max(axis=-1, keepdims=True)
        return np.where(below >= lowest, (1 + below / 2.0**doublings) ** 2**doublings, 0.0)

    return weights


def _exp(x: Any) -> Any:
    return np.exp(x - x.max(axis=-1, keepdims=True))


def _octaves(x: Any) -> Any:
    z = (x - x.max(axis=-1, keepdims=True)) / math.log(2)
    shift = np.ceil(z)
    p = (z - shift) * math.log(2)
    return np.where(z < -13, 0.0, (0.3585 * (p + 1.353) ** 2 + 0.344) * 2.0**shift)


#: GeLU and the weights of a row of scores (natural units; masked keys -1000) that are then divided by their sum.
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Weights]] = {
    "precise": (_exact_gelu, _exp),
    "fastlmpi": (published.FASTLMPI, _exp),
    "bolt": (published.BOLT, _octaves),
    "puma": (published.PUMA, _limit(5, -14)),
    "bumblebee": (published.BUMBLEBEE, _limit(6, -13)),
    "secformer": (fourier.clear, lambda x: np.where(x < -500, 0, (x + 5) ** 2)),
    "mpcformer": (quadratic.clear, lambda x: np.where(x < -500, 0, (x + 5) ** 2)),
    "the-x": (lambda x: np.maximum(x, 0), lambda x: np.clip(x / 2 + 1, 0, CAP) ** 3),
}


def float_rows(model: Any, profile: str, tensors: dict[str, Any], tokens: Tokens) -> Any:
    """Rows t of the last layer, from folded tensors (`parameters.fold`): [batch, length, hidden]."""
    arch = model.card.arch
    n, scale = arch.hidden, LOG2_E / math.sqrt(arch.head_size)
    gelu = FUNCTIONS.get(profile, FUNCTIONS["precise"])[0]

    def unit(x: Any) -> Any:
        if profile == "the-x":
            return np.clip(x, -(2.0**SATURATION), 2.0**SATURATION) / model.numbers.row_factor
        centred = x - x.mean(axis=-1, keepdims=True)
        return centred / np.sqrt(n * (x.var(axis=-1, keepdims=True) + arch.eps))

    table, length = tensors["embedding"], tokens.ids.shape[1]
    x = table[tokens.ids] + tensors["position"][:length]
    t = unit(x + (table[arch.vocab + tokens.types] if arch.types else 0))
    for i in range(arch.layers):
        w = {k.split(".", 1)[1]: v for k, v in tensors.items() if k.startswith(f"{i}.")}
        qkv = (t @ w["qkv"] + w["qkv.bias"]).reshape(len(t), length, 3, arch.heads, arch.head_size)
        q, k, v = qkv.transpose(2, 0, 3, 1, 4)
        p = _weights(profile, q / scale, k, tokens.keep)
        mixed = (p @ v).transpose(0, 2, 1, 3).reshape(len(t), length, n)
        t = unit(mixed @ w["output"] + w["output.bias"] + t * w["skip"])
        inner = t @ w["ffn1"] + w["ffn1.bias"]
        t = unit(gelu(inner) @ w["ffn2"] + w["ffn2.bias"] + t * w["ffn.skip"])
    return t


def _weights(profile: str, q: Any, k: Any, keep: Any) -> Any:
    root, masked = math.sqrt(q.shape[-1]), keep[:, None, None, :] == 0
    if profile == "gaussian-kernel":
        distances = ((q[..., :, None, :] - k[..., None, :, :]) ** 2).sum(axis=-1)
        return np.where(masked, 0, np.exp(-distances / (2 * root)))
    scores = np.where(masked, -1000.0, q @ k.transpose(0, 1, 3, 2) / root)
    weights = FUNCTIONS[profile][1](scores)
    sums = weights.sum(axis=-1, keepdims=True)
    return weights / np.where(sums == 0, 1, sums)  # THE-X: a row of zeros stays one
