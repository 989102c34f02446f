"""Calibrated widths: bounds of attention's scores that were measured on texts, with a margin, in a small JSON file.

What is measured is the squared norm of each head's queries and keys, layer by layer: their product bounds the
scores, and it is cheap to check in every query, because Q and K are opened under masks anyway. Other bounds stay
proven: to check them would cost more than narrower rings save (docs/architecture.md has the figures).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from transformer.architecture import USUAL, Architecture, Numbers, Ranges
from transformer.errors import InputError
from transformer.parameters import Real
from transformer.ranges import ROUNDING, head_norms
from transformer.terms import ProfileName, Terms

LEAST = 2  # exponent of a squared norm


class Measured(BaseModel):
    """Exponents of powers of two above the squared norms of a layer's queries and keys, of every head."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: int = Field(ge=LEAST, le=36)
    key: int = Field(ge=LEAST, le=36)


class Widths(BaseModel):
    """A calibration file. model: digest of the folded weights. texts: how many it was measured on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Literal[1] = 1
    model: str = Field(pattern="^[0-9a-f]{64}$")
    profile: ProfileName
    texts: int = Field(ge=1)
    margin_bits: int = Field(ge=0, le=16)
    layers: tuple[Measured, ...]

    def write(self, file: Path) -> None:
        """As JSON. Raises InputError."""
        try:
            file.write_text(self.model_dump_json(indent=1) + "\n", encoding="utf-8")
        except OSError as error:
            raise InputError(f"{file} cannot be written ({type(error).__name__})") from None


def read_widths(file: Path) -> Widths:
    """A calibration file. Raises InputError."""
    try:
        return Widths.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InputError(f"{file} cannot be read ({type(error).__name__})") from None
    except ValidationError as error:
        raise InputError(
            f"{file} is not a file of `fastlmpi calibrate` ({error.error_count()} errors)"
        ) from None


def tensors_digest(tensors: Mapping[str, Real]) -> str:
    """SHA-256 of folded weights: says which model was measured."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(tensors[name], np.float64).tobytes())
    return digest.hexdigest()


def check_terms(terms: Terms) -> None:
    """Raises InputError where calibrated widths are not to be had."""
    if terms.trust != "dealer" or terms.products != "dealer":
        raise InputError(
            "calibrated widths need trust dealer: for two parties alone, checking them costs more than they save"
        )
    if terms.privacy is not None:
        raise InputError(
            "noise on the result needs proven widths: whether a query keeps calibrated ones is told without noise"
        )


def calibrated(
    ranges: Ranges, widths: Widths, tensors: Mapping[str, Real], arch: Architecture, terms: Terms
) -> Ranges:
    """Proven ranges with the scores of `widths`, wherever those are narrower. Raises InputError."""
    check_terms(terms)
    if widths.model != tensors_digest(tensors) or len(widths.layers) != arch.layers:
        raise InputError(
            "the widths are those of another model, or of another task; run `fastlmpi calibrate`"
        )
    if widths.profile != terms.profile:
        raise InputError(f"the widths were calibrated with profile {widths.profile}, not {terms.profile}")
    found = with_scores(ranges, [(layer.query, layer.key) for layer in widths.layers])
    for i, bounds in enumerate(found.layers):
        if bounds.query is not None:
            _check_room(Numbers(arch=arch, ranges=found).at(i), tensors)
    return found


def with_scores(ranges: Ranges, measured: Sequence[Sequence[int]]) -> Ranges:
    """The ranges with scores bounded by those exponents of each layer's queries and keys, where that is less."""
    layers = []
    for proven, (query, key) in zip(ranges.layers, measured, strict=True):
        score = max(USUAL.score, -(-(query + key) // 2))
        narrower = {"score": score, "query": query, "key": key}
        layers.append(proven.model_copy(update=narrower) if score < proven.score else proven)
    return ranges.model_copy(update={"layers": tuple(layers)})


def _check_room(numbers: Numbers, tensors: Mapping[str, Real]) -> None:
    """What is checked is proven to fit: squared norms below 2^38, entries in the ring that they are opened in.

    Raises InputError.
    """
    layer = str(numbers.layer)
    most = ROUNDING * max(norm for norms in head_norms(tensors, numbers.arch, layer) for norm in norms)
    if most >= 2.0 ** min(19, numbers.score_bits - 2 - numbers.ACTIVATION):
        raise InputError(
            f"layer {layer}: queries or keys may be too large to be checked; serve without --widths"
        )
