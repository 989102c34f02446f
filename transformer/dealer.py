"""The dealer program: gives each session its keys, then deals for its server."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from gpu_ss.backend.base import Backend
from gpu_ss.errors import CorrelationError
from gpu_ss.provider.dealer import SESSION_BYTES, DealerSession, new_session_keys
from gpu_ss.session import dealer_agreement, fatal_when_full
from net import Channel, handshake
from transformer.session import telling_why

MAX_WAITING = 64  # sessions whose server has not come yet


class Dealer:
    """Serves visitors one after the other: a client draws its session's keys, a server comes for its own.

    Which of the two a visitor is follows from the order: the first to name a session gets rank 0's key, the
    second rank 1's, and then the name is spent.
    """

    def __init__(self, backend: Backend, log: Callable[[str], None] = lambda line: None) -> None:
        self._backend = backend
        self._log = log
        self._waiting: OrderedDict[bytes, tuple[str, bytes, bytes]] = OrderedDict()

    def serve(self, channel: Channel) -> None:
        """One visit, to its end."""
        with channel, telling_why(channel):
            handshake(channel, dealer_agreement())
            (frame,) = channel.recv("dealer/session", [SESSION_BYTES])
            name = bytes(frame)
            if name not in self._waiting:
                self._begin(channel, name)
            else:
                self._deal(channel, name)

    def _begin(self, channel: Channel, name: bytes) -> None:
        key0, key1 = new_session_keys()
        self._waiting[name] = (channel.peer, key0, key1)
        while len(self._waiting) > MAX_WAITING:
            self._waiting.popitem(last=False)
        channel.send("dealer/key", [key0])
        channel.flush()
        self._log(f"{channel.peer}: new session")

    def _deal(self, channel: Channel, name: bytes) -> None:
        first, key0, key1 = self._waiting.pop(name)
        if first == channel.peer:
            raise CorrelationError("one party may not hold both keys of a session")
        channel.send("dealer/key", [key1])
        with fatal_when_full(self._backend, channel):
            DealerSession(self._backend, key0, key1).serve(channel)
        self._log(f"{channel.peer}: session over")
