"""ZeroMQ sockets as this package uses them. The only file that knows pyzmq.

Each socket has a context of its own and a monitor, which tells who connected and who is gone; a router also
answers libzmq's question whether a key may come in. All of that is polled by the thread that owns the
socket: there is no background thread of ours.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum

import zmq
from zmq.utils import z85

from net.errors import AddressError
from net.frame import PART_BYTES, Group
from net.identity import KeyPair, PublicKey
from net.settings import ZmqSettings

_POLLIN = int(zmq.POLLIN)  # a plain number: pyzmq's flag type is slow
_LEND_FROM = 1 << 16  # bytes; below, copying is cheaper than keeping track
_PART_SLACK = 1 << 12  # bytes: room for a header and for what CURVE adds to a part
_SLICE_S = 0.005  # how long a blocked send waits for room before its caller may look at what came in
_RETRY_S = 0.1  # between two attempts to reach a listener
_LONGEST_POLL_S = 1.0  # a Ctrl-C just before the wait would otherwise go unnoticed
_MONITOR = "inproc://monitor"
_ZAP = "inproc://zeromq.zap.01"  # the address that libzmq asks, within the router's context
_ZAP_DOMAIN = b"fastlmpi"

_Part = zmq.Frame | memoryview | bytes


class Event(IntEnum):
    """What a monitor reports. ACCEPTED and DISCONNECTED come with the file descriptor of the connection."""

    CONNECTED = zmq.EVENT_CONNECTED
    ACCEPTED = zmq.EVENT_ACCEPTED
    DISCONNECTED = zmq.EVENT_DISCONNECTED
    HANDSHAKE_SUCCEEDED = zmq.EVENT_HANDSHAKE_SUCCEEDED
    KEY_REFUSED = zmq.EVENT_HANDSHAKE_FAILED_AUTH
    HANDSHAKE_MALFORMED = zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
    HANDSHAKE_BROKEN_OFF = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL


def new_curve_keys() -> tuple[str, str]:
    """A fresh (public, secret) pair in Z85, from the operating system's randomness."""
    public, secret = zmq.curve_keypair()
    return public.decode(), secret.decode()


def curve_public(secret: str) -> str:
    """The public key that belongs to a secret one, both in Z85."""
    return zmq.curve_public(secret.encode()).decode()


class _Socket:
    """What router and dealer share: options, monitor, polling, lending, closing."""

    def __init__(self, kind: int, settings: ZmqSettings) -> None:
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._helpers: list[zmq.Socket[bytes]] = []
        self._lent: zmq.MessageTracker | None = None
        self._zmq = self._context.socket(kind)
        self._poller.register(self._zmq, zmq.POLLIN)
        for option, value in _options(settings).items():
            self._zmq.setsockopt(option, value)
        self._zmq.monitor(_MONITOR, sum(Event))
        self._monitor = self._helper(zmq.PAIR)
        self._monitor.setsockopt(zmq.RCVHWM, 0)  # a full queue would block libzmq's own thread
        self._monitor.connect(_MONITOR)

    def poll(self, seconds: float) -> bool:
        """Waits until something comes in; whether anything but messages did."""
        ready = self._poller.poll(_ms(min(seconds, _LONGEST_POLL_S)))
        return any(source is not self._zmq for source, _ in ready)

    def events(self) -> Iterator[tuple[Event, int]]:
        """(event, value) pairs that the monitor has seen and nobody has read yet."""
        while _has_input(self._monitor):
            event, value = struct.unpack("=Hi", self._monitor.recv_multipart()[0])
            yield Event(event), value

    def all_read(self) -> bool:
        """Whether all parts lent to libzmq have been read; waits a few milliseconds for it."""
        try:
            if self._lent is not None:
                self._lent.wait(_SLICE_S)
        except zmq.NotDone:
            return False
        self._lent = None
        return True

    def close(self, *, linger: bool) -> None:
        """Closes everything; with `linger`, after what was sent has left or linger_s has passed."""
        if self._zmq.closed:
            return
        self._zmq.disable_monitor()
        for helper in self._helpers:
            helper.close(linger=0)
        self._zmq.close(linger=None if linger else 0)
        self._context.term()

    def _helper(self, kind: int) -> zmq.Socket[bytes]:
        """One more socket of the same context, polled and closed together with this one."""
        helper = self._context.socket(kind)
        self._helpers.append(helper)
        self._poller.register(helper, zmq.POLLIN)
        return helper

    def _receive(self) -> list[zmq.Frame] | None:
        return self._zmq.recv_multipart(copy=False) if _has_input(self._zmq) else None

    def _send(self, parts: list[_Part]) -> bool:
        """Sends a message; False if there was no room for a few milliseconds."""
        try:
            self._zmq.send_multipart(parts, copy=False)
        except zmq.Again:
            return False
        return True

    def _lend(self, part: memoryview) -> _Part:
        """A part as libzmq takes it: a small one is copied, a large one lent."""
        if part.nbytes < _LEND_FROM:
            return part
        lent = zmq.Frame(part, copy=False, track=True)
        self._lent = lent.tracker  # parts leave in order, so the last one speaks for all
        return lent


