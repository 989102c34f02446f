"""The products two parties make alone, each with one pair of engines: weights, matrices, elementwise.

    client = ClientProducts(backend, channel)          server = ServerProducts(backend, channel)
    w = client.hold(None, (k, n))                      w = server.hold(words, (k, n))
    c = client.by_weights(a, rows, [w])                c = server.by_weights(None, rows, [w])

Both sides call the same methods in the same order. Results are additive shares modulo 2^64 of the products of
the operands, also where these are shares themselves.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.ring import Array
from he_bridge.linear import Layer, RowBatchClient, RowBatchServer, Weights
from he_bridge.params import LIN64
from he_bridge.slots import STRONG, TripleClient, TripleServer
from he_bridge.wire import DIGEST_BYTES
from net import Channel

Handles = tuple[int, ...]


class Products(ABC):
    """One party's side."""

    def __init__(self, backend: Backend, channel: Channel) -> None:
        self._backend = backend
        self._channel = channel
        self._shapes: list[tuple[int, ...]] = []

    def hold(self, words: Array | None, shape: tuple[int, ...], bits: int) -> int:
        """Note a weight, in clear at the server (words of a ring of `bits`); its handle."""
        self._shapes.append(shape)
        return len(self._shapes) - 1

    @abstractmethod
    def by_weights(self, a: Array | None, rows: int, weights: Handles) -> Array:
        """Shares of A [W_1 | W_2 | ...] for A [rows, k] at the client (None at the server): [rows, columns].

        A weight of one dimension counts as a diagonal matrix.
        """

    @abstractmethod
    def elementwise(self, a: Array, b: Array | None) -> Array:
        """Shares of a b for shared a, b [n]; of a a without b."""

    def _columns(self, weights: Handles) -> int:
        return sum(self._shapes[w][-1] for w in weights)


class ClientProducts(Products):
    """Rank 0: has the secret keys and, of products with weights, the mask."""

    def __init__(self, backend: Backend, channel: Channel) -> None:
        super().__init__(backend, channel)
        self._rows = RowBatchClient(backend, channel, LIN64)
        self._triples = TripleClient(channel, STRONG)
        self._layers: dict[Handles, Layer] = {}

    def by_weights(self, a: Array | None, rows: int, weights: Handles) -> Array:
        if weights not in self._layers:
            (digest,) = self._channel.recv("he.layer", [DIGEST_BYTES], round=False)
            inputs = self._shapes[weights[0]][0]
            self._layers[weights] = Layer(inputs, self._columns(weights), bytes(digest))
        layer = self._layers[weights]
        return self._rows.correlate(layer, a.reshape(rows, layer.inputs))  # type: ignore[union-attr]

    def elementwise(self, a: Array, b: Array | None) -> Array:
        return _on_host(self._backend, self._triples, a, b)


class ServerProducts(Products):
    """Rank 1: has the weights, and evaluates."""

    def __init__(self, backend: Backend, channel: Channel) -> None:
        super().__init__(backend, channel)
        self._rows = RowBatchServer(backend, channel, LIN64)
        self._triples = TripleServer(channel, STRONG)
        self._integers: list[np.ndarray[tuple[int, ...], np.dtype[np.int64]]] = []
        self._checked: dict[Handles, Weights] = {}

    def hold(self, words: Array | None, shape: tuple[int, ...], bits: int) -> int:
        left = np.uint64(64 - bits)
        self._integers.append((self._backend.to_host(words) << left).view(np.int64) >> left.astype(np.int64))
        return super().hold(words, shape, bits)

    def by_weights(self, a: Array | None, rows: int, weights: Handles) -> Array:
        if weights not in self._checked:
            self._checked[weights] = Weights(self._backend, LIN64, self._matrix(weights))
            self._channel.send("he.layer", [self._checked[weights].layer.digest], round=False)
        return np.uint64(0) - self._rows.correlate(self._checked[weights], rows)

    def _matrix(self, weights: Handles) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
        parts = [self._integers[w] for w in weights]
        return np.concatenate([np.diag(p) if p.ndim == 1 else p for p in parts], axis=1)

    def elementwise(self, a: Array, b: Array | None) -> Array:
        return _on_host(self._backend, self._triples, a, b)


def _on_host(backend: Backend, triples: TripleClient | TripleServer, a: Array, b: Array | None) -> Array:
    """TenSEAL computes on the CPU."""
    left = backend.to_host(a).reshape(1, -1)
    right = None if b is None else backend.to_host(b).reshape(1, -1)
    return backend.asarray(triples.inner_products(left, right))
