"""One end of silent OT in a process of its own: python -m tests.gpu_ss.ot.party ADDRESS KEY_DIR COUNT [BAD].

Connects as "client", receives COUNT OTs, then makes as many AND triples as rank 0, and tells the test, which is the
other party, everything it has (only a test may). With BAD it sends a check that does not match.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from gpu_ss.backend import get_backend
from gpu_ss.provider.ot import silent
from gpu_ss.provider.ot.silent import SilentReceiver, SilentSender
from gpu_ss.provider.ot.triples import and_triples
from net import connect, load_keys, load_public, report_ready
from tests.net.helpers import QUICK


def main(address: str, keys: Path, count: int, bad: bool) -> None:
    channel = connect(address, load_keys(keys / "client.key"), load_public(keys / "server.pub"), QUICK)
    report_ready({})
    backend = get_backend("auto")
    with channel:
        if bad:
            silent.SilentSender._check_hashes = lambda self, totals, offsets: backend.zeros(
                (2, len(totals), 2)
            )  # type: ignore[method-assign]
        receiver, sender = SilentReceiver(backend, channel), SilentSender(backend, channel)
        t = receiver.take(count).use()
        triples = and_triples(0, sender, receiver, count)
        shares = np.stack([backend.to_host(p) for p in (triples.a, triples.b, triples.c)])
        channel.send("told", [backend.to_host(t), shares])
        channel.recv("bye", [0])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), len(sys.argv) > 4)
