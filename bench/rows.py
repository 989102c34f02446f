"""One result: a JSON line with the keys others rely on."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from resource import RUSAGE_SELF, getrusage
from typing import Any

from gpu_ss.backend import BackendError, get_backend


@dataclass(frozen=True)
class Row:
    """Times are wall seconds of the slower party; bytes are rank 0's counters; null where not applicable."""

    bench: str
    name: str
    shape: Sequence[int]
    backend: str | None = None
    trust: str | None = None
    profile: str | None = None
    ring_bits: int | None = None
    frac_bits: int | None = None
    setup_s: float | None = None
    offline_s: float | None = None
    online_s: float | None = None
    online_s_min: float | None = None
    online_s_max: float | None = None
    repeats: int | None = None
    online_bytes_sent: int | None = None
    online_bytes_received: int | None = None
    offline_bytes: int | None = None
    dealer_bytes: int | None = None
    rounds: int | None = None
    max_abs_error: float | None = None
    mean_abs_error: float | None = None
    machine: str | None = None
    device: str | None = None
    network: str | None = None
    transport: str | None = None
    commit: str | None = None
    extra: dict[str, Any] = field(default_factory=dict)

    def line(self) -> str:
        """The JSON line; `extra` keys stand beside the others."""
        values = asdict(self)
        extra = values.pop("extra")
        return json.dumps(values | extra)


@cache
def machine() -> str:
    """Processor, cores and system of this machine."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if "model name" in line
        ]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, {platform.system()}"


def forget_peak() -> None:
    """Let `peak_memory` begin anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def peak_memory() -> int:
    """The most bytes of main memory this process has had since `forget_peak`, or at all where that did nothing."""
    try:
        status = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        status = []
    kib = [int(line.split()[1]) for line in status if line.startswith("VmHWM:")]
    return 1024 * (kib[0] if kib else getrusage(RUSAGE_SELF).ru_maxrss)


@cache
def device(backend: str) -> str:
    """What the backend computes on."""
    try:
        details = get_backend(backend).details
    except BackendError as error:
        return f"unavailable: {error}"
    return ", ".join(f"{k} {v}" for k, v in details.items() if k != "library")


@cache
def commit() -> str | None:
    """The checked-out commit, marked when tracked files other than results have changed."""
    root = Path(__file__).parent.parent
    results = [":!bench/results", ":!docs/benchmarks.md"]
    try:
        head = _git(root, "rev-parse", "--short=12", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *results)
        return head + ("+changes" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(root: Path, *args: str) -> str:
    return subprocess.run(["git", *args], cwd=root, check=True, capture_output=True, text=True).stdout.strip()
