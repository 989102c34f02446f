"""Ring matrix products as array operations: batches of matrices, and exact products in floating point."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from gpu_ss.ring import Array

# Balanced limbs: x = low + mid * 2^22 + high * 2^44 modulo 2^64 with |low|, |mid| <= 2^21 and |high| <= 2^19.
# Of a product only the weights 2^0, 2^22 and 2^44 count modulo 2^64. Each of the K places adds to them at
# most 2^42, 2 * 2^42 and 2^42 + 2 * 2^40. In float64 any partial sum of these integers is exact, in whatever
# order they are added, while all stay within 2^53.
LIMB = 22
EXACT_DEPTH = 2**53 // (2 * 2 ** (2 * (LIMB - 1)))


#: The digits of a right operand, by their number.
Forms = dict[int, Array]


class Factor:
    """A matrix [..., K, N] that many products have on the right; made by `Backend.factor`.

    A backend keeps with it the forms its kernels take, so that it is brought into them once.
    """

    def __init__(self, words: Array) -> None:
        self.words = words
        self.forms: Forms = {}

    def __repr__(self) -> str:
        return f"Factor(shape={self.shape}, words=<hidden>)"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.words.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)


class Operands(NamedTuple):
    """A product as batches of matrices: a[1 or S, M, K], b[1 or S, K, N], and the shape of the result."""

    a: Array
    b: Array
    shape: tuple[int, ...]

    @property
    def batch(self) -> int:
        return max(len(self.a), len(self.b))


def operands(xp: Any, a: Array, b: Array) -> Operands:
    """Broadcast leading dimensions without copying a matrix that all products share."""
    if a.ndim < 2 or b.ndim < 2 or a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul takes [..., M, K] and [..., K, N], not {a.shape} and {b.shape}")
    (rows, inner), cols = a.shape[-2:], b.shape[-1]
    lead = _common_lead(a.shape[:-2], b.shape[:-2])
    shape = (*lead, rows, cols)
    if _is_single(b):  # one right factor: all rows of a make one tall matrix
        tall = _batch(xp, a, (1, math.prod(lead) * rows, inner))
        return Operands(tall, _batch(xp, b, (1, inner, cols)), shape)
    return Operands(_spread(xp, a, lead), _spread(xp, b, lead), shape)


def _common_lead(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    if not b or a == b:  # the usual cases, at once
        return a
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        raise ValueError(f"leading dimensions {a} and {b} do not broadcast") from None


def _is_single(x: Array) -> bool:
    return all(side == 1 for side in x.shape[:-2])


def _batch(xp: Any, x: Array, shape: tuple[int, int, int]) -> Array:
    return xp.ascontiguousarray(x).reshape(shape)


def _spread(xp: Any, x: Array, lead: tuple[int, ...]) -> Array:
    sides = x.shape[-2:]
    if _is_single(x):
        return _batch(xp, x, (1, *sides))
    return _batch(xp, xp.broadcast_to(x, (*lead, *sides)), (math.prod(lead), *sides))


def float_product(xp: Any, a: Array, b: Array) -> Array:
    """a[1 or S, M, K] b[1 or S, K, N] modulo 2^64 by six units of float64 matrix product."""
    inner = a.shape[-1]
    parts = (
        _exact_part(xp, a[..., k : k + EXACT_DEPTH], b[..., k : k + EXACT_DEPTH, :])
        for k in range(0, inner, EXACT_DEPTH)
    )
    total = next(parts)
    for part in parts:
        total += part
    return total


def worst_case() -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Operands [1, 1, EXACT_DEPTH] and [1, EXACT_DEPTH, 1] whose limbs reach the bound: low = mid = -2^21."""
    word = np.uint64((-(2**21) - (2**21 << LIMB)) % 2**64)
    return np.full((1, 1, EXACT_DEPTH), word), np.full((1, EXACT_DEPTH, 1), word)


def _exact_part(xp: Any, a: Array, b: Array) -> Array:
    """The same for K <= EXACT_DEPTH. Limbs lie side by side along K, so that each weight is one product."""
    inner = a.shape[-1]
    left = xp.concatenate(_limbs(xp, a)[::-1], axis=-1)  # high | mid | low
    right = xp.concatenate(_limbs(xp, b), axis=-2)  # low, mid, high
    total = xp.zeros((max(len(a), len(b)), a.shape[-2], b.shape[-1]), dtype=np.uint64)
    for weight in range(3):
        part = xp.matmul(left[..., (2 - weight) * inner :], right[..., : (weight + 1) * inner, :])
        total += part.astype(np.int64).view(np.uint64) << np.uint64(LIMB * weight)
    return total


def _limbs(xp: Any, x: Array) -> list[Array]:
    """low, mid and high limb as float64."""
    half, mask = np.int64(1 << (LIMB - 1)), np.int64((1 << LIMB) - 1)
    rest = xp.ascontiguousarray(x).view(np.int64)
    limbs = []
    for _ in range(2):
        limb = ((rest + half) & mask) - half
        limbs.append(limb.astype(np.float64))
        rest = (rest - limb) >> np.int64(LIMB)
    return [*limbs, rest.astype(np.float64)]
