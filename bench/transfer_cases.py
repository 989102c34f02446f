"""One call of every kernel that what is built on correlated OT takes: corrections, shares, ANDs."""

from __future__ import annotations

from collections.abc import Callable

from bench.kernel_cases import LEAD, Call, Maker, Operands, Words
from gpu_ss.backend.base import Backend
from gpu_ss.backend.transfers import row_sizes
from gpu_ss.ring import Array, word_count

BITS = 37  # of words: those of GELU's and softmax's products have 24 to 40
FACTOR_BITS = 16
WORDS = 3  # that a bit is multiplied by
PAYLOAD = 7  # ANDs with an operand in common


def _choice_planes(draw: Operands, n: int) -> Call:
    return Call(
        (1, n), [draw.words(n, 2)], lambda backend, blocks: backend.choice_planes(blocks, 1), n, bits=1
    )


def _and_masked(draw: Operands, n: int) -> Call:
    (choice,), payload, b, a = (draw.planes(count, n) for count in (1, PAYLOAD, 1, PAYLOAD))
    return Call(
        (PAYLOAD, n),
        [choice, payload, b, a],
        lambda backend, *arrays: backend.and_masked(*arrays),
        PAYLOAD * n,
        bits=1,
    )


def _and_opened(draw: Operands, n: int) -> Call:
    operands = [draw.planes(count, n) for count in (1 + PAYLOAD, 1 + PAYLOAD, 1, PAYLOAD, PAYLOAD)]
    return Call(
        (PAYLOAD, n),
        operands,
        lambda backend, *arrays: backend.and_opened(*arrays, LEAD),
        PAYLOAD * n,
        bits=1,
    )


def _of_words(name: str, operands: Callable[[Operands, int], list[Words]]) -> Maker:
    """An operation on the bits of words, a sixteenth of as many as there are OTs."""

    def make(draw: Operands, elements: int) -> Call:
        n = max(1, elements // FACTOR_BITS)
        return Call((FACTOR_BITS, n), operands(draw, n), _first_of(name), FACTOR_BITS * n, BITS)

    return make


def _of_bits(name: str, rows: int, operands: Callable[[Operands, int], list[Words]]) -> Maker:
    """An operation on bits, each with `rows` words."""

    def make(draw: Operands, elements: int) -> Call:
        n = max(1, elements // rows)
        return Call((rows, n), operands(draw, n), _first_of(name), rows * n, BITS)

    return make


def _first_of(name: str) -> Callable[..., Array]:
    """A call that takes BITS last, and the first of its results."""

    def call(backend: Backend, *arrays: Array) -> Array:
        result = getattr(backend, name)(*arrays, BITS)
        return result[0] if isinstance(result, tuple) else result

    return call


def _keys(draw: Operands, n: int) -> list[Words]:
    return [draw.words(FACTOR_BITS, n) for _ in range(2)]


def _pairs(draw: Operands, n: int, rows: int) -> list[Words]:
    return [draw.words(n, rows) for _ in range(2)]


def _told(draw: Operands, n: int, bits: int, rows: int) -> Words:
    return draw.words(sum(row_sizes(n, bits, rows)))


def _packed(draw: Operands, n: int, bits: int) -> Words:
    return draw.words(word_count(n, bits))


TRANSFERS: dict[str, Maker] = {
    "choice_planes": _choice_planes,
    "and_masked": _and_masked,
    "and_opened": _and_opened,
    "word_corrections": _of_words(
        "word_corrections", lambda draw, n: [draw.words(n), *_keys(draw, n), draw.planes(FACTOR_BITS, n)]
    ),
    "word_shares": _of_words(
        "word_shares",
        lambda draw, n: [
            draw.words(FACTOR_BITS, n),
            _told(draw, n, BITS, FACTOR_BITS),
            draw.planes(FACTOR_BITS, n),
        ],
    ),
    "bit_word_corrections": _of_words("bit_word_corrections", _keys),
    "bit_word_shares": _of_words(
        "bit_word_shares",
        lambda draw, n: [
            draw.words(FACTOR_BITS, n),
            _told(draw, n, BITS - 1, FACTOR_BITS - 1),
            draw.planes(FACTOR_BITS, n),
        ],
    ),
    "product_corrections": _of_bits(
        "product_corrections", 1, lambda draw, n: [draw.words(1, n), *_pairs(draw, n, 1), draw.planes(1, n)]
    ),
    "product_shares": _of_bits(
        "product_shares",
        1,
        lambda draw, n: [draw.words(n, 1), _packed(draw, n, BITS), draw.planes(1, n)],
    ),
    "mux_corrections": _of_bits(
        "mux_corrections",
        WORDS,
        lambda draw, n: [
            draw.words(WORDS, n),
            draw.planes(1, n),
            *_pairs(draw, n, WORDS),
            draw.planes(1, n),
        ],
    ),
    "mux_shares": _of_bits(
        "mux_shares",
        WORDS,
        lambda draw, n: [
            draw.words(WORDS, n),
            draw.words(n, WORDS),
            _packed(draw, WORDS * n, BITS),
            draw.planes(1, n),
        ],
    ),
    "value_corrections": _of_bits(
        "value_corrections",
        1,
        lambda draw, n: [draw.planes(1, n), *_pairs(draw, n, 1), draw.planes(1, n)],
    ),
    "value_shares": _of_bits(
        "value_shares",
        1,
        lambda draw, n: [draw.words(n, 1), _packed(draw, n, BITS - 1), draw.planes(1, n)],
    ),
}
