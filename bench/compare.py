"""The same rows on several backends, and how many times faster each is than the first."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from bench.rows import Row
from gpu_ss.backend import BackendError, get_backend


def compared(backends: Sequence[str], rows_on: Callable[[str], Iterable[Row]]) -> Iterator[Row]:
    """The rows of the first backend, then the others' with `speedup` over it; one that is missing is left out."""
    first, *others = backends
    seconds: dict[str, float | None] = {}
    for row in rows_on(first):
        seconds[row.name] = row.online_s
        yield row
    for backend in others:
        reason = missing(backend)
        if reason is not None:
            sys.stderr.write(f"no rows for {backend}, only for {first}: {reason}\n")
            continue
        for row in rows_on(backend):
            yield with_speedup(row, seconds[row.name])


def with_speedup(row: Row, baseline_s: float | None) -> Row:
    """The row with `speedup`: the baseline's online time over its own."""
    speedup = baseline_s / row.online_s if baseline_s and row.online_s else None
    return replace(row, extra=row.extra | {"speedup": speedup})


def missing(backend: str) -> str | None:
    """Why a backend cannot be used here."""
    try:
        get_backend(backend)
    except BackendError as error:
        return str(error)
    return None
