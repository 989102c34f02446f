"""A channel over any line that carries groups of parts: cutting, gathering, patience, no deadlocks."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from net import frame
from net.channel import Channel, Ready, Session, Wait, all_ready
from net.errors import PeerGone
from net.frame import Assembler, Group, Header, Kind, Limits, is_urgent, urgent
from net.settings import ZmqSettings

_MESSAGE_COST = 1 << 10  # bytes by which an empty message counts, so that many of them have a limit too
_RECLAIM_TRIES = 100  # of a few milliseconds each


class Line(ABC):
    """The way to one peer."""

    gone = False
    """Whether the connection is known to be lost. What arrived before can still be got."""

    @abstractmethod
    def put(self, group: Group) -> bool:
        """Sends a group; False if there was no room for it within a few milliseconds, or the line is lost.

        Large parts are lent: they may be read until `put_back` says otherwise.
        """

    @abstractmethod
    def put_back(self) -> bool:
        """Whether all lent parts are free again; waits a few milliseconds for it."""

    @abstractmethod
    def get(self) -> Group | None:
        """The next group from the peer if one is here."""

    @abstractmethod
    def wait(self, seconds: float) -> None:
        """Waits until something happens on the line, and takes note if it was lost."""

    @abstractmethod
    def hang_up(self) -> None:
        """Frees the line, after bounded time for the last groups to leave."""


class LineChannel(Channel):
    """A session over a line."""

    def __init__(self, session: Session, line: Line, send_wait: Wait, parting_wait: Wait) -> None:
        super().__init__(session)
        self._line = line
        self._send_wait = send_wait
        self._parting_wait = parting_wait
        self._arrived: deque[_Message] = deque()  # in order; only the last can be incomplete
        self._arrived_bytes = 0

    def _send(self, header: Header, frames: Sequence[memoryview]) -> None:
        if header.kind is not Kind.DATA:
            self._line.wait(0)  # so as not to speak to somebody who is gone
            self._until(partial(self._line.put, urgent(header, frames)), self._parting_wait)
            return
        self._send_when_ready(header, frames, all_ready)

    def _send_when_ready(self, header: Header, frames: Sequence[memoryview], ready: Ready) -> None:
        encoded = memoryview(frame.encode(header))
        count = -encoded.nbytes
        for group in frame.cut([encoded, *frames]):
            count += sum(part.nbytes for part in group)
            ready(count)
            if not self._line.put(group):
                self._until(partial(self._line.put, group), self._send_wait)

    def _flush(self) -> None:
        try:
            self._until(self._line.put_back, self._send_wait)
        except PeerGone:
            # A peer may take all and hang up; then the transport only needs a moment to let go.
            if not any(self._line.put_back() for _ in range(_RECLAIM_TRIES)):
                raise

    def _recv_header(self, wait: Wait) -> Header:
        while not self._arrived:
            self._take_in(self._next_group(wait))
        return self._arrived[0].header

    def _recv_payload(self, header: Header, wait: Wait) -> list[memoryview]:
        message = self._arrived[0]
        try:
            while message.assembler.missing:
                if message is not self._arrived[-1]:
                    raise PeerGone(f"{self.peer} stopped in the middle of a message. Its log says why.")
                self._take_in(self._next_group(wait))
        finally:
            self._arrived.popleft()
            self._arrived_bytes -= header.payload_bytes + _MESSAGE_COST
        return message.assembler.frames()

    def _close(self) -> None:
        self._line.hang_up()

    def _until(self, attempt: Callable[[], bool], wait: Wait) -> None:
        """Repeats an attempt that needs the peer to receive, while receiving what the peer sends:
        two sides that send at once must not wait for each other."""
        deadline = time.monotonic() + wait.seconds
        while not attempt():
            self._line.wait(0)
            if self._line.gone:
                raise self._lost()
            if time.monotonic() > deadline:
                raise wait.timeout(f"sending to {self.peer}")
            self._stock_up()
            if self._arrived and self._arrived[-1].header.kind is not Kind.DATA:
                raise PeerGone(f"{self.peer} has stopped receiving. Its log says why.")

    def _stock_up(self) -> None:
        """Takes in what is here, up to about one message of the largest size."""
        while self._arrived_bytes <= self._session.limits.max_message_bytes and (group := self._line.get()):
            self._take_in(group)

    def _next_group(self, wait: Wait) -> Group:
        deadline = time.monotonic() + wait.seconds
        while True:
            gone = self._line.gone  # asked first: what the peer sent before it left is still delivered
            if group := self._line.get():
                return group
            if gone:
                raise self._lost()
            left = deadline - time.monotonic()
            if left <= 0:
                raise wait.timeout(f"a message from {self.peer}")
            self._line.wait(left)

    def _take_in(self, group: Group) -> None:
        """Puts a group where it belongs: a message of its own, or the next piece of the last one."""
        if is_urgent(group) or not (self._arrived and self._arrived[-1].assembler.missing):
            raw, *group = group[1:] if is_urgent(group) else group
            header = frame.decode(raw, self._session.limits)
            self._arrived.append(_Message(header, Assembler(header.sizes)))
            self._arrived_bytes += header.payload_bytes + _MESSAGE_COST
        for part in group:
            self._arrived[-1].assembler.feed(part)

    def _lost(self) -> PeerGone:
        return PeerGone(
            f"the connection to {self.peer} is lost: it ended or the network failed. See its log."
        )


@dataclass(frozen=True, slots=True)
class _Message:
    """A message of which at least the header has arrived."""

    header: Header
    assembler: Assembler


def line_channel(
    local: str, peer: str, line: Line, settings: ZmqSettings, peer_key: str | None = None
) -> LineChannel:
    """A session between `local` and `peer` over a line, with the patience and limits of the settings.

    peer_key: the public key whose secret half the other end of the line has proven to hold.
    """
    session = Session(
        local,
        peer,
        Wait("recv_timeout_s", settings.recv_timeout_s),
        Limits(max_message_bytes=settings.max_message_bytes),
        peer_key=peer_key,
    )
    send_wait = Wait("send_timeout_s", settings.send_timeout_s)
    return LineChannel(session, line, send_wait, Wait("linger_s", settings.linger_s))
