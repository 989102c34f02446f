"""Products of shares by Beaver's method, on masked openings.

Convention: x is opened as X = x + a with a uniform mask a, so x = X - a and

    x y = X Y - X b - a Y + a b,

where the last term is the correlation. The opened X is uniform because a is; it may serve several products
(`Opened`), and the products of masks it needs are fresh for each use.
"""

from __future__ import annotations

from math import prod

import numpy as np

from gpu_ss.cost import Cost, opening
from gpu_ss.errors import RingMismatch
from gpu_ss.party import Party, Steps, protocol
from gpu_ss.protocols.direct import matmul_now
from gpu_ss.protocols.io import Opened, open_masked
from gpu_ss.provider.specs.arithmetic import (
    MatmulProduct,
    Powers,
    Product,
    RowProduct,
    RowSquareSum,
)
from gpu_ss.ring import Ring, wire_bytes
from gpu_ss.values import AShare


def _common_ring(x: AShare | Opened, y: AShare | Opened) -> Ring:
    if x.ring != y.ring:
        raise RingMismatch(f"factors live in rings of {x.ring.bits} and {y.ring.bits} bits; narrow one first")
    return x.ring


# -- elementwise ----------------------------------------------------------------------------------------


def _mul_cost(x: AShare, y: AShare) -> Cost:
    n, bits = x.size, x.ring.bits
    return opening((n, bits), (n, bits)) + Cost(offline=wire_bytes(n, bits))


@protocol(cost=_mul_cost, paper="Bea91")
def mul(party: Party, x: AShare, y: AShare) -> Steps[AShare]:
    """x * y elementwise (same shape); the fractional bits add up. Exact modulo the ring."""
    _common_ring(x, y)
    if x.shape != y.shape:
        raise ValueError(f"mul needs equal shapes, got {x.shape} and {y.shape}")
    opened_x, opened_y = yield from open_masked.steps(party, x, y, tag="mul")
    return mul_opened(party, opened_x, opened_y)


def mul_opened(party: Party, x: Opened, y: Opened) -> AShare:
    """The product of two values that are already open under masks: local, one fresh correlation."""
    ring = _common_ring(x, y)
    c = party.provider.take(Product(x.mask.number, y.mask.number, x.size, ring.bits)).only
    masks = x.mask.only, y.mask.only
    data = party.backend.beaver_combine(x.words, y.words, *masks, c.reshape(x.shape), bool(party.lead))
    return AShare(data, ring, x.frac_bits + y.frac_bits)


def _square_cost(x: AShare) -> Cost:
    return opening((x.size, x.ring.bits)) + Cost(offline=wire_bytes(x.size, x.ring.bits))


@protocol(cost=_square_cost, paper="Bea91")
def square(party: Party, x: AShare) -> Steps[AShare]:
    """x^2 elementwise from one opening; the fractional bits double. Exact modulo the ring."""
    (opened,) = yield from open_masked.steps(party, x, tag="square")
    return powers_opened(party, opened, 2)[1]


def _powers_cost(x: AShare, degree: int) -> Cost:
    n, bits = x.size, x.ring.bits
    return opening((n, bits)) + Cost(offline=wire_bytes((degree - 1) * n, bits))


@protocol(cost=_powers_cost, paper="EGKRS20")
def powers(party: Party, x: AShare, degree: int) -> Steps[list[AShare]]:
    """x, x^2, ..., x^degree from one opening of x. Power k has k times the fractional bits. Exact modulo
    the ring: the caller sees to it that the highest power fits."""
    if degree < 2:
        raise ValueError(f"powers needs a degree of at least 2, not {degree}")
    (opened,) = yield from open_masked.steps(party, x, tag="powers")
    return powers_opened(party, opened, degree)


def powers_opened(party: Party, x: Opened, degree: int) -> list[AShare]:
    """(X - r)^k = sum_j C(k, j) X^(k-j) (-r)^j, the powers of r being the correlation. Local."""
    higher = party.provider.take(Powers(x.mask.number, x.size, degree, x.ring.bits)).only
    mask_powers = [x.mask.only.reshape(-1), *(higher[j] for j in range(degree - 1))]
    public = [x.words.reshape(-1)]
    for _ in range(degree - 1):
        public.append(public[-1] * public[0])
    results = []
    for k in range(1, degree + 1):
        total = public[k - 1] & party.lead
        for j in range(1, k + 1):
            coefficient = np.uint64((-1) ** j * _binomial(k, j) % 2**64)
            term = mask_powers[j - 1] * coefficient
            total = total + (term if j == k else term * public[k - j - 1])
        results.append(AShare(total.reshape(x.shape), x.ring, k * x.frac_bits))
    return results


