"""Two parties and a dealer as processes of their own: who is richer?

    python examples/two_processes.py                      starts all three on this machine
    python examples/two_processes.py alice|bob KEYS ...   is one of them (the same on separate machines)

Alice and Bob learn one bit, whether Alice has at least as much as Bob, and nothing else.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np

from gpu_ss.protocols.compare import ge
from gpu_ss.protocols.io import private, reveal, share
from gpu_ss.protocols.select import b2a
from gpu_ss.ring import RING64, Ring
from gpu_ss.session import joined
from net import Listener, Program, connect, generate, launch, load_keys, load_public, report_ready

FORTUNES = {"alice": 1_250_000, "bob": 990_000}


def be_a_party(name: str, keys: Path, dealer: str, bob: str | None = None) -> None:
    """Alice connects to Bob (rank 0), Bob listens (rank 1)."""
    own = load_keys(keys / f"{name}.key")

    def open_dealer():
        return connect(dealer, own, load_public(keys / "dealer.pub"))

    if name == "alice":
        channel = connect(bob, own, load_public(keys / "bob.pub"))
    else:
        listener = Listener("tcp://127.0.0.1:*", own, [load_public(keys / "alice.pub")])
        report_ready({"address": listener.address})
        channel = listener.accept()
    rank = 0 if name == "alice" else 1
    with channel, joined(rank, channel, open_dealer) as party:
        fortune = party.backend.asarray(np.array([FORTUNES[name]], np.uint64))
        inputs = [
            private(party, owner, fortune if owner == rank else None, (1,), RING64, 0) for owner in (0, 1)
        ]
        alices, bobs = (share(party, value) for value in inputs)
        bit = b2a(party, ge(party, alices, bobs), Ring(1))
        richer = bool(party.backend.to_host(reveal(party, bit))[0])
    print(f"{name}: Alice has {'at least as much as' if richer else 'less than'} Bob", flush=True)


def start_all() -> None:
    """Keys, dealer, Bob and Alice on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder)
        for name in ("alice", "bob", "dealer"):
            generate(keys, name)
        me = [sys.executable, __file__]
        deal = [sys.executable, "-m", "transformer.cli", "dealer", "--once", "--dealer", "tcp://127.0.0.1:*"]
        deal += ["--keys", folder, "--allow", f"{folder}/alice.pub", "--allow", f"{folder}/bob.pub"]
        with launch([Program("dealer", deal)], timeout_s=120) as running:
            dealer = running.wait_ready("dealer")["address"]
            running.start(Program("bob", [*me, "bob", folder, dealer], capture=False))
            bob = running.wait_ready("bob")["address"]
            running.start(Program("alice", [*me, "alice", folder, dealer, bob], capture=False))
            running.wait()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        start_all()
    else:
        be_a_party(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
