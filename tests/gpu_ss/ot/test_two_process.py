"""Silent OT and AND triples between two real processes over ZeroMQ, both directions on one channel."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from gpu_ss.backend import get_backend
from gpu_ss.errors import CorrelationError
from gpu_ss.provider.ot.silent import SilentReceiver, SilentSender
from gpu_ss.provider.ot.triples import and_triples
from net import Channel, Listener, Program, generate, launch
from tests.net.helpers import LIMIT_S, QUICK
from tests.support.ot import is_correlated

ROOT = Path(__file__).parents[3]
COUNT = 100_003


@contextmanager
def other_party(folder: Path, *extra: str) -> Iterator[Channel]:
    keys, client = generate(folder, "server"), generate(folder, "client")
    with Listener("tcp://127.0.0.1:0", keys, [client.public], QUICK) as listener:
        argv = [
            sys.executable,
            "-m",
            "tests.gpu_ss.ot.party",
            listener.address,
            str(folder),
            str(COUNT),
            *extra,
        ]
        with (
            launch([Program("other", argv, env={"PYTHONPATH": str(ROOT)})], timeout_s=LIMIT_S) as running,
            listener.accept(LIMIT_S) as channel,
        ):
            running.wait_ready("other")
            yield channel


def test_both_directions(tmp_path: Path) -> None:
    backend = get_backend("auto")
    with other_party(tmp_path) as channel:
        sender, receiver = SilentSender(backend, channel), SilentReceiver(backend, channel)
        q = backend.to_host(sender.take(COUNT).use())
        triples = and_triples(1, sender, receiver, COUNT)
        width = -(-COUNT // 64)
        t, theirs = channel.recv("told", [16 * COUNT, 3 * 8 * width])
        channel.send("bye", [b""])
    assert is_correlated(sender.delta, q, np.frombuffer(t, np.uint64).reshape(COUNT, 2))
    ours = np.stack([backend.to_host(p) for p in (triples.a, triples.b, triples.c)]).reshape(3, width)
    a, b, c = ours ^ np.frombuffer(theirs, np.uint64).reshape(3, width)
    assert np.array_equal(c[:-1], (a & b)[:-1])
    last = np.uint64((1 << COUNT % 64) - 1)
    assert c[-1] & last == a[-1] & b[-1] & last
    assert sender.taken == receiver.taken + COUNT == 2 * COUNT


def test_a_peer_whose_transfers_do_not_match(tmp_path: Path) -> None:
    backend = get_backend("auto")
    with (
        pytest.raises(CorrelationError, match="with client do not match"),
        other_party(tmp_path, "bad") as channel,
    ):
        sender, receiver = SilentSender(backend, channel), SilentReceiver(backend, channel)
        sender.take(COUNT)
        and_triples(1, sender, receiver, COUNT)
