"""Both parties in one process, for tests, examples and labelled benches: two threads and INSECURE correlations.

    results = simulate(lambda party: reveal(party, mul(party, x(party), y(party))))

The function runs once for each rank over an in-memory channel. Whatever either raises is raised here.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from gpu_ss.backend import get_backend
from gpu_ss.backend.base import Backend
from gpu_ss.party import Party
from gpu_ss.prg import Prg, fresh_key
from gpu_ss.provider.insecure import InsecureProvider
from net.channel import Channel
from net.memory import memory_pair
from net.traffic import TrafficReport

T = TypeVar("T")


@dataclass(frozen=True)
class Simulation(Generic[T]):
    """What both ranks returned, and what each sent and received."""

    results: tuple[T, T]
    traffic: tuple[TrafficReport, TrafficReport]
    correction_bytes: int


def simulate(
    run: Callable[[Party], T],
    backends: tuple[str | Backend, str | Backend] = ("auto", "auto"),
    keys: tuple[bytes, bytes] | None = None,
    channels: tuple[Channel, Channel] | None = None,
    timeout_s: float = 120.0,
) -> Simulation[T]:
    """Run `run` as rank 0 and rank 1 (backends by name or given). `keys` fixes all randomness, for tests."""
    seeds = keys or (fresh_key(), fresh_key())
    ends = channels or memory_pair("client", "server", timeout_s=timeout_s)
    parties = []
    for rank, end in enumerate(ends):
        chosen = backends[rank]
        backend = get_backend(chosen) if isinstance(chosen, str) else chosen
        private = Prg(backend, bytes(31) + bytes([rank])) if keys else Prg(backend)
        parties.append(Party(rank, backend, InsecureProvider(rank, backend, *seeds), end, private))
    outcomes: list[T | None] = [None, None]
    failures: list[BaseException] = []

    def work(rank: int) -> None:
        try:
            parties[rank].backend.activate()
            with parties[rank].channel:
                outcomes[rank] = run(parties[rank])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(rank,), name=f"rank {rank}") for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    provider = parties[1].provider
    corrections = provider.correction_bytes if isinstance(provider, InsecureProvider) else 0
    traffic = (ends[0].traffic.report(), ends[1].traffic.report())
    return Simulation((outcomes[0], outcomes[1]), traffic, corrections)  # type: ignore[arg-type]
