"""The emulated link: never faster than the formula, and not much slower."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import pytest

from net import PRESETS, Channel, EmulatedChannel, Link, ProtocolError, header_size, memory_pair
from tests.net.helpers import together, zmq_pair

LATE_S = 0.25
"""Allowed beyond the formula: scheduling on a busy machine, and the real transport."""


def emulated_pair(link: Link) -> tuple[Channel, Channel]:
    client, server = memory_pair()
    return EmulatedChannel(client, link), EmulatedChannel(server, link)


def seconds(first: Callable[[], object], second: Callable[[], object]) -> float:
    began = time.monotonic()
    together(first, second)
    return time.monotonic() - began


def check(measured: float, formula: float) -> None:
    assert formula <= measured < formula + LATE_S


@pytest.mark.parametrize("rounds", [1, 5])
def test_latency(rounds: int) -> None:
    client, server = emulated_pair(Link(math.inf, 0.04))

    def run(channel: Channel) -> None:
        for _ in range(rounds):
            channel.exchange("x", [b"1"], [1])

    # Both send at the same time, so a round costs one way. The sides start at most one way apart.
    took = seconds(lambda: run(client), lambda: run(server))
    check(took, rounds * 0.02)


def test_request_and_answer_cost_a_round_trip() -> None:
    client, server = emulated_pair(Link(math.inf, 0.05))

    def ask() -> None:
        client.send("q", [b"1"])
        client.recv("a", [1])

    def answer() -> None:
        server.recv("q", [1])
        server.send("a", [b"1"])

    check(seconds(ask, answer), 0.05)


def test_bandwidth_and_queueing() -> None:
    """Five messages sent at once leave one after the other; the latency is paid once."""
    link = Link(8e6, 0.02)
    client, server = emulated_pair(link)
    n, count = 20_000, 5

    def send() -> None:
        for _ in range(count):
            client.send("x", [bytes(n)])

    def receive() -> None:
        for _ in range(count):
            server.recv("x", [n])

    on_wire = link.seconds_on_wire(count * (n + header_size("x", 1)))
    check(seconds(send, receive), on_wire + 0.01)


def test_directions_are_independent() -> None:
    link = Link(8e6, 0.0)
    client, server = emulated_pair(link)
    n = 200_000

    def run(channel: Channel) -> None:
        channel.exchange("x", [bytes(n)], [n])

    check(seconds(lambda: run(client), lambda: run(server)), link.seconds_on_wire(n))


def test_computation_hides_transmission() -> None:
    """A message that travels while the receiver is busy costs nothing on top."""
    client, server = emulated_pair(Link(8e6, 0.02))
    client.send("x", [bytes(50_000)])  # 50 ms on the wire
    time.sleep(0.1)
    began = time.monotonic()
    server.recv("x", [50_000])
    assert time.monotonic() - began < 0.05


def test_traffic_is_that_of_the_messages_proper() -> None:
    client, server = emulated_pair(PRESETS["lan"])
    client.send("x", [bytes(100)] * 64)
    server.recv("x", [100] * 64)
    for channel, totals in (
        (client, client.traffic.report().sent),
        (server, server.traffic.report().received),
    ):
        assert (totals.payload, totals.overhead) == (6400, header_size("x", 64)), channel.local


def test_over_sockets_with_large_messages() -> None:
    link = Link(400e6, 0.01)
    n = 5 << 20
    with zmq_pair() as pair:
        client, server = (EmulatedChannel(channel, link) for channel in pair)
        took = seconds(lambda: client.send("x", [bytes(n)]), lambda: server.recv("x", [n]))
        check(took, link.seconds_on_wire(n) + 0.005)


def test_both_sides_must_emulate() -> None:
    client, server = memory_pair()
    client.send("x", [])
    with pytest.raises(ProtocolError, match="does not emulate a link"):
        EmulatedChannel(server, PRESETS["lan"]).recv("x", [])
    client, server = memory_pair()
    EmulatedChannel(client, PRESETS["lan"]).send("x", [])
    with pytest.raises(ProtocolError, match=r"frames of \[\] bytes expected, got \[8\]"):
        server.recv("x", [])


def test_close_and_errors_pass_through() -> None:
    client, server = emulated_pair(PRESETS["wan"])
    client.close()
    with pytest.raises(Exception, match="closed the session"):
        server.recv("x", [])


def test_links_by_name_and_by_numbers() -> None:
    assert Link.parse("lan") == Link(1e9, 0.3e-3)
    assert Link.parse("wan") == Link(100e6, 40e-3)
    assert Link.parse("200,20") == Link(200e6, 20e-3)
    assert Link.parse("none").seconds_on_wire(1 << 40) == 0


@pytest.mark.parametrize("text", ["", "fast", "1", "1,2,3", "0,1", "-5,1", "1,-1", "nan,1", "1,inf"])
def test_bad_links(text: str) -> None:
    with pytest.raises(ValueError, match="wan80"):
        Link.parse(text)
