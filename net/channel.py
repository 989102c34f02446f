"""A session between two parties: ordered, tagged messages of raw frames.

The contract of every channel:

* Messages arrive in the order in which they were sent. Each carries a sequence number and a tag; both are
  checked, so two programs that fall out of step stop with both tags named instead of computing nonsense.
* Nothing needs flushing to make progress. `send` returns when the transport has taken the message, which
  may be before the peer has it.
* Frames given to `send` are lent: the transport may read them after `send` has returned. Change them only
  after the next `flush`, or pass them to `exchange`, which flushes.
* Received frames are read-only views that belong to the receiver for as long as it likes. Each begins at a
  multiple of 8 bytes, so it may be looked at as 64-bit words.
* One thread owns a channel, the first one that uses it. `hand_over` releases it on purpose.
* After any error the channel is finished. The only thing left to do is `send_error` or `close`.

A transport implements `_send`, `_recv_header`, `_recv_payload`, `_close` and, if it borrows, `_flush`.
The receiver sees a header first, so it refuses what it does not expect before it takes the payload.
A wrapper (emulation, tracing) is a channel on the same `Session`, so it counts and numbers as its inner one.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn, Self

from net import frame
from net.errors import (
    REMOTE_TEXT_LIMIT,
    FrameTooLarge,
    NetError,
    PeerGone,
    ProtocolError,
    RemoteError,
    SessionOver,
    Timeout,
    printable,
)
from net.frame import Header, Kind, Limits
from net.traffic import Direction, Traffic

if TYPE_CHECKING:
    from typing_extensions import Buffer

_LAST_WORDS_TAG = "stop"
_MAX_ERROR_BYTES = 4 * REMOTE_TEXT_LIMIT  # UTF-8 takes at most four bytes a character


@dataclass(frozen=True)
class Wait:
    """How long to wait for a sign of life, in seconds, and the name of the setting that says so.

    The clock starts anew with every part that arrives or leaves: a slow link is not a dead one.
    """

    setting: str
    seconds: float

    def timeout(self, awaited: str) -> Timeout:
        """The error to raise when the wait is over."""
        return Timeout(
            awaited, self.setting, self.seconds, f"See whether the peer still runs, or raise {self.setting}."
        )


NO_WAIT = Wait("no wait", 0.0)


@dataclass
class Session:
    """What a channel and its wrappers share: names, limits, counters, the owning thread, the end."""

    local: str
    peer: str
    recv_wait: Wait
    limits: Limits
    traffic: Traffic = field(default_factory=Traffic)
    next_sent: int = 0
    next_received: int = 0
    owner: threading.Thread | None = None
    failure: str | None = None
    peer_is_there: bool = True
    closed: bool = False
    peer_key: str | None = None


#: Called before frames are read: returns when so many bytes of them, from the first one on, are there.
Ready = Callable[[int], None]


def all_ready(count: int) -> None:
    """Of frames that are there."""


class Channel(ABC):
    """One end of a session. `local` and `peer` are role names such as "client", "server", "dealer"."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._at_work = _Guard(self)

    @property
    def local(self) -> str:
        return self._session.local

    @property
    def peer(self) -> str:
        return self._session.peer

    @property
    def peer_key(self) -> str | None:
        """The public key (Z85) that the peer has proven to hold; None without encryption and within a process."""
        return self._session.peer_key

    @property
    def traffic(self) -> Traffic:
        return self._session.traffic

    def send(
        self, tag: str, frames: Sequence[Buffer], *, round: bool = True, ready: Ready = all_ready
    ) -> None:
        """Sends one message. The frames are lent to the channel until the next `flush` or `exchange`.

        ready: for frames that are still being filled. round: False if this message is part of a stream that
        nobody waits for, so it costs no latency.
        Raises PeerGone, RemoteError, Timeout, FrameTooLarge; ValueError for a bad tag or frame.
        """
        self._post(tag, frames, ready)
        if round:
            self.traffic.count_round()

    def recv(
        self, tag: str, sizes: Sequence[int], *, round: bool = True, wait: Wait | None = None
    ) -> list[memoryview]:
        """Receives the next message, which must have this tag and exactly these frame sizes in bytes.

        wait: replaces the channel's own receive timeout. Raises ProtocolError if tag, sequence number or
        a size differs; PeerGone, RemoteError, Timeout.
        """
        with self._at_work:
            header = self._expect(tag, wait)
            if header.sizes != tuple(sizes):
                raise ProtocolError(
                    f"message {tag!r} from {self.peer}: frames of {list(sizes)} bytes expected, got "
                    f"{list(header.sizes)}. Check that both sides use the same model, profile and batch."
                )
            frames = self._take(header, wait)
        if round:
            self.traffic.count_round()
        return frames

    def recv_any(
        self, tag: str, max_bytes: int, *, round: bool = True, wait: Wait | None = None
    ) -> list[memoryview]:
        """Receives the next message, of any number and size of frames up to `max_bytes` in total.

        For control messages whose length only the sender knows. Raises FrameTooLarge above the bound,
        otherwise as `recv`.
        """
        with self._at_work:
            header = self._expect(tag, wait)
            if header.payload_bytes > max_bytes:
                raise FrameTooLarge(
                    f"message {tag!r} from {self.peer} has {header.payload_bytes} bytes, at most {max_bytes} "
                    "are accepted here. Check that both sides run the same version."
                )
            frames = self._take(header, wait)
        if round:
            self.traffic.count_round()
        return frames

    def exchange(
        self, tag: str, frames: Sequence[Buffer], sizes: Sequence[int], ready: Ready = all_ready
    ) -> list[memoryview]:
        """Sends one message and receives one under the same tag: one round. Raises as `send` and `recv`.

        Both sides may send any amount at once. The frames are the caller's again on return.
        """
        self._post(tag, frames, ready)
        received = self.recv(tag, sizes)
        self.flush()
        return received

    def flush(self) -> None:
        """Returns when lent frames are no longer read, so that they may be changed. Raises as `send`."""
        with self._at_work:
            self._flush()

    def send_error(self, text: str) -> None:
        """Tells the peer why we stop: its next receive raises RemoteError with `text`.

        At most 500 printable characters travel. Never put secret values in the text. Does nothing if the
        peer is gone already.
        """
        self._check_owner()
        with suppress(NetError):
            self._say(Kind.ERROR, printable(text).encode())

    def hand_over(self) -> None:
        """Lets another thread own the channel: the next one that uses it."""
        self._check_owner()
        self._session.owner = None

    def close(self) -> None:
        """Ends the session; the peer's next receive raises PeerGone. Closing twice does nothing."""
        self._check_owner()
        if self._session.closed:
            return
        with suppress(NetError):
            self._say(Kind.BYE)
        self._session.closed = True
        self._close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            # Our own errors hold no payload; of any other only the name goes, its text may hold secrets.
            other = "interrupted by its user" if kind is KeyboardInterrupt else kind.__name__
            self.send_error(str(error) if isinstance(error, NetError) else other)
        self.close()

    # What a transport implements.

    @abstractmethod
    def _send(self, header: Header, frames: Sequence[memoryview]) -> None:
        """Hands one message to the transport. Raises PeerGone or Timeout."""

    def _send_when_ready(self, header: Header, frames: Sequence[memoryview], ready: Ready) -> None:
        """The same for frames that are still being filled. A transport that sends parts need not wait for all."""
        ready(header.payload_bytes)
        self._send(header, frames)

    @abstractmethod
    def _recv_header(self, wait: Wait) -> Header:
        """Header of the next message. Raises PeerGone, Timeout, ProtocolError or FrameTooLarge."""

    @abstractmethod
    def _recv_payload(self, header: Header, wait: Wait) -> list[memoryview]:
        """Frames of the message whose header came last, of the sizes it announced. Raises as above."""

    @abstractmethod
    def _close(self) -> None:
        """Frees what the transport holds, after bounded time for the last message to leave."""

    def _flush(self) -> None:
        """Waits until no lent frame is read any more. Nothing to do for a transport that copies."""
        return

    # The steps behind the public methods.

    def _begin(self) -> None:
        """Before a use of the transport: right thread, living session."""
        self._check_owner()
        session = self._session
        if session.closed or session.failure is not None:
            why = session.failure or "it was closed"
            raise SessionOver(f"the channel to {self.peer} cannot be used: {why}. Open a new session.")

    def _give_up(self, error: BaseException) -> None:
        """After a use that failed: the session is over, whatever was raised."""
        self._session.failure = f"an earlier use ended with {type(error).__name__}"
        self._session.peer_is_there = not isinstance(error, PeerGone | RemoteError)
        if isinstance(error, PeerGone) and (why_it_left := self._last_words()):
            raise why_it_left from None

    def _check_owner(self) -> None:
        here = threading.current_thread()
        if self._session.owner is None:
            self._session.owner = here
        if self._session.owner is not here:
            raise RuntimeError(
                f"the channel to {self.peer} belongs to thread {self._session.owner.name!r} and was used by "
                f"{here.name!r}; call hand_over() in the first one before the other takes it"
            )

    def _post(self, tag: str, frames: Sequence[Buffer], ready: Ready) -> None:
        """Sends and counts one DATA message."""
        views = [frame.as_bytes(f) for f in frames]
        session = self._session
        header = Header(Kind.DATA, session.next_sent, tag, tuple(view.nbytes for view in views))
        frame.check(header, session.limits)
        with self._at_work:
            self._send_when_ready(header, views, ready)
        session.next_sent += 1
        self._count(Direction.SENT, header)

    def _say(self, kind: Kind, *frames: bytes) -> None:
        """Sends a message outside the sequence, if there is somebody to hear it."""
        session = self._session
        if session.closed or not session.peer_is_there:
            return
        header = Header(kind, 0, _LAST_WORDS_TAG, tuple(map(len, frames)))
        self._send(header, [memoryview(f) for f in frames])

    def _expect(self, tag: str, wait: Wait | None) -> Header:
        """The header of the next message, which must be DATA with this tag and the next number."""
        wait = wait or self._session.recv_wait
        try:
            header = self._recv_header(wait)
        except Timeout:
            raise wait.timeout(f"message {tag!r} from {self.peer}") from None
        if header.kind is not Kind.DATA:
            self._stop(header, wait)
        if (header.tag, header.seq) != (tag, self._session.next_received):
            raise ProtocolError(
                f"out of step with {self.peer}: message {self._session.next_received} {tag!r} expected, "
                f"got message {header.seq} {header.tag!r}. "
                "Both sides must run the same version, model and profile."
            )
        return header

    def _take(self, header: Header, wait: Wait | None) -> list[memoryview]:
        """The payload that belongs to an accepted header, counted."""
        frames = self._recv_payload(header, wait or self._session.recv_wait)
        self._session.next_received += 1
        self._count(Direction.RECEIVED, header)
        return frames

    def _count(self, direction: Direction, header: Header) -> None:
        overhead = frame.header_size(header.tag, len(header.sizes))
        self.traffic.count(direction, header.tag, header.payload_bytes, overhead)

    def _stop(self, header: Header, wait: Wait) -> NoReturn:
        """Raises what a message other than DATA stands for."""
        if header.kind is Kind.BYE:
            raise PeerGone(f"{self.peer} closed the session. If that was too early, its log says why.")
        if header.kind is not Kind.ERROR or len(header.sizes) != 1 or header.payload_bytes > _MAX_ERROR_BYTES:
            raise ProtocolError(
                f"unexpected {header.kind.name} message from {self.peer} within a session. "
                "Check that both sides run the same version."
            )
        (text,) = self._recv_payload(header, wait)
        raise RemoteError(self.peer, printable(bytes(text).decode(errors="replace")))

    def _last_words(self) -> RemoteError | None:
        """What the peer said before it left, if it said why: that explains more than a broken line."""
        try:
            while True:
                header = self._recv_header(NO_WAIT)
                if header.kind is not Kind.DATA:
                    self._stop(header, NO_WAIT)
                with suppress(PeerGone):  # a message broken off; the reason may follow
                    self._recv_payload(header, NO_WAIT)
        except RemoteError as error:
            return error
        except NetError:
            return None


class Wrapper(Channel):
    """A channel that does something of its own around another one, on the same session."""

    def __init__(self, inner: Channel) -> None:
        super().__init__(inner._session)
        self._inner = inner

    def _send(self, header: Header, frames: Sequence[memoryview]) -> None:
        self._inner._send(header, frames)

    def _recv_header(self, wait: Wait) -> Header:
        return self._inner._recv_header(wait)

    def _recv_payload(self, header: Header, wait: Wait) -> list[memoryview]:
        return self._inner._recv_payload(header, wait)

    def _flush(self) -> None:
        self._inner._flush()

    def _close(self) -> None:
        self._inner._close()


class _Guard:
    """Brackets each use of a channel's transport."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel

    def __enter__(self) -> None:
        self._channel._begin()

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None:
            self._channel._give_up(error)
