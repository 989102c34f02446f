"""The side that calls: reach the listener, prove who we are, ask for a session."""

from __future__ import annotations

import time

from net import address as addresses
from net import greeting
from net.channel import Channel, Wait
from net.errors import AuthError, Busy, PeerGone, RemoteError, Timeout
from net.frame import Group, Kind, is_urgent
from net.greeting import Greeting
from net.identity import KeyPair, PublicKey
from net.line import Line, line_channel
from net.settings import ZmqSettings
from net.zeromq import Dealer, Event

_REFUSALS = 3  # handshakes that may break off before we conclude: the listener may just be restarting


def connect(
    address: str,
    keys: KeyPair,
    server_key: PublicKey,
    settings: ZmqSettings | None = None,
    *,
    insecure_plaintext: bool = False,
) -> Channel:
    """Opens a session with the listener at `address` that holds the secret half of `server_key`.

    insecure_plaintext: no encryption and no keys at all, as for `Listener`.
    Raises AddressError, Timeout if nobody answers, AuthError if either side refuses the other's key, Busy if
    the listener serves somebody else, RemoteError or ProtocolError if it is of another version.
    """
    settings = settings or ZmqSettings()
    call = _Call(addresses.for_connecting(address), server_key.name, settings)
    try:
        if not insecure_plaintext:
            call.encrypt(keys, server_key)
        call.dial()
        call.greet(keys.name)
    except BaseException:
        call.gone = True
        call.hang_up()
        raise
    return line_channel(
        keys.name, server_key.name, call, settings, None if insecure_plaintext else server_key.z85
    )


class _Call(Line):
    """A session with a listener: a whole dealer socket."""

    def __init__(self, address: str, peer: str, settings: ZmqSettings) -> None:
        self._where = f"{peer} at {address}"
        self._address = address
        self._peer = peer
        self._last_event: Event | None = None
        self._broken_off = 0
        self._connect_wait = Wait("connect_timeout_s", settings.connect_timeout_s)
        self._handshake_wait = Wait("handshake_timeout_s", settings.handshake_timeout_s)
        self._dealer = Dealer(settings)

    def encrypt(self, keys: KeyPair, server_key: PublicKey) -> None:
        self._dealer.encrypt(keys, server_key)

    def dial(self) -> None:
        """Connects, and waits until both sides have accepted each other's key."""
        self._dealer.connect(self._address)
        wait = self._connect_wait
        deadline = time.monotonic() + wait.seconds
        while (left := deadline - time.monotonic()) > 0:
            self._dealer.poll(left)
            for event, _ in self._dealer.events():
                if event is Event.HANDSHAKE_SUCCEEDED:
                    return
                if event is Event.CONNECTED and wait is self._connect_wait:
                    wait = self._handshake_wait
                    deadline = time.monotonic() + wait.seconds
                self._check_refusal(event)
        if wait is self._connect_wait:
            advice = "Start the listener, and check the address and the firewall."
        else:
            advice = "It may be computing for another peer; try again later."
        raise Timeout(f"reaching {self._where}", wait.setting, wait.seconds, advice)

    def greet(self, name: str) -> None:
        """Asks for a session and waits for the answer."""
        hello = greeting.hello(name)
        self._dealer.send(greeting.group(hello))
        deadline = time.monotonic() + self._handshake_wait.seconds
        while (answer := self._answer_to(hello)) is None:
            left = deadline - time.monotonic()
            if self.gone:
                raise PeerGone(f"{self._where} hung up before the session began. See its log.")
            if left <= 0:
                raise self._handshake_wait.timeout(f"an answer from {self._where}")
            self.wait(left)
        if answer.kind is Kind.BUSY:
            raise Busy(f"{self._where} serves another peer. Try again when that has finished.")
        if answer.kind is Kind.ERROR:
            raise RemoteError(self._peer, answer.text)

    def put(self, group: Group) -> bool:
        self._note_loss()
        return not self.gone and self._dealer.send(group)

    def put_back(self) -> bool:
        return self._dealer.all_read()

    def get(self) -> Group | None:
        return self._dealer.receive()

    def wait(self, seconds: float) -> None:
        if self._dealer.poll(seconds):
            self._note_loss()

    def hang_up(self) -> None:
        self._dealer.close(linger=not self.gone)

    def _note_loss(self) -> None:
        """A lost connection is lost for good: libzmq connects again, but the session does not survive."""
        if any(event is Event.DISCONNECTED for event, _ in self._dealer.events()):
            self.gone = True

    def _check_refusal(self, event: Event) -> None:
        if event is Event.KEY_REFUSED:
            raise AuthError(
                f"{self._where} does not accept our key. "
                "Give our .pub file to its operator, to be put among the authorised keys."
            )
        self._broken_off += event is Event.HANDSHAKE_BROKEN_OFF  # libzmq tries again, otherwise it gives up
        gave_up = event is Event.DISCONNECTED and self._last_event is not Event.HANDSHAKE_BROKEN_OFF
        self._last_event = event
        if gave_up or self._broken_off == _REFUSALS:
            raise AuthError(
                f"the encrypted handshake with {self._where} breaks off: whoever listens there does not hold "
                f"the secret key of {self._peer}, or is no fastlmpi listener. Check address and .pub file."
            )

    def _answer_to(self, hello: Greeting) -> Greeting | None:
        """The listener's answer if it is here; what was said to an earlier hello is skipped."""
        while (group := self.get()) is not None:
            answer = greeting.decode(group[1:]) if is_urgent(group) else None
            if answer and (answer.session_id == hello.session_id or answer.kind is Kind.ERROR):
                return answer
        return None
