"""What the two measuring processes have in common: a party, and the way to run a job on it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from bench.job import Job
from bench.parts import BookingParty
from bench.rows import forget_peak, peak_memory
from gpu_ss.backend.native import give_back
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
        self.party = BookingParty(party)
        self._terms = terms
        self._peak = 0

    def set_up(self, job: Job) -> float:
        """Run the job's set-up; its seconds, from when both sides have made their plans."""
        job.terms = self._terms
        plan = job.plan_setup(self.party.rank).moved(self.party.provider.taken)
        job.plan(self.party.rank)
        give_back()  # what earlier rows have left free; runs of one row keep it for each other, as queries do
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
        """One run, offline and online apart, both begun together; chunk by chunk, with the last one's result."""
        forget_peak()
        cpu = time.process_time()
        offline = online = 0.0
        result: Any = None
        self.party.booked()
        for _ in range(job.chunks):
            result = None  # free before the next one is made
            prepared, ran, result = self._one_chunk(job)
            offline, online = offline + prepared, online + ran
        self._peak = max(self._peak, peak_memory())
        return Times(offline, online, time.process_time() - cpu, self._peak), result

    def _one_chunk(self, job: Job) -> tuple[float, float, Any]:
        """Offline seconds, online seconds, result."""
        channel = self.party.channel
        plan = job.plan(self.party.rank).moved(self.party.provider.taken)
        self._meet()
        start = time.perf_counter()
        with channel.traffic.phase("offline"):
            job.prepare(self.party, plan)
            self.party.backend.synchronize()
            self._meet()
        middle = time.perf_counter()
        with channel.traffic.phase("online"):
            result = job.run(self.party)
            self.party.backend.synchronize()
        return middle - start, time.perf_counter() - middle, result

    def _meet(self) -> None:
        with self.party.channel.traffic.phase("meeting"):
            self.party.channel.exchange("meet", [b"here"], [4])
