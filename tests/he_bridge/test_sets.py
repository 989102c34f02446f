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

ROWS, K, N, SETS = 3, 20, 9, 4
WIDE, NARROW = 52, 24  # rings whose masks are kept in 64 and in 32 bits
WEIGHTS = random_weights(K, N, largest=2**15 - 1)


def specs(bits: int) -> list[Correlation]:
    """Of one set."""
    weight = WeightProduct(0, 0, ROWS, K, N, 0, bits)
    return [Mask((ROWS, K), bits, 0), weight, Mask((5,), WIDE), Product(2, 2, 5, WIDE)]


def ones(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def alone(rank: int, backend: Backend, channel: Channel, inner: Provider) -> Provider:
    """Masks are the parties' own."""
    return with_products(rank, backend, channel, SeedProvider(rank, backend, fresh_key()))


def made(sets: int, bits: int = WIDE) -> tuple[list[list[list[Words]]], int]:
    """Each party's masks and correlations of every set in order, and the bytes of all products."""
    order: list[int] = []

    def run(party: Party) -> list[list[Words]]:
        held = WEIGHTS.astype(np.int64).view(np.uint64) & ones(bits) if party.rank else None
        party.provider.hold(held, WEIGHTS.shape, bits)
        seeds = [fresh_key() for _ in range(sets)]
        found: list[list[Any]] = [
            [expand_share(party.rank, spec, n, ReferenceBackend(), seed)[0] if spec.is_mask else None
             for n, spec in enumerate(specs(bits))]
            for seed in seeds
        ]  # fmt: skip

        def keep(k: int, number: int, arrays: Any) -> None:
            assert found[k][number] is None
            found[k][number] = party.backend.to_host(arrays[0])
            order.append(number)

        assert list(party.provider.record(seeds, specs(bits), keep)) == list(range(sets))
        return found

    simulation = simulate(run, extend=alone, timeout_s=60)
    if sets > 1:
        assert order[: 2 * sets].count(1) >= 2 * sets - 2, "products with weights come first"
    return list(simulation.results), sum(report.sent.bytes for report in simulation.traffic)


def check(parties: list[list[list[Words]]], bits: int = WIDE) -> None:
    weights = WEIGHTS.astype(np.int64).view(np.uint64)
    for client, server in zip(*parties, strict=True):
        mask = client[0]
        assert np.array_equal((client[1] + server[1]) & ones(bits), (mask @ weights) & ones(bits))
        x = client[2] + server[2]
        assert np.array_equal((client[3] + server[3]) & ones(WIDE), (x * x) & ones(WIDE))


def test_sets_share_products_with_weights() -> None:
    single, one = made(1)
    together, several = made(SETS)
    check(single)
    check(together)
    assert len({client[0].tobytes() for client in together[0]}) == SETS, "each set has masks of its own"
    assert several < SETS * one


@pytest.mark.parametrize("sets", [1, SETS])
def test_masks_of_small_rings_are_kept_in_words_of_32_bits(sets: int) -> None:
    check(made(sets, NARROW)[0], NARROW)


@pytest.mark.parametrize("size", [1, 16 * ROWS * (K + N), 24 * ROWS * (K + N)])
def test_calls_are_cut_to_what_memory_bears(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider_module, "_CALL_BYTES", size)
    check(made(SETS)[0])
