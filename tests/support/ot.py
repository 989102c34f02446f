"""Both ends of oblivious transfer in one process: two threads over a memory pair, and OTs dealt by a test."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.economy import ALONE
from gpu_ss.prg import fresh_key
from gpu_ss.provider.base import Provider
from gpu_ss.provider.made import MadeProvider, SeedProvider
from gpu_ss.provider.ot.cot import CotReceiver, CotSender, Delta
from gpu_ss.provider.ot.maker import OtMaker
from gpu_ss.provider.ot.pair import OtPair
from gpu_ss.ring import Array
from net import Channel, memory_pair
from tests.support.backends import COMPILED_BACKENDS

LIMIT_S = 60.0
#: The best compiled backend.
CPU = COMPILED_BACKENDS[COMPILED_BACKENDS.index("cuda-fake") - 1]


def both(first: Callable[[Channel], Any], second: Callable[[Channel], Any]) -> tuple[Any, Any]:
    """Run the two ends, and raise what either raised; the ends close their channels when done."""
    ends = memory_pair("client", "server", timeout_s=LIMIT_S)
    outcomes: list[Any] = [None, None]
    failures: list[BaseException] = []

    def work(rank: int, job: Callable[[Channel], Any]) -> None:
        try:
            with ends[rank] as channel:
                outcomes[rank] = job(channel)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(rank, job)) for rank, job in enumerate((first, second))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return outcomes[0], outcomes[1]


def is_correlated(delta: Delta, q: Any, t: Any) -> bool:
    """Whether t = q XOR b delta with b the lowest bit of t, and the lowest bit of q is 0."""
    offset, bits = np.array(delta.words, np.uint64), t[:, :1] & np.uint64(1)
    return q.shape == t.shape and not (q[:, 0] & np.uint64(1)).any() and np.array_equal(t, q ^ offset * bits)


class DealtSender(CotSender):
    """The sender's end of OTs that a test makes up: the other end has the same seed."""

    def __init__(self, backend: Backend, channel: Channel, seed: int) -> None:
        super().__init__(backend, channel)
        self._rng = np.random.default_rng(seed)
        self.delta = Delta()
        self.delta.words = tuple(
            int(w) for w in self._rng.integers(0, 2**64, 2, dtype=np.uint64) | np.array([1, 0], np.uint64)
        )

    def _deal(self) -> tuple[Any, Any]:
        q = self._rng.integers(0, 2**64, (1000, 2), dtype=np.uint64)
        q[:, 0] &= np.uint64(2**64 - 2)
        bits = self._rng.integers(0, 2, (1000, 1), dtype=np.uint64)
        return q, q ^ np.array(self.delta.words, np.uint64) * bits

    def begin(self) -> None:
        pass

    def _make(self, needed: int) -> Array:
        return self.backend.asarray(self._deal()[0])


class DealtReceiver(DealtSender, CotReceiver):
    """The receiver's end."""

    def begin(self) -> None:
        pass

    def _make(self, needed: int) -> Array:
        return self.backend.asarray(self._deal()[1])


def alone(rank: int, backend: Backend, channel: Channel, inner: Provider) -> Provider:
    """Nothing from a dealer: masks from an own seed, the rest by OT (OTs have their own tests)."""
    pair = OtPair(
        rank,
        backend,
        channel,
        DealtSender(backend, channel, 1 + rank),
        DealtReceiver(backend, channel, 2 - rank),
    )
    return MadeProvider(
        backend, SeedProvider(rank, backend, fresh_key()), [OtMaker(rank, backend, pair)], ALONE
    )
