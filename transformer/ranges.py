"""Bounds of every tensor of a model, proven from its weights: no calibration data, no run-time surprise.

A normalised row t has |t|_2 <= 1, so an entry of t W + b is at most |column of W|_2 + |b|; softmax averages its
values (where a profile's weights do not sum to 1, it sums them); an activation satisfies |f(x)| <= |x| but for
what its profile states; the norm of a product is at most the spectral norm times the
norm. The server proves the bounds when it loads a model and publishes only powers of two (rounded up to even
exponents, never below the defaults), so a violated bound is an error at load time and never a wrong answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from transformer.architecture import Architecture, Numbers, Ranges
from transformer.errors import RangeTooSmall
from transformer.parameters import LOG2_E, Real
from transformer.profiles import PRECISE, Profile

ROUNDING = 1.01  # what fixed-point rounding can add to a bound, generously


def prove_ranges(tensors: Mapping[str, Real], arch: Architecture, profile: Profile = PRECISE) -> Ranges:
    """The smallest published ranges that hold for these (folded) weights and a profile's functions."""
    bounds = measure(tensors, arch, profile)
    published = {}
    for name, default in Ranges().model_dump().items():
        exponent = math.ceil(math.log2(max(bounds[name] * ROUNDING, 1e-9)))
        published[name] = max(default, exponent + exponent % 2)
    try:
        ranges = Ranges(**published)
    except ValueError:
        raise RangeTooSmall(
            "the model's weights allow values beyond what 64-bit fixed point holds: proven bounds are "
            + ", ".join(f"{k} {v:.3g}" for k, v in bounds.items())
        ) from None
    check_fits(profile.numbers(arch, ranges), profile)
    return ranges


def check_fits(numbers: Numbers, profile: Profile = PRECISE) -> None:
    """The rings of all steps hold the ranges. Raises RangeTooSmall naming the step."""
    ranges = numbers.ranges
    read = 64 - (numbers.PRODUCT - numbers.ACTIVATION)  # bits that are left of a product when it is read
    keys = numbers.arch.max_length.bit_length() if profile.sums else 0
    room = {
        "LayerNorm input (hidden size times norm)": 64
        - (numbers.PRODUCT + numbers.log_hidden + ranges.norm + 3),
        "scores": read - (numbers.score_bits if profile.averages else numbers.kernel_bits),
        "weighted values (keys times value)": 46 - 28 - ranges.value - keys - 1,
        "feed-forward activations": 62 - numbers.PRODUCT - ranges.activation,
    }
    for step, bits in room.items():
        if bits < 0:
            raise RangeTooSmall(f"{step}: {-bits} bits too many for 64-bit fixed point with these weights")


def measure(tensors: Mapping[str, Real], arch: Architecture, profile: Profile = PRECISE) -> dict[str, float]:
    """The bounds themselves, as real numbers, by the names of Ranges' fields."""
    bounds = {
        "embedding": _embedding(tensors, arch),
        "score": 1.0,
        "distance": 1.0,
        "value": 1.0,
        "activation": 1.0,
        "norm": 1.0,
    }
    for i in range(arch.layers):
        _raise(bounds, _layer(tensors, arch, str(i), profile))
    _raise(bounds, _head(tensors, arch, profile))
    return bounds


def _raise(bounds: dict[str, float], more: Mapping[str, float]) -> None:
    for name, value in more.items():
        bounds[name] = max(bounds[name], value)


def _embedding(tensors: Mapping[str, Real], arch: Architecture) -> float:
    table = np.abs(tensors["embedding"])
    tokens, types = table[: arch.vocab].max(axis=0), table[arch.vocab :]
    total = tokens + np.abs(tensors["position"]).max(axis=0)
    return float((total + (types.max(axis=0) if arch.types else 0)).max())


def _layer(tensors: Mapping[str, Real], arch: Architecture, name: str, profile: Profile) -> dict[str, float]:
    n = arch.hidden
    qkv, bias = tensors[f"{name}.qkv"], tensors[f"{name}.qkv.bias"]
    q, k, v = (qkv[:, i * n : (i + 1) * n] for i in range(3))
    bq, bk, bv = (bias[i * n : (i + 1) * n] for i in range(3))
    value = _entry(v, bv)
    heads = [slice(h * arch.head_size, (h + 1) * arch.head_size) for h in range(arch.heads)]
    norms = [(_norm(q[:, h], bq[h]), _norm(k[:, h], bk[h])) for h in heads]
    score, unit = max(a * b for a, b in norms), LOG2_E / math.sqrt(arch.head_size)
    distance = max(0.5 * (a / math.sqrt(unit) + b * math.sqrt(unit)) ** 2 for a, b in norms)
    attended = math.sqrt(sum(_norm(v[:, h], bv[h]) ** 2 for h in heads))
    if not profile.averages:
        attended *= arch.max_length
    mixed = _spectral(tensors[f"{name}.output"]) * attended + float(
        np.linalg.norm(tensors[f"{name}.output.bias"])
    )
    entry = _entry(tensors[f"{name}.ffn1"], tensors[f"{name}.ffn1.bias"])
    inner = _norm(tensors[f"{name}.ffn1"], tensors[f"{name}.ffn1.bias"])
    inner = profile.growth(inner, entry, arch.ffn)
    out = _spectral(tensors[f"{name}.ffn2"]) * inner + float(np.linalg.norm(tensors[f"{name}.ffn2.bias"]))
    return {
        "score": score,
        "distance": distance,
        "value": value,
        "activation": entry,
        "norm": max(mixed + _skip(tensors[f"{name}.skip"]), out + _skip(tensors[f"{name}.ffn.skip"])),
    }


def _head(tensors: Mapping[str, Real], arch: Architecture, profile: Profile) -> dict[str, float]:
    bounds: dict[str, float] = {}
    for name in ("pooler", "transform"):
        if name in tensors:
            bounds["activation"] = _entry(tensors[name], tensors[f"{name}.bias"])
    if "transform" in tensors:
        norm = _norm(tensors["transform"], tensors["transform.bias"])
        bounds["norm"] = profile.growth(norm, bounds["activation"], arch.hidden)
    if arch.task == "embedding":
        bounds["norm"] = _skip(tensors["final"]) + float(np.linalg.norm(tensors["final.bias"]))
    return bounds


def _entry(matrix: Real, bias: Real) -> float:
    """Largest |entry| of t M + b over |t|_2 <= 1."""
    return float((np.linalg.norm(matrix, axis=0) + np.abs(bias)).max())


def _norm(matrix: Real, bias: Real) -> float:
    """Largest norm of t M + b over |t|_2 <= 1."""
    return _spectral(matrix) + float(np.linalg.norm(bias))


def _spectral(matrix: Real) -> float:
    """Upper bound of the spectral norm: from M^T M by its largest eigenvalue."""
    small = matrix.T @ matrix if matrix.shape[0] >= matrix.shape[1] else matrix @ matrix.T
    return math.sqrt(max(0.0, float(np.linalg.eigvalsh(small)[-1])))


def _skip(diagonal: Real) -> float:
    """Largest norm of t * d."""
    return float(np.abs(diagonal).max())
