"""How often a client asks its GPU for something in one layer: with few texts, that is what takes the time."""

from __future__ import annotations

from typing import Any

import pytest

from bench.layer import LayerJob
from gpu_ss import simulate as simulation
from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.party import Party
from gpu_ss.provider.dealer import ClientProvider
from gpu_ss.provider.insecure import InsecureProvider
from tests.support.backends import open_backend
from tests.support.launches import Launches, counted

SIZES = 64, 2, 256, 16  # hidden, heads, inner, tokens: launches hardly depend on them
KERNELS, OPERATIONS = 130, 260  # what it takes, and a few more


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
