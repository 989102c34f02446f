"""The same rows on several backends, and how many times faster each is than the first, online and in all."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from bench.rows import Row
from gpu_ss.backend import BackendError, get_backend


def compared(backends: Sequence[str], rows_on: Callable[[str], Iterable[Row]]) -> Iterator[Row]:
    """The rows of the first backend, then the others' with `speedup` over it; one that is missing is left out."""
    first, *others = backends
    baseline: dict[tuple[object, ...], Row] = {}
    for row in rows_on(first):
        baseline[_workload(row)] = row
        yield row
    for backend in others:
        reason = missing(backend)
        if reason is not None:
            sys.stderr.write(f"no rows for {backend}, only for {first}: {reason}\n")
            continue
        for row in rows_on(backend):
            first_row = baseline.get(_workload(row))  # none where the first has too little memory for it
            yield row if first_row is None else with_speedup(row, first_row)


def _workload(row: Row) -> tuple[object, ...]:
    return row.name, *row.shape, row.network


def with_speedup(row: Row, baseline: Row) -> Row:
    """The row with `speedup`, the baseline's online time over its own, and `total_speedup`, of both phases."""
    online, total = _ratio(baseline.online_s, row.online_s), _ratio(_total(baseline), _total(row))
    return replace(row, extra=row.extra | {"speedup": online, "total_speedup": total})


def _total(row: Row) -> float | None:
    """Null for rows without an offline phase."""
    return None if row.offline_s is None or row.online_s is None else row.offline_s + row.online_s


def _ratio(first: float | None, second: float | None) -> float | None:
    return first / second if first and second else None


def missing(backend: str) -> str | None:
    """Why a backend cannot be used here."""
    try:
        get_backend(backend)
    except BackendError as error:
        return str(error)
    return None
