"""Polynomials modulo a prime with slots: every backend gives the reference's words, and the reference is right."""

from __future__ import annotations

from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend import primes as tables
from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.field import FIELD53, FIELD60
from tests.gpu_ss.backend.test_conformance import check_rows
from tests.gpu_ss.backend.test_conformance_lattice import SETS, Random
from tests.support.backends import COMPILED_BACKENDS, EVERY_BACKEND, open_backend

#: The least and the longest primes with slots, by degree.
PRIMES = {
    64: (257, 65537, 2**60 - 2**14 + 1),
    256: (65537, 2**60 - 2**14 + 1),
    8192: (65537, FIELD53.prime, FIELD60.prime),
}
LONG = [(n, t, SETS[n]) for n, primes in PRIMES.items() for t in primes]


class Elements(Random):
    """Random elements, with the extremes among them."""

    def elements(self, t: int, *shape: int) -> Any:
        found = self._rng.integers(0, t, shape, dtype=np.uint64)
        found.flat[:4] = [0, t - 1, t // 2, t // 2 + 1][: found.size]
        return found

    def greatest(self, t: int, *shape: int) -> Any:
        return np.full(shape, t - 1, np.uint64)


SUMS: list[list[tuple[int, int]]] = [
    [(0, 0)], [], [(1, 2), (2, 1)], [(i % 3, i % 5) for i in range(15)], [(i % 3, i % 5) for i in range(47)],
]  # fmt: skip
Row = tuple[str, str, Callable[[Elements], tuple[Any, ...]]]
ROWS: list[Row] = [
    *(
        (op, f"{n} {t} {polys} {draw}", lambda r, n=n, t=t, polys=polys, draw=draw: (
            getattr(r, draw)(t, polys, n), t))
        for op in ("slot_values", "slot_coefficients")
        for n, t, _ in LONG for polys in ((0, 1, 5) if n < 8192 else (2,)) for draw in ("elements", "greatest")
    ),
    *(
        ("scale_up_elements", f"{n} {t} {polys}", lambda r, n=n, t=t, q=q, polys=polys: (
            r.elements(t, polys, n), t, r.residues(q, polys, n), q))
        for n, t, q in LONG for polys in (1, 3)
    ),
    *(
        ("scale_up_elements", f"extreme {t}", lambda r, t=t, q=SETS[64]: (
            r.greatest(t, 2, 64), t, r.extreme(q, 2, 64), q))
        for t in PRIMES[64]
    ),
    *(
        ("centred_elements", f"{n} {t}", lambda r, n=n, t=t, q=q: (r.elements(t, 3, n), t, q)) for n, t, q in LONG
    ),
    *(
        ("decode_elements", f"{n} {t}", lambda r, n=n, t=t, q=q[:3]: (
            r.residues(q, 3, n), r.residues(q, 3, n), t, q))
        for n, t, q in LONG if t < 1 << 17 or n == 64
    ),
    *(
        ("product_sums", f"{n}", lambda r, n=n, q=SETS[n]: (
            r.residues(q, 3, n), r.residues(q, 3, n), r.residues(q, 5, n), SUMS, q))
        for n in PRIMES
    ),
    ("product_sums", "none", lambda r, q=SETS[64]: (
        r.residues(q, 3, 64), r.residues(q, 3, 64), r.residues(q, 5, 64), [], q)),
    ("product_sums", "extreme", lambda r, q=SETS[64]: (
        r.extreme(q, 3, 64), r.extreme(q, 3, 64), r.extreme(q, 5, 64), SUMS, q)),
]  # fmt: skip


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
@pytest.mark.parametrize("operation", sorted({row[0] for row in ROWS}))
def test_same_words_as_the_reference(name: str, operation: str) -> None:
    check_rows(ROWS, name, operation, Elements())


# The reference against definitions


@pytest.mark.parametrize("prime", PRIMES[64])
def test_slots_are_values_at_odd_powers(prime: int) -> None:
    psi, x = tables.least_root(prime, 128), Elements().elements(prime, 2, 64)
    values = ReferenceBackend().slot_values(x, prime)
    for k, place in enumerate(tables.bit_reversed(64)):
        point = np.array([pow(psi, (2 * int(place) + 1) * i, prime) for i in range(64)], object)
        assert (values[:, k] == (x.astype(object) @ point) % prime).all()


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_transforms_are_inverse(name: str) -> None:
    backend = open_backend(name)
    for n, t, _ in LONG:
        x = Elements().elements(t, 3, n)
        there = backend.slot_values(backend.asarray(x), t)
        assert np.array_equal(backend.to_host(backend.slot_coefficients(there, t)), x)


def test_scaling_and_decoding_are_inverse() -> None:
    """Up to noise of almost half a unit, q / 2t."""
    backend, primes, t = ReferenceBackend(), SETS[64][1:], 2**60 - 2**14 + 1
    x, zeros = Elements().elements(t, 3, 64), np.zeros((len(primes), 3, 64), np.uint32)
    up = backend.scale_up_elements(x, t, zeros, primes)
    for reach in (0, 1, 49, -49):
        noise = prod(primes) * reach // (100 * t)
        added = np.array([np.full((3, 64), noise % p, np.uint32) for p in primes])
        assert np.array_equal(backend.decode_elements(up, added, t, primes), x)


def test_centred_elements_have_signs() -> None:
    x = np.array([[0, 1, 128, 129, 256] + [0] * 59], np.uint64)
    (found,) = ReferenceBackend().centred_elements(x, 257, SETS[64][:1])
    assert found[0, :5].tolist() == [0, 1, 128, SETS[64][0] - 128, SETS[64][0] - 1]


def test_long_primes() -> None:
    assert all(tables.is_prime(t) for primes in PRIMES.values() for t in primes)
    assert not tables.is_prime(3215031751)  # a strong pseudoprime to 2, 3, 5 and 7
    assert not tables.is_prime(3825123056546413051)  # to the first nine primes


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_wrong_arguments_are_refused(name: str) -> None:
    backend, primes = open_backend(name), SETS[64]
    x, words = backend.asarray(Random().residues(primes, 2, 64)), backend.zeros((2, 64))
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (TypeError, lambda: backend.slot_values(x, 257)),
        (ValueError, lambda: backend.slot_values(words.reshape(-1), 257)),
        (ValueError, lambda: backend.slot_values(words, 259)),
        (ValueError, lambda: backend.slot_values(words, 641 * 129)),
        (ValueError, lambda: backend.slot_values(words.reshape(4, 32), 257)),
        (ValueError, lambda: backend.slot_coefficients(words, 2**61 + 1)),
        (ValueError, lambda: backend.scale_up_elements(words, 257, x[:, :1].copy(), primes)),
        (TypeError, lambda: backend.centred_elements(words.view(np.int64), 257, primes)),
        (ValueError, lambda: backend.decode_elements(x, x[:, :1].copy(), 257, primes)),
        (ValueError, lambda: backend.product_sums(x, x, x, [[(0, 2)]], primes)),
        (ValueError, lambda: backend.product_sums(x, x, x, [[(-1, 0)]], primes)),
        (ValueError, lambda: backend.product_sums(x, x[:, :1].copy(), x, [], primes)),
        (ValueError, lambda: backend.product_sums(x, x, x.reshape(4, 1, 128), [], primes)),
    ]
    for number, (error, attempt) in enumerate(refused):
        with pytest.raises(error):
            raise AssertionError(f"case {number} was accepted: {attempt()}")
