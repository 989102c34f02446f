"""A party of packed products in a process of its own: python -m tests.he_bridge.packed_party ROLE ADDRESS FOLDER.

Keys are in FOLDER; operands and what the party holds afterwards go there too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from gpu_ss.backend import get_backend
from he_bridge.linear import Layer
from he_bridge.matmul import MatrixProductClient, MatrixProductServer
from he_bridge.packed import PackedClient, PackedServer, PackedWeights
from he_bridge.params import LIN64P, MAT48
from net import Listener, ZmqSettings, connect, load_authorised, load_keys, load_public, report_ready
from tests.he_bridge.lattice import Words, random_weights, random_words

SETTINGS = ZmqSettings(connect_timeout_s=10.0, handshake_timeout_s=10.0, recv_timeout_s=30.0)
ROWS, INPUTS, OUTPUTS = 60, 75, 19


def shares(party: int) -> tuple[Words, Words]:
    """A party's shares of matrices."""
    return random_words(3, 20, 17) + np.uint64(party), random_words(3, 17, 9) * np.uint64(party + 3)


def serve(address: str, folder: Path) -> None:
    backend = get_backend("auto")
    authorised = load_authorised(folder / "client.pub")
    with Listener(address, load_keys(folder / "server.key"), authorised, SETTINGS) as listener:
        report_ready({"address": listener.address})
        with listener.accept(30.0) as channel:
            weights = random_weights(INPUTS, OUTPUTS)
            held = PackedWeights(backend, LIN64P, weights)
            channel.send("layer", [held.layer.digest])
            share = PackedServer(backend, channel, LIN64P).correlate(held, ROWS)
            np.save(folder / "weights.npy", weights)
            np.save(folder / "server.npy", backend.to_host(share))
            a, b = map(backend.asarray, shares(1))
            product = MatrixProductServer(backend, channel, MAT48).multiply(a, b)
            np.save(folder / "server_product.npy", backend.to_host(product))


def ask(address: str, folder: Path) -> None:
    backend = get_backend("auto")
    own, server = load_keys(folder / "client.key"), load_public(folder / "server.pub")
    with connect(address, own, server, SETTINGS) as channel:
        layer = Layer(INPUTS, OUTPUTS, bytes(channel.recv("layer", [16])[0]))
        x = backend.asarray(random_words(ROWS, INPUTS))
        share = PackedClient(backend, channel, LIN64P).correlate(layer, x)
        np.save(folder / "client.npy", backend.to_host(share))
        a, b = map(backend.asarray, shares(0))
        product = MatrixProductClient(backend, channel, MAT48).multiply(a, b)
        np.save(folder / "client_product.npy", backend.to_host(product))


if __name__ == "__main__":
    {"server": serve, "client": ask}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
