"""What is built on correlated OT: by definition, on every backend, with made-up correlations; and what it sends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.backend.base import Backend
from gpu_ss.provider.ot import convert, messages
from gpu_ss.provider.ot.triples import and_triples
from net import Channel, ProtocolError
from tests.support.backends import EVERY_BACKEND, open_backend
from tests.support.ot import CPU, DealtReceiver, DealtSender, both

PAIRS = [
    *((name, CPU) for name in EVERY_BACKEND if isinstance(name, str)),
    pytest.param(("cuda", CPU), marks=pytest.mark.gpu),
]
SIZES = [1, 64, 777]


def run(names: tuple[str, str], send: Any, receive: Any, seed: int = 1) -> tuple[Any, Any]:
    """`send(source)` and `receive(source)` at the two ends of dealt OTs; host arrays of what they return."""
    left, right = (open_backend(name) for name in names)
    return both(
        lambda c: _host(left, send(DealtSender(left, c, seed))),
        lambda c: _host(right, receive(DealtReceiver(right, c, seed))),
    )


def _host(backend: Backend, value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(_host(backend, v) for v in value)
    return None if value is None else backend.to_host(value)


def bits_of(plane: Any, n: int) -> Any:
    return np.unpackbits(plane.view(np.uint8), bitorder="little")[:n].astype(np.uint64)


def words(n: int, *shape: int) -> Any:
    return np.random.default_rng(n).integers(0, 2**64, (*shape, n), dtype=np.uint64)


@pytest.mark.parametrize("names", PAIRS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("count", [1, 2, 11])
def test_random(names: tuple[str, str], n: int, count: int) -> None:
    (zero, one), (plane, got) = run(
        names, lambda s: convert.send_random(s, n, count), lambda s: convert.receive_random(s, n, count)
    )
    chosen = bits_of(plane, n)[:, None]
    assert np.array_equal(got, np.where(chosen, one, zero))
    assert (zero != one).all()
    assert got.shape == (n, count)


@pytest.mark.parametrize("names", PAIRS)
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("bits", [1, 13, 64])
def test_chosen(names: tuple[str, str], bits: int, n: int) -> None:
    messages, choice = words(n, 2), words(-(-n // 64), 1)
    left, right = (open_backend(name) for name in names)
    _, got = run(
        names,
        lambda s: convert.send_chosen(s, left.asarray(messages[0]), left.asarray(messages[1]), bits),
        lambda s: convert.receive_chosen(s, right.asarray(choice), n, bits),
    )
    expected = np.where(bits_of(choice, n), messages[1], messages[0])
    assert np.array_equal(got, expected & np.uint64((1 << bits) - 1))


@pytest.mark.parametrize("names", PAIRS)
@pytest.mark.parametrize(("count", "bits"), [(2, 64), (3, 5), (4, 1), (16, 4), (16, 33), (256, 8)])
def test_one_of_many(names: tuple[str, str], count: int, bits: int) -> None:
    n = 130
    messages, index = words(n, count), words(n) % np.uint64(count)
    left, right = (open_backend(name) for name in names)
    _, got = run(
        names,
        lambda s: convert.send_one_of(s, left.asarray(messages), bits),
        lambda s: convert.receive_one_of(s, right.asarray(index), count, bits),
    )
    assert np.array_equal(got, messages[index.astype(int), np.arange(n)] & np.uint64((1 << bits) - 1))


@pytest.mark.parametrize("names", PAIRS)
@pytest.mark.parametrize("bits", [1, 12, 64])
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("n", SIZES)
def test_products(names: tuple[str, str], n: int, given: bool, bits: int) -> None:
    x, choice = words(n), words(-(-n // 64), 1)
    left, right = (open_backend(name) for name in names)
    share, (plane, other) = run(
        names,
        lambda s: convert.send_products(s, left.asarray(x), bits, chosen=given),
        lambda s: convert.receive_products(s, n, bits, right.asarray(choice) if given else None),
    )
    chosen = bits_of(plane, n)
    assert not given or np.array_equal(chosen, bits_of(choice, n))
    assert np.array_equal(
        (share + other) & np.uint64((1 << bits) - 1), x * chosen & np.uint64((1 << bits) - 1)
    )


@pytest.mark.parametrize("names", PAIRS)
def test_and_triples(names: tuple[str, str]) -> None:
    n = 3001
    backends = [open_backend(name) for name in names]

    def make(rank: int, channel: Channel) -> tuple[Any, ...]:
        ends = (DealtSender, DealtReceiver)
        sender = ends[0](backends[rank], channel, 5 + rank)
        receiver = ends[1](backends[rank], channel, 6 - rank)
        triples = and_triples(rank, sender, receiver, n)
        assert channel.traffic.report().sent.messages == 0
        return tuple(bits_of(backends[rank].to_host(p), n) for p in (triples.a, triples.b, triples.c))

    left, right = both(lambda c: make(0, c), lambda c: make(1, c))
    a, b, c = (x ^ y for x, y in zip(left, right, strict=True))
    assert np.array_equal(c, a & b)
    for bits in (*left, *right, a, b):
        assert abs(bits.mean() - 0.5) < 5 * 0.5 / n**0.5


def test_costs() -> None:
    """Rounds and payload of each, as the module says."""
    n = 640
    x, choice = words(n), words(n // 64, 1)
    index = x % np.uint64(16)
    table = words(n, 16)
    c = convert
    jobs = [
        (lambda s: c.send_random(s, n), lambda s: c.receive_random(s, n), 0, 0, 0),
        (lambda s: c.send_chosen(s, x, x, 7), lambda s: c.receive_chosen(s, choice, n, 7), 2, 14, 1),
        (lambda s: c.send_one_of(s, table, 4), lambda s: c.receive_one_of(s, index, 16, 4), 2, 64, 4),
        (lambda s: c.send_products(s, x, 9), lambda s: c.receive_products(s, n, 9), 1, 9, 0),
        (lambda s: c.send_products(s, x, 9, True), lambda s: c.receive_products(s, n, 9, choice), 2, 9, 1),
    ]
    for send, receive, rounds, sent, received in jobs:

        def sender(source: DealtSender, send: Any = send) -> tuple[Any, ...]:
            send(source)
            report = source.channel.traffic.report()
            return np.array([report.rounds, report.sent.payload * 8, report.received.payload * 8])

        counted, _ = run((CPU, CPU), sender, lambda s, receive=receive: receive(s))
        assert counted.tolist() == [rounds, sent * n, received * n]


def test_choices_are_masked_and_nothing_follows_the_last() -> None:
    """With an all-zero and an all-one plane, what is sent is uniform, and bits past the end stay at home."""
    n = 64 * 200 + 5
    seen = []
    for fill in (0, 2**64 - 1):
        choice = np.full((1, -(-n // 64)), fill, np.uint64)

        def spy(source: DealtSender, choice: Any = choice) -> Any:
            (frame,) = source.channel.recv(messages.TAG_CHOICE, [8 * choice.size])
            source.channel.send(messages.TAG_MESSAGES, [bytes(8 * (-(-2 * n // 64)))])
            return np.frombuffer(frame, np.uint64)

        plane, _ = run(
            (CPU, CPU), spy, lambda s, choice=choice: convert.receive_chosen(s, choice, n, 1), seed=fill % 97
        )
        assert int(plane[-1]) < 1 << 5
        seen.append(bits_of(plane, n).mean())
    assert all(abs(share - 0.5) < 5 * 0.5 / n**0.5 for share in seen)


def test_masked_messages_hide_what_was_not_chosen() -> None:
    """The unchosen message XOR what was sent for it is uniform: the receiver's own key does not open it."""
    n = 20_000
    zero, choice = np.zeros(n, np.uint64), np.zeros((1, -(-n // 64)), np.uint64)

    def receive(source: DealtReceiver) -> Any:
        own, key = convert.receive_random(source, n)
        source.channel.send(messages.TAG_CHOICE, [choice ^ own])
        (frame,) = source.channel.recv(messages.TAG_MESSAGES, [16 * n])
        offered = np.frombuffer(frame, np.uint64).reshape(2, n)
        assert not (offered[0] ^ key[:, 0]).any()
        return offered[1] ^ key[:, 0]

    _, hidden = run((CPU, CPU), lambda s: convert.send_chosen(s, zero, zero, 64), receive)
    shares = np.unpackbits(hidden.view(np.uint8).reshape(n, 8), axis=1).mean(axis=0)
    assert np.abs(shares - 0.5).max() < 5 * 0.5 / n**0.5


@pytest.mark.parametrize(("count", "bits"), [(1, 4), (257, 4), (4, 0), (4, 65)])
def test_bounds(count: int, bits: int) -> None:
    with pytest.raises(ValueError):
        run((CPU, CPU), lambda s: convert.send_one_of(s, words(3, count), bits), lambda s: None)


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ProtocolError, match="frames of"):
        run(
            (CPU, CPU),
            lambda s: convert.send_products(s, words(100), 9),
            lambda s: convert.receive_products(s, 100, 12),
        )
