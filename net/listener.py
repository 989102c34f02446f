"""The side that waits: one address, one session at a time, a clear answer to everybody else."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable
from typing import Self

from net import address as addresses
from net import greeting
from net.channel import Channel, Wait
from net.errors import FrameTooLarge, ProtocolError
from net.frame import Group, Kind, is_urgent
from net.greeting import Greeting
from net.identity import KeyPair, PublicKey
from net.line import Line, line_channel
from net.settings import ZmqSettings
from net.zeromq import Arrival, Event, Router


class Listener:
    """Waits for peers at an address and serves one at a time. A context manager; otherwise `close` it.

    address: tcp://HOST:PORT (port 0 or * for any free one; host * for all IPv4 interfaces) or ipc://PATH.
        The attribute `address` is the address as bound, with the real port.
    authorised: keys that may come in; each peer is known by the name beside its key.
    insecure_plaintext: no encryption and no keys at all, peers are who they claim to be. Only for measuring
        what the encryption costs.
    Raises AddressError if the address cannot be used.
    """

    def __init__(
        self,
        address: str,
        keys: KeyPair,
        authorised: Iterable[PublicKey],
        settings: ZmqSettings | None = None,
        *,
        insecure_plaintext: bool = False,
    ) -> None:
        target = addresses.for_listening(address)
        self._name = keys.name
        self._settings = settings or ZmqSettings()
        self._secure = not insecure_plaintext
        self._closed = False
        self._alive: set[int] = set()  # file descriptors of the connections
        self._visit: _Visit | None = None
        self._router = Router(self._settings)
        try:
            if self._secure:
                self._router.guard(keys, authorised)
            addresses.claim(target)
            self.address = self._router.bind(target)
        except BaseException:
            self._router.close(linger=False)
            raise

    def accept(self, timeout_s: float | None = None) -> Channel:
        """Waits for the next peer and opens a session with it; None waits for ever. Raises Timeout.

        Close the channel before the next `accept`. A peer that comes meanwhile is told Busy as soon as the
        session next waits for something.
        """
        if self._visit is not None:
            raise RuntimeError("close the current session's channel before accepting the next peer")
        deadline = math.inf if timeout_s is None else time.monotonic() + timeout_s
        while self._visit is None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Wait("timeout_s", timeout_s or 0.0).timeout(f"a connection to {self.address}")
            self.wait(left)
            self._visit = self._next_visit()
        return line_channel(self._name, self._visit.name, self._visit, self._settings, self._visit.key)

    def close(self) -> None:
        """Stops listening and ends a session that is still open. Closing twice does nothing."""
        if not self._closed:
            self._closed = True
            self.leave()
            self._router.close(linger=True)
            addresses.release(self.address)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # What the current visit uses.

    def receive_from(self, visit: _Visit) -> Group | None:
        """The visit's next group if one is here. Others who speak up are answered on the way."""
        while arrival := self._router.receive():
            if arrival.route == visit.route:
                return arrival.group
            self._greet(arrival)
        return None

    def wait(self, seconds: float) -> None:
        """Waits until something happens; lets keys in or not, and notes who is gone."""
        if self._router.poll(seconds):
            self._router.answer_gate()
            self._note_connections()

    def leave(self) -> None:
        """Ends the current visit, if any."""
        if self._visit is not None:
            self._visit.gone = self._visit.over = True
            self._visit = None

    # The steps behind.

    def _note_connections(self) -> None:
        for event, descriptor in self._router.events():
            if event is Event.ACCEPTED:
                self._alive.add(descriptor)
            elif event is Event.DISCONNECTED:
                self._alive.discard(descriptor)
                if self._visit is not None and self._visit.descriptor == descriptor:
                    self._visit.gone = True

    def _next_visit(self) -> _Visit | None:
        while arrival := self._router.receive():
            if visit := self._greet(arrival):
                return visit
        return None

    def _greet(self, arrival: Arrival) -> _Visit | None:
        """Answers somebody new: with a visit if nobody else is here, otherwise with BUSY."""
        if not is_urgent(arrival.group):
            return None  # left over from a session that is over
        try:
            hello = greeting.decode(arrival.group[1:])
        except (ProtocolError, FrameTooLarge) as error:
            self._reply(arrival, Greeting(Kind.ERROR, self._name, greeting.NO_ID, str(error)))
            return None
        if hello is None or hello.kind is not Kind.HELLO:
            return None  # the same
        self._note_connections()
        if self._visit is not None:
            self._reply(arrival, Greeting(Kind.BUSY, self._name, hello.session_id))
            return None
        if arrival.descriptor not in self._alive:
            return None  # hung up while we were busy
        self._reply(arrival, Greeting(Kind.WELCOME, self._name, hello.session_id))
        return _Visit(self, self._router, arrival, hello.name, arrival.user if self._secure else None)

    def _reply(self, arrival: Arrival, answer: Greeting) -> None:
        self._router.send(arrival.route, greeting.group(answer))


class _Visit(Line):
    """A peer's session with a listener: one route of its router."""

    def __init__(
        self, listener: Listener, router: Router, hello: Arrival, name: str, user: PublicKey | None
    ) -> None:
        self.name = user.name if user else name
        self.key = user.z85 if user else None
        self.route = hello.route
        self.descriptor = hello.descriptor
        self.over = False
        self._listener = listener
        self._router = router

    def put(self, group: Group) -> bool:
        sent = None if self.gone else self._router.send(self.route, group)
        self.gone = sent is None
        return bool(sent)

    def put_back(self) -> bool:
        return self._router.all_read()

    def get(self) -> Group | None:
        return None if self.over else self._listener.receive_from(self)

    def wait(self, seconds: float) -> None:
        if not self.over:
            self._listener.wait(seconds)

    def hang_up(self) -> None:
        if not self.over:
            self._listener.leave()
