"""What is built on correlated OT: every backend gives the reference's words, and the reference multiplies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.backend.transfers import row_sizes
from gpu_ss.ring import Ring, word_count
from tests.gpu_ss.backend.test_conformance import WIDTHS, Words, check_rows, drawn
from tests.gpu_ss.backend.test_conformance_steps import LEADS, plane
from tests.support.backends import COMPILED_BACKENDS, EVERY_BACKEND, open_backend

SIZES = [0, 1, 63, 64, 65, 777, 1024, 1091, 4099]
FACTORS = [
    (1, 1),
    (2, 1),
    (9, 9),
    (24, 5),
    (33, 33),
    (64, 1),
    (64, 64),
]  # bits of the words, and of the factor
SHAPES = [
    (1, 1),
    (1, 65),
    (2, 64),
    (3, 63),
    (3, 128),
    (4, 77),
    (8, 192),
    (1, 40_003),
    (3, 12_864),
]  # rows, bits
Arguments = tuple[Any, ...]


def _word_corrections(words: Words, n: int, bits: int, factors: int) -> Arguments:
    return words(n), words(factors, n), words(factors, n), plane(words, n, factors), bits


def _bit_word_corrections(words: Words, n: int, bits: int, factors: int) -> Arguments:
    return words(factors, n), words(factors, n), bits


def _word_shares(words: Words, n: int, bits: int, factors: int) -> Arguments:
    told = words(sum(row_sizes(n, bits, factors)))
    return words(factors, n), told, plane(words, n, factors), bits


def _bit_word_shares(words: Words, n: int, bits: int, factors: int) -> Arguments:
    told = words(sum(row_sizes(n, bits - 1, factors - 1)))
    return words(factors, n), told, plane(words, n, factors), bits


def _product_corrections(words: Words, rows: int, n: int, bits: int, chosen: bool) -> Arguments:
    flips = plane(words, n) if chosen else None
    return words(rows, n), words(n, rows), words(n, rows), flips, bits


def _product_shares(words: Words, rows: int, n: int, bits: int) -> Arguments:
    return words(n, rows), words(word_count(rows * n, bits)), plane(words, n), bits


def _mux_corrections(words: Words, rows: int, n: int, bits: int) -> Arguments:
    x, own = words(rows, n), plane(words, n)
    return x, own, words(n, rows), words(n, rows), plane(words, n), bits


def _mux_shares(words: Words, rows: int, n: int, bits: int) -> Arguments:
    return (words(rows, n), *_product_shares(words, rows, n, bits))


def _value_corrections(words: Words, n: int, bits: int) -> Arguments:
    return plane(words, n), words(n, 1), words(n, 1), plane(words, n), bits


def _value_shares(words: Words, n: int, bits: int) -> Arguments:
    return words(n, 1), words(word_count(n, bits - 1)), plane(words, n), bits


def _and_masked(words: Words, count: int, width: int) -> Arguments:
    return words(width), words(count, width), words(1, width), words(count, width)


def _and_opened(words: Words, count: int, width: int, lead: np.uint64) -> Arguments:
    both = (words(1 + count, width) for _ in range(2))
    return (*both, words(1, width), words(count, width), words(count, width), lead)


OF_WORDS = {
    "word_corrections": _word_corrections,
    "word_shares": _word_shares,
    "bit_word_corrections": _bit_word_corrections,
    "bit_word_shares": _bit_word_shares,
}
OF_ROWS = {
    "product_shares": _product_shares,
    "mux_corrections": _mux_corrections,
    "mux_shares": _mux_shares,
}
ROWS: list[tuple[str, str, Callable[[Words], Arguments]]] = [
    *(
        ("choice_planes", f"{rows}x{n}", lambda words, rows=rows, n=n: (words(rows * n, 2), rows))
        for n in (*SIZES, 70_001)
        for rows in (1, 3)
    ),
    *(
        (op, f"{n} {bits} {factors}", lambda words, made=made, n=n, b=bits, f=factors: made(words, n, b, f))
        for op, made in OF_WORDS.items()
        for n in SIZES
        for bits, factors in FACTORS
    ),
    *(
        (op, f"65 {bits}", lambda words, made=made, bits=bits: made(words, 65, bits, (bits + 1) // 2))
        for op, made in OF_WORDS.items()
        for bits in range(1, 65)
    ),
    *((op, "threads", lambda words, made=made: made(words, 40_003, 37, 3)) for op, made in OF_WORDS.items()),
    *(
        (op, f"{shape} {bits}", lambda words, made=made, s=shape, b=bits: made(words, *s, b))
        for op, made in OF_ROWS.items()
        for shape in SHAPES
        for bits in WIDTHS
    ),
    *(
        ("product_corrections", f"{shape} {bits} {chosen}",
         lambda words, s=shape, b=bits, chosen=chosen: _product_corrections(words, *s, b, chosen))
        for shape in SHAPES
        for bits in WIDTHS
        for chosen in (False, True)
    ),
    *((op, "none", lambda words, made=made: made(words, 2, 0, 9)) for op, made in OF_ROWS.items()),
    *(
        (op, f"{n} {bits}", lambda words, made=made, n=n, bits=bits: made(words, n, bits))
        for op, made in (("value_corrections", _value_corrections), ("value_shares", _value_shares))
        for n in (*SIZES, 40_003)
        for bits in WIDTHS[1:]
    ),
    *(
        ("and_masked", f"{count}x{width}", lambda words, m=count, w=width: _and_masked(words, m, w))
        for count in (0, 1, 3, 64)
        for width in (0, 1, 7, 8, 33, 2000)
    ),
    *(
        ("and_opened", f"{count}x{width}", lambda words, m=count, w=width, d=lead: _and_opened(words, m, w, d))
        for count in (0, 1, 3, 64)
        for width in (0, 1, 7, 8, 33, 2000)
        for lead in LEADS
    ),
    ("and_masked", "threads", lambda words: _and_masked(words, 2, 40_001)),
    ("and_opened", "threads", lambda words: _and_opened(words, 2, 40_001, LEADS[1])),
]  # fmt: skip


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
@pytest.mark.parametrize("operation", sorted({row[0] for row in ROWS}))
def test_same_words_as_the_reference(name: str, operation: str) -> None:
    check_rows(ROWS, name, operation, drawn(17))


# The definitions: shares of both parties add up to the product. Python's integers do the arithmetic.


class Dealt:
    """The keys of OTs [rows, n]: both, the receiver's random bits, and those its bits choose."""

    def __init__(self, draw: Words, *shape: int, axis: int = 1) -> None:
        self.zero, self.one = draw(*shape), draw(*shape)
        rows, n = (shape[0], shape[1]) if axis else (1, shape[0])
        self.bits = draw(rows, n) & np.uint64(1)
        chosen = self.bits if axis else self.bits.T
        self.keys = np.where(chosen, self.one, self.zero)


