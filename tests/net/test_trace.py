"""Transcript hashes: equal for equal wires, different for anything else."""

from __future__ import annotations

import hashlib

from net import Direction, TracingChannel, memory_pair
from net.trace import TraceRow

Message = tuple[str, list[bytes]]
SAMPLE: list[Message] = [("a", [b"12", b"3"]), ("b", [b"456"]), ("a", [])]


def trace(messages: list[Message]) -> tuple[TracingChannel, TracingChannel]:
    client, server = map(TracingChannel, memory_pair())
    for tag, frames in messages:
        client.send(tag, frames)
        server.recv(tag, [len(f) for f in frames])
    return client, server


def fingerprint(messages: list[Message]) -> tuple[str, list[TraceRow]]:
    client, _ = trace(messages)
    return client.transcript(Direction.SENT), client.rows()


def test_pinned() -> None:
    """The hashes of a fixed exchange. If this changes, the wire or the baseline format has changed."""
    transcript, rows = fingerprint(SAMPLE)
    assert rows[1] == TraceRow("sent", "b", 1, 3, hashlib.sha256(b"(3,)" + b"456").hexdigest())
    assert transcript == "9c67ffebcd8e91a914c485a6fd94a528fbe669f0917c1aae2afc010c364eab97"


def test_both_ends_agree() -> None:
    client, server = trace(SAMPLE)
    assert client.transcript(Direction.SENT) == server.transcript(Direction.RECEIVED)
    assert client.transcript(Direction.RECEIVED) == server.transcript(Direction.SENT)
    assert [row[1:] for row in client.rows()] == [row[1:] for row in server.rows()]
    assert {row.direction for row in client.rows()} == {"sent"}


def test_it_is_sensitive_to_content_sizes_tags_and_order() -> None:
    transcript, rows = fingerprint(SAMPLE)
    for other in (
        [("a", [b"12", b"4"]), *SAMPLE[1:]],
        [("a", [b"1", b"23"]), *SAMPLE[1:]],
        [("c", [b"12", b"3"]), *SAMPLE[1:]],
        SAMPLE[:-1],
    ):
        other_transcript, other_rows = fingerprint(other)
        assert other_transcript != transcript
        assert other_rows != rows


def test_rows_do_not_depend_on_the_order_of_different_tags() -> None:
    transcript, rows = fingerprint(SAMPLE)
    reordered_transcript, reordered_rows = fingerprint([SAMPLE[1], SAMPLE[0], SAMPLE[2]])
    assert reordered_rows == rows
    assert reordered_transcript != transcript


def test_one_end_may_trace_alone_and_begin_late() -> None:
    client, server = memory_pair()
    client.send("before", [b"1"])
    server.recv("before", [1])
    traced = TracingChannel(client)
    traced.send("x", [b"12"])
    server.recv("x", [2])
    assert traced.rows()[0][:4] == ("sent", "x", 1, 2)
    assert traced.traffic is client.traffic


def test_a_farewell_is_no_part_of_it() -> None:
    client, server = trace(SAMPLE)
    before = client.rows()
    client.close()
    server.close()
    assert client.rows() == before
