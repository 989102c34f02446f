"""The trusted dealer: a third process that makes correlations, sees no input, and colludes with nobody.

A session:

1. The client connects, says a session name it chose at random, and gets its key (rank 0's seed).
2. The server connects, says the same name, and gets its own key (rank 1's seed). Each name is used once.
3. The server asks for correlations, by shapes, numbered in order; the dealer streams the corrections. The
   client needs nothing more: it expands everything from its key.

All of a session's randomness comes from two keys drawn when it begins and dropped when it ends, so nothing
is ever used twice, also after a crash. Requests must be numbered without gaps or repetition.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from gpu_ss.backend.base import Backend
from gpu_ss.backend.product import Factor
from gpu_ss.errors import CorrelationError
from gpu_ss.prg import KEY_BYTES, fresh_key
from gpu_ss.provider.base import Progress, Provider
from gpu_ss.provider.correlation import Correlation, Shares, check_planned, expand_share
from gpu_ss.provider.dealing import DealingEngine
from gpu_ss.provider.specs.arithmetic import MatmulProduct
from gpu_ss.provider.wire import decode_specs, encode_specs
from gpu_ss.ring import WORD, Array
from net.channel import Channel
from net.errors import PeerGone

Words = NDArray[np.uint64]

SESSION_BYTES = 16
MAX_REQUEST_BYTES = 1 << 28
REACH = 1 << 12  # a correlation asked for by itself refers to masks at most so many numbers back
CHUNK_BYTES = 1 << 22  # corrections travel in messages of about this size


def request_key(channel: Channel, session: bytes) -> bytes:
    """Ask the dealer for this party's key of a session (16 bytes the client drew at random)."""
    channel.send("dealer/session", [session])
    (key,) = channel.recv("dealer/key", [KEY_BYTES])
    return bytes(key)


class ClientProvider(Provider):
    """Rank 0: expands everything from its key, and works out products with weights ahead of time."""

    def __init__(self, backend: Backend, key: bytes) -> None:
        super().__init__()
        self._backend = backend
        self._key = key
        self._shares = Shares(0, backend, key)
        self._statics: dict[int, Array | Factor] = {}
        self._ready: dict[int, Array] = {}

    def __repr__(self) -> str:
        return f"ClientProvider(taken={self.taken}, key=<hidden>)"

    def own(self, number: int, spec: Correlation) -> Array | None:
        return expand_share(0, spec, number, self._backend, self._key)[0]

    def keep_static(self, number: int, words: Array | Factor) -> None:
        self._statics[number] = words

    def prepared(self, number: int) -> Array | None:
        return self._ready.pop(number, None)

    def prepare(self, specs: Sequence[Correlation], progress: Progress | None = None) -> None:
        """Work out A E + c for the products of the next correlations with weights that are open here."""
        first, jobs = self.taken, []
        self._shares.ahead(first, specs)
        for k, spec in enumerate(specs):
            if isinstance(spec, MatmulProduct) and spec.b in self._statics:
                jobs.append((first + k, spec))
        for done, (number, product) in enumerate(jobs, 1):
            (a,) = expand_share(0, specs[product.a - first], product.a, self._backend, self._key)
            (c,) = expand_share(0, product, number, self._backend, self._key)
            left = a.reshape(product.m, product.k)  # type: ignore[union-attr]
            words = self._backend.matmul(left, self._statics[product.b], product.bits)
            self._ready[number] = words + c[0]  # type: ignore[index]
            if progress is not None:
                progress(done, len(jobs))

    def _expand(self, number: int, spec: Correlation) -> Sequence[Array | None]:
        return self._shares.take(number, spec)


