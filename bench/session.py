"""Two parties, and a dealer if there is one, as processes on this machine, measuring jobs.

The bench itself is the client (rank 0); `python -m bench.worker` is the server (rank 1), `fastlmpi dealer`
the dealer. Sockets, keys and programs are those of the product.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.job import Job
from bench.rows import Row, commit, machine
from bench.setting import Setting
from bench.side import Side, Times
from gpu_ss.backend import get_backend
from gpu_ss.backend.native import share_cores
from gpu_ss.session import Opener, joined
from net import (
    Channel,
    EmulatedChannel,
    KeyPair,
    Link,
    PeerGone,
    Program,
    RemoteError,
    Running,
    TrafficReport,
    ZmqSettings,
    connect,
    generate,
    launch,
    load_keys,
    load_public,
)

START_TIMEOUT_S = 60.0
RUN_TIMEOUT_S = 7200.0
SETTINGS = ZmqSettings(recv_timeout_s=900.0, send_timeout_s=900.0)
MATERIAL_LIMIT = 1 << 34  # everything before the timed part
NO_DEALER = ""


@dataclass(frozen=True)
class Run:
    """One run: times and memory of both parties, and what rank 0's counters say."""

    mine: Times
    theirs: Times
    traffic: TrafficReport

    @property
    def offline_s(self) -> float:
        """Wall seconds of the slower party."""
        return max(self.mine.offline, self.theirs.offline)

    @property
    def online_s(self) -> float:
        """Wall seconds of the slower party."""
        return max(self.mine.online, self.theirs.online)

    @property
    def offline_bytes(self) -> int:
        """Between the parties, both directions."""
        return _both_ways(self.traffic.phase("offline"))

    @property
    def extra(self) -> dict[str, Any]:
        """Of the first run, which also makes what a session makes once."""
        return {"first_offline_s": self.offline_s, "first_offline_bytes": self.offline_bytes}


class Bench:
    """The client's end of a running session."""

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
        first, result = self._run(job)
        with channel.traffic.phase("check"):
            errors = job.errors(self._side.party, result)
        del result
        runs = [self._run(job)[0] for _ in range(repeats)]
        row = job.decorate(self._row(job, runs, errors))
        extra = {"setup_bytes": _both_ways(setup)}
        if self._setting.terms.extension is not None and job.plan(0).specs:
            extra |= first.extra
        return replace(row, setup_s=setup_s, extra=row.extra | extra)

    def _run(self, job: Job) -> tuple[Run, Any]:
        traffic = self._side.party.channel.traffic
        before = traffic.report()
        mine, result = self._side.run(job)
        spent = traffic.report() - before
        return Run(mine, Times(**self._hear()), spent), result

    def _row(self, job: Job, runs: Sequence[Run], errors: tuple[float, float] | None) -> Row:
        plan, setting = job.plan(0), self._setting
        dealer_bytes = plan.offline_bytes_without(setting.terms.not_dealt)
        seconds = [run.online_s for run in runs]
        online = [run.traffic.phase("online") for run in runs]
        for spent in online:
            if spent.rounds != plan.rounds:
                raise ValueError(f"{job.name}: {spent.rounds} rounds were counted and {plan.rounds} planned")
        return Row(
            bench=job.bench,
            name=job.name,
            shape=list(job.shape),
            backend=setting.both,
            trust=setting.trust,
            profile="precise",
            ring_bits=job.ring_bits,
            frac_bits=job.frac_bits,
            offline_s=statistics.median(run.offline_s for run in runs),
            online_s=statistics.median(seconds),
            online_s_min=min(seconds),
            online_s_max=max(seconds),
            repeats=len(runs),
            online_bytes_sent=_mean([spent.sent.bytes for spent in online]),
            online_bytes_received=_mean([spent.received.bytes for spent in online]),
            offline_bytes=_mean([run.offline_bytes for run in runs]) + dealer_bytes,
            dealer_bytes=dealer_bytes,
            rounds=plan.rounds,
            max_abs_error=errors[0] if errors else None,
            mean_abs_error=errors[1] if errors else None,
            machine=machine(),
            device=setting.devices,
            network=setting.network,
            transport=f"{setting.transport}, CURVE",
            commit=commit(),
            extra={
                "offline_s_min": min(run.offline_s for run in runs),
                "cpu_s": statistics.median(run.mine.cpu + run.theirs.cpu for run in runs),
                "peak_memory_bytes_rank0": runs[-1].mine.peak_memory,
                "peak_memory_bytes_rank1": runs[-1].theirs.peak_memory,
            },
        )

    def _tell(self, order: dict[str, Any]) -> None:
        self._side.party.channel.send("order", [json.dumps(order).encode()], round=False)

    def _hear(self) -> dict[str, Any]:
        (frame,) = self._side.party.channel.recv_any("times", 1 << 10, round=False)
        found: dict[str, Any] = json.loads(bytes(frame))
        return found

    def stop(self) -> None:
        """Tell the worker that there is no more to do."""
        self._tell({"stop": True})


@contextmanager
def running(setting: Setting) -> Iterator[Bench]:
    """Start the other programs and connect as the client. Raises BackendError before anything starts."""
    if setting.alone:
        share_cores(2)
    for name in {setting.backend, setting.server_backend or setting.backend}:
        get_backend(name)
    with tempfile.TemporaryDirectory(prefix="fastlmpi-bench-") as scratch:
        keys = Path(scratch)
        for role in ("client", "server", "dealer"):
            generate(keys, role)
        with launch([], timeout_s=RUN_TIMEOUT_S) as programs:
            dealer = NO_DEALER if setting.alone else _start_dealer(programs, scratch, setting)
            worker = [sys.executable, "-m", "bench.worker", scratch, dealer]
            worker += [setting.server_backend or setting.backend, setting.network]
            programs.start(Program("server", [*worker, setting.terms.model_dump_json()]))
            server = programs.wait_ready("server", START_TIMEOUT_S)["address"]
            try:
                with _open_client(keys, server, dealer, setting) as bench:
                    yield bench
                    bench.stop()
            except (PeerGone, RemoteError):
                programs.wait()  # raises with the last words of the party that failed first
                raise
            programs.wait()


def _start_dealer(programs: Running, keys: str, setting: Setting) -> str:
    """Its address."""
    argv = [sys.executable, "-m", "transformer.cli", "dealer", "--once", "--keys", keys]
    argv += ["--dealer", "tcp://127.0.0.1:*", "--backend", setting.backend]
    argv += ["--recv-timeout-s", f"{SETTINGS.recv_timeout_s:.0f}"]
    programs.start(Program("dealer", argv))
    address: str = programs.wait_ready("dealer", START_TIMEOUT_S)["address"]
    return address


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
        yield Bench(Side(party, setting.terms), setting)


def dealer_opener(keys: Path, own: KeyPair, address: str) -> Opener | None:
    """Opens channels to the dealer, if there is one."""
    if address == NO_DEALER:
        return None
    return lambda: connect(address, own, load_public(keys / "dealer.pub"), SETTINGS)


def emulated(channel: Channel, network: str) -> Channel:
    """The channel behind an emulated link, if one is asked for."""
    return channel if network == "none" else EmulatedChannel(channel, Link.parse(network))


def _both_ways(traffic: TrafficReport) -> int:
    return traffic.sent.bytes + traffic.received.bytes


def _mean(values: Sequence[int]) -> int:
    """Of runs that may draw on what earlier ones made in large pieces (silent OT)."""
    return round(statistics.mean(values))
