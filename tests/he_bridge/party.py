"""A party that makes triples, in a process of its own: python -m tests.he_bridge.party RANK ADDRESS DIRECTORY N.

Keys are in DIRECTORY; the shares go to DIRECTORY/RANK.npy [3, N]. The first shares are the extreme ones.
"""

from __future__ import annotations

import itertools
import sys
import time
from pathlib import Path

import numpy as np

from he_bridge.remainders import os_words
from he_bridge.slots import TripleClient, TripleServer
from net import Listener, ZmqSettings, connect, load_authorised, load_keys, load_public, report_ready

SETTINGS = ZmqSettings(connect_timeout_s=10.0, handshake_timeout_s=10.0, recv_timeout_s=30.0)
EXTREMES = (0, 2**64 - 1, 2**63, 1)


def extreme_shares(rank: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """This party's a and b: all combinations of extreme values over both parties, then random words."""
    cases = np.array(list(itertools.product(EXTREMES, repeat=4)), np.uint64)[:n]
    a, b = os_words((2, n)).copy()
    a[: len(cases)], b[: len(cases)] = cases[:, 2 * rank], cases[:, 2 * rank + 1]
    return a, b


def main(rank: int, address: str, directory: Path, n: int) -> None:
    if rank == 0:
        keys = load_keys(directory / "client.key"), load_public(directory / "server.pub")
        channel = connect(address, *keys, SETTINGS)
        report_ready({})
    else:
        authorised = load_authorised(directory / "client.pub")
        listener = Listener(address, load_keys(directory / "server.key"), authorised, SETTINGS)
        report_ready({"address": listener.address})
        channel = listener.accept(30.0)
    with channel:
        party = TripleClient(channel) if rank == 0 else TripleServer(channel)
        used = time.process_time()
        given = party.triples(n, *extreme_shares(rank, n))
        used = time.process_time() - used
        drawn = party.triples(10)
        np.save(directory / f"{rank}.npy", np.concatenate([given, drawn], axis=1))
    print(f"{used / n * 1e6:.2f}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]))