def planes_of(bits: Any) -> Any:
    return np.concatenate([ReferenceBackend().to_planes(row, 1) for row in bits])


def integers(words: Any) -> Any:
    return words.astype(object)


@pytest.mark.parametrize("name", EVERY_BACKEND)
@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("n", [1, 64, 130])
def test_words_are_multiplied(name: str, n: int, factors: tuple[int, int]) -> None:
    backend, draw = open_backend(name), drawn(n)
    bits, count = factors
    x, wanted, dealt = draw(n), draw(count, n) & np.uint64(1), Dealt(draw, count, n)
    arrays = map(backend.asarray, (x, dealt.zero, dealt.one, planes_of(wanted ^ dealt.bits)))
    messages, sent = backend.word_corrections(*arrays, bits)
    keys, planes = backend.asarray(dealt.keys), backend.asarray(planes_of(wanted))
    received = backend.word_shares(keys, messages, planes, bits)
    y = sum(integers(row) << k for k, row in enumerate(wanted))
    total = integers(backend.to_host(sent)) + integers(backend.to_host(received))
    assert ((total - integers(x) * y) % 2**bits == 0).all()


@pytest.mark.parametrize("name", EVERY_BACKEND)
@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("n", [1, 64, 130])
def test_random_words_are_multiplied_by_random_bits(name: str, n: int, factors: tuple[int, int]) -> None:
    backend, draw = open_backend(name), drawn(n + 1)
    bits, count = factors
    dealt = Dealt(draw, count, n)
    messages, x, sent = backend.bit_word_corrections(*map(backend.asarray, (dealt.zero, dealt.one)), bits)
    keys, planes = backend.asarray(dealt.keys), backend.asarray(planes_of(dealt.bits))
    received = backend.bit_word_shares(keys, messages, planes, bits)
    total = integers(backend.to_host(sent)) + integers(backend.to_host(received))
    for k in range(count):
        product = integers(backend.to_host(x)) * integers(dealt.bits[k]) << k
        assert ((total[k] - product) % 2**bits == 0).all()


