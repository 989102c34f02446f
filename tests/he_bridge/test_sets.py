"""Several sets of correlations at once: masks of all sets that meet the same weights share a product."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fastlmpi[he]'")

from gpu_ss.backend.base import Backend
from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.party import Party
from gpu_ss.prg import fresh_key
from gpu_ss.provider.base import Provider
from gpu_ss.provider.correlation import Correlation, Mask, expand_share
from gpu_ss.provider.made import SeedProvider
from gpu_ss.provider.specs.arithmetic import Product, WeightProduct
from gpu_ss.simulate import simulate
from he_bridge import provider as provider_module
from he_bridge.provider import with_products
from net import Channel
from tests.he_bridge.lattice import Words, random_weights

ROWS, K, N, BITS, SETS = 3, 20, 9, 52, 4
ONES = np.uint64((1 << BITS) - 1)
WEIGHTS = random_weights(K, N, largest=2**15 - 1)
SPECS: list[Correlation] = [
    Mask((ROWS, K), BITS, 0),
    WeightProduct(0, 0, ROWS, K, N, 0, BITS),
    Mask((5,), BITS),
    Product(2, 2, 5, BITS),
]


def alone(rank: int, backend: Backend, channel: Channel, inner: Provider) -> Provider:
    """Masks are the parties' own."""
    return with_products(rank, backend, channel, SeedProvider(rank, backend, fresh_key()))


def made(sets: int) -> tuple[list[list[list[Words]]], int]:
    """Each party's masks and correlations of every set in order, and the bytes of all products."""
    order: list[int] = []

    def run(party: Party) -> list[list[Words]]:
        held = WEIGHTS.astype(np.int64).view(np.uint64) & ONES if party.rank else None
        party.provider.hold(held, WEIGHTS.shape, BITS)
        seeds = [fresh_key() for _ in range(sets)]
        found: list[list[Any]] = [
            [expand_share(party.rank, spec, n, ReferenceBackend(), seed)[0] if spec.is_mask else None
             for n, spec in enumerate(SPECS)]
            for seed in seeds
        ]  # fmt: skip

        def keep(k: int, number: int, arrays: Any) -> None:
            assert found[k][number] is None
            found[k][number] = party.backend.to_host(arrays[0])
            order.append(number)

        assert list(party.provider.record(seeds, SPECS, keep)) == list(range(sets))
        return found

    simulation = simulate(run, extend=alone, timeout_s=60)
    if sets > 1:
        assert order[: 2 * sets].count(1) >= 2 * sets - 2, "products with weights come first"
    return list(simulation.results), sum(report.sent.bytes for report in simulation.traffic)


def check(parties: list[list[list[Words]]]) -> None:
    for client, server in zip(*parties, strict=True):
        mask = client[0]
        assert np.array_equal(
            (client[1] + server[1]) & ONES, (mask @ WEIGHTS.astype(np.int64).view(np.uint64)) & ONES
        )
        x = client[2] + server[2]
        assert np.array_equal((client[3] + server[3]) & ONES, (x * x) & ONES)


def test_sets_share_products_with_weights() -> None:
    single, one = made(1)
    together, several = made(SETS)
    check(single)
    check(together)
    assert len({client[0].tobytes() for client in together[0]}) == SETS, "each set has masks of its own"
    assert several < SETS * one


@pytest.mark.parametrize("words", [1, 2 * ROWS * (K + N), 3 * ROWS * (K + N)])
def test_calls_are_cut_to_what_memory_bears(words: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_module, "_CALL_WORDS", words)
    check(made(SETS)[0])
