"""What every protocol puts on the wire under fixed keys: one hash per direction, kept in baseline.json.

python -m tests.wire.transcripts        rewrite the baseline after an intended change of the wire
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gpu_ss.backend import Backend
from gpu_ss.simulate import simulate
from net import memory_pair
from net.trace import TracingChannel
from net.traffic import Direction
from tests.support.protocols import KEYS
from tests.support.runs import RUNS_BY_NAME, N

FILE = Path(__file__).with_name("baseline.json")

#: Numbers of all sizes and signs, the same everywhere.
INPUTS = np.round(np.random.default_rng(5).normal(0, 1, N) * 2.0 ** np.arange(N).astype(float) ** 0.6)

Pair = tuple[str | Backend, str | Backend]


def transcript(name: str, backends: Pair = ("auto", "auto")) -> dict[str, str]:
    """Hashes over all that rank 0 sends and receives in one run of a protocol."""
    client, server = memory_pair("client", "server", timeout_s=60)
    traced = TracingChannel(client)
    simulate(lambda party: RUNS_BY_NAME[name](party, INPUTS), backends, KEYS, (traced, server))
    return {direction.value: traced.transcript(direction) for direction in Direction}


def write() -> None:
    """The baseline, from the NumPy definitions."""
    found = {name: transcript(name, ("reference", "reference")) for name in sorted(RUNS_BY_NAME)}
    FILE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    write()
