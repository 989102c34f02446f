"""Bits of sums of the parties' numbers, rippled and in blocks, against the numbers; and in how few steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gpu_ss.provider.ot import adder
from gpu_ss.provider.ot.pair import TAG_AND, OtPair
from gpu_ss.provider.ot.requests import Answers, Sum
from net import Channel
from tests.support.backends import COMPILED_BACKENDS, open_backend
from tests.support.ot import CPU, DealtReceiver, DealtSender, both

Words = np.ndarray[Any, np.dtype[np.uint64]]


def sums(name: str, numbers: Sequence[tuple[int, Words, Words]]) -> tuple[list[Words], int]:
    """(bits, x_0, x_1) of each request -> the bits' numbers, all asked at once, and the steps taken."""
    backend = open_backend(name)

    def party(rank: int, channel: Channel) -> tuple[list[Words], int]:
        ends = DealtSender(backend, channel, 1 + rank), DealtReceiver(backend, channel, 2 - rank)
        answers = Answers(OtPair(rank, backend, channel, *ends))
        requests = [Sum(backend.to_planes(backend.asarray(own[rank]), bits)) for bits, *own in numbers]
        found = [backend.to_host(planes) for planes in answers(requests)]
        return found, channel.traffic.report().by_tag[TAG_AND][0].messages

    (left, steps), (right, _) = both(lambda c: party(0, c), lambda c: party(1, c))
    return [number(a ^ b, len(x)) for a, b, (_, x, _) in zip(left, right, numbers, strict=True)], steps


def number(planes: Words, n: int) -> Words:
    bits = np.unpackbits(planes.view(np.uint8), axis=1, bitorder="little")[:, :n].astype(np.uint64)
    return (bits << np.arange(len(planes), dtype=np.uint64)[:, None]).sum(axis=0, dtype=np.uint64)


def random_numbers(bits: int, n: int) -> tuple[int, Words, Words]:
    """With the carries that go all the way."""
    ones = np.uint64(2**bits - 1)
    x, y = np.random.default_rng(bits).integers(0, 2**64, (2, n), np.uint64) & ones
    edges = [(ones, 1), (1, ones), (ones, ones), (0, 0), (ones, 0), (1 << bits >> 1, 1 << bits >> 1)]
    for k, (left, right) in enumerate(edges[:n]):
        x[k], y[k] = left, right
    return bits, x, y


def assert_sums(name: str, *numbers: tuple[int, Words, Words]) -> int:
    found, steps = sums(name, numbers)
    for (bits, x, y), total in zip(numbers, found, strict=True):
        assert np.array_equal(total, x + y & np.uint64(2**bits - 1)), bits
    return steps


@pytest.mark.parametrize("few", [0, 3, 1000])
@pytest.mark.parametrize("bits", [2, 3, 4, 5, 8, 15, 31, 63, 64])
def test_numbers_of_one_length(bits: int, few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adder, "_FEW", few)
    assert_sums(CPU, random_numbers(bits, 300))


@pytest.mark.parametrize("few", [0, 1, 3, 7, 1000])
def test_numbers_of_all_lengths_at_once(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The longest are few, as masks of one number each row are beside those of all."""
    monkeypatch.setattr(adder, "_FEW", few)
    assert_sums(
        CPU,
        *(random_numbers(bits, n) for bits, n in ((6, 500), (2, 1), (15, 129), (64, 2), (64, 65), (33, 7))),
    )


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
def test_backends(name: str) -> None:
    assert_sums(name, random_numbers(12, 64 * (adder._FEW + 1)), random_numbers(40, 70))


def test_few_words_take_few_steps() -> None:
    assert assert_sums(CPU, random_numbers(64, 64)) == 6 + 9
    assert assert_sums(CPU, random_numbers(10, 64 * (adder._FEW + 1)), random_numbers(59, 64)) == 9 + 6 + 7
    assert assert_sums(CPU, random_numbers(64, 64 * (adder._FEW + 1))) == 63
