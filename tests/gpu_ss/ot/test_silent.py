"""Silent OT at its real parameters: right by definition, on mixed backends, and loud when anything is wrong."""

from __future__ import annotations

from copy import copy
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
from tests.support.launches import counted
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


class Numbers:
    """Words from a seed, the same however many are drawn at once, in place of a secret generator."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._rng = np.random.default_rng(7)

    def words(self, shape: tuple[int, ...]) -> Any:
        return self._backend.asarray(self._rng.integers(0, 2**64, shape, dtype=np.uint64))


@pytest.fixture
def dealt(monkeypatch: pytest.MonkeyPatch) -> None:
    """All that silent OT draws or starts from comes from seeds."""
    rng = np.random.default_rng(3)
    delta, q = (
        rng.integers(0, 2**64, 2, dtype=np.uint64),
        rng.integers(0, 2**64, (lpn.RESERVE, 2), dtype=np.uint64),
    )
    delta[0] |= np.uint64(1)
    q[:, 0] &= np.uint64(2**64 - 2)
    t = q ^ delta * rng.integers(0, 2, (lpn.RESERVE, 1), dtype=np.uint64)

    monkeypatch.setattr(silent.Delta, "__init__", lambda self: setattr(self, "words", tuple(map(int, delta))))
    monkeypatch.setattr(silent, "Prg", Numbers)
    monkeypatch.setattr(silent, "extend_as_sender", lambda channel, backend, *_: (backend.asarray(q), b"d"))
    monkeypatch.setattr(silent, "extend_as_receiver", lambda channel, backend, *_: (backend.asarray(t), b"d"))


def _in_groups(name: str, slabs: int) -> Backend:
    """A backend of its own that makes so many slabs in one go."""
    made = copy(open_backend(name))
    made.slabs_at_once = slabs  # type: ignore[misc]
    return made


def _run(
    sides: tuple[Backend, Backend], takes: list[int], together: int = 1
) -> tuple[Any, Any, list[tuple[str, bytes]]]:
    """The sender's and receiver's OTs, and the sender's messages in order."""

    def take(source: SilentSender | SilentReceiver) -> Any:
        source.slabs_together = together
        source.backend.activate()
        return np.concatenate([source.backend.to_host(source.take(n).use()) for n in takes])

    def send(channel: Channel) -> Any:
        messages: list[tuple[str, bytes]] = []
        post = channel._post

        def noting(tag: str, parts: Any, *ready: Any) -> None:
            messages.extend((tag, bytes(memoryview(part).cast("B"))) for part in parts)
            post(tag, parts, *ready)

        channel._post = noting  # type: ignore[method-assign]
        return take(SilentSender(sides[0], channel)), messages

    (q, messages), t = both(send, lambda c: take(SilentReceiver(sides[1], c)))
    return q, t, messages


