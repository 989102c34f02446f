"""A party that is killed: the other notices within about a second, whatever it was doing."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from net import Channel, LaunchError, Listener, PeerGone, Program, Running, connect, generate, launch
from tests.net import party
from tests.net.helpers import LIMIT_S, QUICK

ROOT = Path(__file__).parents[2]
SOON_S = 1.5


@contextmanager
def other_party(mode: str, address: str, directory: Path) -> Iterator[Running]:
    argv = [sys.executable, "-m", "tests.net.party", mode, address, str(directory)]
    with launch([Program("other", argv, env={"PYTHONPATH": str(ROOT)})], timeout_s=LIMIT_S) as running:
        yield running


@contextmanager
def session(mode: str, directory: Path) -> Iterator[tuple[Listener, Channel, Running]]:
    """Our listener with a session that a killable client has opened."""
    keys, client = generate(directory, "server"), generate(directory, "client")
    with (
        Listener("tcp://127.0.0.1:0", keys, [client.public], QUICK) as listener,
        other_party(mode, listener.address, directory) as running,
        listener.accept(LIMIT_S) as channel,
    ):
        running.wait_ready("other")
        yield listener, channel, running


def kill(running: Running) -> float:
    os.kill(running.pid("other"), signal.SIGKILL)
    return time.monotonic()


def notices(job: Callable[[], object], killed_at: float) -> None:
    with pytest.raises(PeerGone, match="is lost"):
        job()
    assert time.monotonic() - killed_at < SOON_S


def test_while_we_wait(tmp_path: Path) -> None:
    with session("call and wait", tmp_path) as (_, channel, running):
        killed_at = kill(running)
        notices(lambda: channel.recv("x", []), killed_at)


def test_while_it_streams(tmp_path: Path) -> None:
    with session("call and stream", tmp_path) as (_, channel, running):
        for _ in range(3):
            channel.recv("stream", [len(party.CHUNK)])
        killed_at = kill(running)

        def receive() -> None:
            while True:
                channel.recv("stream", [len(party.CHUNK)])

        notices(receive, killed_at)


def test_while_we_stream(tmp_path: Path) -> None:
    with session("call and wait", tmp_path) as (_, channel, running):
        killed_at = kill(running)
        notices(lambda: party.stream(channel), killed_at)


def test_what_arrived_before_is_delivered_and_the_next_session_is_clean(tmp_path: Path) -> None:
    with session("call and crash", tmp_path) as (listener, channel, running):
        delivered = [channel.recv("last words", [10_000])[0][0]]
        channel.send("go", [])
        with pytest.raises(LaunchError, match="killed by SIGKILL"):
            running.wait()
        with pytest.raises(PeerGone):
            while True:
                delivered.append(channel.recv("last words", [10_000])[0][0])
        assert delivered == list(range(len(delivered)))  # a crash may cut off the end, nothing else
        channel.close()
        with other_party("call and crash", listener.address, tmp_path), listener.accept(LIMIT_S) as second:
            assert second.recv("last words", [10_000])[0][0] == 0


@pytest.mark.parametrize("transport", ["tcp", "ipc"])
def test_the_listener_is_killed(tmp_path: Path, transport: str) -> None:
    server, client = generate(tmp_path, "server"), generate(tmp_path, "client")
    address = "tcp://127.0.0.1:0" if transport == "tcp" else f"ipc://{tmp_path}/s"
    with other_party("listen and wait", address, tmp_path) as running:
        real_address = running.wait_ready("other")["address"]
        with connect(real_address, client, server.public, QUICK) as channel:
            killed_at = kill(running)
            notices(lambda: channel.recv("x", []), killed_at)