class StreamProvider(Provider):
    """Rank 1: random parts from its key, corrections from the dealer's stream.

    What was asked for with `prepare` is fetched there up to `limit_bytes`; the rest arrives while it is used.
    What was not asked for is fetched one by one. What is fetched ahead waits where it will be used: on a GPU, as
    far as there is room.
    """

    def __init__(self, backend: Backend, key: bytes, dealer: Channel, limit_bytes: int = 1 << 31) -> None:
        super().__init__()
        self._backend = backend
        self._key = key
        self._shares = Shares(1, backend, key)
        self._dealer = dealer
        self._limit = limit_bytes
        self._asked: deque[Correlation] = deque()
        self._next_asked = 0
        self._chunks: deque[Words | Array] = deque()
        self._room = 0  # bytes that may still be brought to the backend ahead of their use
        self._held = 0  # words in the chunks
        self._expected = 0  # words asked for that have not arrived

    def __repr__(self) -> str:
        return f"StreamProvider(taken={self.taken}, held_bytes={8 * self._held}, key=<hidden>)"

    def own(self, number: int, spec: Correlation) -> Array | None:
        return expand_share(1, spec, number, self._backend, self._key)[0]

    def prepare(self, specs: Sequence[Correlation], progress: Progress | None = None) -> None:
        """Ask for the next correlations and fetch their corrections."""
        self._shares.ahead(self._next_asked, specs)
        self._ask(specs)
        total = 8 * (self._held + self._expected)
        self._room = self._backend.spare_bytes()
        while self._expected and 8 * self._held < self._limit:
            self._receive()
            if progress is not None:
                progress(8 * self._held, total)

    def _ask(self, specs: Sequence[Correlation]) -> None:
        self._dealer.send("dealer/request", [encode_specs(self._next_asked, specs)], round=False)
        self._asked.extend(specs)
        self._next_asked += len(specs)
        self._expected += sum(spec.correction_bytes for spec in specs) // 8

    def _receive(self) -> None:
        size = 8 * min(self._expected, CHUNK_BYTES // 8)
        (frame,) = self._dealer.recv("dealer/data", [size], round=False)
        words = np.frombuffer(frame, np.uint64)
        if words.nbytes <= self._room:
            self._room -= words.nbytes
            words = self._backend.asarray(words)
        self._chunks.append(words)
        self._held += words.size
        self._expected -= words.size

    def _expand(self, number: int, spec: Correlation) -> Sequence[Array | None]:
        if not self._asked:
            self._ask([spec])
        expected = self._asked.popleft()
        check_planned(number, expected, spec)
        arrays = self._shares.take(number, spec)
        for index, out in enumerate(spec.outputs()):
            if not out.random:
                packed = self._take_words(out.correction_words)
                words = packed if out.bits == WORD else self._backend.unpack(packed, out.bits, out.size)
                arrays[index] = words.reshape(out.shape)
        return arrays

    def _take_words(self, count: int) -> Array:
        """The next words of the stream, without a copy when they lie in one chunk."""
        while self._held < count:
            self._receive()
        self._held -= count
        parts = [self._backend.zeros(0)] if not count else []
        while count:
            chunk = self._chunks.popleft()
            part, rest = chunk[:count], chunk[count:]
            parts.append(self._backend.asarray(part) if isinstance(part, np.ndarray) else part)
            if rest.size:
                self._chunks.appendleft(rest)
            count -= int(part.size)
        return parts[0] if len(parts) == 1 else self._backend.xp.concatenate(parts)


class DealerSession:
    """The dealer's side for one server."""

    def __init__(self, backend: Backend, key0: bytes, key1: bytes) -> None:
        self._backend = backend
        self._engine = DealingEngine(backend, key0, key1)
        self._next = 0

    def serve(self, channel: Channel) -> None:
        """Answer requests until the server leaves."""
        while True:
            try:
                (data,) = channel.recv_any("dealer/request", MAX_REQUEST_BYTES, round=False)
            except PeerGone:
                return
            first, specs = decode_specs(bytes(data))
            if first != self._next:
                raise CorrelationError(f"correlation {self._next} comes next, {first} was asked for")
            self._engine.forget(first - REACH)
            for words in chunks(self._deal(specs), CHUNK_BYTES // 8):
                channel.send("dealer/data", [words.data], round=False)

    def _deal(self, specs: Sequence[Correlation]) -> Iterator[Words]:
        for spec in specs:
            for words in self._engine.deal(self._next, spec):
                yield self._backend.to_host(words)
            self._next += 1


def chunks(parts: Iterator[Words], size: int) -> Iterator[Words]:
    """The same words in arrays of exactly `size` words (the last one shorter)."""
    buffer, used = np.empty(size, np.uint64), 0
    for part in parts:
        while part.size:
            fits = min(part.size, size - used)
            buffer[used : used + fits] = part[:fits]
            part, used = part[fits:], used + fits
            if used == size:
                yield buffer
                buffer, used = np.empty(size, np.uint64), 0
    if used:
        yield buffer[:used]


def new_session_keys() -> tuple[bytes, bytes]:
    """Fresh keys of rank 0 and rank 1."""
    return fresh_key(), fresh_key()
