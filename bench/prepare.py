"""Correlations of whole queries, made ahead and written as a store has them: the row `prepare`, for its memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from tempfile import TemporaryFile
from typing import Any

from bench.model import ModelJob
from bench.rows import Row
from gpu_ss.party import Party
from gpu_ss.plan import Plan
from gpu_ss.prg import fresh_key
from gpu_ss.provider.ahead import write_sets
from gpu_ss.provider.reel import Words, from_zero, stored_bytes
from net.frame import as_bytes
from transformer.terms import ProfileName


class PrepareJob(ModelJob):
    """The correlations of one query for each run, as `fastlmpi prepare` makes them; nothing is computed with them.

    The first of every `together` runs makes what so many queries need alike. All write over the same scratch file:
    what is measured needs the room of one query on the disk, however many are prepared.
    """

    bench = "prepare"
    name = "prepare"
    ahead = True

    def __init__(
        self,
        folder: str,
        seq: int,
        batch: int,
        profile: ProfileName = "precise",
        together: int = 1,
        chunks: int = 1,
    ) -> None:
        super().__init__(folder, seq, batch, profile, chunks)
        self._together = together
        self._sets: Iterator[int] = iter(())

    def without_weights(self) -> PrepareJob:
        """The same at the client, which has none."""
        self._model = replace(self._model, words={})
        return self

    def describe(self) -> dict[str, Any]:
        return super().describe() | {"together": self._together}

    def set_up(self, party: Party) -> None:
        super().set_up(party)
        plan = super().plan(party.rank)
        self._specs = from_zero(plan.specs, plan.first)
        self._stored = stored_bytes(party.rank, self._specs)
        self._scratch = TemporaryFile()  # noqa: SIM115 - until the job ends

    def plan(self, rank: int) -> Plan:
        """Nothing is taken."""
        return Plan(rank)

    def prepare(self, party: Party, plan: Plan) -> None:
        if next(self._sets, None) is None:
            self._sets = self._begin(party)
            next(self._sets)

    def _begin(self, party: Party) -> Iterator[int]:
        def put(place: int, words: Words) -> None:
            os.pwrite(self._scratch.fileno(), as_bytes(words), 8 * place)

        seeds = [fresh_key() for _ in range(self._together)]
        yield from write_sets(party, seeds, self._specs, [put] * self._together)

    def run(self, party: Party) -> None:
        return

    def errors(self, party: Party, result: Any) -> None:
        return None

    def decorate(self, row: Row) -> Row:
        extra = {"stored_bytes_rank0": self._stored, "together": self._together}
        return replace(super().decorate(row), extra=row.extra | extra)
