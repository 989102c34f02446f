"""Silent OT at its real parameters: right by definition, on mixed backends, and loud when anything is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.backend.base import Backend
from gpu_ss.errors import CorrelationError
from gpu_ss.provider.ot import parameters as lpn
from gpu_ss.provider.ot import silent
from gpu_ss.provider.ot.cot import Cots, low_bits
from gpu_ss.provider.ot.silent import SilentReceiver, SilentSender
from net import Channel, PeerGone, ProtocolError
from tests.support.backends import open_backend
from tests.support.ot import CPU, both, is_correlated


def backend() -> Backend:
    return open_backend(CPU)


def test_two_iterations() -> None:
    """Past the first iteration, every OT is right, the bits are balanced, and the wire carries what is promised."""
    total = lpn.OUTPUTS + lpn.SLAB_ROWS

    def run(kind: type[SilentSender] | type[SilentReceiver], channel: Channel) -> Any:
        source = kind(backend(), channel)
        pieces = [(piece.first, piece.use()) for piece in source.stream(total)]
        assert source.taken == total
        return source, pieces, channel.traffic.report()

    (sender, q, sent), (_, t, received) = both(
        lambda c: run(SilentSender, c), lambda c: run(SilentReceiver, c)
    )
    expected, ones = 0, 0
    for (first, left), (other, right) in zip(q, t, strict=True):
        assert first == other == expected
        assert is_correlated(sender.delta, left, right)
        expected += len(left)
        ones += int(low_bits(right).sum())
    assert expected == total
    assert abs(ones / total - 0.5) < 5 * 0.5 / total**0.5
    assert len(np.unique(q[0][1], axis=0)) == len(q[0][1])
    kept = -(-lpn.RESERVE // lpn.SLAB_ROWS)  # slabs of an iteration before there is something for use
    slabs = lpn.SLABS + kept + (kept * lpn.SLAB_ROWS - lpn.RESERVE < lpn.SLAB_ROWS)
    assert sent.by_tag[silent.TREES_TAG][0].payload == slabs * 16 * lpn.SLAB_TREES * lpn.TREE_BLOCKS
    assert sent.by_tag[silent.CHECK_TAG][0].payload == slabs * 256
    assert received.sent.payload < 0.54e6
    assert 8 * sent.sent.bytes / (lpn.OUTPUTS + slabs % lpn.SLABS * lpn.SLAB_ROWS - lpn.RESERVE) < 0.51


@pytest.mark.parametrize("names", [("reference", "cuda-fake"), ("cuda-fake", CPU)])
def test_mixed_backends(names: tuple[str, str]) -> None:
    left, right = (open_backend(name) for name in names)
    n = 5000

    def take(source: SilentSender | SilentReceiver) -> Any:
        return source, [source.take(k).use() for k in (1, 0, n - 1)]

    (sender, q), (receiver, t) = both(
        lambda c: take(SilentSender(left, c)), lambda c: take(SilentReceiver(right, c))
    )
    whole_q, whole_t = (np.concatenate([b.to_host(x) for x in xs]) for b, xs in ((left, q), (right, t)))
    assert len(whole_q) == n
    assert is_correlated(sender.delta, whole_q, whole_t)
    assert sender.ready == receiver.ready == -lpn.RESERVE % lpn.SLAB_ROWS - n


def test_noise_is_one_place_in_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the code, the outputs' choice bits are the noise: one 1 in each tree, at its own place."""
    encode = silent._Silent._encode

    def without_code(self: Any, level: Any) -> Any:
        self._table = self.backend.zeros((2, 2))
        return encode(self, level)

    monkeypatch.setattr(silent._Silent, "_encode", without_code)
    monkeypatch.setattr(silent._Silent, "_check", lambda self, totals: None)
    outs: dict[str, Any] = {}
    for kind in (SilentSender, SilentReceiver):

        def grow(self: Any, ots: Any, original: Any = kind._grow) -> Any:
            out, sums = original(self, ots)
            return outs.setdefault(type(self).__name__, out), sums

        monkeypatch.setattr(kind, "_grow", grow)
    both(lambda c: SilentSender(backend(), c).take(1), lambda c: SilentReceiver(backend(), c).take(1))
    noise, differ = (
        x.reshape(-1, 4, lpn.SLAB_TREES).transpose(2, 0, 1).reshape(lpn.SLAB_TREES, -1)  # by tree
        for x in (
            low_bits(outs["SilentReceiver"]),
            (outs["SilentReceiver"] != outs["SilentSender"]).any(axis=1),
        )
    )
    assert (noise.sum(axis=1) == 1).all()
    places = noise.argmax(axis=1)
    assert len(np.unique(places)) > lpn.SLAB_TREES * 0.9
    assert set(places % 4) == set(range(4))
    assert abs(places.mean() / (1 << lpn.TREE_LOG) - 0.5) < 5 * 0.29 / lpn.SLAB_TREES**0.5
    assert np.array_equal(differ, noise == 1)


