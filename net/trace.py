"""Hashes of everything that crosses a channel, to pin the wire in a baseline file.

Under deterministic randomness a refactoring that should not touch the wire must leave all hashes as they
are. The rows do not depend on timing, nor on the order of different tags; the transcript hash does depend on
that order. Not seen: what the transport adds, and messages outside the sequence (greetings, errors).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from net import frame
from net.channel import Channel, Wait, Wrapper
from net.frame import Header, Kind
from net.traffic import Direction


class TraceRow(NamedTuple):
    """What one tag carried in one direction: number of messages, payload bytes, hash of sizes and payload."""

    direction: str
    tag: str
    messages: int
    payload_bytes: int
    sha256: str


@dataclass
class _Tally:
    messages: int = 0
    payload_bytes: int = 0
    hash: hashlib._Hash = field(default_factory=hashlib.sha256)


class TracingChannel(Wrapper):
    """A channel that hashes what it carries. One end may trace alone."""

    def __init__(self, inner: Channel) -> None:
        super().__init__(inner)
        self._tallies: dict[tuple[Direction, str], _Tally] = {}
        self._transcripts = {direction: hashlib.sha256() for direction in Direction}

    def rows(self) -> list[TraceRow]:
        """One row for each direction and tag, sorted."""
        return sorted(
            TraceRow(direction.value, tag, tally.messages, tally.payload_bytes, tally.hash.hexdigest())
            for (direction, tag), tally in self._tallies.items()
        )

    def transcript(self, direction: Direction) -> str:
        """SHA-256 over headers (sequence number, tag, sizes) and payloads of one direction, in order."""
        return self._transcripts[direction].hexdigest()

    def _send(self, header: Header, frames: Sequence[memoryview]) -> None:
        self._note(Direction.SENT, header, frames)
        super()._send(header, frames)

    def _recv_payload(self, header: Header, wait: Wait) -> list[memoryview]:
        frames = super()._recv_payload(header, wait)
        self._note(Direction.RECEIVED, header, frames)
        return frames

    def _note(self, direction: Direction, header: Header, frames: Sequence[memoryview]) -> None:
        if header.kind is not Kind.DATA:
            return
        tally = self._tallies.setdefault((direction, header.tag), _Tally())
        tally.messages += 1
        tally.payload_bytes += header.payload_bytes
        tally.hash.update(repr(header.sizes).encode())
        self._transcripts[direction].update(frame.encode(header))
        for content in frames:
            tally.hash.update(content)
            self._transcripts[direction].update(content)
