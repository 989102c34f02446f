"""Correlations of whole queries, made ahead and put into a store: the row `prepare`. Memory is the point of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.model import CLIENT, ModelJob
from bench.rows import Row
from gpu_ss.party import Party
from gpu_ss.plan import Plan
from gpu_ss.provider.ahead import make_ahead
from gpu_ss.provider.reel import Head, Purpose, from_zero, plan_digest, stored_bytes
from gpu_ss.provider.store import Shelf, Store

CONTEXT = bytes(32)


class PrepareJob(ModelJob):
    """One query's correlations for each run, as `fastlmpi prepare` makes them; nothing is computed with them.

    Each party has a store of its own in a temporary folder, from which the last query's correlations are removed
    before the next one's are made.
    """

    bench = "prepare"
    name = "prepare"
    ahead = True

    _shelf: Shelf

    def set_up(self, party: Party) -> None:
        super().set_up(party)
        if party.rank == CLIENT:
            self._model = replace(self._model, words={})  # a client has none
        plan = super().plan(party.rank)
        self._specs = from_zero(plan.specs, plan.first)
        self._stored = stored_bytes(party.rank, self._specs)
        self._scratch = TemporaryDirectory(prefix="fastlmpi-bench-store-")
        folder = Path(self._scratch.name)
        folder.chmod(0o700)
        self._shelf = Store(folder, 2 * self._stored).shelf(party.channel.peer)
        self._heads: list[Head] = []

    def plan(self, rank: int) -> Plan:
        """Nothing is taken."""
        return Plan(rank)

    def prepare(self, party: Party, plan: Plan) -> None:
        self._shelf.discard([head.id for head in self._heads])
        purpose = Purpose(plan_digest(self._specs), CONTEXT)
        made = make_ahead(party, self._shelf, purpose, self._specs)
        self._heads = [made] if made else []

    def run(self, party: Party) -> None:
        return

    def errors(self, party: Party, result: Any) -> None:
        return None

    def decorate(self, row: Row) -> Row:
        return replace(super().decorate(row), extra=row.extra | {"stored_bytes_rank0": self._stored})
