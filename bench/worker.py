"""The server process of a bench: builds the jobs it is told of and runs its half."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import bench.he
import bench.layer
import bench.model
import bench.ot
import bench.prepare
import bench.protocols  # noqa: F401 - the jobs register themselves
from bench.job import Job
from bench.session import MATERIAL_LIMIT, SETTINGS, dealer_opener, emulated
from bench.side import Side
from gpu_ss.session import joined
from net import Listener, load_keys, load_public, report_ready
from transformer.terms import Terms


def main(keys_folder: str, dealer_address: str, backend: str, network: str, stated: str) -> None:
    """Serve one client, under the terms it states."""
    terms = Terms.model_validate_json(stated)
    keys = Path(keys_folder)
    own, client = load_keys(keys / "server.key"), load_public(keys / "client.pub")
    with Listener("tcp://127.0.0.1:*", own, [client], SETTINGS) as listener:
        report_ready({"address": listener.address})
        with (
            listener.accept() as plain,
            joined(
                1,
                emulated(plain, network),
                dealer_opener(keys, own, dealer_address),
                backend,
                MATERIAL_LIMIT,
                terms.extension,
            ) as party,
        ):
            side = Side(party, terms)
            while True:
                (frame,) = side.party.channel.recv_any("order", 1 << 20, round=False)
                order = json.loads(bytes(frame))
                if "stop" in order:
                    return
                job = Job.registry[order["job"]](**order["with"])
                side.set_up(job)
                for index in range(order["repeats"]):
                    times, result = side.run(job)
                    side.party.channel.send("times", [json.dumps(asdict(times)).encode()], round=False)
                    if index == 0:
                        job.errors(side.party, result)


if __name__ == "__main__":
    main(*sys.argv[1:])
