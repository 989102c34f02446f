"""A party that evaluates fitted tables: python -m tests.two_process.fitted_party ROLE ADDRESS FOLDER.

Keys, the tables (*.json, as `fastlmpi fit` writes them) and the client's secret numbers are in FOLDER; what the
client learns is written there.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from gpu_ss.backend import get_backend
from gpu_ss.fixed import decode, encode
from gpu_ss.functions import tables
from gpu_ss.functions.activation import activation
from gpu_ss.party import Party
from gpu_ss.plan import make_plan
from gpu_ss.protocols.io import private, reveal, share, zeros
from gpu_ss.ring import RING64
from gpu_ss.session import joined
from he_bridge.provider import two_party
from net import Channel, Listener, ZmqSettings, connect, load_authorised, load_keys, load_public, report_ready

SETTINGS = ZmqSettings(connect_timeout_s=10.0, handshake_timeout_s=10.0, recv_timeout_s=60.0)
FRAC = 16
COUNT = 40


def work(rank: int, channel: Channel, folder: Path) -> None:
    found = [tables.read(file) for file in sorted(folder.glob("*.json"))]
    with joined(rank, channel, None, get_backend("auto"), extend=two_party) as party:

        def run(p: Party) -> None:
            for table in found:
                activation(p, zeros(p, (COUNT,), RING64, FRAC), table)

        party.provider.prepare(make_plan(rank, run, party.provider.taken, party.economy).specs)
        own = encode(np.load(folder / "x.npy"), RING64, FRAC) if rank == 0 else None
        words = None if own is None else party.backend.asarray(own)
        x = share(party, private(party, 0, words, (COUNT,), RING64, FRAC))
        results = [reveal(party, activation(party, x, table), 0) for table in found]
        if rank == 0:
            np.save(folder / "y.npy", [decode(party.backend.to_host(r), RING64, FRAC) for r in results])


def main(role: str, address: str, folder: Path) -> None:
    own = load_keys(folder / f"{role}.key")
    if role == "client":
        with connect(address, own, load_public(folder / "server.pub"), SETTINGS) as channel:
            work(0, channel, folder)
        return
    with Listener(address, own, load_authorised(folder / "client.pub"), SETTINGS) as listener:
        report_ready({"address": listener.address})
        with listener.accept(30.0) as channel:
            work(1, channel, folder)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
