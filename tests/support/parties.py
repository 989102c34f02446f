"""Dealer and server as real processes for tests, and clients that misbehave on purpose."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from net import Channel, Program, Running, ZmqSettings, connect, generate, launch, load_keys, load_public

CLI = [sys.executable, "-m", "transformer.cli"]
QUICK = ZmqSettings(connect_timeout_s=10.0, handshake_timeout_s=5.0, recv_timeout_s=20.0, linger_s=1.0)


@dataclass
class Parties:
    """A running server with its keys, and a dealer unless client and server are alone."""

    running: Running
    keys: Path
    model: Path
    dealer: str | None
    server: str

    def open_server(self) -> Channel:
        """A channel to the server, as the client."""
        own = load_keys(self.keys / "client.key")
        return connect(self.server, own, load_public(self.keys / "server.pub"), QUICK)

    @property
    def trust(self) -> list[str]:
        """The options that say who makes the correlations."""
        return (
            ["--trust", "two-party"]
            if self.dealer is None
            else ["--trust", "dealer", "--dealer", self.dealer]
        )

    def open_dealer(self) -> Channel:
        """A channel to the dealer, as the client."""
        assert self.dealer is not None
        own = load_keys(self.keys / "client.key")
        return connect(self.dealer, own, load_public(self.keys / "dealer.pub"), QUICK)

    def query(
        self, *texts: str, extra: Sequence[str] = (), keys: Path | None = None
    ) -> subprocess.CompletedProcess[str]:
        """`fastlmpi query` as a process of its own."""
        argv = [*CLI, "query", "--keys", str(keys or self.keys), "--server", self.server, *self.trust]
        argv += ["--model", str(self.model), "--backend", "cpu", "--quiet", *extra]
        for text in texts:
            argv += ["--text", text]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120)

    def answer(self, *texts: str, extra: Sequence[str] = ()) -> dict[str, Any]:
        """The JSON result of a successful query."""
        file = self.keys / "result.json"
        done = self.query(*texts, extra=[*extra, "--compare", "--json", str(file)])
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(file.read_text())
        return found


@contextmanager
def parties(
    folder: Path, model: Path, serve: Sequence[str] = (), deal: Sequence[str] = ()
) -> Iterator[Parties]:
    """Start a dealer and a server of `model`; both are ended on the way out."""
    keys, common = _common(folder)
    dealer_argv = [*CLI, "dealer", *common, "--dealer", "tcp://127.0.0.1:*", *deal]
    with launch([Program("dealer", dealer_argv)], timeout_s=200) as running:
        dealer = running.wait_ready("dealer", 60)["address"]
        argv = [*_serving(common, model), "--trust", "dealer", "--dealer", dealer, *serve]
        running.start(Program("server", argv))
        server = running.wait_ready("server", 60)["address"]
        yield Parties(running, keys, model, dealer, server)


@contextmanager
def couple(folder: Path, model: Path, serve: Sequence[str] = ()) -> Iterator[Parties]:
    """Start a server that works with its client alone."""
    keys, common = _common(folder)
    argv = [*_serving(common, model), "--trust", "two-party", *serve]
    with launch([Program("server", argv)], timeout_s=300) as running:
        yield Parties(running, keys, model, None, running.wait_ready("server", 60)["address"])


def _serving(common: Sequence[str], model: Path) -> list[str]:
    return [*CLI, "serve", *common, "--server", "tcp://127.0.0.1:*", "--model", str(model)]


def _common(folder: Path) -> tuple[Path, list[str]]:
    """The folder with everybody's keys, and the options of every program."""
    keys = folder / "keys"
    if not keys.exists():
        for role in ("client", "server", "dealer"):
            generate(keys, role)
    return keys, ["--keys", str(keys), "--backend", "cpu", "--recv-timeout-s", "20"]


def run_pair(module: str, folder: Path) -> None:
    """Run `python -m MODULE server|client ADDRESS FOLDER` as two processes to their ends, with keys there."""
    for role in ("client", "server"):
        generate(folder, role)
    argv = [sys.executable, "-m", module]
    server = Program("server", [*argv, "server", "tcp://127.0.0.1:0", str(folder)])
    with launch([server], timeout_s=60) as running:
        address = running.wait_ready("server", 30)["address"]
        running.start(Program("client", [*argv, "client", address, str(folder)]))
        running.wait()


def alive(pid: int) -> bool:
    """Whether the process still runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    return state != "Z"