@pytest.mark.usefixtures("dealt")
def test_slabs_in_one_go_are_what_they_are_one_by_one() -> None:
    """The same messages in the same order and the same OTs, into the third iteration, whatever is taken at once."""
    takes = [1, 3 * lpn.SLAB_ROWS, 5000, 11 * lpn.SLAB_ROWS + 7, lpn.OUTPUTS, lpn.OUTPUTS - 2 * lpn.SLAB_ROWS]
    expected = _run((_in_groups(CPU, 1), _in_groups(CPU, 1)), takes)
    assert [tag for tag, _ in expected[2]] == [silent.TREES_TAG, silent.CHECK_TAG] * (len(expected[2]) // 2)
    assert len(expected[2]) > 4 * lpn.SLABS
    for slabs in ((16, 1), (1, 16), (5, lpn.SLABS)):
        got = _run((_in_groups(CPU, slabs[0]), _in_groups(CPU, slabs[1])), takes)
        assert got[2] == expected[2], slabs
        assert all(np.array_equal(x, y) for x, y in zip(got[:2], expected[:2], strict=True)), slabs


@pytest.mark.usefixtures("dealt")
def test_groups_of_slabs_are_told_of_together() -> None:
    """The same OTs and bytes, whatever each party makes at once, and no more than a group too many."""
    takes = [1, 3 * lpn.SLAB_ROWS, 5000, 11 * lpn.SLAB_ROWS + 7, lpn.OUTPUTS]
    one_by_one = _run((_in_groups(CPU, 1), _in_groups(CPU, 1)), takes)
    for slabs in ((16, 1), (64, 5), (20, lpn.SLABS)):
        got = _run((_in_groups(CPU, slabs[0]), _in_groups(CPU, slabs[1])), takes, together=8)
        assert all(np.array_equal(x, y) for x, y in zip(got[:2], one_by_one[:2], strict=True)), slabs
        for tag in (silent.TREES_TAG, silent.CHECK_TAG):
            expected, told = (b"".join(m for t, m in run[2] if t == tag) for run in (one_by_one, got))
            assert told.startswith(expected)
            assert len(told) < len(expected) + 8 * len(expected) // (len(one_by_one[2]) // 2)
        assert len(got[2]) < len(one_by_one[2]) / 4


@pytest.mark.usefixtures("dealt")
@pytest.mark.parametrize("names", [("cuda-fake", CPU), (CPU, "cuda-fake")])
def test_a_gpu_and_a_cpu_say_and_make_the_same(names: tuple[str, str]) -> None:
    """In either role, the GPU several slabs at once and the CPU one."""
    takes = [1000, 3 * lpn.SLAB_ROWS, 1, 2 * lpn.SLAB_ROWS]
    assert [open_backend(name).slabs_at_once > 1 for name in names] == ["cuda" in name for name in names]
    expected = _run((open_backend(CPU), open_backend(CPU)), takes)
    left, right = (open_backend(name) for name in names)
    got = _run((left, right), takes)
    assert got[2] == expected[2]
    assert all(np.array_equal(x, y) for x, y in zip(got[:2], expected[:2], strict=True))


@pytest.mark.usefixtures("dealt")
@pytest.mark.parametrize("rank", [0, 1])
def test_a_group_of_slabs_is_few_launches(rank: int) -> None:
    """Eight slabs with a GPU at either end: what it is asked for does not grow with their number."""
    sides = [open_backend("cuda-fake") if rank == k else open_backend(CPU) for k in (0, 1)]

    def take(kind: type[SilentSender] | type[SilentReceiver], channel: Channel, end: int) -> None:
        sides[end].activate()
        source = kind(sides[end], channel)
        source.take(1)
        if end == rank:
            with launches.watch():
                source.take(source.ready + 8 * lpn.SLAB_ROWS)
        else:
            source.take(source.ready + 8 * lpn.SLAB_ROWS)

    with counted() as launches:
        both(lambda c: take(SilentSender, c, 0), lambda c: take(SilentReceiver, c, 1))
    assert launches.kernels["lpn_encode"] == 1, "in one go"
    assert 0 < launches.kernels.total() + launches.operations.total() <= (9, 13)[rank]


def test_noise_is_one_place_in_each_block(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the code, the outputs' choice bits are the noise: one 1 in each tree, at its own place."""
    encode = silent._Silent._encode

    def without_code(self: Any, level: Any) -> Any:
        self._table = self.backend.zeros((2, 2))
        return encode(self, level)

    monkeypatch.setattr(silent._Silent, "_encode", without_code)
    monkeypatch.setattr(
        silent._Silent, "_check_hashes", lambda self, totals, offsets: _nothing(offsets, totals)
    )
    outs: dict[str, Any] = {}
    for kind in (SilentSender, SilentReceiver):

        def grow(self: Any, *args: Any, original: Any = kind._grow) -> Any:
            grown = original(self, *args)
            outs.setdefault(type(self).__name__, grown[0])
            return grown

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


def _nothing(offsets: Any, totals: Any) -> Any:
    return backend().zeros((len(offsets), len(totals), 2))


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
    """Changes one word of what it tells of a slab."""

    where: Any = 0

    def _grow(self, ots: Any) -> Any:
        out, told, sums = super()._grow(ots)
        told[self.where] ^= np.uint64(1 << 40)
        return out, told, sums


@pytest.mark.parametrize("row", [0, 1, *range(lpn.TREE_LOG - 3, lpn.TREE_BLOCKS - 1)])
def test_a_changed_message_is_noticed(row: int) -> None:
    """Whatever the receiver's bit: it uses every block that is sent, but one of the last two."""

    class Changed(Tampering):
        where = np.s_[0, row : row + 2 if row == lpn.TREE_LOG else row + 1, 0, 0]

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
