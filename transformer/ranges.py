"""Bounds of every tensor of a model, proven from its weights: no calibration data, no run-time surprise.

A normalised row t has |t|_2 <= 1, so an entry of t W + b is at most |column of W|_2 + |b|; softmax averages its
values (where a profile's weights do not sum to 1, it sums them); an activation satisfies |f(x)| <= |x| but for
what its profile states; the norm of a product is at most the spectral norm times the
norm. The server proves the bounds when it loads a model and publishes only powers of two (never below the
defaults), so a violated bound is an error at load time and never a wrong answer.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from gpu_ss.functions.softmax import INVERSE_RING
from transformer.architecture import USUAL, Architecture, Bounds, Numbers, Ranges
from transformer.errors import RangeTooSmall
from transformer.parameters import LOG2_E, Real
from transformer.profiles import PRECISE, Profile

ROUNDING = 1.01  # what fixed-point rounding can add to a bound, generously


#: The smallest exponents that are published, by the names of what is proven.
PROVEN: dict[str, int] = {name: least for name, least in USUAL.model_dump().items() if least is not None}
#: Bounds as real numbers, by the names of Bounds' fields.
Measured = dict[str, float]


@dataclass(frozen=True)
class Proof:
    """What was proven of a model's tensors, as real numbers: see Ranges."""

    embedding: float
    head: Measured
    layers: tuple[Measured, ...]

    def largest(self, name: str) -> float:
        """The largest bound of that name, of the layers and the head."""
        return max(bounds[name] for bounds in (self.head, *self.layers))


def prove_ranges(tensors: Mapping[str, Real], arch: Architecture, profile: Profile = PRECISE) -> Ranges:
    """The smallest published ranges that hold for these (folded) weights and a profile's functions."""
    return publish(measure(tensors, arch, profile), arch, profile)


def prove_layer(tensors: Mapping[str, Real], arch: Architecture, profile: Profile = PRECISE) -> Ranges:
    """The same for a single layer "0", without embedding and head."""
    return publish(
        Proof(1.0, dict.fromkeys(PROVEN, 1.0), (_layer(tensors, arch, "0", profile),)), arch, profile
    )


def publish(proof: Proof, arch: Architecture, profile: Profile = PRECISE) -> Ranges:
    """Bounds as exponents, never below the defaults. Raises RangeTooSmall if the rings cannot hold them."""
    try:
        ranges = Ranges(
            embedding=_exponent(proof.embedding, Ranges().embedding),
            head=_published(proof.head),
            layers=tuple(_published(layer) for layer in proof.layers),
        )
    except ValueError:
        raise RangeTooSmall(
            "the model's weights allow values beyond what 64-bit fixed point holds: proven bounds are "
            + ", ".join(f"{name} {proof.largest(name):.3g}" for name in proof.head)
        ) from None
    check_fits(profile.numbers(arch, ranges), profile)
    return ranges


def _published(bounds: Measured) -> Bounds:
    return Bounds(**{name: _exponent(bounds[name], usual) for name, usual in PROVEN.items()})


def _exponent(bound: float, least: int) -> int:
    return max(least, math.ceil(math.log2(max(bound * ROUNDING, 1e-9))))


def check_fits(numbers: Numbers, profile: Profile = PRECISE) -> None:
    """The rings of all steps hold the ranges. Raises RangeTooSmall naming the step."""
    arch, ranges = numbers.arch, numbers.ranges
    if len(ranges.layers) != arch.layers:
        raise RangeTooSmall(f"ranges of {len(ranges.layers)} layers for a model of {arch.layers}")
    for place in (numbers, *(numbers.at(i) for i in range(arch.layers))):
        _check_place(place, profile)


def _check_place(numbers: Numbers, profile: Profile) -> None:
    bounds = numbers.bounds
    read = 64 - (numbers.PRODUCT - numbers.ACTIVATION)  # bits that are left of a product when it is read
    keys = numbers.arch.max_length if profile.sums else 1
    room = {
        "LayerNorm's input": 22 - bounds.norm - numbers.log_hidden // 2,
        "scores": read - (numbers.score_bits if profile.averages else numbers.kernel_bits),
        "weighted values (keys times value)": INVERSE_RING.bits - numbers.sums_bits(keys),
        "feed-forward activations": 62 - numbers.PRODUCT - bounds.activation,
    }
    for step, bits in room.items():
        if bits < 0:
            raise RangeTooSmall(f"{step}: {-bits} bits too many for 64-bit fixed point with these weights")


def measure(tensors: Mapping[str, Real], arch: Architecture, profile: Profile = PRECISE) -> Proof:
    """The bounds themselves, as real numbers."""
    return Proof(
        _embedding(tensors, arch),
        _head(tensors, arch, profile),
        tuple(_layer(tensors, arch, str(i), profile) for i in range(arch.layers)),
    )


def _embedding(tensors: Mapping[str, Real], arch: Architecture) -> float:
    table = np.abs(tensors["embedding"])
    tokens, types = table[: arch.vocab].max(axis=0), table[arch.vocab :]
    total = tokens + np.abs(tensors["position"]).max(axis=0)
    return float((total + (types.max(axis=0) if arch.types else 0)).max())


def _heads(arch: Architecture) -> list[slice]:
    """The columns of each head."""
    return [slice(h * arch.head_size, (h + 1) * arch.head_size) for h in range(arch.heads)]


def head_norms(tensors: Mapping[str, Real], arch: Architecture, name: str) -> list[tuple[float, float]]:
    """Of each head of a layer, the largest norms of a query and of a key."""
    n = arch.hidden
    qkv, bias = tensors[f"{name}.qkv"], tensors[f"{name}.qkv.bias"]
    q, k = (qkv[:, i * n : (i + 1) * n] for i in range(2))
    bq, bk = (bias[i * n : (i + 1) * n] for i in range(2))
    return [(_norm(q[:, h], bq[h]), _norm(k[:, h], bk[h])) for h in _heads(arch)]


def _layer(tensors: Mapping[str, Real], arch: Architecture, name: str, profile: Profile) -> Measured:
    n = arch.hidden
    v, bv = tensors[f"{name}.qkv"][:, 2 * n :], tensors[f"{name}.qkv.bias"][2 * n :]
    value = _entry(v, bv)
    heads = _heads(arch)
    norms = head_norms(tensors, arch, name)
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


def _head(tensors: Mapping[str, Real], arch: Architecture, profile: Profile) -> Measured:
    bounds = dict.fromkeys(PROVEN, 1.0)
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
