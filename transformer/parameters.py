"""The tensors of an encoder in the form the protocol uses: folded, scaled, encoded once.

`layout` lists them from public facts alone, so the client knows every shape. `fold` turns float weights into
the matrices of that list: normalised rows t carry no gamma, beta and sqrt(hidden), so these move into whatever
multiplies t next; the query is scaled by log2(e) / sqrt(head size); embedding rows, and rows of the matrices whose
result is normalised next, are centred, which that LayerNorm would do first. Rows that a profile does not normalise
go by the same name, and over a public factor; nothing is centred for them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ss.errors import RangeError
from gpu_ss.fixed import encode
from gpu_ss.ring import RING64, Ring
from transformer.architecture import Numbers
from transformer.errors import RangeTooSmall

Real = NDArray[np.float64]
Words = NDArray[np.uint64]
LOG2_E = 1.4426950408889634
HEAD_RING = Ring(48)


@dataclass(frozen=True, slots=True)
class Slot:
    """One tensor: a weight that is multiplied (matrix, or the diagonal [k] of one), or a bias that is added."""

    name: str
    shape: tuple[int, ...]
    ring: Ring
    frac_bits: int
    bias: bool = False


def layout(numbers: Numbers) -> list[Slot]:
    """All tensors, in the order in which they are opened."""
    return [*_embedding_slots(numbers), *layer_slots(numbers), *_head_slots(numbers)]


def _affine(name: str, rows: int, columns: int, ring: Ring, frac_bits: int, product: int) -> list[Slot]:
    return [
        Slot(name, (rows, columns), ring, frac_bits),
        Slot(f"{name}.bias", (columns,), ring, product, bias=True),
    ]


def _embedding_slots(numbers: Numbers) -> Iterator[Slot]:
    arch, ring = numbers.arch, Ring(numbers.embedding_bits)
    yield Slot("embedding", (arch.vocab + arch.types, arch.hidden), ring, numbers.EMBEDDING)
    yield Slot("position", (arch.max_length, arch.hidden), ring, numbers.EMBEDDING, bias=True)


def layer_slots(numbers: Numbers) -> Iterator[Slot]:
    """The tensors of all layers."""
    arch = numbers.arch
    n, unit = arch.hidden, numbers.unit_weight_frac
    for i in range(arch.layers):
        hidden = Ring(numbers.at(i).hidden_bits)
        yield from _affine(f"{i}.qkv", n, 3 * n, RING64, unit, numbers.PRODUCT)
        yield Slot(f"{i}.skip", (n,), RING64, unit)
        yield from _affine(f"{i}.output", n, n, hidden, numbers.weight_frac, numbers.PRODUCT)
        yield from _affine(f"{i}.ffn1", n, arch.ffn, RING64, unit, numbers.PRODUCT)
        yield Slot(f"{i}.ffn.skip", (n,), RING64, unit)
        yield from _affine(f"{i}.ffn2", arch.ffn, n, hidden, numbers.weight_frac, numbers.PRODUCT)


def _head_slots(numbers: Numbers) -> Iterator[Slot]:
    arch, n = numbers.arch, numbers.arch.hidden
    unit = numbers.unit_weight_frac
    if arch.task in ("features", "embedding"):
        yield Slot("final", (n,), RING64, unit)
        yield Slot("final.bias", (n,), RING64, numbers.PRODUCT, bias=True)
    if arch.uses_pooler:
        yield from _affine("pooler", n, n, RING64, unit, numbers.PRODUCT)
    if arch.task == "classification":
        frac = numbers.weight_frac
        yield from _affine("classifier", n, len(arch.labels), HEAD_RING, frac, numbers.PRODUCT)
    if arch.task == "masked-lm":
        yield from _affine("transform", n, n, RING64, unit, numbers.PRODUCT)
        yield from _affine("decoder", n, arch.vocab, HEAD_RING, unit, numbers.PRODUCT)


# -- folding ----------------------------------------------------------------------------------------------


def fold(weights: Mapping[str, Any], numbers: Numbers) -> dict[str, Real]:
    """Float tensors by the names of `layout` from a state dict with the names of HuggingFace's BertModel."""
    folder = _Folder(weights, numbers)
    return {**folder.embeddings(), **folder.layers(), **folder.head()}


