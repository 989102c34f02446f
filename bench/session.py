"""Two parties and a dealer as processes on this machine, measuring jobs.

The bench itself is the client (rank 0); `python -m bench.worker` is the server (rank 1), `fastlmpi dealer`
the dealer. Sockets, keys and programs are those of the product.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.job import Job
from bench.rows import Row, commit, device, machine
from gpu_ss.backend import get_backend
from gpu_ss.party import Party
from gpu_ss.session import Opener, joined
from net import (
    Channel,
    EmulatedChannel,
    KeyPair,
    Link,
    PeerGone,
    Program,
    RemoteError,
    TrafficReport,
    ZmqSettings,
    connect,
    generate,
    launch,
    load_keys,
    load_public,
)
from transformer.terms import ProductsMode, Terms

START_TIMEOUT_S = 60.0
RUN_TIMEOUT_S = 7200.0
SETTINGS = ZmqSettings(recv_timeout_s=900.0, send_timeout_s=900.0)
MATERIAL_LIMIT = 1 << 34  # everything before the timed part


@dataclass(frozen=True)
class Setting:
    """How to run: backends of client and server, trust mode, emulated network."""

    backend: str = "cpu"
    server_backend: str | None = None
    trust: str = "dealer"
    network: str = "none"
    transport: str = "tcp"
    products: ProductsMode = "dealer"

    def __post_init__(self) -> None:
        if self.trust != "dealer":
            raise ValueError(f"trust {self.trust!r} is not built; use dealer")
        Link.parse(self.network)

    @property
    def terms(self) -> Terms:
        """As the product's programs have them."""
        return Terms(products=self.products)

    @property
    def both(self) -> str:
        """The backends, as one name for the row."""
        other = self.server_backend or self.backend
        return self.backend if other == self.backend else f"{self.backend}+{other}"

    @property
    def devices(self) -> str:
        """What the client, and the server if it differs, compute on."""
        own = device(self.backend)
        if self.server_backend in (None, self.backend):
            return own
        return f"client: {own}; server: {device(str(self.server_backend))}"


@dataclass(frozen=True)
class Times:
    """Seconds of one run at one party: wall, and of CPU in both phases."""

    offline: float
    online: float
    cpu: float


class Side:
    """What client and worker have in common: a party, and the way to run a job on it."""

    def __init__(self, party: Party) -> None:
        self.party = party

    def prepare(self, plan: Any) -> None:
        """Fetch (server) or work out (client) what the run needs."""
        self.party.provider.prepare(plan.specs)

    def set_up(self, job: Job) -> float:
        """Run the job's set-up; its seconds, from when both sides have made their plans."""
        plan = job.plan_setup(self.party.rank).moved(self.party.provider.taken)
        job.plan(self.party.rank)
        with self.party.channel.traffic.phase("planning"):
            self._meet()
        start = time.perf_counter()
        with self.party.channel.traffic.phase("setup"):
            self.prepare(plan)
            job.set_up(self.party)
            self._meet()
        return time.perf_counter() - start

    def run(self, job: Job) -> tuple[Times, Any]:
        """One run, offline and online apart, both begun together."""
        channel = self.party.channel
        plan = job.plan(self.party.rank).moved(self.party.provider.taken)
        with channel.traffic.phase("offline"):
            self._meet()
            start, cpu = time.perf_counter(), time.process_time()
            self.prepare(plan)
            self.party.backend.synchronize()
            self._meet()
            middle = time.perf_counter()
        with channel.traffic.phase("online"):
            result = job.run(self.party)
            self.party.backend.synchronize()
            end = time.perf_counter()
        return Times(middle - start, end - middle, time.process_time() - cpu), result

    def _meet(self) -> None:
        self.party.channel.exchange("meet", [b"here"], [4])


def _slower(a: Times, b: Times) -> Times:
    """Wall seconds of the slower party, CPU seconds of both."""
    return Times(max(a.offline, b.offline), max(a.online, b.online), a.cpu + b.cpu)


