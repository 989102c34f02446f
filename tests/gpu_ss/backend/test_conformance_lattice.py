"""Polynomials modulo primes: every backend gives the very words of the reference, and the reference is right."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from math import prod
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend import primes as tables
from gpu_ss.backend.lattice import exact_depth
from gpu_ss.backend.reference import ReferenceBackend
from tests.gpu_ss.backend.test_conformance import check_rows
from tests.support.backends import COMPILED_BACKENDS, EVERY_BACKEND, open_backend

Draw = Callable[..., Any]


def largest_primes(bits: int, count: int, degree: int) -> tuple[int, ...]:
    """The largest primes of that many bits that are 1 modulo 2 * degree, in falling order."""
    step = 2 * degree
    candidates = range((1 << bits) - step + 1, 1 << (bits - 1), -step)
    return tuple(islice(filter(tables.is_prime, candidates), count))


# From the least to the most bits a kernel takes; the last sets are those of real use.
SETS = {
    degree: largest_primes(21, 1, degree) + largest_primes(25, 1, degree) + largest_primes(30, 2, degree)
    for degree in (64, 128, 256, 512, 1024)
} | {
    4096: largest_primes(21, 2, 4096) + largest_primes(22, 2, 4096),
    8192: largest_primes(25, 2, 8192) + largest_primes(29, 1, 8192),
    16384: largest_primes(30, 1, 16384),
}
SMALL = {degree: primes for degree, primes in SETS.items() if degree in (64, 256, 8192)}


class Random:
    """Random words, and residues that include the extremes."""

    def __init__(self) -> None:
        self._rng = np.random.default_rng(11)

    def words(self, *shape: int) -> Any:
        words = self._rng.integers(0, 2**64, shape, dtype=np.uint64)
        words.flat[:3] = [0, 2**64 - 1, 2**63]
        return words

    def residues(self, primes: tuple[int, ...], *shape: int) -> Any:
        rows = [self._rng.integers(0, p, shape, dtype=np.uint32) for p in primes]
        for row, p in zip(rows, primes, strict=True):
            row.flat[:4] = [0, p - 1, p // 2, p // 2 + 1]
        return np.array(rows)

    def extreme(self, primes: tuple[int, ...], *shape: int) -> Any:
        return np.array([np.full(shape, p - 1, np.uint32) for p in primes])

    def halves(self, primes: tuple[int, ...], *shape: int) -> Any:
        return np.array([np.full(shape, p // 2 + 1, np.uint32) for p in primes])

    def weights(self, *shape: int) -> Any:
        weights = self._rng.integers(-(2**15), 2**15 + 1, shape).astype(np.float64)
        weights.flat[:2] = [-(2.0**15), 2.0**15]
        return weights


Row = tuple[str, str, Callable[[Random], tuple[Any, ...]]]
ROWS: list[Row] = [
    *(
        (op, f"{n}x{polys}", lambda r, q=q, n=n, polys=polys: (r.residues(q, polys, n), q))
        for op in ("ntt", "intt")
        for n, q in SETS.items()
        for polys in ((0, 1, 3) if n < 1024 else (2,))
    ),
    *((op, "extreme", lambda r, q=SETS[8192]: (r.extreme(q, 1, 8192), q)) for op in ("ntt", "intt")),
    *(
        ("multiply_add", f"{n} {y} {z}", lambda r, n=n, q=q, y=y, z=z: (
            r.residues(q, 3, n), r.residues(q, y, n), r.residues(q, 3, n) if z else None, q))
        for n, q in SMALL.items() for y in (1, 3) for z in (False, True)
    ),
    ("multiply_add", "extreme", lambda r, q=SETS[64]: (*(r.extreme(q, 2, 64) for _ in "xyz"), q)),
    *(
        ("uniform_residues", f"{n}", lambda r, n=n, q=q: (r.words(len(q), 3, n), q)) for n, q in SMALL.items()
    ),
    *(
        (op, f"{n} {add}", lambda r, n=n, q=q, add=add: (
            r.words(3, n), r.residues(q, 3, n) if add else None, q))
        for op in ("binomial_residues", "ternary_residues")
        for n, q in SMALL.items() for add in (False, True)
    ),
    *(
        ("scale_up", f"{n} {bits}", lambda r, n=n, q=q, bits=bits: (r.words(3, n), bits, r.residues(q, 3, n), q))
        for n, q in SMALL.items() for bits in (1, 20, 32, 59, 63, 64)
    ),
    *(  # of replies a part of the coefficients travels
        ("scale_up", f"{n} places", lambda r, n=n, q=SETS[64]: (r.words(3, n), 40, r.residues(q, 3, n), q))
        for n in (5, 7, 33, 62)
    ),
    *(("drop_prime", f"{n}", lambda r, n=n, q=q: (r.residues(q, 3, n), q)) for n, q in SMALL.items()),
    ("drop_prime", "small last", lambda r, q=SETS[64][::-1]: (r.residues(q, 3, 64), q)),
    *(
        ("drop_prime", f"{n} {kind}", lambda r, n=n, q=q, kind=kind: (
            getattr(r, kind)(q, 3, n), q, getattr(r, kind)(q[:-1], 3, n)))
        for n, q in SMALL.items() for kind in ("residues", "extreme")
    ),
    *(
        ("ntt_of_words", f"{terms} {n} {polys}", lambda r, terms=terms, n=n, q=q, polys=polys: (
            r.words(polys, terms), n, q))
        for n, q in SMALL.items() for terms in (32, 64, 256, 8192) if terms <= n for polys in (1, 3)
    ),
    ("ntt_of_words", "none", lambda r, q=SETS[64]: (np.zeros((0, 32), np.uint64), 64, q)),
    *(
        ("inner_products", f"{n} {depth} {results} {add}", lambda r, n=n, q=q, d=depth, s=results, add=add: (
            r.residues(q, 2 * d, n), r.residues(q, s * d, n), r.residues(q, 2 * s, n) if add else None, q))
        for n, q in SMALL.items() for depth, results in ((1, 1), (3, 2), (15, 1), (16, 2), (31, 1), (2, 0))
        for add in (False, True)
    ),
    *(
        ("inner_products", f"extreme {depth}", lambda r, q=SETS[64], d=depth: (
            r.extreme(q, 2 * d, 64), r.extreme(q, d, 64), r.extreme(q, 2, 64), q))
        for depth in (1, 14, 15, 16, 30, 47)
    ),
    *(
        ("digits", f"{n} {count} {polys}", lambda r, n=n, q=q, c=count, polys=polys: (
            r.residues(q[:c], polys, n), q))
        for n, q in SMALL.items() for count in (1, len(q)) for polys in (0, 1, 3)
    ),
    *(
        ("digits", f"falling {kind}", lambda r, q=SETS[64][::-1], kind=kind: (getattr(r, kind)(q[:3], 2, 64), q))
        for kind in ("extreme", "halves", "residues")
    ),
    *(
        ("merged", f"{n} {half} {shift}", lambda r, n=n, q=q, half=half, shift=shift: (
            r.residues(q, 4 * half, n), shift, q))
        for n, q in SMALL.items() for half, shift in ((0, 1), (1, 1), (3, 2), (2, n // 8), (1, n // 2))
    ),
    ("merged", "extreme", lambda r, q=SETS[64]: (r.extreme(q, 4, 64), 4, q)),
    ("merged", "zero", lambda r, q=SETS[64]: (r.extreme(q, 4, 64) * np.uint32(0), 4, q)),
    *(
        ("decode_sum", f"{n} {bits}", lambda r, n=n, q=q, bits=bits: (
            r.residues(q, 3, n), r.residues(q, 3, n), bits, q))
        for n, q in SMALL.items() for bits in (1, 20, 32)
    ),
    ("decode_sum", "64", lambda r, q=SETS[64]: (r.residues(q, 3, 64), r.residues(q, 3, 64), 64, q)),
    *(
        ("scale_down", f"{n} {bits}", lambda r, n=n, q=q, bits=bits: (r.residues(q, 3, n), bits, q))
        for n, q in SMALL.items() for bits in (1, 34, 63, 64, 65, 74, 80)
    ),
    ("scale_down", "extreme", lambda r, q=SETS[64]: (r.extreme(q, 2, 64), 74, q)),
    *(
        ("residue_matmul", f"{c} {k} {s} {add}", lambda r, c=c, k=k, s=s, q=q, add=add: (
            r.weights(c, k), 2**15, r.residues(q, k, s), r.residues(q, c, s) if add else None, q))
        for c, k, s in [(1, 1, 64), (5, 7, 64), (3, 1100, 128), (20, 9, 256), (4, 0, 64)]
        for q in [SETS[64]] for add in (False, True)
    ),
    ("residue_matmul", "extreme", lambda r, q=SETS[64]: (
        np.full((3, 1030), -(2.0**15)), 2**15, r.halves(q, 1030, 64), None, q)),
]  # fmt: skip


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
@pytest.mark.parametrize("operation", sorted({row[0] for row in ROWS}))
def test_same_words_as_the_reference(name: str, operation: str) -> None:
    check_rows(ROWS, name, operation, Random())


# The reference against definitions


@pytest.mark.parametrize("degree", [64, 1024])
def test_ntt_is_evaluation_at_odd_powers(degree: int) -> None:
    p = SETS[degree][0]
    psi = tables.least_root(p, 2 * degree)
    x = Random().residues((p,), 2, degree)
    values = ReferenceBackend().ntt(x, (p,))
    powers = np.array([pow(psi, k, p) for k in range(2 * degree)], object)
    for k, place in enumerate(tables.bit_reversed(degree)):
        point = powers[(2 * int(place) + 1) * np.arange(degree) % (2 * degree)]
        assert (values[0, :, k] == (x[0].astype(object) @ point) % p).all()


def test_products_are_negacyclic() -> None:
    """The product of values is that of polynomials modulo X^N + 1, as the O(N^2) sum gives it."""
    degree, backend = 64, ReferenceBackend()
    primes = SETS[degree]
    x, y = Random().residues(primes, 1, degree), Random().residues(primes, 1, degree)[:, :, ::-1].copy()
    product = backend.multiply_add(backend.ntt(x, primes), backend.ntt(y, primes), None, primes)
    for row, a, b, p in zip(backend.intt(product, primes), x, y, primes, strict=True):
        full = np.convolve(a[0].astype(object), b[0].astype(object))
        full = np.concatenate([full, [0]])
        assert (row[0] == (full[:degree] - full[degree:]) % p).all()


def test_short_polynomials_are_padded() -> None:
    """`ntt_of_words` of signed numbers is evaluation of them, and of zeros above."""
    backend, primes = ReferenceBackend(), SETS[64]
    words = Random().words(2, 32)
    signed = words.view(np.int64).astype(object)
    full = np.array([np.pad(signed % p, ((0, 0), (0, 32))) for p in primes], np.uint32)
    assert np.array_equal(backend.intt(backend.ntt_of_words(words, 64, primes), primes), full)


@pytest.mark.parametrize("shift", [1, 4, 32])
def test_merging_is_what_its_formula_says(shift: int) -> None:
    """x + X^shift y + sigma(x - X^shift y), with dense polynomials in Python integers."""
    size, (p,) = 64, SETS[64][:1]

    def times_monomial(x: Any, k: int) -> Any:
        out = [0] * size
        for i, value in enumerate(x):
            out[(i + k) % size] = value * (-1) ** ((i + k) // size)
        return np.array(out, object)

    def sigma(x: Any) -> Any:
        return sum(times_monomial([value], i * (size // shift + 1) % (2 * size)) for i, value in enumerate(x))

    x = Random().residues((p,), 4, size)
    kept, turned = ReferenceBackend().merged(x, shift, (p,))
    xb, yb, xa, ya = x[0].astype(object)
    yb, ya = times_monomial(yb, shift), times_monomial(ya, shift)
    assert np.array_equal(kept[0, 0], (xb + yb + sigma(xb - yb)) % p)
    assert np.array_equal(kept[0, 1], (xa + ya) % p)
    assert np.array_equal(turned[0, 0], sigma(xa - ya) % p)


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_transforms_are_inverse(name: str) -> None:
    backend = open_backend(name)
    for degree, primes in SMALL.items():
        x = Random().residues(primes, 2, degree)
        there = backend.ntt(backend.asarray(x), primes)
        assert np.array_equal(backend.to_host(backend.intt(there, primes)), x)


def test_least_roots_and_primes() -> None:
    for degree, primes in SETS.items():
        assert tables.check(primes, degree) == degree.bit_length() - 1
    p = SETS[64][0]
    roots = [r for r in (pow(g, (p - 1) // 128, p) for g in range(2, 2000)) if pow(r, 64, p) == p - 1]
    assert tables.least_root(p, 128) == min(roots)
    assert [n for n in range(60) if tables.is_prime(n)] == [
        2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53, 59,
    ]  # fmt: skip
    assert not tables.is_prime(25326001)  # a strong pseudoprime to 2, 3 and 5


def test_samples_have_their_distribution() -> None:
    backend, primes = ReferenceBackend(), SETS[64][:1]
    words = backend.keystream(bytes(32), 0, 0, 64 * 4096).reshape(4096, 64)
    half = primes[0] // 2
    errors = (backend.binomial_residues(words, None, primes)[0].astype(np.int64) + half) % primes[0] - half
    ternary = (backend.ternary_residues(words, None, primes)[0].astype(np.int64) + 1) % primes[0] - 1
    assert abs(errors.mean()) < 0.03
    assert abs(errors.std() - np.sqrt(10.5)) < 0.03
    assert abs(errors).max() <= 21
    assert np.allclose(np.bincount(ternary.reshape(-1) + 1) / ternary.size, 1 / 3, atol=0.005)


def test_scaling_and_decoding_are_inverse() -> None:
    backend, degree = ReferenceBackend(), 64
    primes = SETS[degree]
    for bits in (32, 64):
        words = Random().words(3, degree)
        up = backend.scale_up(words, bits, np.zeros((len(primes), 3, degree), np.uint32), primes)
        noise = backend.binomial_residues(Random().words(3, degree), None, primes)
        assert np.array_equal(backend.decode_sum(up, noise, bits, primes), words & np.uint64(2**bits - 1))
    assert prod(primes).bit_length() - 64 > 6


@pytest.mark.parametrize("bits", [40, 64, 74])
def test_scaling_down_is_division(bits: int) -> None:
    """To within 2^-30 of a word's last bit, where the digits are those of 2^bits x / q."""
    primes = SETS[64]
    x, q = Random().residues(primes, 3, 64), prod(primes)
    units = [q // p * pow(q // p, -1, p) for p in primes]
    value = sum(row.astype(object) * unit for row, unit in zip(x, units, strict=True)) % q
    digits = 0
    for words in ReferenceBackend().scale_down(x, bits, primes):
        digits = (digits << max(0, bits - 64)) + words.astype(object)
    error = (digits * q - (value << bits)) * 2 // q  # in halves of the last digit
    assert all(abs((e + (1 << bits)) % (2 << bits) - (1 << bits)) <= 1 for e in error.reshape(-1))


def test_exact_depth_of_the_design() -> None:
    assert exact_depth(largest_primes(29, 1, 8192)[0], 1 << 15) >= 1024
    assert exact_depth(largest_primes(25, 1, 8192)[0], 1 << 15) >= 16384


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_wrong_arguments_are_refused(name: str) -> None:
    backend, primes = open_backend(name), SETS[64]
    x = backend.asarray(Random().residues(primes, 2, 64))
    words = backend.zeros((2, 64))
    weights = backend.asarray(np.ones((3, 2)))
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (TypeError, lambda: backend.ntt(words, primes)),
        (ValueError, lambda: backend.ntt(x, primes[:2])),
        (ValueError, lambda: backend.ntt(x[:, :, ::2], primes)),
        (ValueError, lambda: backend.ntt(x.reshape(len(primes), 1, 128), (*primes[:3], primes[3] + 2))),
        (ValueError, lambda: backend.ntt(x, primes[:3] + primes[:1])),
        (ValueError, lambda: backend.multiply_add(x, x[:, :1].copy().reshape(-1, 2, 32), None, primes)),
        (TypeError, lambda: backend.uniform_residues(x, primes)),
        (ValueError, lambda: backend.ternary_residues(words, x[:, :1].copy(), primes)),
        (ValueError, lambda: backend.residue_matmul(weights, 2**30, x, None, primes)),
        (ValueError, lambda: backend.residue_matmul(weights[:, :1], 1, x, None, primes)),
        (ValueError, lambda: backend.residue_matmul(weights, 1, x, x, primes)),
        (ValueError, lambda: backend.ntt_of_words(words, 32, primes)),
        (ValueError, lambda: backend.ntt_of_words(backend.zeros((2, 16)), 64, primes)),
        (ValueError, lambda: backend.ntt_of_words(backend.zeros((2, 48)), 64, primes)),
        (ValueError, lambda: backend.inner_products(x[:, :1].copy(), x, None, primes)),
        (ValueError, lambda: backend.inner_products(x, x, x, primes)),
        (ValueError, lambda: backend.digits(x, primes[:2])),
        (ValueError, lambda: backend.merged(x, 1, primes)),
        (ValueError, lambda: backend.drop_prime(x, primes, x)),
        (ValueError, lambda: backend.scale_down(x, 81, primes)),
    ]
    for number, (error, attempt) in enumerate(refused):
        with pytest.raises(error):
            raise AssertionError(f"case {number} was accepted: {attempt()}")