@pytest.mark.parametrize("name", EVERY_BACKEND)
@pytest.mark.parametrize("bits", [2, 24, 64])
@pytest.mark.parametrize(("rows", "n"), [(1, 1), (1, 130), (3, 64), (3, 77)])
def test_bits_are_multiplied(name: str, rows: int, n: int, bits: int) -> None:
    """A word by the receiver's bits, random or wanted; by the XOR of both parties' bits; and that as a number."""
    backend, draw, ring = open_backend(name), drawn(rows * n), Ring(bits)
    dealt, x = Dealt(draw, n, rows, axis=0), draw(rows, n)
    own, wanted = draw(1, n) & np.uint64(1), draw(1, n) & np.uint64(1)
    words, zero, one, keys = map(backend.asarray, (x, dealt.zero, dealt.one, dealt.keys))
    flips, mine, theirs, random = (
        backend.asarray(planes_of(b)) for b in (wanted ^ dealt.bits, own, wanted, dealt.bits)
    )

    def adds_up(sent: Any, received: Any, expected: Any) -> bool:
        total = backend.to_host(sent) + backend.to_host(received) - expected
        return not ring.reduce(total).any()

    messages, share = backend.product_corrections(words, zero, one, None, bits)
    assert adds_up(share, backend.product_shares(keys, messages, random, bits), x * dealt.bits)
    messages, share = backend.product_corrections(words, zero, one, flips, bits)
    assert adds_up(share, backend.product_shares(keys, messages, theirs, bits), x * wanted)
    base = draw(rows, n)
    messages, share = backend.mux_corrections(words, mine, zero, one, flips, bits)
    both = backend.mux_shares(backend.asarray(base), keys, messages, theirs, bits)
    assert adds_up(share, both, base + x * (own ^ wanted))
    if rows == 1:
        messages, share = backend.value_corrections(mine, zero, one, flips, bits)
        assert adds_up(share, backend.value_shares(keys, messages, theirs, bits), (own ^ wanted)[0])


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_ands_are_opened_under_triples(name: str) -> None:
    backend, draw, count, width = open_backend(name), drawn(3), 3, 21
    shares = [(draw(width), draw(count, width)) for _ in range(2)]
    triples = [[draw(1, width), draw(count, width), draw(count, width)] for _ in range(2)]
    b, a = (triples[0][k] ^ triples[1][k] for k in range(2))
    triples[1][2] = triples[0][2] ^ (a & b)
    held = [tuple(map(backend.asarray, parts)) for parts in triples]
    masked = [
        backend.and_masked(*map(backend.asarray, share), b, a)
        for share, (b, a, _) in zip(shares, held, strict=True)
    ]
    found = [
        backend.to_host(backend.and_opened(masked[rank], masked[1 - rank], *held[rank], LEADS[1 - rank]))
        for rank in (0, 1)
    ]
    (choice, payload), (other, more) = shares
    assert np.array_equal(found[0] ^ found[1], (choice ^ other) & (payload ^ more))


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_wrong_arguments_are_refused(name: str) -> None:
    backend = open_backend(name)
    z = backend.zeros
    for wrong in (
        lambda: backend.choice_planes(z((7, 2)), 2),
        lambda: backend.choice_planes(z((8, 2)), 0),
        lambda: backend.choice_planes(z(8), 1),
        lambda: backend.and_masked(z(4), z((2, 5)), z((1, 5)), z((2, 5))),
        lambda: backend.and_opened(z((2, 5)), z((2, 5)), z((1, 5)), z((2, 5)), z((2, 5)), LEADS[0]),
        lambda: backend.word_corrections(z(64), z((3, 64)), z((3, 64)), z((3, 1)), 2),
        lambda: backend.word_corrections(z(65), z((3, 64)), z((3, 64)), z((3, 1)), 9),
        lambda: backend.word_corrections(z(64), z((3, 64)), z((2, 64)), z((3, 1)), 9),
        lambda: backend.word_corrections(z(64), z((3, 64)), z((3, 64)), z((2, 1)), 9),
        lambda: backend.word_corrections(z(64), z((3, 64)), z((3, 64)), z((3, 1)), 65),
        lambda: backend.word_shares(z((3, 64)), z(23), z((3, 1)), 9),
        lambda: backend.bit_word_corrections(z((3, 64)), z((3, 65)), 9),
        lambda: backend.bit_word_shares(z((3, 64)), z(24), z((3, 1)), 9),
        lambda: backend.product_corrections(z((2, 64)), z((64, 2)), z((64, 2)), z((2, 1)), 9),
        lambda: backend.product_corrections(z((64, 2)), z((64, 2)), z((64, 2)), None, 9),
        lambda: backend.product_shares(z((64, 2)), z(17), z((1, 1)), 9),
        lambda: backend.mux_corrections(z((2, 64)), z((1, 2)), z((64, 2)), z((64, 2)), z((1, 1)), 9),
        lambda: backend.mux_shares(z((2, 63)), z((64, 2)), z(18), z((1, 1)), 9),
        lambda: backend.value_corrections(z((1, 1)), z((64, 1)), z((64, 1)), z((1, 1)), 1),
        lambda: backend.value_corrections(z((1, 1)), z((64, 2)), z((64, 2)), z((1, 1)), 9),
        lambda: backend.value_shares(z((64, 1)), z(9), z((1, 1)), 9),
    ):
        with pytest.raises(ValueError):
            wrong()
