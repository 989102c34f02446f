"""The constants of polynomial arithmetic modulo primes, as tables the kernels read.

Everything follows from the degree N and the primes; `quotient` beside a constant w is floor(w 2^32 / p), with
which a multiplication by w needs no division (V. Shoup). Public numbers only, and cached.
"""

from __future__ import annotations

from functools import cache
from math import prod
from typing import Any

import numpy as np

Table = np.ndarray[Any, Any]
Primes = tuple[int, ...]

LEAST_DEGREE = 64
MOST_DEGREE = 1 << 16
LARGEST_PRIME = 1 << 30  # the kernels keep residues up to 4 p in 32 bits
_LEAST_PRIME = 1 << 16
MOST_SLOT_BITS = 60
#: Enough below 2^78 (Sorenson and Webster, "Strong pseudoprimes to twelve prime bases", 2017).
_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def is_prime(n: int) -> bool:
    """Whether 2 <= n < 2^64 is a prime (Miller-Rabin with fixed witnesses, exact in this range)."""
    if n < 2 or any(n % p == 0 for p in _WITNESSES):
        return n in _WITNESSES
    odd, twos = n - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    return all(_is_strong_probable_prime(n, base, odd, twos) for base in _WITNESSES)


def _is_strong_probable_prime(n: int, base: int, odd: int, twos: int) -> bool:
    x = pow(base, odd, n)
    return x == 1 or any(pow(x, 1 << k, n) == n - 1 for k in range(twos))


@cache
def check(primes: Primes, degree: int) -> int:
    """log2 of the degree, if polynomials of that degree can be transformed modulo these primes."""
    if degree & (degree - 1) or not LEAST_DEGREE <= degree <= MOST_DEGREE:
        raise ValueError(f"the degree must be a power of two, {LEAST_DEGREE} to {MOST_DEGREE}, not {degree}")
    if not primes or len(set(primes)) != len(primes):
        raise ValueError("primes must be given, each once")
    for p in primes:
        if not _LEAST_PRIME < p < LARGEST_PRIME or p % (2 * degree) != 1 or not is_prime(p):
            raise ValueError(f"{p} is not a prime below 2^30 that is 1 modulo {2 * degree}")
    return degree.bit_length() - 1


