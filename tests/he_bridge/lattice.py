"""What the tests of the lattice engine share: two ends in one process, and what a key holder sees of noise."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend import Backend, BackendError, get_backend
from gpu_ss.prg import Prg
from he_bridge.linear import RowBatchClient, RowBatchServer, Weights
from he_bridge.params import A_DIGITS, B_DIGITS, ParameterSet
from he_bridge.ring import PolyRing
from he_bridge.rlwe import Reply, SecretKey
from net import Channel, memory_pair
from tests.net.helpers import together
from tests.support.backends import open_backend

Words = np.ndarray[Any, Any]

#: Half the degree, so quick to test with, but a batch of replies tells with 2^-24 more than its result.
INSECURE32 = ParameterSet(
    "INSECURE32", 4096, (2056193, 1990657), (4169729, 4120577, 4104193), 32, privacy_bits=24
)


def opened(name: str = "cpu") -> Backend:
    """The backend of that name; "cpu" is the best one of this machine."""
    if name != "cpu":
        return open_backend(name)
    try:
        return get_backend("cpu")
    except BackendError:
        return open_backend("reference")


def random_words(*shape: int) -> Words:
    words = np.random.default_rng(5).integers(0, 2**64, shape, dtype=np.uint64)
    words.flat[:4] = [0, 2**64 - 1, 2**63, 1]
    return words


def random_weights(*shape: int, largest: int = 2**15) -> Words:
    weights = np.random.default_rng(6).integers(-largest, largest + 1, shape)
    weights.flat[:3] = [-largest, largest, 0]
    return weights


def correlate(
    client_backend: Backend, server_backend: Backend, params: ParameterSet, weights: Words, r: Words
) -> tuple[Words, Words]:
    """(client's, server's) result of one RowBatch within this process."""
    held = Weights(server_backend, params, weights)
    there, here = memory_pair(timeout_s=60)

    def serve() -> Words:
        with here:
            share = RowBatchServer(server_backend, here, params).correlate(held, len(r))
            return server_backend.to_host(share)

    def ask() -> Words:
        with there:
            client = RowBatchClient(client_backend, there, params)
            return client_backend.to_host(client.correlate(held.layer, client_backend.asarray(r)))

    return together(ask, serve)


class WatchedRing(PolyRing):
    """Notes the errors that are drawn, as signed numbers [polys, N]: their owner knows them."""

    drawn: list[Words]

    def errors(self, prg: Prg, polys: int, add: Any = None) -> Any:
        if add is not None:
            return super().errors(prg, polys, add)
        fresh = super().errors(prg, polys)
        self.__dict__.setdefault("drawn", []).append(centred(fresh[0], self.primes[0]))
        return fresh


def centred(residues: Words, p: int) -> Words:
    """Signed representatives nearest to zero."""
    return (residues.astype(np.int64) + p // 2) % p - p // 2


def noise(secret: SecretKey, b: Words, a: Words) -> Words:
    """b + a s - round(q m / t) [polys, N] of coefficients, for the m they decrypt to; below p_0 / 2."""
    ring = secret.ring
    primes = ring.primes[: len(b)]
    shift = ring.coefficients(secret.times(ring.values(a)))
    clean = ring.backend.scale_up(ring.message(shift, b), ring.params.ring_bits, np.zeros_like(b), primes)
    p = primes[0]
    return centred((shift[0].astype(np.int64) + b[0] - clean[0]) % p, p)


def reply_noise(ring: PolyRing, secret: SecretKey, reply: Reply) -> Words:
    """That of a reply to the ring's plaintexts, all places sent: in units of the plaintext [polys, N]."""
    ring = ring.at(ring.params.kept)
    b, a = ring.from_digits(reply.b, B_DIGITS), ring.from_digits(reply.a, A_DIGITS)
    return noise(secret, b, a) / (prod(ring.primes) / 2.0**ring.ring_bits)


def reply_sigma(params: ParameterSet) -> float:
    """Deviation of that: b is rounded to its digits, a to its own and times s."""
    return float(np.hypot(2.0**-B_DIGITS / 12**0.5, params.rounding_sigma * 2.0**-A_DIGITS))


def assert_rounding(params: ParameterSet, seen: Words) -> None:
    """Noise of replies is that of rounding, and far from what would be decoded wrongly."""
    assert seen.std() == pytest.approx(reply_sigma(params), rel=0.05)
    assert abs(seen).max() < 2.0 ** -(B_DIGITS + 1) + 11 * params.rounding_sigma * 2.0**-A_DIGITS < 0.5


class Tape(Channel):
    """A channel that keeps what is sent, and has nothing to receive."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, list[bytes]]] = []

    def send(self, tag: str, frames: Any, *, round: bool = True) -> None:
        self.messages.append((tag, [bytes(memoryview(f).cast("B")) for f in frames]))

    def recv(self, *_: Any, **__: Any) -> Any:
        raise EOFError

    _send = _recv_header = _recv_payload = _close = None  # type: ignore[assignment]
