"""Providers that make correlations for another session, and take them up there."""

from __future__ import annotations

import weakref
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend.base import Backend
from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.errors import CorrelationError
from gpu_ss.party import Party
from gpu_ss.prg import fresh_key
from gpu_ss.provider.base import Provider
from gpu_ss.provider.correlation import Correlation, Mask, expand_share
from gpu_ss.provider.direct import DirectMatmul
from gpu_ss.provider.made import Batch, MadeProvider, Maker, SeedProvider
from gpu_ss.provider.ot.pair import OtPair
from gpu_ss.provider.reel import Head, Purpose, Reel, plan_digest, stored_words
from gpu_ss.provider.specs.arithmetic import Powers
from gpu_ss.simulate import simulate
from net import Channel
from tests.support.protocols import host
from tests.support.stores import CONTEXT, alone


class Multiplier(Maker):
    """Computes products directly; notes what it is asked to make ready."""

    kinds = (DirectMatmul,)

    def __init__(self) -> None:
        self.readied: list[int] = []

    def make(self, batch: Batch, progress: Any) -> list[tuple[int, tuple[()]]]:
        self.readied += batch.of(self.kinds)
        return [(number, ()) for number in batch.of(self.kinds)]

    @property
    def direct(self) -> bool:
        return True

    def compute(self, spec: Any, *operands: Any) -> tuple[Any, int]:
        return operands[0], 0


def test_products_computed_directly_are_made_ready_where_they_are_used() -> None:
    """Nothing of them is stored; their keys are exchanged in the session that uses the rest."""
    specs: list[Correlation] = [Mask((5,), 64), DirectMatmul(1, 2, 3, 4, 64), Mask((7,), 9)]
    maker = Multiplier()
    provider = MadeProvider(ReferenceBackend(), SeedProvider(0, ReferenceBackend(), fresh_key()), [maker])
    kept: list[int] = []
    list(provider.record([bytes(32)], specs, lambda k, number, arrays: kept.append(number)))
    assert maker.readied == kept == []
    provider.take(Mask((1,), 64))
    head = Head(bytes(16), 0, Purpose(plan_digest(specs), CONTEXT), 3, stored_words(0, specs))
    seed = fresh_key()
    provider.adopt(Reel(head, seed, np.empty(0, np.uint64)), specs)
    assert maker.readied == [2]
    first = provider.take(specs[0])
    assert provider.compute(specs[1], "operand") == ("operand", 0)  # type: ignore[arg-type]
    last = provider.take(specs[2])
    for place, found in ((0, first), (2, last)):
        (wanted,) = expand_share(0, specs[place], place, ReferenceBackend(), seed)
        assert np.array_equal(found.only, wanted)
    after = provider.take(Mask((5,), 64))
    assert not np.array_equal(after.only, first.only), "the session's own masks again"


def test_a_second_reel_waits_for_the_first() -> None:
    specs: list[Correlation] = [Mask((5,), 64)]
    provider = MadeProvider(ReferenceBackend(), SeedProvider(0, ReferenceBackend(), fresh_key()), [])
    head = Head(bytes(16), 0, Purpose(plan_digest(specs), CONTEXT), 1, 0)
    reel = Reel(head, fresh_key(), np.empty(0, np.uint64))
    provider.adopt(reel, specs)
    with pytest.raises(CorrelationError, match="not used up"):
        provider.adopt(reel, specs)


def test_providers_that_cannot() -> None:
    def with_dealer(party: Party) -> Any:
        return list(party.provider.record([bytes(32)], [], lambda k, number, arrays: None))

    with pytest.raises(CorrelationError, match="no correlations for later"):
        simulate(with_dealer)

    def in_front_of_a_dealer(rank: int, backend: Backend, channel: Channel, inner: Provider) -> Provider:
        return MadeProvider(backend, inner, [])

    with pytest.raises(CorrelationError, match="masks of a dealer"):
        simulate(with_dealer, extend=in_front_of_a_dealer)


WINDOWED: list[Correlation] = [
    spec for k in range(8) for spec in (Mask((600,), 20), Powers(2 * k, 600, 3, 20))
]


def test_memory_is_that_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a window has made is handed over, and forgotten, before the next one begins: however long a plan is."""
    monkeypatch.setattr(OtPair, "agree", lambda pair: 3 * 1200)
    made: dict[int, list[weakref.ref[Any]]] = {0: [], 1: []}
    most: dict[int, int] = {0: 0, 1: 0}

    def run(party: Party) -> None:
        def keep(k: int, number: int, arrays: Any) -> None:
            made[party.rank].append(weakref.ref(arrays[0]))
            alive = sum(reference() is not None for reference in made[party.rank])
            most[party.rank] = max(most[party.rank], alive)

        assert list(party.provider.record([fresh_key()], WINDOWED, keep)) == [0]

    simulate(run, extend=alone)
    assert [len(references) for references in made.values()] == [8, 8]
    assert max(most.values()) <= 4, "those of a window, and the one before that is being replaced"


def test_what_waits_in_a_session_is_packed() -> None:
    """20 bits for each number, and no more."""

    def run(party: Party) -> tuple[int, list[Any]]:
        party.provider.prepare(WINDOWED)
        waiting = sum(int(a.nbytes) for made in party.provider._ready.values() for a in made._arrays)  # type: ignore[attr-defined]
        return waiting, [host(party.provider.take(spec).only) for spec in WINDOWED]

    (bytes0, left), (bytes1, right) = simulate(run, extend=alone).results
    assert bytes0 == bytes1 == 8 * stored_words(0, WINDOWED) == 8 * 8 * (2 * 600 * 20 // 64)
    for k in range(0, 16, 2):
        mask, powers = ((left[at] + right[at]) & np.uint64(2**20 - 1) for at in (k, k + 1))
        assert np.array_equal(powers, np.stack([mask**2, mask**3]) & np.uint64(2**20 - 1))