def least_root(p: int, order: int) -> int:
    """The least primitive root of unity of an order that is a power of two and divides p - 1."""
    candidates = (pow(g, (p - 1) // order, p) for g in range(2, p))
    root = next(r for r in candidates if pow(r, order // 2, p) == p - 1)
    odd_powers = _integers(_powers(root * root % p, order // 2, p), p) * root % p
    return int(odd_powers.min())


def _powers(base: int, count: int, p: int) -> Table:
    """base^0 .. base^(count - 1) modulo p, by doubling: count a power of two."""
    powers = _integers(np.ones(1, np.uint64), p)
    while powers.size < count:
        step = powers.dtype.type(pow(base, powers.size, p)) if p < 1 << 32 else pow(base, powers.size, p)
        powers = np.concatenate([powers, powers * step % p])
    return powers.astype(np.uint64)


def _integers(words: Table, p: int) -> Table:
    """Words in which numbers below p can be multiplied: Python's integers, if need be."""
    return words if p < 1 << 32 else words.astype(object)


def bit_reversed(count: int) -> Table:
    """The numbers 0 .. count - 1 with their bits in opposite order."""
    order = np.zeros(1, np.int64)
    while order.size < count:
        order = np.concatenate([2 * order, 2 * order + 1])
    return order


def quotients(constants: Table, p: int) -> Table:
    """floor(w 2^32 / p) for every w."""
    return (constants.astype(np.uint64) << np.uint64(32)) // np.uint64(p)


def with_quotient(w: int, p: int) -> list[int]:
    """w modulo p and its quotient."""
    return [w % p, (w % p << 32) // p]


@cache
def transform_tables(primes: Primes, degree: int) -> Table:
    """[primes, 4, N] uint32: psi^brv(k), quotients, psi^-brv(k), quotients; at 0 of the last two 1/N."""
    check(primes, degree)
    order = bit_reversed(degree)
    out = np.empty((len(primes), 4, degree), np.uint32)
    for rows, p in zip(out, primes, strict=True):
        psi = least_root(p, 2 * degree)
        rows[0] = _powers(psi, degree, p)[order]
        rows[2] = _powers(pow(psi, -1, p), degree, p)[order]
        rows[2, 0] = pow(degree, -1, p)
        rows[1], rows[3] = quotients(rows[0], p), quotients(rows[2], p)
    return out


@cache
def check_slots(prime: int, degree: int) -> int:
    """log2 of the degree, if polynomials of that degree have slots modulo this prime."""
    if degree & (degree - 1) or not LEAST_DEGREE <= degree <= MOST_DEGREE:
        raise ValueError(f"the degree must be a power of two, {LEAST_DEGREE} to {MOST_DEGREE}, not {degree}")
    if prime.bit_length() > MOST_SLOT_BITS or prime % (2 * degree) != 1 or not is_prime(prime):
        raise ValueError(
            f"{prime} is not a prime of up to {MOST_SLOT_BITS} bits that is 1 modulo {2 * degree}"
        )
    return degree.bit_length() - 1


@cache
def slot_table(prime: int, degree: int) -> Table:
    """[4, N] uint64, a prime's `transform_tables` with quotients floor(w 2^64 / p)."""
    check_slots(prime, degree)
    order, psi = bit_reversed(degree), least_root(prime, 2 * degree)
    rows = np.empty((4, degree), np.uint64)
    rows[0] = _powers(psi, degree, prime)[order]
    rows[2] = _powers(pow(psi, -1, prime), degree, prime)[order]
    rows[2, 0] = pow(degree, -1, prime)
    for k in (0, 2):
        rows[k + 1] = [wide_quotient(int(w), prime) for w in rows[k]]
    return rows


def wide_quotient(w: int, p: int) -> int:
    """floor(w 2^64 / p) for w below p."""
    return (w << 64) // p


@cache
def moduli(primes: Primes) -> Table:
    """[primes, 4] uint32: p, floor(2^(shift + 32) / p), shift = bits of p less one, floor(2^32 / p)."""
    rows = []
    for p in primes:
        shift = p.bit_length() - 1
        rows.append([p, (1 << (shift + 32)) // p, shift, (1 << 32) // p])
    return np.array(rows, np.uint32)


@cache
def scaling(primes: Primes, bits: int) -> Table:
    """[primes, 5] uint32, see `scale_up` in residues.cu."""
    rows = []
    for p in primes:
        unit = pow(1 << bits, -1, p)
        rows.append([*with_quotient(-unit, p), *with_quotient(-(unit << 32), p), (unit << 63) % p])
    return np.array(rows, np.uint32)


@cache
def element_scaling(primes: Primes, prime: int, factor: int) -> Table:
    """[primes, 5] uint32, see `element_residues` in slots.cu; factor 1 stands for 1, 0 for -1 / prime."""
    rows = []
    for p in primes:
        c = factor if factor else -pow(prime, -1, p)
        rows.append([*with_quotient(c, p), *with_quotient(c << 32, p), -c * (prime >> 1) % p])
    return np.array(rows, np.uint32)


@cache
def element_scales(primes: Primes, prime: int) -> Table:
    """[primes, 2] uint64: floor(2^64 prime / p) in two words, the higher first."""
    return np.array([divmod((prime << 64) // p, 1 << 64) for p in primes], np.uint64)


@cache
def dropping(primes: Primes) -> Table:
    """[primes - 1, 3] uint32, see `drop_prime` in residues.cu."""
    *rest, last = primes
    return np.array([[*with_quotient(pow(last, -1, p), p), (last >> 1) % p] for p in rest], np.uint32)


@cache
def signing(primes: Primes) -> Table:
    """[primes, 3] uint32, see `signed_residues` in packing.cu."""
    return np.array([[*with_quotient(1 << 32, p), -(1 << 63) % p] for p in primes], np.uint32)


@cache
def inverses(primes: Primes) -> Table:
    """[primes, 2] uint32: (q / p)^-1 modulo p and its quotient, for q the product of the primes."""
    q = prod(primes)
    return np.array([with_quotient(pow(q // p, -1, p), p) for p in primes], np.uint32)


@cache
def scales(primes: Primes, bits: int) -> Table:
    """[primes, 2] uint64: floor(2^(bits + 64) / p) in two words, the higher first."""
    return np.array([divmod((1 << (bits + 64)) // p, 1 << 64) for p in primes], np.uint64)