class Bench:
    """The client's end of a running trio."""

    def __init__(self, side: Side, setting: Setting) -> None:
        self._side = side
        self._setting = setting

    def measure(self, job: Job, repeats: int) -> Row:
        """Run a job `repeats` times after one warm-up and make its row."""
        channel = self._side.party.channel
        self._tell({"job": type(job).__name__, "with": job.describe(), "repeats": repeats + 1})
        before = channel.traffic.report()
        setup_s = self._side.set_up(job)
        setup = (channel.traffic.report() - before).phase("setup")
        times, errors = [], None
        for index in range(repeats + 1):
            before = channel.traffic.report()
            mine, result = self._side.run(job)
            spent = channel.traffic.report() - before
            theirs = Times(**self._hear())
            if index:
                times.append(_slower(mine, theirs))
            else:
                with channel.traffic.phase("check"):
                    errors = job.errors(self._side.party, result)
        row = self._row(job, times, errors, spent)
        setup_bytes = setup.sent.bytes + setup.received.bytes
        return replace(row, setup_s=setup_s, extra=row.extra | {"setup_bytes": setup_bytes})

    def _row(
        self, job: Job, times: list[Times], errors: tuple[float, float] | None, spent: TrafficReport
    ) -> Row:
        online, offline = spent.phase("online"), spent.phase("offline")
        plan = job.plan(0)
        dealer_bytes = plan.offline_bytes_without(self._setting.terms.not_dealt)
        seconds = [t.online for t in times]
        if online.rounds != plan.rounds:
            raise ValueError(f"{job.name}: {online.rounds} rounds were counted and {plan.rounds} planned")
        row = Row(
            bench=job.bench,
            name=job.name,
            shape=list(job.shape),
            backend=self._setting.both,
            trust=self._setting.trust,
            profile="precise",
            ring_bits=job.ring_bits,
            frac_bits=job.frac_bits,
            offline_s=statistics.median(t.offline for t in times),
            online_s=statistics.median(seconds),
            online_s_min=min(seconds),
            online_s_max=max(seconds),
            repeats=len(times),
            online_bytes_sent=online.sent.bytes,
            online_bytes_received=online.received.bytes,
            offline_bytes=offline.sent.bytes + offline.received.bytes + dealer_bytes,
            dealer_bytes=dealer_bytes,
            rounds=online.rounds,
            max_abs_error=errors[0] if errors else None,
            mean_abs_error=errors[1] if errors else None,
            machine=machine(),
            device=self._setting.devices,
            network=self._setting.network,
            transport=f"{self._setting.transport}, CURVE",
            commit=commit(),
            extra={
                "offline_s_min": min(t.offline for t in times),
                "cpu_s": statistics.median(t.cpu for t in times),
            },
        )
        return job.decorate(row)

    def _tell(self, order: dict[str, Any]) -> None:
        self._side.party.channel.send("order", [json.dumps(order).encode()], round=False)

    def _hear(self) -> dict[str, float]:
        (frame,) = self._side.party.channel.recv_any("times", 1 << 10, round=False)
        found: dict[str, float] = json.loads(bytes(frame))
        return found

    def stop(self) -> None:
        """Tell the worker that there is no more to do."""
        self._tell({"stop": True})


@contextmanager
def running(setting: Setting) -> Iterator[Bench]:
    """Start dealer and worker, and connect as the client. Raises BackendError before anything starts."""
    for name in {setting.backend, setting.server_backend or setting.backend}:
        get_backend(name)
    with tempfile.TemporaryDirectory(prefix="fastlmpi-bench-") as scratch:
        keys = Path(scratch)
        for role in ("client", "server", "dealer"):
            generate(keys, role)
        dealer_argv = [sys.executable, "-m", "transformer.cli", "dealer", "--once", "--keys", scratch]
        dealer_argv += ["--dealer", "tcp://127.0.0.1:*", "--backend", setting.backend]
        dealer_argv += ["--recv-timeout-s", f"{SETTINGS.recv_timeout_s:.0f}"]
        with launch([Program("dealer", dealer_argv)], timeout_s=RUN_TIMEOUT_S) as programs:
            dealer = programs.wait_ready("dealer", START_TIMEOUT_S)["address"]
            worker = [sys.executable, "-m", "bench.worker", scratch, dealer]
            worker += [setting.server_backend or setting.backend, setting.network, setting.products]
            programs.start(Program("server", worker))
            server = programs.wait_ready("server", START_TIMEOUT_S)["address"]
            try:
                with _open_client(keys, server, dealer, setting) as bench:
                    yield bench
                    bench.stop()
            except (PeerGone, RemoteError):
                programs.wait()  # raises with the last words of the party that failed first
                raise
            programs.wait()


@contextmanager
def _open_client(keys: Path, server: str, dealer: str, setting: Setting) -> Iterator[Bench]:
    own = load_keys(keys / "client.key")
    with (
        connect(server, own, load_public(keys / "server.pub"), SETTINGS) as plain,
        joined(
            0,
            emulated(plain, setting.network),
            dealer_opener(keys, own, dealer),
            setting.backend,
            extend=setting.terms.extension,
        ) as party,
    ):
        yield Bench(Side(party), setting)


def dealer_opener(keys: Path, own: KeyPair, address: str) -> Opener:
    """Opens channels to the dealer."""
    return lambda: connect(address, own, load_public(keys / "dealer.pub"), SETTINGS)


def emulated(channel: Channel, network: str) -> Channel:
    """The channel behind an emulated link, if one is asked for."""
    return channel if network == "none" else EmulatedChannel(channel, Link.parse(network))
