"""The boolean circuits give the very bytes of the reference: more rows for test_conformance.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend.reference_circuits import and_subsets, node_inputs, node_subsets, number_fields
from gpu_ss.protocols.compare import r4, r8, shape_for
from tests.gpu_ss.backend.test_conformance import Words, check_rows, drawn
from tests.support.backends import COMPILED_BACKENDS, open_backend

LEADS = [np.uint64(0), np.uint64(2**64 - 1)]
SIZES = [0, 1, 7, 8, 9, 255, 257]  # words per plane: around a vector, and around a run of circuits.cu
THREADED = 9_001  # enough for every loop to use threads, and a ragged end
DIGITS = [
    *((b,) for b in range(1, 10)), (1,) * 63, (8, 1), (1, 8, 2), (1, 2, 3, 4, 5, 6, 7, 8), (8,) * 7 + (7,),
    *(shape_for(bits, few=True).digits for bits in (12, 21, 32)), r4(64).digits, r8(37).digits,
]  # fmt: skip
ARITIES = range(2, 9)


def _rows(digits: tuple[int, ...]) -> int:
    return sum((1 << b) - 1 for b in digits)


def _compare(words: Words, n: int, digits: tuple[int, ...], numbers: int, lead: np.uint64) -> Any:
    return words(sum(digits), numbers * n), words(_rows(digits), n), digits, lead


def _node(words: Words, n: int, arity: int, with_eq: bool, lead: np.uint64) -> Any:
    inputs = node_inputs(arity, with_eq)
    basis = words(inputs + len(node_subsets(arity, with_eq)), n)
    return words(inputs, n), basis, arity, with_eq, lead


def _all_of(words: Words, n: int, planes: int, lead: np.uint64) -> Any:
    return words(planes, n), words((1 << planes) - 1, n), lead


def _node_numbers(words: Words, n: int, arity: int, field: int, lead: np.uint64) -> Any:
    rows, _ = number_fields(arity, field)
    return words(2 * arity - 1, n), words(rows, 64 * n), arity, field, lead


ROWS: list[tuple[str, str, Callable[[Words], tuple[Any, ...]]]] = [
    *(
        ("digit_monomials", f"{n} words, {b}", lambda w, n=n, b=b: (w(1 + sum(b), n), b))
        for b in [(), *DIGITS]
        for n in SIZES
    ),
    ("digit_monomials", "threads", lambda w: (w(12, THREADED), (4, 4, 3))),
    *(
        ("plane_products", f"{n} words, {s}", lambda w, n=n, k=k, s=s: (w(k, n), s))
        for k, s in [
            (3, ()), (1, (1,)), (64, (1 << 63 | 1, 2**64 - 1, 6)),
            *((k, and_subsets(k)) for k in ARITIES),
            *((node_inputs(k, eq), node_subsets(k, eq)) for k in ARITIES for eq in (False, True)),
        ]
        for n in SIZES
    ),
    ("plane_products", "threads", lambda w: (w(8, THREADED), node_subsets(4, True))),
    *(
        ("digit_compare", f"{k} x {n} words, {b}", lambda w, n=n, b=b, k=k: _compare(w, n, b, k, LEADS[n % 2]))
        for b in DIGITS
        for n in SIZES
        for k in (1, 3)
    ),
    *(
        ("digit_compare", f"threads {k}", lambda w, k=k: _compare(w, THREADED, (4, 2, 5), k, LEADS[1]))
        for k in (1, 2)
    ),
    *(
        ("node", f"{n} words, {k} {eq}", lambda w, n=n, k=k, eq=eq, lead=lead: _node(w, n, k, eq, lead))
        for k in ARITIES
        for eq in (False, True)
        for lead in LEADS
        for n in [*SIZES, 5_001]
    ),
    *(("node", f"threads {eq}", lambda w, eq=eq: _node(w, THREADED, 4, eq, LEADS[1])) for eq in (False, True)),
    *(
        ("all_of", f"{n} words, {k}", lambda w, n=n, k=k, lead=lead: _all_of(w, n, k, lead))
        for k in ARITIES
        for lead in LEADS
        for n in [*SIZES, 2_001]
    ),
    *(
        ("node_numbers", f"{n} words, {k} {field}",
         lambda w, n=n, case=(k, field), lead=lead: _node_numbers(w, n, *case, lead))
        for k in (1, 2, 3, 4)
        for field in (1, 3, 4, 31, 63)
        for lead in LEADS
        for n in SIZES
    ),
    ("node_numbers", "threads", lambda w: _node_numbers(w, THREADED // 16, 4, 3, LEADS[1])),
    *(("all_of", f"threads {k}", lambda w, k=k: _all_of(w, 3 * THREADED, k, LEADS[1])) for k in (2, 5)),
]  # fmt: skip


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
@pytest.mark.parametrize("operation", sorted({row[0] for row in ROWS}))
def test_same_words_as_the_reference(name: str, operation: str) -> None:
    check_rows(ROWS, name, operation, drawn(8))


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
def test_digits_compare(name: str) -> None:
    """Not only as the reference: with all of r's products in one hand, the results are the bits themselves."""
    backend, widths = open_backend(name), (3, 8, 1)
    rng = np.random.default_rng(9)
    c, r = rng.integers(0, 2**13, (2, 1000), dtype=np.uint64)
    r[::2] ^= (c[::2] ^ r[::2]) & np.uint64(0b111_1111_1000)  # a digit that is equal now and then
    planes = [backend.to_planes(backend.asarray(x), 13) for x in (c, r)]
    basis = backend.digit_monomials(planes[1], widths)
    top = backend.to_host(basis)[-1].tobytes()
    assert top == backend.to_host(planes[1])[-1].tobytes()
    got = backend.digit_compare(
        backend.asarray(backend.to_host(planes[0])[:-1]),
        backend.asarray(backend.to_host(basis)[:-1]),
        widths,
        LEADS[1],
    )
    bits = np.unpackbits(backend.to_host(got).view(np.uint8), axis=1, bitorder="little")[:, :1000]
    digits = [
        ((x & np.uint64(7)), (x >> np.uint64(3)) & np.uint64(255), (x >> np.uint64(11)) & np.uint64(1))
        for x in (c, r)
    ]
    less = [left < right for left, right in zip(*digits, strict=True)]
    equal = [left == right for left, right in zip(*digits, strict=True)]
    assert np.array_equal(bits, [*less, *equal[1:]])


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
def test_wrong_arguments_are_refused(name: str) -> None:
    backend, lead = open_backend(name), LEADS[1]
    zeros = backend.zeros
    node = zeros((3, 4)), zeros((4, 4))
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (TypeError, lambda: backend.digit_monomials(zeros((5, 4)).view(np.int64), (4,))),
        (ValueError, lambda: backend.digit_monomials(zeros((5, 4))[:, ::2], (4,))),
        (ValueError, lambda: backend.digit_monomials(zeros((5, 4)), (3,))),
        (ValueError, lambda: backend.digit_monomials(zeros((5, 4)), (4, 0))),
        (ValueError, lambda: backend.digit_monomials(zeros((11, 4)), (10,))),
        (ValueError, lambda: backend.digit_monomials(zeros(5), (4,))),
        (ValueError, lambda: backend.plane_products(zeros((3, 4)), (3, 8))),
        (ValueError, lambda: backend.plane_products(zeros((3, 4)), (0,))),
        (ValueError, lambda: backend.plane_products(zeros((3, 4)), (-1,))),
        (ValueError, lambda: backend.plane_products(zeros(3), (3,))),
        (ValueError, lambda: backend.digit_compare(zeros((2, 4)), zeros((2, 4)), (2,), lead)),
        (ValueError, lambda: backend.digit_compare(zeros((3, 4)), zeros((3, 4)), (2,), lead)),
        (ValueError, lambda: backend.digit_compare(zeros((2, 4)), zeros((3, 3)), (2,), lead)),
        (ValueError, lambda: backend.digit_compare(zeros((2, 4)), zeros((3, 0)), (2,), lead)),
        (ValueError, lambda: backend.digit_compare(zeros((0, 4)), zeros((0, 4)), (), lead)),
        (ValueError, lambda: backend.node(*node, 1, False, lead)),
        (ValueError, lambda: backend.node(*node, 9, False, lead)),
        (ValueError, lambda: backend.node(*node, 2, True, lead)),
        (ValueError, lambda: backend.node(node[0], zeros((4, 5)), 2, False, lead)),
        (ValueError, lambda: backend.all_of(zeros((1, 4)), zeros((1, 4)), lead)),
        (ValueError, lambda: backend.all_of(zeros((9, 4)), zeros((511, 4)), lead)),
        (ValueError, lambda: backend.all_of(zeros((2, 4)), zeros((4, 4)), lead)),
        (ValueError, lambda: backend.node_numbers(zeros((9, 4)), zeros((3, 256)), 5, 3, lead)),
        (ValueError, lambda: backend.node_numbers(zeros((3, 4)), zeros((1, 256)), 2, 64, lead)),
        (ValueError, lambda: backend.node_numbers(zeros((3, 4)), zeros((1, 255)), 2, 3, lead)),
        (ValueError, lambda: backend.node_numbers(zeros((2, 4)), zeros((1, 256)), 2, 3, lead)),
    ]
    for error, attempt in refused:
        with pytest.raises(error):
            attempt()
