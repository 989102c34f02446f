"""Large messages over a line that has little room: no deadlock, no confusion, bounded memory."""

from __future__ import annotations

import threading
from collections import deque
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest

from net import Limits, PeerGone, ProtocolError, RemoteError, Timeout, TracingChannel, Wait
from net.channel import Session
from net.frame import PART_BYTES, Group, Header, Kind, encode, urgent
from net.line import Line, LineChannel
from tests.net.helpers import QUICK, together, zmq_pair

MIB = 1 << 20


class PipeLine(Line):
    """Half of a line within the process, with room for `room` groups in each direction."""

    def __init__(
        self, outgoing: deque[Group], incoming: deque[Group], changed: threading.Condition, room: int
    ):
        self.outgoing, self.incoming, self.changed, self.room = outgoing, incoming, changed, room

    def put(self, group: Group) -> bool:
        with self.changed:
            if not self.changed.wait_for(lambda: len(self.outgoing) < self.room, 0.005):
                return False
            self.outgoing.append([memoryview(bytes(part)) for part in group])
            self.changed.notify_all()
            return True

    def put_back(self) -> bool:
        return True

    def get(self) -> Group | None:
        with self.changed:
            self.changed.notify_all()
            return self.incoming.popleft() if self.incoming else None

    def wait(self, seconds: float) -> None:
        with self.changed:
            self.changed.wait_for(lambda: bool(self.incoming), seconds)

    def hang_up(self) -> None:
        self.gone = True


def pipe_pair(
    room: int, *, max_bytes: int = 1 << 30, send_timeout_s: float = 10.0
) -> tuple[tuple[LineChannel, LineChannel], tuple[PipeLine, PipeLine]]:
    there: deque[Group] = deque()
    back: deque[Group] = deque()
    changed = threading.Condition()
    lines = PipeLine(there, back, changed, room), PipeLine(back, there, changed, room)
    limits = Limits(max_message_bytes=max_bytes)
    wait = Wait("recv_timeout_s", 10.0)
    first, second = (
        LineChannel(
            Session(*names, wait, limits),
            line,
            Wait("send_timeout_s", send_timeout_s),
            Wait("linger_s", 0.05),
        )
        for names, line in zip([("client", "server"), ("server", "client")], lines, strict=True)
    )
    return (first, second), lines


@pytest.mark.parametrize("room", [1, 2, 7])
def test_both_sides_may_send_much_at_once(room: int) -> None:
    (client, server), _ = pipe_pair(room)
    mine, theirs = bytes([1]) * (20 * MIB + 3), bytes([2]) * (9 * MIB + 1)
    got = together(
        lambda: client.exchange("x", [mine, b"tail"], [len(theirs)]),
        lambda: server.exchange("x", [theirs], [len(mine), 4]),
    )
    assert (got[0][0], got[1][0], got[1][1]) == (theirs, mine, b"tail")


