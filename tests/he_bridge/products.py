"""What the tests of packed products share: both ends in one process, and a client that records its messages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from gpu_ss.backend import Backend
from he_bridge.matmul import MatrixProductClient, MatrixProductServer
from he_bridge.packed import PackedClient, PackedServer, PackedWeights
from he_bridge.params import LIN64P, MAT64, ParameterSet
from net import Channel, memory_pair
from tests.he_bridge.lattice import Words
from tests.net.helpers import together

Messages = Sequence[tuple[str, list[bytes]]]
#: The messages with secrets' encryptions, by tag, and how many frames precede residues.
RESIDUES_FROM = {"he/key": 2, "he/switching": 2, "he/inputs": 2}


def correlate(
    backends: tuple[Backend, Backend],
    weights: Words,
    xs: Sequence[Words],
    params: ParameterSet = LIN64P,
    **options: Any,
) -> list[tuple[Words, Words]]:
    """(client's, server's) share of each X W + S, S: calls of one session within this process."""
    client_backend, server_backend = backends
    held = PackedWeights(server_backend, params, weights)

    def ask(channel: Channel) -> list[Words]:
        client = PackedClient(client_backend, channel, params, **options)
        shares = [client.correlate(held.layer, client_backend.asarray(x)) for x in xs]
        return [client_backend.to_host(share) for share in shares]

    def serve(channel: Channel) -> list[Words]:
        server = PackedServer(server_backend, channel, params, **options)
        return [server_backend.to_host(server.correlate(held, len(x))) for x in xs]

    return list(zip(*at_both_ends(ask, serve), strict=True))


def multiply(
    backends: tuple[Backend, Backend],
    a: Words,
    b: Words,
    params: ParameterSet = MAT64,
    bits: int | None = None,
    **options: Any,
) -> tuple[Words, Words]:
    """Both shares of A B for shares a [2, batch, m, k] and b [2, batch, k, n]."""
    client_backend, server_backend = backends

    def ask(channel: Channel) -> Words:
        client = MatrixProductClient(client_backend, channel, params, **options)
        share = client.multiply(client_backend.asarray(a[0]), client_backend.asarray(b[0]), bits)
        return client_backend.to_host(share)

    def serve(channel: Channel) -> Words:
        server = MatrixProductServer(server_backend, channel, params, **options)
        share = server.multiply(server_backend.asarray(a[1]), server_backend.asarray(b[1]), bits)
        return server_backend.to_host(share)

    return at_both_ends(ask, serve)


def at_both_ends(ask: Callable[[Channel], Any], serve: Callable[[Channel], Any]) -> tuple[Any, Any]:
    """Both results, over a pair of channels."""
    there, here = memory_pair(timeout_s=60)

    def client() -> Any:
        with there:
            return ask(there)

    def server() -> Any:
        with here:
            return serve(here)

    return together(client, server)


def ones(params: ParameterSet) -> np.uint64:
    return np.uint64((1 << params.ring_bits) - 1)


def assert_shares(params: ParameterSet, weights: Words, x: Words, client: Words, server: Words) -> None:
    """client - server = X W modulo 2^ring_bits, and each of them uniform."""
    product = x @ weights.astype(np.int64).view(np.uint64)
    assert client.shape == server.shape == product.shape
    assert np.array_equal((client - server) & ones(params), product & ones(params))
    assert max(client.max(), server.max()) <= ones(params)
    if server.size > 40:  # else chance decides
        assert server.std() > 0.2 * float(ones(params))
        assert client.std() > 0.2 * float(ones(params))