def _binomial(n: int, k: int) -> int:
    return prod(range(n - k + 1, n + 1)) // prod(range(1, k + 1))


def row_square_sums(party: Party, x: Opened) -> AShare:
    """sum_j x_ij^2 of an opened [rows, n]: local; the correlation is one word per row."""
    rows, n = x.shape
    squares = party.provider.take(RowSquareSum(x.mask.number, rows, n, x.ring.bits)).only
    data = party.backend.row_squares(x.words, x.mask.only, party.lead) + squares
    return AShare(data, x.ring, 2 * x.frac_bits)


def times_rows(party: Party, x: Opened, factor: AShare) -> Steps[AShare]:
    """x_ij * factor_i for an opened [rows, n]: only the factors are opened."""
    rows, n = x.shape
    (opened,) = yield from open_masked.steps(party, factor, tag="scale")
    products = party.provider.take(RowProduct(x.mask.number, opened.mask.number, rows, n, x.ring.bits)).only
    data = party.backend.row_scale(x.words, x.mask.only, opened.words, opened.mask.only, products, party.lead)
    return AShare(data, x.ring, x.frac_bits + factor.frac_bits)


# -- matrices, both operands shared ---------------------------------------------------------------------


def _matmul_cost(x: AShare, y: AShare, transposed: bool = False) -> Cost:
    bits = x.ring.bits
    columns = y.shape[-2] if transposed else y.shape[-1]
    return opening((x.size, bits), (y.size, bits)) + Cost(
        offline=wire_bytes(prod(x.shape[:-1]) * columns, bits)
    )


@protocol(cost=_matmul_cost, paper="MZ17")
def matmul(party: Party, x: AShare, y: AShare, transposed: bool = False) -> Steps[AShare]:
    """x @ y (x @ y^T if `transposed`) for [..., m, k] and [..., k, n]; leading dimensions equal or absent in y."""
    _common_ring(x, y)
    if party.provider.direct:
        return matmul_now(party, x, y, transposed)
    opened_x, opened_y = yield from open_masked.steps(party, x, y, tag="matmul")
    return matmul_opened(party, opened_x, opened_y, transposed)


def matmul_opened(party: Party, x: Opened, y: Opened, transposed: bool = False) -> AShare:
    """Matrix product of two opened operands: local, one fresh correlation.

    With X, Y open and this party's masks a, b: z = c - a Y + X (lead Y - b), two ring products.
    """
    ring = _common_ring(x, y)
    spec = _matmul_spec(x, y, transposed)
    c = party.provider.take(spec).only
    left = (spec.batch, spec.m, spec.k)
    public_y = spec.right(y.words)
    own = (public_y & party.lead) - spec.right(y.mask.only)
    backend = party.backend
    public, private = (
        backend.matmul(a.reshape(left), b, ring.bits) for a, b in ((x.words, own), (x.mask.only, public_y))
    )
    data = public - private + c
    return AShare(data.reshape(*x.shape[:-1], spec.n), ring, x.frac_bits + y.frac_bits)


def _matmul_spec(x: Opened, y: Opened, transposed: bool) -> MatmulProduct:
    batch, y_batch = x.shape[:-2], y.shape[:-2]
    n, k = (y.shape[-2], y.shape[-1]) if transposed else (y.shape[-1], y.shape[-2])
    if k != x.shape[-1] or y_batch not in (batch, ()):
        raise ValueError(f"cannot multiply {x.shape} by {y.shape}{' transposed' if transposed else ''}")
    rows = x.shape[-2]
    count = prod(batch)
    if y_batch != batch:  # one right operand for all: a single tall product
        count, rows = 1, rows * count
    return MatmulProduct(
        x.mask.number, y.mask.number, count, rows, k, n, prod(y_batch), int(transposed), x.ring.bits
    )
