"""What the parties of other systems have in common: their inputs, the measured runs, what they tell `run`.

Needs NumPy alone: it runs in the peers' own environments.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


class Job:
    """One workload at one party: arrays by name, and the place for results."""

    def __init__(self, folder: str, rank: int, repeats: int) -> None:
        self.rank = rank
        self._folder = Path(folder)
        self._repeats = repeats
        with np.load(self._folder / "inputs.npz") as inputs:
            self.arrays = {name: inputs[name] for name in inputs.files}
        self._said: dict[str, Any] = {"online_s": [], "cpu_s": [], "bytes": [], "rounds": None}

    def measure(
        self,
        run: Callable[[], Any],
        meet: Callable[[], None],
        counters: Callable[[], dict[str, int]] = dict,
    ) -> Any:
        """Counted runs after one warm-up; the last result. `meet` waits for the other party.

        counters: what the system itself has counted so far, by name.
        """
        result = None
        for index in range(self._repeats + 1):
            meet()
            sent, before = loopback_bytes(), counters()
            start, cpu = time.perf_counter(), time.process_time()
            result = run()
            seconds, spent = time.perf_counter() - start, time.process_time() - cpu
            self._said |= {name: total - before[name] for name, total in counters().items()}
            meet()
            if index:
                self._said["online_s"].append(seconds)
                self._said["cpu_s"].append(spent)
                self._said["bytes"].append(loopback_bytes() - sent)
        return result

    def tell(self, result: Any | None, **more: Any) -> None:
        """Leave what was measured, and at rank 0 the revealed result."""
        self._said |= more | {"peak_memory_bytes": peak_memory()}
        if result is not None:
            np.save(self._folder / "result.npy", np.asarray(result))
        (self._folder / f"rank{self.rank}.json").write_text(json.dumps(self._said), encoding="utf-8")


def loopback_bytes() -> int:
    """Bytes that this network namespace has sent over its loopback, headers included."""
    for line in Path("/proc/self/net/dev").read_text().splitlines():
        name, _, counters = line.partition(":")
        if name.strip() == "lo":
            return int(counters.split()[8])
    return 0


def peak_memory() -> int:
    """The most bytes of main memory this process has had."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
