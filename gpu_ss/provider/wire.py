"""Lists of correlations as JSON, validated on the way in: what rank 1 asks a dealer for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from functools import cache
from typing import Any

from pydantic import TypeAdapter, ValidationError

import gpu_ss.provider.specs.arithmetic
import gpu_ss.provider.specs.bits
import gpu_ss.provider.specs.counts
import gpu_ss.provider.specs.curve
import gpu_ss.provider.specs.extended
import gpu_ss.provider.specs.fields
import gpu_ss.provider.specs.inverse
import gpu_ss.provider.specs.tables
import gpu_ss.provider.specs.transfers  # noqa: F401 - these modules fill the registry
from gpu_ss.errors import CorrelationError
from gpu_ss.provider.correlation import Correlation

MAX_SPECS = 1 << 20


def encode_specs(first: int, specs: Sequence[Correlation]) -> bytes:
    """The request for correlations `first`, `first` + 1, ..."""
    rows = [[type(spec).__name__, asdict(spec)] for spec in specs]
    return json.dumps({"first": first, "specs": rows}, separators=(",", ":")).encode()


def decode_specs(data: bytes) -> tuple[int, list[Correlation]]:
    """The request in `data`. Raises CorrelationError for anything that is not one."""
    try:
        request = json.loads(data)
        first, rows = request["first"], request["specs"]
        if not isinstance(first, int) or first < 0 or len(rows) > MAX_SPECS:
            raise ValueError("out of bounds")
        return first, [_spec(name, values) for name, values in rows]
    except (ValueError, KeyError, TypeError, ValidationError, RecursionError) as error:
        raise CorrelationError(
            f"the request for correlations is malformed ({type(error).__name__}); run the same version everywhere"
        ) from None


def _spec(name: str, values: dict[str, Any]) -> Correlation:
    kind = Correlation.registry.get(name)
    if kind is None:
        raise ValueError("unknown correlation")
    spec: Correlation = _adapter(kind).validate_python(values)
    return spec


@cache
def _adapter(kind: type[Correlation]) -> TypeAdapter[Any]:
    return TypeAdapter(kind)
