"""A party of a RowBatch in a process of its own: python -m tests.he_bridge.rows_party ROLE ADDRESS FOLDER.

Keys are in FOLDER; what the party holds afterwards goes there too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from gpu_ss.backend import get_backend
from he_bridge.linear import Layer, RowBatchClient, RowBatchServer, Weights
from he_bridge.params import LIN64
from net import Listener, ZmqSettings, connect, load_authorised, load_keys, load_public, report_ready
from tests.he_bridge.lattice import random_weights, random_words

SETTINGS = ZmqSettings(connect_timeout_s=10.0, handshake_timeout_s=10.0, recv_timeout_s=30.0)
ROWS, INPUTS, OUTPUTS = 300, 35, 18


def serve(address: str, folder: Path) -> None:
    backend = get_backend("auto")
    authorised = load_authorised(folder / "client.pub")
    with Listener(address, load_keys(folder / "server.key"), authorised, SETTINGS) as listener:
        report_ready({"address": listener.address})
        with listener.accept(30.0) as channel:
            weights = random_weights(INPUTS, OUTPUTS)
            held = Weights(backend, LIN64, weights)
            channel.send("layer", [held.layer.digest])
            share = RowBatchServer(backend, channel, LIN64).correlate(held, ROWS)
            np.save(folder / "weights.npy", weights)
            np.save(folder / "server.npy", backend.to_host(share))


def ask(address: str, folder: Path) -> None:
    backend = get_backend("auto")
    own, server = load_keys(folder / "client.key"), load_public(folder / "server.pub")
    with connect(address, own, server, SETTINGS) as channel:
        digest = bytes(channel.recv("layer", [16])[0])
        r = random_words(ROWS, INPUTS)
        client = RowBatchClient(backend, channel, LIN64)
        share = client.correlate(Layer(INPUTS, OUTPUTS, digest), backend.asarray(r))
        np.save(folder / "r.npy", r)
        np.save(folder / "client.npy", backend.to_host(share))


if __name__ == "__main__":
    {"server": serve, "client": ask}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
