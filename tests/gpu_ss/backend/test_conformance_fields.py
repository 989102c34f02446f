"""The kernels modulo a prime give the very bytes of the reference: more rows for test_conformance.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.field import FIELD53, FIELD60
from tests.gpu_ss.backend.test_conformance import SIZES, call
from tests.support.backends import COMPILED_BACKENDS, open_backend

PRIMES = [5, 7, 97, 65537, 2**31 - 1, FIELD53.prime, 2**59 - 55, FIELD60.prime, 2**60 - 93]
Draw = Callable[..., np.ndarray[Any, Any]]


def _elements(rng: np.random.Generator, prime: int) -> Draw:
    """Elements with many extremes among them."""

    def draw(*shape: int) -> np.ndarray[Any, Any]:
        found = rng.integers(0, prime, shape, dtype=np.uint64)
        extreme = np.array([0, 1, prime // 2, prime // 2 + 1, prime - 1], np.uint64)[
            rng.integers(0, 5, shape)
        ]
        return np.where(rng.integers(0, 2, shape) == 1, extreme, found)

    return draw


def _cases(rng: np.random.Generator, prime: int) -> list[tuple[str, tuple[Any, ...]]]:
    draw = _elements(rng, prime)
    words = [rng.integers(0, 2**64, n, dtype=np.uint64) for n in (1000, 1000)]
    words[0][:9], words[1][:6] = 2**64 - 1, 2**64 - 1
    words[0][9:12] = 0
    found: list[tuple[str, tuple[Any, ...]]] = [("field_reduce", (*words, prime))]
    for n in SIZES:
        found.append(("field_multiply_add", (draw(n), draw(n), draw(n), prime)))
    for rows, width in ((0, 5), (5, 0), (1, 1), (3, 31), (2, 32), (7, 33), (5, 70), (1, 1000), (40, 129)):
        x, y = draw(rows, width), draw(rows, width)
        found.append(("field_multiply_add", (x, draw(rows), y, prime)))
        found.append(("field_multiply_add", (x, y, y, prime)))
        found.append(("field_dots", (x, y, prime)))
    return found


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
@pytest.mark.parametrize("prime", PRIMES)
def test_same_words_as_the_reference(name: str, prime: int) -> None:
    backend, reference = open_backend(name), ReferenceBackend()
    for operation, case in _cases(np.random.default_rng(7), prime):
        expected, got = call(reference, operation, case), call(backend, operation, case)
        assert got.dtype == np.uint64, operation
        assert got.shape == expected.shape, operation
        assert got.tobytes() == expected.tobytes(), operation


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
def test_threads(name: str) -> None:
    """Long arrays, for which loops use threads: compared modulo a prime that NumPy can handle in words."""
    backend, prime = open_backend(name), 2**31 - 1
    x, y, z = (np.random.default_rng(k).integers(0, prime, (1200, 100), dtype=np.uint64) for k in range(3))
    p = np.uint64(prime)
    for factors in (y, y[:, 0].copy()):
        spread = factors if factors.ndim == 2 else factors[:, None]
        assert np.array_equal(
            call(backend, "field_multiply_add", (x, factors, z, prime)), (x * spread + z) % p
        )
    assert np.array_equal(call(backend, "field_dots", (x, y, prime)), (x * y % p).sum(axis=1) % p)


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
def test_wrong_arguments_are_refused(name: str) -> None:
    backend = open_backend(name)
    x, rows, seven = backend.zeros(70), backend.zeros((7, 10)), backend.zeros(7)
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (ValueError, lambda: backend.field_reduce(x, seven, 97)),
        (ValueError, lambda: backend.field_reduce(x, x, 3)),
        (ValueError, lambda: backend.field_reduce(x, x, 2**60 + 33)),
        (ValueError, lambda: backend.field_multiply_add(x, seven, x, 97)),
        (ValueError, lambda: backend.field_multiply_add(rows, x, rows, 97)),
        (ValueError, lambda: backend.field_multiply_add(rows, seven, x, 97)),
        (ValueError, lambda: backend.field_dots(x, x, 97)),
        (ValueError, lambda: backend.field_dots(rows, x, 97)),
        (TypeError, lambda: backend.field_dots(rows.view(np.int64), rows, 97)),
    ]
    for error, attempt in refused:
        with pytest.raises(error):
            attempt()
