"""How much two parties make side by side: as much as the one with less room has."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.backend.cpu import CpuBackend
from gpu_ss.backend.oblivious import LEAST_WORDS
from gpu_ss.provider.ot.pair import TAG_ROOM, OtPair
from net import Channel, ProtocolError
from tests.support.ot import DealtReceiver, DealtSender, both

WORDS = 300  # planes of 64 bits


class Roomy(CpuBackend):
    """A backend that says how many words it wants."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self._words = words

    @property
    def words_at_once(self) -> int:
        return self._words


def pair(rank: int, words: int, channel: Channel) -> OtPair:
    backend = Roomy(words)
    ends = DealtSender(backend, channel, 1 + rank), DealtReceiver(backend, channel, 2 - rank)
    return OtPair(rank, backend, channel, *ends)


@pytest.mark.parametrize("sizes", [(LEAST_WORDS, 1 << 27), (1 << 27, 1 << 25), (LEAST_WORDS, LEAST_WORDS)])
def test_the_lesser_counts_and_is_asked_once(sizes: tuple[int, int]) -> None:
    def party(rank: int, channel: Channel) -> tuple[int, int]:
        end = pair(rank, sizes[rank], channel)
        assert end.agree() == end.agree()
        return end.agree(), channel.traffic.report().by_tag[TAG_ROOM][0].payload

    assert both(lambda c: party(0, c), lambda c: party(1, c)) == ((min(sizes), 8),) * 2


def test_other_chunks_make_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """ANDs of planes in one message and in many."""
    monkeypatch.setattr("gpu_ss.provider.ot.pair._WORDS_PER_OT", LEAST_WORDS // (64 * 70))
    rng = np.random.default_rng(5)
    shares = rng.integers(0, 2**64, (2, 4, WORDS), dtype=np.uint64)

    def party(rank: int, words: int, channel: Channel) -> tuple[Any, int]:
        end = pair(rank, words, channel)
        end.agree()
        result = end.and_vector(shares[rank, 0], shares[rank, 1:])
        return result, channel.traffic.report().rounds

    for words, messages in ((LEAST_WORDS, -(-WORDS // 70)), (8 * LEAST_WORDS, 1)):
        (left, rounds), (right, _) = both(
            lambda c, words=words: party(0, words, c), lambda c, words=words: party(1, words, c)
        )
        x = shares[0] ^ shares[1]
        assert np.array_equal(left ^ right, x[0] & x[1:])
        assert rounds == 1 + messages


def test_a_peer_that_wants_next_to_nothing_is_refused() -> None:
    with pytest.raises(ProtocolError, match="too few"):
        both(lambda c: pair(0, LEAST_WORDS, c).agree(), lambda c: pair(1, LEAST_WORDS // 2, c).agree())
