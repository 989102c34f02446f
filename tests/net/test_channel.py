"""The contract of a channel, for every transport alike."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from net import (
    Channel,
    Direction,
    FrameTooLarge,
    PeerGone,
    ProtocolError,
    RemoteError,
    SessionOver,
    Timeout,
    Totals,
    Wait,
    header_size,
)
from tests.net.helpers import IMPATIENT, KINDS, QUICK, channel_pair, outcomes, together

Pair = tuple[Channel, Channel]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def pair(kind: str, tmp_path: Path) -> Iterator[Pair]:
    with channel_pair(kind, tmp_path) as channels:
        yield channels


def test_names(pair: Pair) -> None:
    client, server = pair
    assert (client.local, client.peer) == ("client", "server")
    assert (server.local, server.peer) == ("server", "client")


def test_exchange(pair: Pair) -> None:
    client, server = pair
    got = together(
        lambda: client.exchange("x", [b"abc", b""], [1, 2]),
        lambda: server.exchange("x", [b"1", b"22"], [3, 0]),
    )
    assert [[bytes(f) for f in frames] for frames in got] == [[b"1", b"22"], [b"abc", b""]]
    assert all(f.readonly for frames in got for f in frames)


def test_many_messages_of_any_shape(pair: Pair) -> None:
    client, server = pair
    shapes = [[], [0], [1], [70_000], [1 << 20], [(1 << 20) + 1, 0, 5], [3 << 20, 3 << 20], [1] * 64]
    contents = [[bytes([i % 251]) * n for i, n in enumerate(shape)] for shape in shapes]

    def send() -> None:
        for i, frames in enumerate(contents):
            client.send(f"message {i}", frames, round=False)
        client.flush()

    def receive() -> list[list[bytes]]:
        views = [server.recv(f"message {i}", shape, round=False) for i, shape in enumerate(shapes)]
        return [[bytes(f) for f in frames] for frames in views]

    assert together(send, receive)[1] == contents


def test_received_frames_are_aligned(pair: Pair) -> None:
    client, server = pair
    for sizes in ([8], [40], [8, 8, 1000], [16, 70_000, 24], [1 << 20], [3 << 20]):
        for tag in ("x", "xy", "xyz"):
            client.send(tag, [bytes(n) for n in sizes])
            for view in server.recv(tag, sizes):
                assert np.frombuffer(view, np.uint64).ctypes.data % 8 == 0


def test_frames_may_change_after_flush(pair: Pair) -> None:
    client, server = pair
    workspace = bytearray(1 << 18)

    def send() -> None:
        for i in range(40):
            workspace[:] = bytes([i]) * len(workspace)
            client.send("stream", [workspace])
            client.flush()

    def receive() -> list[bytes]:
        return [bytes(server.recv("stream", [len(workspace)])[0][:1]) for _ in range(40)]

    assert together(send, receive)[1] == [bytes([i]) for i in range(40)]


def test_a_wrong_tag_names_both_tags_and_numbers(pair: Pair) -> None:
    client, server = pair
    client.send("a", [])
    client.send("gelu/open", [])
    server.recv("a", [])
    with pytest.raises(ProtocolError, match=r"message 1 'softmax/open' expected, got message 1 'gelu/open'"):
        server.recv("softmax/open", [])


def test_a_lost_message_is_noticed(pair: Pair) -> None:
    client, server = pair
    client._session.next_sent = 5
    client.send("a", [])
    with pytest.raises(ProtocolError, match=r"message 0 'a' expected, got message 5 'a'"):
        server.recv("a", [])


def test_a_wrong_size_names_both(pair: Pair) -> None:
    client, server = pair
    client.send("a", [b"12", b"345"])
    with pytest.raises(ProtocolError, match=r"frames of \[2, 4\] bytes expected, got \[2, 3\]"):
        server.recv("a", [2, 4])


def test_recv_any(pair: Pair) -> None:
    client, server = pair
    client.send("json", [b"{}", b"[]"])
    assert [bytes(f) for f in server.recv_any("json", 4)] == [b"{}", b"[]"]
    client.send("json", [b"{}", b"[1]"])
    with pytest.raises(FrameTooLarge, match="5 bytes, at most 4"):
        server.recv_any("json", 4)


def test_remote_error(pair: Pair) -> None:
    client, server = pair
    client.send("a", [])
    client.send_error("no such model: \x1b[31m" + "x" * 1000)
    server.recv("a", [])
    with pytest.raises(RemoteError, match="client stopped: no such model:  ") as caught:
        server.recv("b", [])
    assert len(caught.value.text) == 500
    assert caught.value.text.isprintable()


def test_leaving_the_block_with_an_error_tells_the_peer_its_kind_only(pair: Pair) -> None:
    client, server = pair
    with pytest.raises(KeyError), client:
        raise KeyError("secret")
    with pytest.raises(RemoteError, match="client stopped: KeyError") as caught:
        server.recv("a", [])
    assert "secret" not in str(caught.value)


def test_leaving_the_block_by_ctrl_c_says_so(pair: Pair) -> None:
    client, server = pair
    with pytest.raises(KeyboardInterrupt), client:
        raise KeyboardInterrupt
    with pytest.raises(RemoteError, match=r"client stopped: interrupted by its user\. Its own log"):
        server.recv("a", [])


def test_leaving_the_block_with_an_error_of_ours_tells_the_peer_all(pair: Pair) -> None:
    client, server = pair
    client.send("softmax", [])
    with pytest.raises(ProtocolError), server:
        server.recv("gelu", [])
    with pytest.raises(
        RemoteError, match=r"server stopped: out of step with client: message 0 'gelu' expected"
    ):
        client.recv("softmax", [])


def test_close_is_noticed_after_what_was_sent_before(pair: Pair) -> None:
    client, server = pair
    for i in range(3):
        client.send("a", [bytes([i]) * 100_000])
    client.close()
    client.close()
    for i in range(3):
        assert server.recv("a", [100_000])[0][0] == i
    with pytest.raises(PeerGone, match="client closed the session"):
        server.recv("a", [])


def test_why_the_peer_left_explains_a_failed_send(pair: Pair) -> None:
    client, server = pair
    server.send("unread", [b"x"])
    server.send_error("wrong profile")
    server.close()
    with pytest.raises(RemoteError, match="wrong profile"):
        for _ in range(100_000):
            client.send("a", [bytes(1000)])


def test_a_finished_channel_stays_finished(pair: Pair) -> None:
    client, server = pair
    client.close()
    with pytest.raises(SessionOver, match="it was closed"):
        client.send("a", [])
    with pytest.raises(PeerGone):
        server.recv("a", [])
    with pytest.raises(SessionOver, match="ended with PeerGone"):
        server.recv("a", [])
    server.close()


def test_timeout_names_the_setting(kind: str, tmp_path: Path) -> None:
    with channel_pair(
        kind, tmp_path, IMPATIENT if kind == "memory" else replace(QUICK, recv_timeout_s=0.2)
    ) as (
        client,
        _,
    ):
        setting = "timeout_s of memory_pair" if kind == "memory" else "recv_timeout_s"
        with pytest.raises(Timeout, match=rf"'a' from server.*{setting} = 0\.2 s") as caught:
            client.recv("a", [])
        assert (caught.value.setting, caught.value.seconds) == (setting, 0.2)


def test_a_wait_of_ones_own(pair: Pair) -> None:
    client, _ = pair
    with pytest.raises(Timeout, match=r"idle_timeout_s = 0\.05 s"):
        client.recv_any("request", 10, wait=Wait("idle_timeout_s", 0.05))


def test_bad_arguments_do_not_end_the_session(pair: Pair) -> None:
    client, server = pair
    with pytest.raises(ValueError, match="tag"):
        client.send("\n", [])
    with pytest.raises(ValueError, match="contiguous"):
        client.send("a", [memoryview(bytes(8))[::2]])
    client.send("a", [b"x"])
    assert bytes(server.recv("a", [1])[0]) == b"x"


def test_only_the_owner_may_use_it(pair: Pair) -> None:
    client, server = pair
    client.send("a", [])
    mine = threading.current_thread().name
    _, refused = outcomes(lambda: None, lambda: client.send("b", []))
    assert isinstance(refused, RuntimeError)
    assert f"belongs to thread {mine!r} and was used by 'second" in str(refused)
    client.hand_over()
    assert outcomes(lambda: None, lambda: (client.send("b", []), client.hand_over()))[1] == (None, None)
    client.send("c", [])
    for tag in "abc":
        server.recv(tag, [])


def test_traffic_is_exact(pair: Pair) -> None:
    client, server = pair

    def run(channel: Channel, mine: int, theirs: int) -> None:
        channel.exchange("x", [bytes(mine)] * 2, [theirs] * 2)
        with channel.traffic.phase("online"):
            for _ in range(3):
                channel.exchange("y", [bytes(mine)], [theirs])
        channel.hand_over()

    together(lambda: run(client, 10, 20), lambda: run(server, 20, 10))
    with client.traffic.phase("offline"):
        client.send("z", [bytes(7)], round=False)
    server.recv("z", [7])

    sent, received = client.traffic.report(), server.traffic.report()
    assert sent.sent == received.received
    assert sent.received == received.sent
    assert sent.sent.payload == 2 * 10 + 3 * 10 + 7
    assert sent.sent.overhead == header_size("x", 2) + 3 * header_size("y", 1) + header_size("z", 1)
    assert sent.sent.bytes == sent.sent.payload + sent.sent.overhead
    assert (sent.rounds, received.rounds) == (4, 5)
    assert sent.rounds_by_phase == {"setup": 1, "online": 3}
    assert sent.by_tag["y"] == (
        Totals(3, 30, 3 * header_size("y", 1)),
        Totals(3, 60, 3 * header_size("y", 1)),
    )


def test_greetings_and_farewells_are_not_counted(pair: Pair) -> None:
    client, server = pair
    client.send_error("x")
    client.close()
    with pytest.raises(RemoteError):
        server.recv("a", [])
    for channel in pair:
        assert channel.traffic.report().sent == channel.traffic.report().received == Totals()
        assert not channel.traffic._counters.get(("setup", "stop", Direction.SENT))


def test_too_large_is_refused_by_both_sides(kind: str, tmp_path: Path) -> None:
    with channel_pair(kind, tmp_path, replace(QUICK, max_message_bytes=1000)) as (client, server):
        with pytest.raises(FrameTooLarge, match="max_message_bytes is 1000"):
            client.send("a", [bytes(1001)])
        client.send("a", [bytes(1000)])
        server.recv("a", [1000])
        if kind != "memory":  # there both ends share one limit
            client._session.limits = replace(client._session.limits, max_message_bytes=5000)
            client.send("a", [bytes(1001)])
            with pytest.raises(FrameTooLarge):
                server.recv("a", [1001])
