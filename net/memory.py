"""A pair of channels within one process, for tests: two threads talk without sockets or keys."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence

from net.channel import Channel, Session, Wait
from net.errors import PeerGone
from net.frame import Header, Limits

_Message = tuple[Header, list[bytes]]


def memory_pair(
    first: str = "client", second: str = "server", *, timeout_s: float = 10.0, limits: Limits | None = None
) -> tuple[Channel, Channel]:
    """Two connected channels, the first named `first` and the second `second`.

    timeout_s: how long a receive waits before it raises Timeout. Sending never waits.
    """
    wait = Wait("timeout_s of memory_pair", timeout_s)
    limits = limits or Limits()
    there, back = _Pipe(), _Pipe()
    return (
        MemoryChannel(Session(first, second, wait, limits), outgoing=there, incoming=back),
        MemoryChannel(Session(second, first, wait, limits), outgoing=back, incoming=there),
    )


class _Pipe:
    """One direction: an unbounded queue that either end can close."""

    def __init__(self) -> None:
        self._messages: deque[_Message] = deque()
        self._changed = threading.Condition()
        self._closed = False

    def put(self, message: _Message) -> bool:
        """Appends a message; False if the pipe is closed."""
        with self._changed:
            if not self._closed:
                self._messages.append(message)
                self._changed.notify()
            return not self._closed

    def get(self, seconds: float) -> _Message | None:
        """The next message, or None once the pipe is closed and empty. Raises TimeoutError."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._messages or self._closed, seconds):
                raise TimeoutError
            return self._messages.popleft() if self._messages else None

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify()


class MemoryChannel(Channel):
    """A channel over two in-process pipes. It copies what it sends, so nothing is lent."""

    def __init__(self, session: Session, *, outgoing: _Pipe, incoming: _Pipe) -> None:
        super().__init__(session)
        self._outgoing = outgoing
        self._incoming = incoming
        self._payload: list[bytes] = []

    def _send(self, header: Header, frames: Sequence[memoryview]) -> None:
        if not self._outgoing.put((header, [bytes(f) for f in frames])):
            raise self._gone()

    def _recv_header(self, wait: Wait) -> Header:
        try:
            message = self._incoming.get(wait.seconds)
        except TimeoutError:
            raise wait.timeout(f"a message from {self.peer}") from None
        if message is None:
            raise self._gone()
        header, self._payload = message
        return header

    def _recv_payload(self, header: Header, wait: Wait) -> list[memoryview]:
        return [memoryview(f) for f in self._payload]

    def _close(self) -> None:
        self._outgoing.close()
        self._incoming.close()

    def _gone(self) -> PeerGone:
        return PeerGone(f"{self.peer} is gone. See why its thread ended.")
