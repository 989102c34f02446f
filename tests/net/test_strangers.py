"""Whoever connects without being the peer of a session: it must not matter."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing

import pytest

from net import Listener, PeerGone, ProtocolError, RemoteError, Timeout, greeting
from net.frame import PART_BYTES, Group, Kind
from net.zeromq import Dealer
from tests.net.helpers import (
    ANYWHERE,
    CLIENT,
    LIMIT_S,
    QUICK,
    SERVER,
    call,
    check_echo,
    echo,
    outcomes,
    port_of,
    together,
    use,
)


@pytest.fixture
def listener() -> Iterator[Listener]:
    with Listener(ANYWHERE, SERVER, [CLIENT.public], QUICK) as listener:
        yield listener


def test_garbage_does_not_disturb_a_session_nor_the_listener(listener: Listener) -> None:
    def visit() -> None:
        with call(listener) as channel:
            for rubbish in (os.urandom(5000), b"", b"\xff\0\0\0", b"GET / HTTP/1.0\r\n\r\n" * 50):
                for _ in range(5):
                    with closing(socket.create_connection(("127.0.0.1", port_of(listener)))) as stranger:
                        stranger.sendall(rubbish)
                        check_echo(channel)
                check_echo(channel)
        with call(listener) as channel:
            check_echo(channel)

    def serve() -> None:
        for _ in range(2):
            echo(listener.accept(LIMIT_S))

    together(serve, visit)


def test_many_strangers_while_nobody_listens_to_the_monitor(listener: Listener) -> None:
    """Each makes libzmq report something; reports pile up while the owner computes."""

    def visit() -> None:
        with call(listener) as channel:
            for _ in range(700):
                socket.create_connection(("127.0.0.1", port_of(listener))).close()
            pile.set()
            check_echo(channel)

    pile = threading.Event()

    def serve() -> None:
        channel = listener.accept(LIMIT_S)
        pile.wait(LIMIT_S)
        echo(channel)

    together(serve, visit)


def raw_session(listener: Listener, first: list[memoryview]) -> Dealer:
    """An authorised peer that does not keep to our rules."""
    dealer = Dealer(QUICK)
    dealer.encrypt(CLIENT, SERVER.public)
    dealer.connect(listener.address)
    assert dealer.send(first)
    return dealer


def test_a_hello_of_another_version_is_answered(listener: Listener) -> None:
    hello = greeting.group(greeting.hello("client"))
    hello[1] = memoryview(bytes(hello[1]).replace(b"FLMP\x01", b"FLMP\x02"))
    dealer = raw_session(listener, hello)
    with pytest.raises(Timeout):
        listener.accept(0.5)
    dealer.poll(5.0)
    group = dealer.receive()
    assert group is not None
    answer = greeting.decode(group[1:])
    assert answer is not None
    assert "wire format 1 expected, got 2" in answer.text
    dealer.close(linger=False)


@pytest.mark.parametrize(("kind", "error"), [(Kind.HELLO, RemoteError), (Kind.WELCOME, ProtocolError)])
def test_a_connector_of_another_version_says_so(
    listener: Listener, monkeypatch: pytest.MonkeyPatch, kind: Kind, error: type[Exception]
) -> None:
    proper = greeting.group

    def of_version_2(said: greeting.Greeting) -> Group:
        mark, header, *frames = proper(said)
        if said.kind is kind:
            header = memoryview(bytes(header).replace(b"FLMP\x01", b"FLMP\x02"))
        return [mark, header, *frames]

    monkeypatch.setattr(greeting, "group", of_version_2)
    _, refusal = outcomes(lambda: listener.accept(1.0), lambda: call(listener))
    assert isinstance(refusal, error)
    assert "wire format 1 expected, got 2" in str(refusal)
    assert "same fastlmpi version" in str(refusal)


def test_garbage_from_an_authorised_peer_is_no_session(listener: Listener) -> None:
    dealer = raw_session(listener, [memoryview(b"rubbish")])
    dealer.send([memoryview(b""), memoryview(b"rubbish")])
    with pytest.raises(Timeout):
        listener.accept(0.3)
    dealer.close(linger=False)


def test_an_oversized_part_ends_only_that_session(listener: Listener) -> None:
    dealer = raw_session(listener, greeting.group(greeting.hello("client")))
    channel = listener.accept(LIMIT_S)
    dealer.send([memoryview(bytes(2 * PART_BYTES))])
    with channel, pytest.raises(PeerGone):
        channel.recv("x", [2 * PART_BYTES])
    dealer.close(linger=False)
    together(lambda: echo(listener.accept(LIMIT_S)), lambda: use(listener))
