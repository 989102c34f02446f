"""NumPy definitions of the fused arithmetic kernels of the protocols.

Words are uint64 modulo 2^64; only the low bits of a ring mean anything, which all of these respect.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]


def bit_plane(x: Words, bit: int) -> Words:
    """Bit `bit` of every element, as one plane [1, W] (zero past the end)."""
    bits = ((x >> np.uint64(bit)) & np.uint64(1)).astype(np.uint8)
    padded = np.zeros(-(-x.size // 64) * 64, np.uint8)
    padded[: x.size] = bits
    return np.packbits(padded, bitorder="little").view(np.uint64).reshape(1, -1)


def plane_bits(plane: Words, n: int) -> Words:
    """A plane [W] as n words 0 or 1."""
    return np.unpackbits(plane.view(np.uint8), count=n, bitorder="little").astype(np.uint64)


def unwrap(x: Words, base: Words, sign: Words, product: Words, bits: int, shift: int) -> Words:
    """(x mod 2^bits >> shift) - wrap 2^(bits - shift) with wrap = base - product, or base + product where
    the sign bit is set. `base` and `sign` are planes [1, W]; see protocols/trunc.py. Result modulo 2^64."""
    positive = plane_bits(sign[0], x.size)
    wrap = plane_bits(base[0], x.size) + np.where(positive == 1, product, np.uint64(0) - product)
    canonical = x if bits == 64 else x & np.uint64((1 << bits) - 1)
    lift = bits - shift
    carry = wrap << np.uint64(lift) if lift < 64 else np.zeros_like(wrap)
    return (canonical >> np.uint64(shift)) - carry


def piecewise(
    x: Words,
    bits: Words,
    powers: Words,
    products: Words,
    coefficients: Words,
    lead: np.uint64,
    top: int | None = None,
) -> Words:
    """Share of sum_k b_k D_k(v), for v = x - r and polynomials D_k with public coefficients.

    x [n]: opened v + r. bits [T, W]: opened masked selection bits d_k = b_k ^ rho_k. powers [degree, n]:
    shares of r, r^2, ... products [T, degree + 1, n]: shares of rho_k r^j. coefficients [T, degree + 1]:
    D_k = sum_i coefficients[k, i] v^i, i = 0 ..

    D_k(x - r) = sum_j e_kj(x) r^j with e_kj = (-1)^j D_k^(j)(x) / j!, an integer polynomial in x; and
    b_k r^j = d_k r^j + (1 - 2 d_k) rho_k r^j. With `top`: the second of two r where that bit of x is 0.
    """
    if top is not None:
        second = x >> np.uint64(top) & np.uint64(1) == 0
        powers, products = (np.where(second, two[1], two[0]) for two in (powers, products))
    terms, size = coefficients.shape
    degree = size - 1
    total = np.zeros_like(x)
    for k in range(terms):
        d = plane_bits(bits[k], x.size)
        for j in range(degree + 1):
            e = taylor_coefficient(x, coefficients[k], j)
            power = np.uint64(1) & lead if j == 0 else powers[j - 1]
            total += e * (d * power + (np.uint64(1) - np.uint64(2) * d) * products[k, j])
    return total


def taylor_coefficient(x: Words, coefficients: Words, j: int) -> Words:
    """(-1)^j D^(j)(x) / j! = (-1)^j sum_i C(i, j) c_i x^(i-j), by Horner."""
    result = np.zeros_like(x)
    for i in range(len(coefficients) - 1, j - 1, -1):
        result = result * x + coefficients[i : i + 1] * np.uint64(_binomial(i, j))
    return np.uint64(0) - result if j % 2 else result


def _binomial(n: int, k: int) -> int:
    result = 1
    for i in range(k):
        result = result * (n - i) // (i + 1)
    return result


def plane_words(planes: Words, n: int) -> Words:
    """Planes [k, W] as words 0 or 1: [k, n]."""
    return np.stack([plane_bits(plane, n) for plane in planes])


def bit_products(r: Words, rho: Words, degree: int) -> Words:
    """See Operations.bit_products."""
    powers = [np.ones_like(r)]
    for _ in range(degree):
        powers.append(powers[-1] * r)
    return plane_words(rho, r.size)[:, None, :] * np.stack(powers)[None]


def row_squares(x: Words, mask: Words, lead: np.uint64) -> Words:
    """See Operations.row_squares."""
    sums: Words = (x * ((x & lead) - (mask << np.uint64(1)))).sum(axis=1)
    return sums


def row_scale(x: Words, mask: Words, y: Words, b: Words, products: Words, lead: np.uint64) -> Words:
    """See Operations.row_scale."""
    share: Words = x * ((y & lead) - b)[:, None] - mask * y[:, None] + products
    return share
