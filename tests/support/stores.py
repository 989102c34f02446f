"""Two parties that make correlations in one session and use them in another, with a store each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.economy import ALONE
from gpu_ss.party import Party
from gpu_ss.plan import Plan, make_plan
from gpu_ss.prg import fresh_key
from gpu_ss.provider.ahead import make_ahead, take_up
from gpu_ss.provider.base import Provider
from gpu_ss.provider.made import MadeProvider, SeedProvider
from gpu_ss.provider.ot.maker import OtMaker
from gpu_ss.provider.ot.pair import OtPair
from gpu_ss.provider.reel import Purpose, from_zero, plan_digest
from gpu_ss.provider.store import Shelf, Store
from gpu_ss.simulate import Simulation, simulate
from net import Channel
from tests.support.ot import DealtReceiver, DealtSender
from tests.support.runs import RUNS_BY_NAME, N

CONTEXT = b"c" * 32
X = np.random.default_rng(5).normal(0, 3, N)


def alone(rank: int, backend: Backend, channel: Channel, inner: Provider) -> Provider:
    """Nothing from a dealer; the OTs are made up, they have their own tests."""
    sender = DealtSender(backend, channel, 1 + rank)
    receiver = DealtReceiver(backend, channel, 2 - rank)
    maker = OtMaker(rank, backend, OtPair(rank, backend, channel, sender, receiver))
    return MadeProvider(backend, SeedProvider(rank, backend, fresh_key()), [maker], ALONE)


class Pair:
    """Two parties with a store each, that meet in session after session."""

    def __init__(self, folder: Path, limit: int = 1 << 30) -> None:
        self.stores = [Store(folder / str(rank), limit) for rank in (0, 1)]

    def shelf(self, party: Party) -> Shelf:
        return self.stores[party.rank].shelf("the other one")

    def session(self, run: Callable[[Party, Shelf], Any]) -> Simulation[Any]:
        return simulate(lambda party: run(party, self.shelf(party)), extend=alone)

    def files(self) -> list[list[str]]:
        return [sorted(p.name for p in store._root.glob("*/*")) for store in self.stores]


def plan_of(name: str) -> Plan:
    return make_plan(0, lambda party: RUNS_BY_NAME[name](party, X), economy=ALONE)


def purpose_of(plan: Plan, context: bytes = CONTEXT) -> Purpose:
    return Purpose(plan_digest(from_zero(plan.specs, plan.first)), context, "test")


def make(pair: Pair, name: str, count: int = 1, context: bytes = CONTEXT) -> None:
    plan = plan_of(name)
    for _ in range(count):
        pair.session(lambda p, shelf: make_ahead(p, shelf, purpose_of(plan, context), plan.specs))


def use(party: Party, shelf: Shelf, name: str) -> Any:
    """Run from the store, if it has something; (whether it had, the result)."""
    plan = plan_of(name).moved(party.provider.taken)
    stored = take_up(party, shelf, purpose_of(plan), plan.specs)
    if not stored:
        party.provider.prepare(plan.specs)
    return stored, RUNS_BY_NAME[name](party, X)
