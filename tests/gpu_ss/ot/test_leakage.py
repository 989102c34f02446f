"""What travels on the channels of OT is uniform whatever the secrets, and its order and sizes tell nothing of them.

The OTs below the conversions are dealt from seeds of the test, so every run here is the same; silent OT itself
draws its own, and is looked at apart.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from gpu_ss.provider.ot import convert, extension, messages, silent
from gpu_ss.provider.ot import parameters as lpn
from gpu_ss.provider.ot.pair import OtPair
from gpu_ss.provider.ot.silent import SilentReceiver, SilentSender
from gpu_ss.provider.ot.triples import AndTriples
from gpu_ss.ring import WORD, Ring
from net import Channel
from tests.support.backends import open_backend
from tests.support.ot import CPU, DealtReceiver, DealtSender, both

Words = np.ndarray[Any, np.dtype[np.uint64]]
#: (tag, sizes of the frames) in order, and what was sent under each tag, as words one after the other.
Sent = tuple[list[tuple[str, list[int]]], dict[str, Words]]
#: A secret: an array of words.
Secret = Callable[..., Words]

RUNS = 24
#: Standard deviations: of some hundred fair coins one passes it with probability 2^-35.
LIMIT = 7.5
W = 6  # words of a plane; N elements fill them, so that no message has padding
N = WORD * W
RING = Ring(24)
EXTREMES: dict[str, Secret] = {
    "zeros": lambda *shape: np.zeros(shape, np.uint64),
    "ones": lambda *shape: np.full(shape, 2**64 - 1, np.uint64),
}
OPERATIONS: dict[str, Callable[[OtPair, Secret], Any]] = {
    "and": lambda pair, x: pair.and_vector(x(W), x(3, W)),
    "add": lambda pair, x: pair.add(x(9, W), [W] * 9),
    "overlap": lambda pair, x: pair.overlap(x(2, W)),
    "mux": lambda pair, x: pair.mux(x(W), RING.reduce(x(2, N)), RING),
    "value": lambda pair, x: pair.value(x(W), N, RING),
    "wrap": lambda pair, x: pair.wrap_product(x(1, W), N, RING),
    "product": lambda pair, x: pair.product(RING.reduce(x(N)), RING.reduce(x(N)), RING, 7),
    "square": lambda pair, x: pair.square(Ring(8).reduce(x(N)), Ring(8)),
    "joint": lambda pair, x: pair.joint(RING.reduce(x(N)), RING, 3),
}


def spied(channel: Channel, run: Callable[[], Any]) -> Sent:
    """What this end sends in `run`."""
    order: list[tuple[str, list[int]]] = []
    frames: dict[str, list[bytes]] = {}
    post = channel._post

    def noting(tag: str, parts: Sequence[Any], *ready: Any) -> None:
        sent = [bytes(memoryview(part).cast("B")) for part in parts]
        order.append((tag, [len(part) for part in sent]))
        frames.setdefault(tag, []).extend(sent)
        post(tag, parts, *ready)

    channel._post = noting  # type: ignore[method-assign]
    try:
        run()
    finally:
        channel._post = post  # type: ignore[method-assign]
    return order, {tag: np.frombuffer(b"".join(parts), np.uint64) for tag, parts in frames.items()}


def observe(operation: Callable[[OtPair, Secret], Any], secret: Secret, seed: int) -> tuple[Sent, Sent]:
    """What each party sends in one run, OTs dealt from a seed."""
    backend = open_backend(CPU)

    def end(rank: int) -> Callable[[Channel], Sent]:
        def run(channel: Channel) -> Sent:
            sender = DealtSender(backend, channel, 2 * seed + rank)
            receiver = DealtReceiver(backend, channel, 2 * seed + 1 - rank)
            pair = OtPair(rank, backend, channel, sender, receiver)
            return spied(channel, lambda: operation(pair, secret))

        return run

    return both(end(0), end(1))


def worst_bias(words: Words) -> float:
    """How far a bit position's mean is from a half at most, or the bytes' chi-square from 255: standard deviations.

    The cube root of a chi-square is nearly normal (Wilson and Hilferty, 1931).
    """
    bits = np.unpackbits(words.view(np.uint8)).reshape(len(words), WORD)
    coins = np.abs(bits.mean(axis=0) - 0.5) * 2 * len(words) ** 0.5
    counts = np.bincount(words.view(np.uint8), minlength=256)
    expected = 8 * len(words) / 256
    chi_square = ((counts - expected) ** 2 / expected).sum()
    spread = 2 / (9 * 255)
    return max(float(coins.max()), float(((chi_square / 255) ** (1 / 3) - 1 + spread) / spread**0.5))


@pytest.mark.parametrize("name", sorted(OPERATIONS))
def test_everything_sent_is_uniform_and_in_the_same_order(name: str) -> None:
    orders = []
    for label, secret in EXTREMES.items():
        runs = [observe(OPERATIONS[name], secret, seed) for seed in range(RUNS)]
        for rank in (0, 1):
            order = runs[0][rank][0]
            assert all(run[rank][0] == order for run in runs)
            orders.append((rank, order))
            for tag in runs[0][rank][1]:
                words = np.concatenate([run[rank][1][tag] for run in runs])
                assert len(words) >= RUNS * W
                assert worst_bias(words) < LIMIT, (
                    f"{name}, {label}: what rank {rank} sends as {tag!r} is biased"
                )
    assert orders[: len(orders) // 2] == orders[len(orders) // 2 :]
    assert any(order for _, order in orders)


@pytest.mark.parametrize("name", ["mux", "product"])
def test_unmasked_choices_would_be_noticed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    original = convert.receive_random

    def without_choice(*args: Any, **rows: int) -> Any:
        own, keys = original(*args, **rows)
        return own & np.uint64(0), keys

    monkeypatch.setattr(convert, "receive_random", without_choice)
    sent = observe(OPERATIONS[name], EXTREMES["ones"], 1)[1][1]
    assert worst_bias(sent[messages.TAG_CHOICE]) > LIMIT


def test_a_triple_of_zeros_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = AndTriples(*(np.zeros((rows, W), np.uint64) for rows in (3, 1, 3)))
    monkeypatch.setattr(OtPair, "_triples", lambda *_: nothing)
    sent = observe(OPERATIONS["and"], EXTREMES["zeros"], 1)[0][1]
    assert worst_bias(np.concatenate([sent["ot/and"]] * RUNS)) > LIMIT


def test_silent_transfers_send_nothing_but_coins() -> None:
    """From the extension's corrections to the tree sums and checks, with sizes that depend on nothing.

    The lowest bits of delta and of the leaves are public, so those of the leaves' sums are always 0.
    """
    backend, n = open_backend(CPU), 4 * lpn.SLAB_ROWS - lpn.RESERVE
    sent, received = both(
        lambda c: spied(c, lambda: SilentSender(backend, c).take(n)),
        lambda c: spied(c, lambda: SilentReceiver(backend, c).take(n)),
    )
    sizes, slabs = dict(sent[0]), 4
    assert [tag for tag, _ in sent[0]].count(silent.TREES_TAG) == slabs
    assert sizes[silent.TREES_TAG] == [16 * lpn.SLAB_TREES * lpn.TREE_BLOCKS]
    assert silent.TREES_TAG not in dict(received[0]), "the receiver answers nothing"
    sums = sent[1][silent.TREES_TAG].reshape(slabs, lpn.TREE_BLOCKS, lpn.SLAB_TREES, 2)
    pairs = slice(
        lpn.TREE_LOG - 2, lpn.TREE_LOG
    )  # sums of leaves under OTs' blocks, whose lowest bits are 0 too
    assert not (sums[:, pairs, :, 0] & np.uint64(1)).any()
    assert worst_bias(np.ascontiguousarray(sums[:, : pairs.start]).reshape(-1)) < LIMIT
    assert worst_bias(np.ascontiguousarray(sums[:, pairs, :, 1]).reshape(-1)) < LIMIT
    assert worst_bias(np.ascontiguousarray(sums[:, pairs.stop :]).reshape(-1)) < LIMIT
    assert worst_bias(sent[1][silent.CHECK_TAG]) < LIMIT
    assert worst_bias(received[1][extension.TAG]) < LIMIT
