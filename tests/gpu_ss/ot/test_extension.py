"""SoftSpoken: right by definition on every pair of backends, and the bytes it promises."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_ss.prg import Prg
from gpu_ss.provider.ot.cot import Delta
from gpu_ss.provider.ot.extension import TAG, extend_as_receiver, extend_as_sender
from net import Channel, ProtocolError
from tests.support.backends import open_backend
from tests.support.ot import CPU, both, is_correlated


@pytest.mark.parametrize("names", [(CPU, CPU), ("reference", "cuda-fake"), ("cuda-fake", CPU)])
@pytest.mark.parametrize("n", [1, 1000, 20_000])
def test_correlation(names: tuple[str, str], n: int) -> None:
    sender, receiver = (open_backend(name) for name in names)
    delta = Delta()
    (q, here), (t, there) = both(
        lambda c: extend_as_sender(c, sender, delta, n),
        lambda c: extend_as_receiver(c, receiver, Prg(receiver), n),
    )
    q, t = sender.to_host(q), receiver.to_host(t)
    assert here == there
    assert q.shape == (n, 2)
    assert is_correlated(delta, q, t)
    if n == 20_000:
        # Each end alone: where delta's bit is 0 the two are the same, so together they are no more samples.
        shares = [np.unpackbits(blocks.view(np.uint8), axis=1).mean(axis=0) for blocks in (q, t)]
        shares[0] = np.delete(shares[0], 7)  # the lowest bit of q is 0, that of t the choice
        assert np.abs(np.concatenate(shares) - 0.5).max() < 6 * 0.5 / n**0.5


def test_fifteen_bits_for_each() -> None:
    backend, n = open_backend(CPU), 6400

    def receive(channel: Channel) -> tuple[int, int]:
        extend_as_receiver(channel, backend, Prg(backend), n)
        report = channel.traffic.report()
        return report.rounds, report.by_tag[TAG][0].payload

    _, counted = both(lambda c: extend_as_sender(c, backend, Delta(), n), receive)
    assert counted == (2, 4096 + 15 * n // 8)


def test_another_length_is_refused() -> None:
    backend = open_backend(CPU)
    with pytest.raises(ProtocolError, match="frames of"):
        both(
            lambda c: extend_as_sender(c, backend, Delta(), 640),
            lambda c: extend_as_receiver(c, backend, Prg(backend), 1280),
        )


def test_delta_is_odd_and_hidden() -> None:
    deltas = [Delta() for _ in range(200)]
    assert all(delta.words[0] & 1 for delta in deltas)
    shares = np.array([delta.bits for delta in deltas]).mean(axis=0)
    assert np.abs(shares[1:] - 0.5).max() < 5 * 0.5 / 200**0.5
    assert str(deltas[0].words[0]) not in repr(deltas[0])
