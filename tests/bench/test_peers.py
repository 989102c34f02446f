"""scripts/peers without the peers: workloads, measuring, sessions. The systems themselves run by hand."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from math import erf, sqrt
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

PEERS = Path(__file__).parents[2] / "scripts" / "peers"


def loaded(file: Path) -> ModuleType:
    """A script as a module."""
    loader = SourceFileLoader(f"peers_{file.stem}", str(file))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[loader.name] = module  # dataclasses look it up
    loader.exec_module(module)
    return module


RUN, PARTY = loaded(PEERS / "run"), loaded(PEERS / "party.py")


def session(programs: list[Any], limit_s: float = 60.0, prefix: list[str] | None = None) -> Any:
    argv = [
        *(prefix or []),
        sys.executable,
        str(PEERS / "session.py"),
        str(limit_s),
        "own" if prefix else "shared",
    ]
    return subprocess.run(argv, input=json.dumps(programs), capture_output=True, text=True, timeout=100)


def normalised(x: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-12)


def test_the_layer_is_the_one_that_we_measure() -> None:
    """Plain weights as other systems take them give what our folded ones give."""
    shape, v, expected = RUN.workload("layer")
    _, length, hidden, heads, _ = shape
    q, k, values = (
        part.reshape(length, heads, -1).transpose(1, 0, 2)
        for part in np.split(v["x"] @ v["w_qkv"] + v["b_qkv"], 3, -1)
    )
    scores = np.exp(q @ k.transpose(0, 2, 1))
    attended = (scores / scores.sum(-1, keepdims=True) @ values).transpose(1, 0, 2).reshape(length, hidden)
    x = normalised(attended @ v["w_output"] + v["b_output"] + v["x"])
    inner = x @ v["w_ffn1"] + v["b_ffn1"]
    inner = inner * 0.5 * (1 + np.vectorize(erf)(inner / sqrt(2)))
    found = normalised(inner @ v["w_ffn2"] + v["b_ffn2"] + x)
    assert np.abs(found - expected).max() < 1e-9


@pytest.mark.parametrize("name", [name for name in RUN.NAMES if name != "layer"])
def test_workloads_are_those_of_our_rows(name: str) -> None:
    from bench.protocols import CASES

    shape, arrays, expected = RUN.workload(name)
    assert shape == CASES[name].shape
    assert np.array_equal(expected, CASES[name].clear(*arrays.values()))


def test_a_party_measures_and_tells(tmp_path: Path) -> None:
    np.savez(tmp_path / "inputs.npz", x=np.arange(3.0))
    job = PARTY.Job(str(tmp_path), 0, 2)
    calls: list[str] = []

    def run() -> Any:
        calls.append("run")
        return job.arrays["x"] * 2

    found = job.measure(run, lambda: calls.append("meet"), lambda: {"rounds": 7 * calls.count("run")})
    job.tell(found, setup_s=1.5)
    said = json.loads((tmp_path / "rank0.json").read_text())
    assert calls == ["meet", "run", "meet"] * 3, "one warm-up"
    assert len(said["online_s"]) == len(said["cpu_s"]) == len(said["bytes"]) == 2
    assert (said["rounds"], said["setup_s"]) == (7, 1.5)
    assert said["peak_memory_bytes"] > 1e6
    assert np.load(tmp_path / "result.npy").tolist() == [0, 2, 4]


def test_sessions_end_with_their_first_failure() -> None:
    good = [sys.executable, "-c", "import os; assert os.environ['RANK'] == '1'"]
    assert session([[good, {"RANK": "1"}]] * 2).returncode == 0
    failing = [sys.executable, "-c", "raise SystemExit('no such protocol')"]
    waiting = [sys.executable, "-c", "import time; time.sleep(60)"]
    done = session([[waiting, {}], [failing, {}]])
    assert done.returncode == 1
    assert "party 1 ended with exit code 1" in done.stdout and "no such protocol" in done.stdout
    done = session([[waiting, {}]], limit_s=0.2)
    assert (done.returncode, done.stdout.strip()) == (1, "over 0 s")


TALK = """
import socket, sys
sys.path.insert(0, {peers!r})
from party import loopback_bytes
with socket.create_server(("127.0.0.1", 0)) as server:
    one = socket.create_connection(server.getsockname())
    other, _ = server.accept()
    before = loopback_bytes()
    one.sendall(bytes(100_000)); left = 100_000
    while left: left -= len(other.recv(left))
    assert 100_000 <= loopback_bytes() - before < 110_000, loopback_bytes() - before
"""


def test_bytes_are_counted_on_a_loopback_of_its_own() -> None:
    if not RUN.own_network():
        pytest.skip("network namespaces cannot be made here")
    talk = [sys.executable, "-c", TALK.format(peers=str(PEERS))]
    done = session([[talk, {}]], prefix=RUN.OWN_NETWORK)
    assert done.returncode == 0, done.stdout


def test_unknown_names_are_refused() -> None:
    done = subprocess.run(
        [sys.executable, str(PEERS / "run"), "--systems", "nobody"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "unknown: nobody" in done.stderr
