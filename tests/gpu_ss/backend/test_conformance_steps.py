"""The fused arithmetic kernels give the very bytes of the reference: more rows for test_conformance.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.gpu_ss.backend.test_conformance import SIZES, THREADED, WIDTHS, Words, check_rows, drawn
from tests.support.backends import COMPILED_BACKENDS, open_backend

LEADS = [np.uint64(0), np.uint64(2**64 - 1)]
EVERY_SIZE = [*SIZES, THREADED]


def plane(words: Words, n: int, count: int = 1) -> np.ndarray[Any, Any]:
    """Bit planes of n elements; what is past the end is random too, and must not matter."""
    return words(count, -(-n // 64))


def _unwrap(words: Words, n: int, bits: int, shift: int) -> tuple[Any, ...]:
    return words(n), plane(words, n), plane(words, n), words(n), bits, shift


def _piecewise(words: Words, n: int, terms: int, degree: int, spare: int, lead: np.uint64) -> tuple[Any, ...]:
    powers, products = words(degree + spare, n), words(terms, degree + 1 + spare, n)
    return words(n), plane(words, n, terms), powers, products, words(terms, degree + 1), lead


def _one_of_two(words: Words, n: int, degree: int, spare: int, lead: np.uint64) -> tuple[Any, ...]:
    powers, products = words(2, degree + spare, n), words(2, 3, degree + 1 + spare, n)
    return words(n), plane(words, n, 3), powers, products, words(3, degree + 1), lead, 17


def _rows(words: Words, rows: int, width: int, lead: np.uint64) -> tuple[Any, ...]:
    return words(rows, width), words(rows, width), lead


def _row_scale(words: Words, rows: int, width: int, lead: np.uint64) -> tuple[Any, ...]:
    x, mask, products = (words(rows, width) for _ in range(3))
    return x, mask, words(rows), words(rows), products, lead


ROWS: list[tuple[str, str, Callable[[Words], tuple[Any, ...]]]] = [
    *(
        ("bit_plane", f"{n} {bit}", lambda words, n=n, bit=bit: (words(n), bit))
        for n in EVERY_SIZE
        for bit in (0, 1, 31, 32, 63)
    ),
    *(
        ("plane_words", f"{k} {n}", lambda words, n=n, k=k: (plane(words, n, k), n))
        for n in EVERY_SIZE
        for k in (1, 3)
    ),
    ("plane_words", "many", lambda words: (plane(words, 70, 100), 70)),
    *(
        ("unpack_add", f"{n}x{bits}",
         lambda words, n=n, bits=bits: (words(-(-n * bits // 64) + n % 2), bits, words(n)))
        for n in SIZES
        for bits in WIDTHS
    ),
    *(("unpack_add", f"137x{b}", lambda words, b=b: (words(137), b, words(137))) for b in range(1, 65)),
    *(
        ("unpack_sum", f"{n}x{bits}",
         lambda words, n=n, bits=bits: (words(-(-n * bits // 64) + n % 2), bits, words(n), words(n)))
        for n in SIZES
        for bits in WIDTHS
    ),
    *(("unpack_sum", f"137x{b}", lambda words, b=b: (words(137), b, words(137), words(137))) for b in range(1, 65)),
    ("unpack_sum", "threads", lambda words: (words(THREADED), 40, words(THREADED), words(THREADED))),
    ("unpack_add", "shape", lambda words: (words(24), 63, words(2, 3, 4))),
    ("unpack_add", "threads", lambda words: (words(THREADED), 40, words(THREADED))),
    *(
        (op, f"{n}x{bits}", lambda words, n=n, bits=bits: (words(n), words(n), bits))
        for op in ("pack_difference", "pack_sum")
        for n in SIZES
        for bits in WIDTHS
    ),
    *(
        (op, f"137x{b}", lambda words, b=b: (words(137), words(137), b))
        for op in ("pack_difference", "pack_sum")
        for b in range(1, 65)
    ),
    *(
        (op, "shape", lambda words: (words(2, 3, 4), words(2, 3, 4), 63))
        for op in ("pack_difference", "pack_sum")
    ),
    *(
        (op, "threads", lambda words: (words(THREADED), words(THREADED), 40))
        for op in ("pack_difference", "pack_sum")
    ),
    *(("unwrap", f"{n}", lambda words, n=n: _unwrap(words, n, 43, 12)) for n in EVERY_SIZE),
    *(
        ("unwrap", f"{bits} {shift}", lambda words, bits=bits, shift=shift: _unwrap(words, 137, bits, shift))
        for bits in WIDTHS
        for shift in sorted({0, bits // 2, bits - 1})
    ),
    *(
        ("piecewise", f"{n} {lead}", lambda words, n=n, lead=lead: _piecewise(words, n, 3, 3, 0, lead))
        for n in EVERY_SIZE
        for lead in LEADS
    ),
    *(
        ("piecewise", f"{terms} {degree} {spare} {lead}",
         lambda words, case=(terms, degree, spare, lead): _piecewise(words, 1003, *case))
        for terms in (0, 1, 2, 6)
        for degree in (1, 2, 3, 4)
        for spare in (0, 2)
        for lead in LEADS
    ),
    *(
        ("piecewise", f"one of two {n} {degree} {spare} {lead}",
         lambda words, case=(n, degree, spare, lead): _one_of_two(words, *case))
        for n in (1, 65, 1003)
        for degree in (1, 2, 3, 4)
        for spare in (0, 2)
        for lead in LEADS
    ),
    *(
        ("bit_products", f"{n} {terms} {degree}",
         lambda words, n=n, t=terms, degree=degree: (words(n), plane(words, n, t), degree))
        for n in EVERY_SIZE
        for terms, degree in [(1, 1), (2, 0), (3, 4), (1, 7)]
    ),
    *(
        (op, f"{rows}x{width} {lead}", lambda words, case=case, r=rows, w=width, lead=lead: case(words, r, w, lead))
        for op, case in (("row_squares", _rows), ("row_scale", _row_scale))
        for rows, width in [(0, 5), (5, 0), (1, 1), (3, 31), (2, 32), (7, 33), (5, 70), (1, 1000), (600, 129)]
        for lead in LEADS
    ),
]  # fmt: skip


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
@pytest.mark.parametrize("operation", sorted({row[0] for row in ROWS}))
def test_same_words_as_the_reference(name: str, operation: str) -> None:
    check_rows(ROWS, name, operation, drawn(7))


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
def test_wrong_arguments_are_refused(name: str) -> None:
    backend = open_backend(name)
    lead = LEADS[1]
    x, short, plane, planes = (backend.zeros(shape) for shape in (70, 69, (1, 2), (6, 2)))
    rows, squares = backend.zeros((7, 10)), backend.zeros(7)
    powers, products, coefficients = (backend.zeros(shape) for shape in ((3, 70), (6, 4, 70), (6, 4)))
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (ValueError, lambda: backend.bit_plane(x, 64)),
        (ValueError, lambda: backend.bit_plane(x, -1)),
        (ValueError, lambda: backend.plane_words(planes, 129)),
        (ValueError, lambda: backend.plane_words(x, 70)),
        (ValueError, lambda: backend.unpack_add(short, 64, x)),
        (ValueError, lambda: backend.unpack_add(x, 0, x)),
        (ValueError, lambda: backend.pack_difference(x, short, 8)),
        (ValueError, lambda: backend.pack_difference(x, x, 65)),
        (ValueError, lambda: backend.pack_sum(x, short, 8)),
        (ValueError, lambda: backend.pack_sum(x, x, 0)),
        (ValueError, lambda: backend.unpack_sum(short, 64, x, x)),
        (ValueError, lambda: backend.unpack_sum(x, 64, x, short)),
        (TypeError, lambda: backend.pack_difference(x, x.view(np.int64), 8)),
        (ValueError, lambda: backend.unwrap(x, plane, plane, short, 40, 12)),
        (ValueError, lambda: backend.unwrap(x, plane, planes, x, 40, 12)),
        (ValueError, lambda: backend.unwrap(x, plane, plane, x, 40, 40)),
        (ValueError, lambda: backend.unwrap(x, plane, plane, x, 65, 1)),
        (ValueError, lambda: backend.piecewise(x, planes, powers[:2], products, coefficients, lead)),
        (ValueError, lambda: backend.piecewise(x, plane, powers, products, coefficients, lead)),
        (ValueError, lambda: backend.piecewise(short, planes, powers, products, coefficients, lead)),
        (ValueError, lambda: backend.piecewise(x, planes, powers, products, backend.zeros((6, 1)), lead)),
        (ValueError, lambda: backend.piecewise(x, planes, powers, products, backend.zeros((6, 6)), lead)),
        (ValueError, lambda: backend.piecewise(x, planes, powers, products, coefficients, lead, 3)),
        (ValueError, lambda: backend.piecewise(x, planes, powers, products, coefficients, lead, 64)),
        (ValueError, lambda: backend.bit_products(x, plane, -1)),
        (ValueError, lambda: backend.bit_products(x, backend.zeros((2, 1)), 3)),
        (ValueError, lambda: backend.row_squares(x, x, lead)),
        (ValueError, lambda: backend.row_squares(rows, rows[:6], lead)),
        (ValueError, lambda: backend.row_scale(rows, rows, squares, x, rows, lead)),
    ]
    for error, attempt in refused:
        with pytest.raises(error):
            attempt()
