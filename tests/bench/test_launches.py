"""How often a client asks its GPU for something in one layer: with few texts, that is what takes the time."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import pytest

from bench.layer import LayerJob
from gpu_ss import simulate as simulation
from gpu_ss.backend import get_backend
from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.party import Party
from gpu_ss.prg import fresh_key
from gpu_ss.provider.dealer import ClientProvider
from gpu_ss.provider.insecure import InsecureProvider
from gpu_ss.provider.made import SeedProvider
from net import Channel
from tests.support.backends import open_backend
from tests.support.launches import Launches, counted
from transformer.terms import Terms

SIZES = 64, 2, 256, 16  # hidden, heads, inner, tokens: launches hardly depend on them
KERNELS, OPERATIONS = 130, 260  # what it takes, and a few more


ALONE_SIZES = 64, 2, 128, 8
#: Kernels and operations in both phases, offline and online, of two parties alone.
ALONE_OFFLINE, ALONE_ONLINE = 6000, 1300


def _provider(rank: int, backend: Any, *keys: bytes) -> Any:
    """The client's own; the server's asks no dealer here."""
    return InsecureProvider(rank, backend, *keys) if rank else ClientProvider(backend, keys[0])


def _layer(party: Party, launches: Launches) -> None:
    job = LayerJob(*SIZES, 1)
    party.provider.prepare(job.plan_setup(party.rank).specs)
    job.set_up(party)
    for again in range(2):  # what is made once, such as tables, is there the second time
        party.provider.prepare(job.plan(party.rank).moved(party.provider.taken).specs)
        if party.rank == 0 and again:
            with launches.watch():
                job.run(party)
        else:
            job.run(party)


def test_a_layer_is_few_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulation, "InsecureProvider", _provider)
    client: Any = open_backend("cuda-fake")
    monkeypatch.setattr(client.products, "ways", lambda task, limbs: iter(["plain"]))
    with counted() as launches:
        simulation.simulate(
            lambda party: _layer(party, launches), backends=(client, ReferenceBackend()), timeout_s=120
        )
    assert 0 < launches.kernels.total() <= KERNELS, launches.kernels.most_common(12)
    assert 0 < launches.operations.total() <= OPERATIONS, launches.operations.most_common(12)


TERMS = Terms(trust="two-party", products="he")


def _alone(rank: int, backend: Any, channel: Channel, _: Any) -> Any:
    assert TERMS.extension is not None
    return TERMS.extension(rank, backend, channel, SeedProvider(rank, backend, fresh_key()))


def _layer_alone(party: Party, offline: Launches, online: Launches) -> None:
    job = LayerJob(*ALONE_SIZES, 1)
    job.terms = TERMS
    party.provider.prepare(job.plan_setup(party.rank).specs)
    job.set_up(party)
    for again in range(2):
        specs = job.plan(party.rank).moved(party.provider.taken).specs
        watched = party.rank == 0 and again
        with offline.watch() if watched else nullcontext():
            party.provider.prepare(specs)
        with online.watch() if watched else nullcontext():
            job.run(party)


def test_a_layer_without_a_dealer_is_few_launches(monkeypatch: pytest.MonkeyPatch) -> None:
    client: Any = open_backend("cuda-fake")
    monkeypatch.setattr(client.products, "ways", lambda task, limbs: iter(["plain"]))
    with counted() as offline, counted() as online:
        simulation.simulate(
            lambda party: _layer_alone(party, offline, online),
            backends=(client, get_backend("cpu")),
            timeout_s=300,
            extend=_alone,
        )
    for launches, most in ((offline, ALONE_OFFLINE), (online, ALONE_ONLINE)):
        asked = launches.kernels + launches.operations
        assert 0 < asked.total() <= most, (asked.total(), asked.most_common(12))
