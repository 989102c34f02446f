"""What the two measuring processes have in common: a party, and the way to run a job on it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from bench.job import Job
from bench.rows import forget_peak, peak_memory
from gpu_ss.party import Party
from transformer.terms import Terms


@dataclass(frozen=True)
class Times:
    """Seconds of one run at one party: wall, and of CPU in both phases; and its memory so far, set-up included."""

    offline: float
    online: float
    cpu: float
    peak_memory: int


class Side:
    """One party's end of a bench session."""

    def __init__(self, party: Party, terms: Terms) -> None:
        self.party = party
        self._terms = terms
        self._peak = 0

    def set_up(self, job: Job) -> float:
        """Run the job's set-up; its seconds, from when both sides have made their plans."""
        job.terms = self._terms
        plan = job.plan_setup(self.party.rank).moved(self.party.provider.taken)
        job.plan(self.party.rank)
        forget_peak()
        self._meet()
        start = time.perf_counter()
        with self.party.channel.traffic.phase("setup"):
            self.party.provider.prepare(plan.specs)
            job.set_up(self.party)
            self._meet()
        seconds = time.perf_counter() - start
        self._peak = peak_memory()
        return seconds

    def run(self, job: Job) -> tuple[Times, Any]:
        """One run, offline and online apart, both begun together."""
        channel = self.party.channel
        plan = job.plan(self.party.rank).moved(self.party.provider.taken)
        forget_peak()
        self._meet()
        start, cpu = time.perf_counter(), time.process_time()
        with channel.traffic.phase("offline"):
            job.prepare(self.party, plan)
            self.party.backend.synchronize()
            self._meet()
        middle = time.perf_counter()
        with channel.traffic.phase("online"):
            result = job.run(self.party)
            self.party.backend.synchronize()
        end, spent = time.perf_counter(), time.process_time() - cpu
        self._peak = max(self._peak, peak_memory())
        return Times(middle - start, end - middle, spent, self._peak), result

    def _meet(self) -> None:
        with self.party.channel.traffic.phase("meeting"):
            self.party.channel.exchange("meet", [b"here"], [4])
