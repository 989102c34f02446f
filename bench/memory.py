"""How much of a protocol's workload is measured at a time, so that it fits in memory.

The estimate is rough and on the safe side: what measured rows needed beside their plans' bytes.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from math import ceil, prod
from pathlib import Path

from bench.job import BatchJob
from bench.protocols import ProtocolJob
from bench.setting import Setting
from gpu_ss.backend import get_backend

PROBED_ROWS = 512
BYTES_PER_INPUT = 160  # of each input element: in float and in words, its mask, what results from it
BYTES_PER_PLANNED = 3  # of each byte that the plan sends or corrects
BYTES_PER_PLANNED_LAYER = 2  # the same of layers and models, whose arrays come and go within a query
ALONE = 2  # times as much where parties make the correlations themselves
SHARES = 4  # two parties, a dealer, and room
PARTIES = 2  # that hold a model


class TooLarge(ValueError):
    """Not even one row of a workload fits in memory."""


def chunks(name: str, shape: Sequence[int], setting: Setting, most: int | None) -> int:
    """In how many equal chunks to run a workload. `most`: elements of one, instead of what memory has room for.

    Raises TooLarge.
    """
    rows, per_row = shape[0], prod(shape[1:])
    if most is not None:
        return _even(rows, ceil(rows / max(1, most // per_row)))
    available = min(available_bytes(backend) for backend in setting.backends) // SHARES
    fitting = int(available / needed_per_row(name, shape, setting))
    if not fitting:
        raise TooLarge(
            f"{name}: one row of {per_row} elements needs some {needed_per_row(name, shape, setting) / 1e9:.1f} GB "
            f"of memory, and there are {available / 1e9:.1f} GB for a party; use fewer --elements"
        )
    return _even(rows, ceil(rows / fitting))


def cut_to_fit(job: BatchJob, setting: Setting, most: int | None) -> None:
    """Let a job run its batch in equal chunks that memory has room for, or of at most so many texts (`most`).

    One text at a time is run whatever memory there is. What is needed goes to standard error.
    """
    if most is not None:
        job.cut(_even(job.batch, ceil(job.batch / most)))
        return
    job.terms = setting.terms
    plan = job.plan(0)
    planned = (
        BYTES_PER_PLANNED_LAYER * (plan.offline_bytes + sum(plan.sent)) * (ALONE if setting.alone else 1)
    )
    free = min(available_bytes(backend) for backend in setting.backends) - PARTIES * job.held_bytes
    fitting = max(1, int(free / SHARES / (planned / job.batch)))
    if job.batch > fitting:
        whole, texts = (job.held_bytes + planned) / 1e9, job.batch
        job.cut(_even(job.batch, ceil(job.batch / fitting)))
        sys.stderr.write(
            f"{job.name}: {texts} texts at once need some {whole:.1f} GB at each party, more than there is: they "
            f"run as {job.chunks} batches of {job.texts}, one after the other\n"
        )


def _even(rows: int, least: int) -> int:
    """A few chunks more, if the rows can then be divided evenly."""
    return next((count for count in range(least, 2 * least) if rows % count == 0), least)


def needed_per_row(name: str, shape: Sequence[int], setting: Setting) -> float:
    """Bytes of memory that a party needs for one index of the first dimension."""
    rows = min(shape[0], PROBED_ROWS)
    probe = ProtocolJob(name, (rows, *shape[1:]))
    probe.terms = setting.terms
    plan = probe.plan(0)
    planned = BYTES_PER_PLANNED * (plan.offline_bytes + sum(plan.sent))
    return (planned + BYTES_PER_INPUT * probe.input_size) * (ALONE if setting.alone else 1) / rows


def available_bytes(backend: str) -> int:
    """Memory that is free for a backend's arrays and their copies on the host."""
    host = _host_bytes()
    xp = get_backend(backend).xp
    if hasattr(xp, "cuda"):
        free, _ = xp.cuda.runtime.memGetInfo()
        return min(host, int(free))
    return host


def _host_bytes() -> int:
    """What Linux calls available; 8 GB where it cannot be known."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return 8 * 10**9