@dataclass(frozen=True, slots=True)
class Arrival:
    """A group that came in at a router, and by which route."""

    route: bytes
    group: Group
    _last: zmq.Frame

    @property
    def descriptor(self) -> int:
        """File descriptor of the connection, as in the monitor's events."""
        return int(self._last.get(zmq.SRCFD))

    @property
    def user(self) -> PublicKey:
        """The authorised key of the sender and the name beside it; only for a guarded router."""
        name, key = str(self._last.get("User-Id")).split(" ")
        return PublicKey(name, key)


class Router(_Socket):
    """A listening socket with many peers, each known by its route."""

    def __init__(self, settings: ZmqSettings) -> None:
        super().__init__(zmq.ROUTER, settings)
        self._zmq.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self._gate = self._helper(zmq.REP)
        self._names: Mapping[bytes, str] = {}

    def guard(self, keys: KeyPair, authorised: Iterable[PublicKey]) -> None:
        """Encrypts with `keys` and lets in only who holds an authorised one. To be called before `bind`."""
        self._names = {key.z85.encode(): key.name for key in authorised}
        self._gate.bind(_ZAP)
        self._zmq.setsockopt(zmq.CURVE_SERVER, 1)
        self._zmq.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
        self._zmq.setsockopt(zmq.ZAP_DOMAIN, _ZAP_DOMAIN)
        self._zmq.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)  # nobody comes in unasked

    def bind(self, address: str) -> str:
        """Starts to listen and returns the address with the real port. Raises AddressError."""
        try:
            self._zmq.bind(address)
        except zmq.ZMQError as error:
            raise AddressError(
                f"cannot listen at {address}: {error.strerror}. Choose another address."
            ) from None
        return self._zmq.getsockopt_string(zmq.LAST_ENDPOINT)

    def answer_gate(self) -> None:
        """Answers libzmq's questions whether a key may come in (ZAP, ZeroMQ RFC 27)."""
        while _has_input(self._gate):
            version, request, _, _, _, mechanism, *credentials = self._gate.recv_multipart()
            key = z85.encode(credentials[0]) if mechanism == b"CURVE" else b""
            name = self._names.get(key)
            verdict = (
                [b"200", b"OK", b"%s %s" % (name.encode(), key)] if name else [b"400", b"unknown key", b""]
            )
            self._gate.send_multipart([version, request, *verdict, b""])

    def receive(self) -> Arrival | None:
        """What came in next, if anything is here."""
        parts = self._receive()
        if parts is None:
            return None
        return Arrival(parts[0].bytes, [_view(part) for part in parts[1:]], parts[-1])

    def send(self, route: bytes, group: Group) -> bool | None:
        """True: sent. False: no room for a few milliseconds. None: the route does not exist any more."""
        try:
            return self._send([route, *map(self._lend, group)])
        except zmq.ZMQError as error:
            if error.errno == zmq.EHOSTUNREACH:
                return None
            raise


class Dealer(_Socket):
    """A connecting socket with one peer."""

    def __init__(self, settings: ZmqSettings) -> None:
        super().__init__(zmq.DEALER, settings)

    def encrypt(self, keys: KeyPair, server_key: PublicKey) -> None:
        """Uses our keys, and talks to nobody but the holder of the server's."""
        self._zmq.setsockopt(zmq.CURVE_PUBLICKEY, keys.public.z85.encode())
        self._zmq.setsockopt(zmq.CURVE_SECRETKEY, keys.secret.encode())
        self._zmq.setsockopt(zmq.CURVE_SERVERKEY, server_key.z85.encode())

    def connect(self, address: str) -> None:
        """Begins to connect, and to try again until closed. Raises AddressError."""
        try:
            self._zmq.connect(address)
        except zmq.ZMQError as error:
            raise AddressError(f"cannot connect to {address}: {error.strerror}. Check the address.") from None

    def receive(self) -> Group | None:
        """The next group if one is here."""
        parts = self._receive()
        return None if parts is None else [_view(part) for part in parts]

    def send(self, group: Group) -> bool:
        """Sends a group; False if there was no room for a few milliseconds."""
        return self._send([self._lend(part) for part in group])


def _view(part: zmq.Frame) -> memoryview:
    """The bytes of a part: a small one copied, since libzmq leaves it at any odd address, a large one not."""
    return memoryview(part.bytes) if len(part) < _LEND_FROM else part.buffer


def _has_input(socket: zmq.Socket[bytes]) -> bool:
    return bool(int(socket.getsockopt(zmq.EVENTS)) & _POLLIN)


def _options(settings: ZmqSettings) -> dict[int, int]:
    return {
        zmq.SNDHWM: settings.hwm,
        zmq.RCVHWM: settings.hwm,
        zmq.SNDTIMEO: _ms(_SLICE_S),
        zmq.LINGER: _ms(settings.linger_s),  # from the start: a connection that ends early takes it from here
        zmq.RECONNECT_IVL: _ms(_RETRY_S),
        zmq.HANDSHAKE_IVL: _ms(settings.handshake_timeout_s),
        zmq.MAXMSGSIZE: PART_BYTES + _PART_SLACK,
        zmq.IPV6: 0,
        zmq.TCP_KEEPALIVE: 1,
        zmq.TCP_KEEPALIVE_IDLE: settings.keepalive_idle_s,
        zmq.TCP_KEEPALIVE_INTVL: settings.keepalive_interval_s,
        zmq.TCP_KEEPALIVE_CNT: settings.keepalive_probes,
    }


def _ms(seconds: float) -> int:
    """Milliseconds, rounded up so that a short wait is not turned into none."""
    return -int(-seconds * 1000 // 1)
