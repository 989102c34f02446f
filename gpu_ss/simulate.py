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
from gpu_ss.session import Extension
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
    extend: Extension | None = None,
) -> Simulation[T]:
    """Run `run` as rank 0 and rank 1 (backends by name or given). `keys` fixes all randomness, for tests.

    `extend` as in `session.joined`.
    """
    seeds = keys or (fresh_key(), fresh_key())
    ends = channels or memory_pair("client", "server", timeout_s=timeout_s)
    chosen = [get_backend(b) if isinstance(b, str) else b for b in backends]
    dealt = [InsecureProvider(rank, backend, *seeds) for rank, backend in enumerate(chosen)]
    outcomes: list[T | None] = [None, None]
    failures: list[BaseException] = []

    def work(rank: int) -> None:
        try:
            backend, end = chosen[rank], ends[rank]
            backend.activate()
            private = Prg(backend, bytes(31) + bytes([rank])) if keys else Prg(backend)
            with end:
                provider = extend(rank, backend, end, dealt[rank]) if extend else dealt[rank]
                outcomes[rank] = run(Party(rank, backend, provider, end, private))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(rank,), name=f"rank {rank}") for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    traffic = (ends[0].traffic.report(), ends[1].traffic.report())
    return Simulation((outcomes[0], outcomes[1]), traffic, dealt[1].correction_bytes)  # type: ignore[arg-type]
