"""A party of softmax and LayerNorm in a process: python -m tests.he_bridge.field_party ROLE ADDRESS FOLDER.

Keys are in FOLDER; the results at the client go there too, with rounds and bytes beside those of the plan.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

from gpu_ss.economy import ALONE
from gpu_ss.functions.layernorm import unit_rows
from gpu_ss.functions.softmax import softmax
from gpu_ss.party import Party
from gpu_ss.plan import make_plan
from gpu_ss.session import joined
from he_bridge.prices import bytes_by_way
from he_bridge.provider import two_party
from net import Channel, Listener, ZmqSettings, connect, load_authorised, load_keys, load_public, report_ready
from tests.support.protocols import real_share, revealed

SETTINGS = ZmqSettings(connect_timeout_s=10.0, handshake_timeout_s=10.0, recv_timeout_s=60.0)
SCORES = np.random.default_rng(1).normal(0, 3, (32, 64))
ROWS = np.random.default_rng(2).normal(0, 2, (16, 256))


def compute(party: Party) -> Any:
    weights = softmax(party, real_share(party, SCORES))
    return weights, unit_rows(party, real_share(party, ROWS), 1e-12, 24)


def run(rank: int, channel: Channel, folder: Path) -> None:
    with joined(rank, channel, None, "cpu", extend=two_party) as party:
        plan = make_plan(rank, compute, economy=ALONE)
        party.provider.prepare([])  # nothing yet: what starts a session is not counted below
        start = channel.traffic.report()
        party.provider.prepare(plan.specs)
        made = channel.traffic.report()
        results = compute(party)
        spent, offline = channel.traffic.report() - made, made - start
        clear = [revealed(party, share) for share in results]
    if rank == 0:
        np.savez(folder / "client.npz", softmax=clear[0], layernorm=clear[1])
        figures = {
            "rounds": spent.rounds,
            "sent": spent.sent.payload,
            "planned": [plan.rounds, plan.sent[0]],
            "offline": offline.sent.payload + offline.received.payload,
            "priced": bytes_by_way(plan.specs, alone=True),
        }
        (folder / "client.json").write_text(json.dumps(figures))


def serve(address: str, folder: Path) -> None:
    authorised = load_authorised(folder / "client.pub")
    with Listener(address, load_keys(folder / "server.key"), authorised, SETTINGS) as listener:
        report_ready({"address": listener.address})
        with listener.accept(30.0) as channel:
            run(1, channel, folder)


def ask(address: str, folder: Path) -> None:
    own, server = load_keys(folder / "client.key"), load_public(folder / "server.pub")
    with connect(address, own, server, SETTINGS) as channel:
        run(0, channel, folder)


if __name__ == "__main__":
    {"server": serve, "client": ask}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
