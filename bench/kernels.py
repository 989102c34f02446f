"""The backend's kernels alone, in this process: how near each comes to what the memory gives.

Times are those of the operation as protocols call it, the allocation of its result included; short ones are
repeated back to back, so that a GPU's launches overlap as they do in a protocol.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np

from bench.field_cases import FIELDS
from bench.int8 import digit_products, int8_gops
from bench.kernel_cases import SHARES, Call, Operands, prepared
from bench.lattice_cases import LATTICE
from bench.lookup_cases import LOOKUPS
from bench.oblivious_cases import OBLIVIOUS
from bench.rows import Row, commit, device, machine
from bench.slot_cases import SLOT_CASES
from bench.transfer_cases import TRANSFERS
from gpu_ss.backend import Backend, get_backend

ELEMENTS = 1 << 20
CHECKED_ELEMENTS = 1000  # of the comparison with the NumPy definition
SAMPLE_S = 0.01  # a sample repeats the call for at least this long
MOST_CALLS = 1000
COPY_WORDS = 1 << 24  # 128 MiB: beyond any cache
SEED = 5
CASES = SHARES | LOOKUPS | LATTICE | SLOT_CASES | OBLIVIOUS | TRANSFERS | FIELDS


def names() -> list[str]:
    """All kernel rows."""
    return ["copy", *CASES]


def kernel_rows(backend_name: str, chosen: Sequence[str], elements: int, repeats: int) -> Iterator[Row]:
    """A row for each chosen kernel, beside a plain copy measured first."""
    backend = get_backend(backend_name)
    copy_times = _time_copy(backend, repeats)
    rates = Rates(16 * COPY_WORDS / statistics.median(copy_times), _int8(backend, chosen, repeats))
    for name in chosen:
        if name == "copy":
            yield _row(backend_name, name, [COPY_WORDS], copy_times, 16 * COPY_WORDS, rates)
        else:
            yield _measured(backend_name, backend, name, elements, repeats, rates)


def write_rows(backend_name: str, only: str, elements: str, repeats: str, out: str) -> None:
    """Append the rows of some kernels (separated by commas; none: all) to a file, each when it is measured."""
    with Path(out).open("a", encoding="utf-8") as file:
        for row in kernel_rows(
            backend_name, only.split(",") if only else names(), int(elements), int(repeats)
        ):
            file.write(row.line() + "\n")
            file.flush()


@dataclass(frozen=True)
class Rates:
    """What the device does at best: bytes per second of a copy, Gop/s of 8-bit products (null without them)."""

    copy_bytes_s: float
    int8_gops: float | None


def _int8(backend: Backend, chosen: Sequence[str], repeats: int) -> float | None:
    """The rate of 8-bit products, if a matrix product is among the chosen rows."""
    if not any("matmul" in name for name in chosen):
        return None
    try:
        return int8_gops(backend, lambda run: _samples(backend, run, repeats))
    except Exception as error:  # a yardstick that is missing is no reason to measure nothing
        sys.stderr.write(f"the rate of 8-bit products cannot be measured: {error}\n")
        return None


def _measured(
    backend_name: str, backend: Backend, name: str, elements: int, repeats: int, rates: Rates
) -> Row:
    call = CASES[name](Operands(SEED), elements)
    run = prepared(call, backend)
    result_bytes = int(run().nbytes)  # the first call compiles
    times = _samples(backend, run, repeats)
    moved = result_bytes + sum(x.nbytes for x in call.operands)
    return _row(backend_name, name, call.shape, times, moved, rates, call, _difference(name, backend))


def _row(
    backend_name: str,
    name: str,
    shape: Sequence[int],
    times: list[float],
    moved: int,
    rates: Rates,
    call: Call | None = None,
    error: float | None = None,
) -> Row:
    seconds = statistics.median(times)
    items = call.items if call else COPY_WORDS
    gops = 2 * call.products / seconds / 1e9 if call and call.products else None
    return Row(
        bench="kernels",
        name=name,
        shape=list(shape),
        backend=backend_name,
        ring_bits=call.bits if call else None,
        online_s=seconds,
        online_s_min=min(times),
        online_s_max=max(times),
        repeats=len(times),
        max_abs_error=error,
        mean_abs_error=error,
        machine=machine(),
        device=device(backend_name),
        commit=commit(),
        extra={
            "gb_per_s": moved / seconds / 1e9,
            "fraction_of_copy": moved / seconds / rates.copy_bytes_s,
            "items_per_s": items / seconds,
            "gops": gops,
            "int8_gops": rates.int8_gops if gops else None,
            "fraction_of_int8": (
                gops * digit_products(call.bits) / rates.int8_gops
                if gops and call and rates.int8_gops
                else None
            ),
            "transforms_per_s": call.transforms / seconds if call and call.transforms else None,
            "bytes_moved": moved,
        },
    )


def _samples(backend: Backend, run: Callable[[], Any], repeats: int) -> list[float]:
    """Seconds per call, `repeats` times."""
    once = _seconds(backend, run, 1)
    calls = min(MOST_CALLS, max(1, ceil(SAMPLE_S / max(once, 1e-7))))
    return [_seconds(backend, run, calls) / calls for _ in range(repeats)]


def _seconds(backend: Backend, run: Callable[[], Any], calls: int) -> float:
    backend.synchronize()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    backend.synchronize()
    return time.perf_counter() - start


def _difference(name: str, backend: Backend) -> float:
    """The largest difference from the NumPy definition, on fewer elements: 0, or the kernel is wrong."""
    call = CASES[name](Operands(SEED), CHECKED_ELEMENTS)
    found = backend.to_host(prepared(call, backend)())
    expected = prepared(call, get_backend("reference"))()
    if found.shape != expected.shape:
        raise ValueError(f"{name}: the {backend.name} backend gives {found.shape}, not {expected.shape}")
    if call.products:  # what stands above the ring's bits is not defined
        ring = found.dtype.type(2**call.bits - 1)
        found, expected = found & ring, expected & ring
    return float((np.maximum(found, expected) - np.minimum(found, expected)).max())


def _time_copy(backend: Backend, repeats: int) -> list[float]:
    """Seconds of copying COPY_WORDS words, on all cores of a CPU."""
    source, target = backend.zeros(COPY_WORDS), backend.zeros(COPY_WORDS)
    source += np.uint64(1)  # the pages are there now
    workers = 1 if backend.xp is not np else len(os.sched_getaffinity(0))
    bounds = [COPY_WORDS * k // workers for k in range(workers + 1)]
    parts = [slice(*pair) for pair in pairwise(bounds)]
    with ThreadPoolExecutor(workers) as pool:

        def run() -> None:
            if workers == 1:
                backend.xp.copyto(target, source)
            else:
                list(pool.map(lambda part: np.copyto(target[part], source[part]), parts))

        run()
        return _samples(backend, run, repeats)
