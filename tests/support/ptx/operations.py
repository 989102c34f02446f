"""What instructions compute: functions of NumPy arrays that have the instruction's type."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np

Words = np.ndarray[Any, Any]

_TYPES = {"b": "u", "u": "u", "s": "i", "f": "f"}


@cache
def dtype_of(type_name: str) -> np.dtype[Any]:
    """u32 as NumPy calls it, and so on; predicates are bool."""
    if type_name == "pred":
        return np.dtype(bool)
    return np.dtype(f"{_TYPES[type_name[0]]}{int(type_name[1:]) // 8}")


def unsigned(x: Words) -> Words:
    return x if x.dtype.kind in "ub" else x.view(f"u{x.itemsize}")


def _bits(x: Words) -> int:
    return 8 * x.itemsize


def _wide(x: Words) -> Words:
    return x.astype(f"{x.dtype.kind}{2 * x.itemsize}")


def _high(x: Words, y: Words) -> Words:
    """The upper half of products."""
    if _bits(x) < 64:
        return (_wide(x) * _wide(y) >> np.int8(_bits(x))).astype(x.dtype)
    a, b = unsigned(x), unsigned(y)
    half, low = np.uint64(32), np.uint64(0xFFFFFFFF)
    middle = (a >> half) * (b & low) + ((a & low) * (b & low) >> half)
    high = (a >> half) * (b >> half) + (middle >> half) + ((a & low) * (b >> half) + (middle & low) >> half)
    if x.dtype.kind == "i":
        zero = np.uint64(0)
        high = high - np.where(x < 0, b, zero) - np.where(y < 0, a, zero)
    return high.view(x.dtype)


def _quotient(x: Words, y: Words) -> Words:
    if x.dtype.kind == "f":
        return x / y
    return (x - np.fmod(x, y)) // y  # towards zero


def _shift_left(x: Words, by: Words) -> Words:
    return np.where(by < _bits(x), x << np.minimum(by, _bits(x) - 1).astype(x.dtype), x.dtype.type(0))


def _shift_right(x: Words, by: Words) -> Words:
    if x.dtype.kind == "i":
        return x >> np.minimum(by, _bits(x) - 1).astype(x.dtype)
    return np.where(by < _bits(x), x >> np.minimum(by, _bits(x) - 1).astype(x.dtype), x.dtype.type(0))


def _funnel_left(low: Words, high: Words, by: Words) -> Words:
    both = high.astype(np.uint64) << np.uint64(32) | low
    return (both << (by & np.uint32(31)).astype(np.uint64) >> np.uint64(32)).astype(np.uint32)


def _funnel_right(low: Words, high: Words, by: Words) -> Words:
    both = high.astype(np.uint64) << np.uint64(32) | low
    return (both >> (by & np.uint32(31)).astype(np.uint64)).astype(np.uint32)


def _insert(field: Words, into: Words, at: Words, length: Words) -> Words:
    """Bits at, at + 1, ... of `into` replaced by the lowest ones of `field`."""
    one = into.dtype.type(1)
    mask = _shift_left(_shift_left(one + np.zeros_like(into), length) - one, at)
    return into & ~mask | _shift_left(field + np.zeros_like(into), at) & mask


def _permuted(a: Words, b: Words, order: Words) -> Words:
    both = b.astype(np.uint64) << np.uint64(32) | a
    result: Words = np.zeros(1, np.uint32)
    for k in range(4):
        digit = order >> np.uint32(4 * k) & np.uint32(15)
        byte = both >> (digit & np.uint32(7)).astype(np.uint64) * np.uint64(8) & np.uint64(0xFF)
        sign = np.where(byte & np.uint64(0x80), np.uint32(0xFF), np.uint32(0))
        result = result | np.where(digit & np.uint32(8), sign, byte.astype(np.uint32)) << np.uint32(8 * k)
    return result


def _leading_zeros(x: Words) -> Words:
    rest, zeros = unsigned(x), np.full(x.shape, _bits(x), np.uint32)
    while rest.any():
        zeros, rest = zeros - (rest != 0), rest >> rest.dtype.type(1)
    return zeros.astype(np.uint32)


def _fused(x: Words, y: Words, z: Words) -> Words:
    """x y + z, rounded once."""
    exact = [Fraction(a) * Fraction(b) + Fraction(c) for a, b, c in np.broadcast(x, y, z)]
    return np.array([float(value) for value in exact], x.dtype)


COMPARISONS: dict[str, Callable[..., Words]] = {
    "eq": np.equal, "ne": np.not_equal,
    "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip

#: By name without types and roundings; all operands have the instruction's type but those of `AMOUNTS`.
FUNCTIONS: dict[str, Callable[..., Words]] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "mul.lo": lambda x, y: x * y,
    "mul.hi": _high,
    "mul.wide": lambda x, y: _wide(x) * _wide(y),
    "mad.lo": lambda x, y, z: x * y + z,
    "fma": _fused,
    "rcp": lambda x: 1 / x,
    "div": _quotient,
    "rem": np.fmod,
    "min": np.minimum,
    "max": np.maximum,
    "neg": lambda x: x.dtype.type(0) - x,
    "and": np.bitwise_and,
    "or": np.bitwise_or,
    "xor": np.bitwise_xor,
    "not": np.invert,
    "shl": _shift_left,
    "shr": _shift_right,
    "shf.l.wrap": _funnel_left,
    "shf.r.wrap": _funnel_right,
    "bfi": _insert,
    "prmt": _permuted,
    "clz": _leading_zeros,
    "mov": lambda x: x,
    "cvta.to.global": lambda x: x,
}

#: Sources that are numbers of bits, whatever the type of the instruction.
AMOUNTS = {"shl": (1,), "shr": (1,), "bfi": (2, 3)}


@cache
def function_of(name: tuple[str, ...]) -> str:
    """The key in `FUNCTIONS` of an instruction."""
    for key in (".".join(name[:count]) for count in (3, 2, 1)):
        if key in FUNCTIONS:
            return key
    raise NotImplementedError(".".join(name))


# Tensor cores: where lane 4 g + t of a warp has byte or word e (PTX manual, mma.m16n8k32 for 8-bit integers).

_LANE = np.arange(32)[:, None]
_G, _T = _LANE // 4, _LANE % 4
_E16, _E8, _E4 = np.arange(16), np.arange(8), np.arange(4)
_LEFT = _G + 8 * (_E16 // 4 % 2), 4 * _T + _E16 % 4 + 16 * (_E16 // 8)
_RIGHT = 4 * _T + _E8 % 4 + 16 * (_E8 // 4), _G + 0 * _E8
_SUMS = _G + 8 * (_E4 // 2), 2 * _T + _E4 % 2


def multiply_add(left: Words, right: Words, sums: Words) -> Words:
    """sums + left right for each warp: words [warps, 32, 4], [warps, 32, 2] and [warps, 32, 4]."""
    warps = len(left)
    a, b, c = np.zeros((warps, 16, 32)), np.zeros((warps, 32, 8)), np.zeros((warps, 16, 8))
    a[:, *_LEFT] = np.ascontiguousarray(left).view(np.int8)
    b[:, *_RIGHT] = np.ascontiguousarray(right).view(np.int8)
    c[:, *_SUMS] = np.ascontiguousarray(sums).view(np.int32)
    result = (c + a @ b)[:, *_SUMS]  # of integers below 2^53, so exact
    if (np.abs(result) >= 2**31).any():
        raise OverflowError("a sum of a tensor core has more than 32 bits")
    return result.astype(np.int32).view(np.uint32)