def test_used_once() -> None:
    cots = Cots(7, np.ones((3, 2), np.uint64))
    assert len(cots) == 3
    assert "hidden" in repr(cots)
    cots.use()
    with pytest.raises(CorrelationError, match="7 to 9 are used already"):
        cots.use()


def test_nothing_secret_in_repr() -> None:
    def take(source: Any) -> str:
        source.take(3)
        return repr(source)

    texts = both(lambda c: take(SilentSender(backend(), c)), lambda c: take(SilentReceiver(backend(), c)))
    for text, name in zip(texts, ("SilentSender", "SilentReceiver"), strict=True):
        assert text == f"{name}(taken=3, ready={-lpn.RESERVE % lpn.SLAB_ROWS - 3}, secrets=<hidden>)"


class Tampering(SilentSender):
    """Changes one word of one message."""

    where: Any = 0

    def _grow(self, ots: Any) -> Any:
        channel, send = self.channel, self.channel.send

        def changed(tag: str, frames: Any, **kwargs: Any) -> None:
            words = frames[0].copy()
            words[self.where] ^= np.uint64(1 << 40)
            send(tag, [words], **kwargs)

        channel.send = changed  # type: ignore[method-assign]
        try:
            return super()._grow(ots)
        finally:
            channel.send = send  # type: ignore[method-assign]


@pytest.mark.parametrize("row", [0, 1, *range(lpn.TREE_LOG - 3, lpn.TREE_BLOCKS - 1)])
def test_a_changed_message_is_noticed(row: int) -> None:
    """Whatever the receiver's bit: it uses every block that is sent, but one of the last two."""

    class Changed(Tampering):
        where = np.s_[row : row + 2 if row == lpn.TREE_LOG else row + 1, 0, 0]

    def receive(channel: Channel) -> None:
        source = SilentReceiver(backend(), channel)
        said = "the oblivious transfers with client do not match. Run the same version on both sides."
        with pytest.raises(CorrelationError, match=said):
            source.take(1)
        with pytest.raises(CorrelationError, match="open a new session"):
            source.take(1)

    both(lambda c: _until_gone(Changed(backend(), c)), receive)


def test_a_message_of_another_size_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Short(SilentSender):
        def _grow(self, ots: Any) -> Any:
            self.channel.send(silent.TREES_TAG, [bytes(16)], round=False)
            return super()._grow(ots)

    with pytest.raises(ProtocolError, match="frames of"):
        both(lambda c: _until_gone(Short(backend(), c)), lambda c: SilentReceiver(backend(), c).take(1))


def test_a_peer_that_leaves() -> None:
    with pytest.raises(PeerGone):
        both(lambda c: None, lambda c: SilentReceiver(backend(), c).take(1))


def _until_gone(source: SilentSender) -> None:
    try:
        source.take(1)
    except PeerGone:
        return
