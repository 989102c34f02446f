"""Base OT: the right keys, uniform messages, and peers that send rubbish."""

from __future__ import annotations

import numpy as np
import pytest
from nacl import bindings as sodium

from gpu_ss.provider.ot import base
from net import Channel, ProtocolError
from tests.support.ot import both


def test_the_receiver_gets_the_key_of_its_choice() -> None:
    choices = [0, 1, 1, 0, 1] * 4
    (zero, one, here), (keys, there) = both(
        lambda channel: base.offer(channel, len(choices)), lambda channel: base.choose(channel, choices)
    )
    for index, choice in enumerate(choices):
        chosen, other = (zero, one)[choice][index], (zero, one)[1 - choice][index]
        assert keys[index].tolist() == chosen.tolist() != other.tolist()
    every = np.concatenate([zero, one])
    assert len(np.unique(every, axis=0)) == len(every)
    assert here == there


def test_one_round_and_64_bytes_for_each() -> None:
    def offer(channel: Channel) -> tuple[int, int, int]:
        base.offer(channel, 5)
        report = channel.traffic.report()
        return report.rounds, report.sent.payload, report.received.payload

    counted, _ = both(offer, lambda channel: base.choose(channel, [1] * 5))
    assert counted == (1, 32, 5 * 64)


def test_two_runs_have_nothing_in_common() -> None:
    runs = [both(lambda c: base.offer(c, 3), lambda c: base.choose(c, [0, 1, 0])) for _ in range(2)]
    assert runs[0][0][2] != runs[1][0][2]
    assert not np.isin(runs[0][0][0], runs[1][0][0]).any()


def test_both_points_are_uniform_whatever_is_chosen() -> None:
    """Points of both kinds are valid and in the subgroup; their bytes have no bias that tells the choice."""
    seen: list[bytes] = []

    def record(channel: Channel) -> None:
        (frame,) = channel.exchange(
            base.TAG, [sodium.crypto_scalarmult_ed25519_base_noclamp(b"\1" * 32)], [64 * 200]
        )
        seen.append(bytes(frame))

    both(record, lambda channel: base.choose(channel, [0] * 100 + [1] * 100))
    points = [seen[0][at : at + 32] for at in range(0, len(seen[0]), 32)]
    assert all(map(sodium.crypto_core_ed25519_is_valid_point, points))
    for choice in (0, 1):
        for place in (0, 1):
            ours = np.frombuffer(b"".join(points[200 * choice + place : 200 * choice + 200 : 2]), np.uint8)
            share = np.unpackbits(ours.reshape(100, 32)[:, :31], axis=1).mean()
            assert abs(share - 0.5) < 5 * 0.5 / (100 * 31 * 8) ** 0.5


@pytest.mark.parametrize("sent", [bytes(32), b"\xff" * 32, bytes([1]) + bytes(31)])
def test_what_is_no_point_is_refused(sent: bytes) -> None:
    with pytest.raises(ProtocolError, match="no point"):
        both(lambda c: c.exchange(base.TAG, [sent], [128]), lambda c: base.choose(c, [0, 1]))
    good = sodium.crypto_scalarmult_ed25519_base_noclamp(b"\1" * 32)
    with pytest.raises(ProtocolError, match="no point"):
        both(lambda c: base.offer(c, 1), lambda c: c.exchange(base.TAG, [good + sent], [32]))


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ProtocolError, match="frames of"):
        both(lambda c: base.offer(c, 2), lambda c: base.choose(c, [0, 1, 1]))
