"""Connected channels of every kind, and a way to drive both ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from net import Channel, KeyPair, Limits, Listener, PeerGone, PublicKey, ZmqSettings, connect, memory_pair
from net.zeromq import new_curve_keys

A = TypeVar("A")
B = TypeVar("B")

QUICK = ZmqSettings(
    connect_timeout_s=5.0, handshake_timeout_s=3.0, recv_timeout_s=10.0, send_timeout_s=10.0, linger_s=1.0
)
IMPATIENT = replace(
    QUICK, recv_timeout_s=0.2, send_timeout_s=0.2, connect_timeout_s=0.3, handshake_timeout_s=0.3
)
KINDS = ("memory", "tcp", "ipc", "plaintext")
LIMIT_S = 30.0
ANYWHERE = "tcp://127.0.0.1:0"


def new_keys(name: str) -> KeyPair:
    public, secret = new_curve_keys()
    return KeyPair(PublicKey(name, public), secret)


CLIENT = new_keys("client")
SERVER = new_keys("server")


def together(first: Callable[[], A], second: Callable[[], B]) -> tuple[A, B]:
    """Both results; `second` runs in a thread. An exception of either is raised, the first one's first."""
    with ThreadPoolExecutor(1, thread_name_prefix="second") as pool:
        future = pool.submit(second)
        result = first()
        return result, future.result(LIMIT_S)


def outcomes(first: Callable[[], A], second: Callable[[], B]) -> tuple[A | Exception, B | Exception]:
    """As `together`, but exceptions are results."""
    return together(lambda: _outcome(first), lambda: _outcome(second))


def _outcome(job: Callable[[], A]) -> A | Exception:
    try:
        return job()
    except Exception as error:
        return error


@contextmanager
def zmq_pair(
    address: str = ANYWHERE,
    settings: ZmqSettings = QUICK,
    *,
    client_settings: ZmqSettings | None = None,
    plaintext: bool = False,
) -> Iterator[tuple[Channel, Channel]]:
    """(client, server) over sockets of this process; each end belongs to the thread that uses it first."""
    with Listener(address, SERVER, [CLIENT.public], settings, insecure_plaintext=plaintext) as listener:
        server, client = together(
            lambda: listener.accept(LIMIT_S),
            lambda: connect(
                listener.address,
                CLIENT,
                SERVER.public,
                client_settings or settings,
                insecure_plaintext=plaintext,
            ),
        )
        try:
            yield client, server
        finally:
            for channel in (client, server):
                channel._session.owner = threading.current_thread()  # whoever used it is done
                channel.close()


@contextmanager
def channel_pair(
    kind: str, tmp_path: Path, settings: ZmqSettings = QUICK
) -> Iterator[tuple[Channel, Channel]]:
    """(client, server) of any of `KINDS`."""
    if kind == "memory":
        limits = Limits(max_message_bytes=settings.max_message_bytes)
        yield memory_pair(timeout_s=settings.recv_timeout_s, limits=limits)
    else:
        address = f"ipc://{tmp_path}/socket" if kind == "ipc" else ANYWHERE
        with zmq_pair(address, settings, plaintext=kind == "plaintext") as pair:
            yield pair


def port_of(listener: Listener) -> int:
    return int(listener.address.rpartition(":")[2])


def call(
    listener: Listener | str,
    keys: KeyPair = CLIENT,
    server: PublicKey = SERVER.public,
    settings: ZmqSettings = QUICK,
    *,
    plaintext: bool = False,
) -> Channel:
    address = listener if isinstance(listener, str) else listener.address
    return connect(address, keys, server, settings, insecure_plaintext=plaintext)


def echo(channel: Channel) -> None:
    """Serves until the peer leaves."""
    with channel, suppress(PeerGone):
        while True:
            channel.send("echo", [*channel.recv_any("echo", 1 << 20)])


def check_echo(channel: Channel) -> None:
    channel.send("echo", [b"hello"])
    assert bytes(channel.recv("echo", [5])[0]) == b"hello"


def use(listener: Listener | str) -> None:
    """A short session with an echoing listener."""
    with call(listener) as channel:
        check_echo(channel)