@pytest.mark.parametrize("wrapped", [False, True])
def test_frames_are_read_only_when_they_are_ready(wrapped: bool) -> None:
    """A line sends a part when its bytes are there; whoever wraps it waits for all of them."""
    (line, server), _ = pipe_pair(100)
    client = TracingChannel(line) if wrapped else line
    part = PART_BYTES
    sent, frames = bytes(range(256)) * (3 * part // 256), [bytearray(part + 5), bytearray(2 * part - 5)]
    there: list[int] = []

    def ready(count: int) -> None:
        """Fill the frames up to there, and no further."""
        there.append(count)
        for start, frame in ((0, frames[0]), (len(frames[0]), frames[1])):
            end = max(0, min(len(frame), count - start))
            frame[:end] = sent[start : start + end]

    client.send("x", frames, ready=ready)
    assert b"".join(server.recv("x", [part + 5, 2 * part - 5])) == sent
    assert there == ([3 * part] if wrapped else [0, part, part + 5, 2 * part + 5, 3 * part])


def test_streams_in_both_directions() -> None:
    (client, server), _ = pipe_pair(2)
    piece = bytes(MIB)

    def run(channel: LineChannel) -> int:
        for _ in range(20):
            channel.send("stream", [piece])
        return sum(channel.recv("stream", [MIB])[0].nbytes for _ in range(20))

    assert together(lambda: run(client), lambda: run(server)) == (20 * MIB, 20 * MIB)


def test_a_peer_that_never_receives_times_out() -> None:
    (client, _), _ = pipe_pair(2, send_timeout_s=0.1)
    with pytest.raises(Timeout, match=r"sending to server .* send_timeout_s = 0\.1 s"):
        client.send("x", [bytes(10 * MIB)])


def test_a_sender_takes_in_a_bounded_amount() -> None:
    (client, server), (line, _) = pipe_pair(2, max_bytes=3 * MIB, send_timeout_s=0.3)

    def flood() -> None:
        for _ in range(10):
            server.send("flood", [bytes(2 * MIB)])

    def send() -> None:
        for _ in range(10):
            client.send("x", [bytes(2 * MIB)])

    with pytest.raises(Timeout):
        together(send, flood)
    assert client._arrived_bytes <= 2 * 3 * MIB
    line.hang_up()


def test_empty_messages_count_too() -> None:
    (client, server), (line, _) = pipe_pair(2, max_bytes=1 << 20, send_timeout_s=0.3)

    def flood() -> None:
        for _ in range(5000):
            server.send("flood", [])

    def send() -> None:
        for _ in range(10):
            client.send("x", [bytes(1 << 20)])

    with pytest.raises(Timeout):
        together(send, flood)
    assert len(client._arrived) <= 1025
    line.hang_up()


def test_a_message_broken_off_is_told_from_its_successor() -> None:
    (client, server), (line, _) = pipe_pair(99)
    line.put([memoryview(encode(Header(Kind.DATA, 0, "x", (2 * MIB,)))), memoryview(bytes(10))])
    client.send_error("out of memory")
    with pytest.raises(RemoteError, match="out of memory"):
        server.recv("x", [2 * MIB])


def test_a_message_broken_off_without_a_reason() -> None:
    (client, server), (line, _) = pipe_pair(99)
    line.put([memoryview(encode(Header(Kind.DATA, 0, "x", (2 * MIB,))))])
    client.close()
    with pytest.raises(PeerGone, match="in the middle of a message"):
        server.recv("x", [2 * MIB])


@pytest.mark.parametrize(("tries", "fails"), [(3, False), (1000, True)])
def test_flush_when_the_peer_has_taken_all_and_left(tries: int, fails: bool) -> None:
    (client, _), (line, _) = pipe_pair(99)
    left = iter([False] * tries + [True])
    line.put_back = lambda: next(left)  # type: ignore[method-assign]
    line.gone = True
    with pytest.raises(PeerGone) if fails else nullcontext():
        client.flush()


HEADER = memoryview(encode(Header(Kind.DATA, 0, "x", (10, 10))))


@pytest.mark.parametrize(
    "groups",
    [
        [[b""]],
        [[b"", b""]],
        [[b"garbage"]],
        [[HEADER, bytes(11)]],
        [[HEADER, bytes(10), bytes(10), b"more"]],
        [[HEADER, bytes(10)], [b""]],
        [[HEADER, bytes(9)], [HEADER]],
        [urgent(Header(Kind.WELCOME, 0, "x", ()), [])],
        [urgent(Header(Kind.ERROR, 0, "x", ()), [])],
        [urgent(Header(Kind.ERROR, 0, "x", (3000,)), [memoryview(bytes(3000))])],
    ],
    ids=range(10),
)
def test_hostile_groups_are_refused(groups: list[list[bytes]]) -> None:
    (_, server), (line, _) = pipe_pair(99)
    for group in groups:
        line.put([memoryview(part) for part in group])
    with pytest.raises(ProtocolError):
        server.recv("x", [10, 10])


@pytest.mark.parametrize("plaintext", [False, True])
def test_large_exchange_over_sockets_with_little_room(plaintext: bool) -> None:
    n = 24 * PART_BYTES + 1
    with zmq_pair(settings=replace(QUICK, hwm=2), plaintext=plaintext) as (client, server):
        mine, theirs = bytes([1]) * n, bytes([2]) * n
        got = together(
            lambda: client.exchange("x", [mine], [n])[0], lambda: server.exchange("x", [theirs], [n])[0]
        )
        assert (got[0], got[1]) == (theirs, mine)


def test_large_frames_over_ipc(tmp_path: Path) -> None:
    with zmq_pair(f"ipc://{tmp_path}/s") as (client, server):
        n = 5 * MIB
        got = together(lambda: server.recv("x", [n, n]), lambda: client.send("x", [bytes(n), b"7" * n]))[0]
        assert got[1] == b"7" * n