class _Folder:
    def __init__(self, weights: Mapping[str, Any], numbers: Numbers) -> None:
        self._weights = weights
        self._numbers = numbers
        self._factor = numbers.row_factor

    def _centred(self, rows: Real) -> Real:
        """Rows less their mean, if that is what comes next anyway."""
        return centred(rows) if self._numbers.saturation is None else rows

    def _get(self, name: str) -> Real:
        return np.asarray(self._weights[name], np.float64)

    def _matrix(self, name: str) -> tuple[Real, Real]:
        """Weight as [in, out] (HuggingFace stores [out, in]) and bias."""
        return self._get(f"{name}.weight").T, self._get(f"{name}.bias")

    def _norm(self, name: str) -> tuple[Real, Real]:
        """Row factor times gamma, and beta."""
        return self._factor * self._get(f"{name}.weight"), self._get(f"{name}.bias")

    def _through(self, norm: str, matrix: Real, bias: Real) -> tuple[Real, Real]:
        """The affine map of a LayerNorm's output as one of its normalised rows."""
        gamma, beta = self._norm(norm)
        return gamma[:, None] * matrix, bias + beta @ matrix

    def embeddings(self) -> dict[str, Real]:
        table = self._get("embeddings.word_embeddings.weight")
        if self._numbers.arch.types:
            table = np.concatenate([table, self._get("embeddings.token_type_embeddings.weight")])
        position = self._get("embeddings.position_embeddings.weight")
        return {"embedding": self._centred(table), "position": self._centred(position)}

    def layers(self) -> dict[str, Real]:
        tensors: dict[str, Real] = {}
        before = "embeddings.LayerNorm"
        for i in range(self._numbers.arch.layers):
            root = f"encoder.layer.{i}"
            qkv = self._through(before, *self._qkv(f"{root}.attention.self"))
            tensors |= _named(f"{i}.qkv", qkv)
            tensors |= self._added(f"{i}.skip", f"{i}.output", f"{root}.attention.output.dense", before)
            middle = f"{root}.attention.output.LayerNorm"
            tensors |= _named(f"{i}.ffn1", self._through(middle, *self._matrix(f"{root}.intermediate.dense")))
            tensors |= self._added(f"{i}.ffn.skip", f"{i}.ffn2", f"{root}.output.dense", middle)
            before = f"{root}.output.LayerNorm"
        return tensors

    def _qkv(self, name: str) -> tuple[Real, Real]:
        scale = LOG2_E / math.sqrt(self._numbers.arch.head_size)
        parts = [self._matrix(f"{name}.{part}") for part in ("query", "key", "value")]
        parts[0] = (parts[0][0] * scale, parts[0][1] * scale)
        return np.concatenate([w for w, _ in parts], axis=1), np.concatenate([b for _, b in parts])

    def _added(self, skip: str, name: str, source: str, norm: str) -> dict[str, Real]:
        """A matrix whose result is added to what its block began with: the norm's gamma and beta join.

        The sum is normalised next, so its rows are centred here as far as weights can do that.
        """
        gamma, beta = self._norm(norm)
        matrix, bias = self._matrix(source)
        return {skip: gamma, **_named(name, (self._centred(matrix), self._centred(bias + beta)))}

    def head(self) -> dict[str, Real]:
        arch = self._numbers.arch
        last = f"encoder.layer.{arch.layers - 1}.output.LayerNorm"
        tensors: dict[str, Real] = {}
        if arch.task in ("features", "embedding"):
            tensors |= _named("final", self._norm(last))
        if arch.uses_pooler:
            tensors |= _named("pooler", self._through(last, *self._matrix("pooler.dense")))
        if arch.task == "classification":
            tensors |= _named("classifier", self._matrix("classifier"))
        if arch.task == "masked-lm":
            dense = self._matrix("cls.predictions.transform.dense")
            tensors |= _named("transform", self._through(last, *dense))
            words = self._get("embeddings.word_embeddings.weight").T
            bias = self._get("cls.predictions.bias")
            decoder = self._through("cls.predictions.transform.LayerNorm", words, bias)
            tensors |= _named("decoder", decoder)
        return tensors


def _named(name: str, pair: tuple[Real, Real]) -> dict[str, Real]:
    return {name: pair[0], f"{name}.bias": pair[1]}


def centred(rows: Real) -> Real:
    """Rows less their mean."""
    return np.asarray(rows - rows.mean(axis=-1, keepdims=True), np.float64)


def encode_all(tensors: dict[str, Real], numbers: Numbers) -> dict[str, Words]:
    """Ring words of every tensor of the layout. Takes the tensors out, so that a model is not in memory twice."""
    return {slot.name: encode_slot(tensors.pop(slot.name), slot) for slot in layout(numbers)}


def encode_slot(tensor: Real, slot: Slot) -> Words:
    """Ring words of one tensor. Raises RangeTooSmall if its values do not fit."""
    try:
        return encode(tensor, slot.ring, slot.frac_bits)
    except RangeError as error:
        raise RangeTooSmall(f"weight {slot.name!r}: {error}") from None
