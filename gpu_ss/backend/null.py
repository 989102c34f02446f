"""Shapes without words: runs a protocol to see what it asks for, before any data exists.

`NullArray` follows the array operators the protocols use and knows nothing but its shape, so planning a
whole model takes milliseconds and no memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.backend.oblivious import NoOblivious
from gpu_ss.backend.product import Factor
from gpu_ss.backend.slots import NoSlots
from gpu_ss.backend.transfers import NoTransfers
from gpu_ss.ring import WORD, Array, word_count


class NullArray:
    """An array of words of which only the shape exists."""

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(int(side) for side in shape)

    def __repr__(self) -> str:
        return f"NullArray{self.shape}"

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def T(self) -> NullArray:
        return NullArray(self.shape[::-1])

    def __array_ufunc__(self, ufunc: object, method: str, *operands: Any) -> NullArray:
        return NullArray(np.broadcast_shapes(*(getattr(x, "shape", ()) for x in operands)))

    def _with(self, other: object) -> NullArray:
        return NullArray(np.broadcast_shapes(self.shape, getattr(other, "shape", ())))

    def _same(self) -> NullArray:
        return self

    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = _with
    __and__ = __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __lshift__ = __rshift__ = _with
    __eq__ = __ne__ = _with  # type: ignore[assignment]
    __neg__ = __invert__ = _same
    __hash__ = None  # type: ignore[assignment]

    def __getitem__(self, key: Any) -> NullArray:
        return NullArray(np.broadcast_to(np.uint64(0), self.shape)[key].shape)

    def __setitem__(self, key: Any, value: object) -> None:
        pass

    def reshape(self, *shape: Any) -> NullArray:
        sides = list(shape[0]) if len(shape) == 1 and isinstance(shape[0], tuple) else list(shape)
        if -1 in sides:
            known = -prod(sides)
            sides[sides.index(-1)] = self.size // known if known else 0
        if prod(sides) != self.size:
            raise ValueError(f"cannot reshape {self.shape} to {shape}")
        return NullArray(sides)

    def transpose(self, *axes: Any) -> NullArray:
        order = axes[0] if len(axes) == 1 and isinstance(axes[0], tuple) else axes
        return NullArray([self.shape[a] for a in order] if order else self.shape[::-1])

    def astype(self, kind: object) -> NullArray:
        return self

    def sum(self, axis: int, keepdims: bool = False) -> NullArray:
        sides = list(self.shape)
        if keepdims:
            sides[axis] = 1
        else:
            del sides[axis]
        return NullArray(sides)


def _stack(arrays: Sequence[Any], axis: int = 0) -> NullArray:
    sides = list(np.broadcast_shapes(*(a.shape for a in arrays)))
    sides.insert(axis, len(arrays))
    return NullArray(sides)


def _concatenate(arrays: Sequence[Any], axis: int = 0) -> NullArray:
    sides = list(arrays[0].shape)
    sides[axis] = sum(a.shape[axis] for a in arrays)
    return NullArray(sides)


def _where(condition: Any, a: Any, b: Any) -> NullArray:
    return NullArray(np.broadcast_shapes(*(getattr(x, "shape", ()) for x in (condition, a, b))))


class NullBackend(NoSlots, NoOblivious, NoTransfers, Backend):
    """Every operation of a backend, on shapes alone."""

    name = "null"
    xp = SimpleNamespace(
        ndarray=NullArray,
        stack=_stack,
        concatenate=_concatenate,
        where=_where,
        broadcast_to=lambda array, shape: NullArray(shape),
        ascontiguousarray=lambda array: array,
        sin=lambda array: array,
        cos=lambda array: array,
        rint=lambda array: array,
    )

    @property
    def details(self) -> dict[str, str]:
        return {"computes": "nothing"}

    def asarray(self, host: np.ndarray[Any, Any]) -> Array:
        return NullArray(host.shape)

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        raise TypeError("a plan has no data")

    def empty(self, shape: int | tuple[int, ...]) -> Array:
        return NullArray((shape,) if isinstance(shape, int) else shape)

    zeros = empty

    def synchronize(self) -> None:
        pass

    def activate(self) -> None:
        pass

    def keystream(self, key: bytes, nonce: int, first_block: int, n_words: int) -> Array:
        return NullArray((n_words,))

    def keystreams(self, key: bytes, nonces: Sequence[int], groups: Sequence[int]) -> Array:
        return NullArray((128 * sum(groups),))

    def pack(self, x: Array, bits: int) -> Array:
        return NullArray((word_count(x.size, bits),))

    def unpack(self, words: Array, bits: int, n: int) -> Array:
        return NullArray((n,))

    def to_planes(self, x: Array, bits: int) -> Array:
        return NullArray((bits, word_count(x.size, 1)))

    def difference_planes(self, x: Array, thresholds: Sequence[int], bits: int) -> Array:
        return NullArray((bits, len(thresholds) * word_count(x.size, 1)))

    def from_planes(self, planes: Array, n: int) -> Array:
        return NullArray((n,))

    def plane_words(self, planes: Array, n: int) -> Array:
        return NullArray((planes.shape[0], n))

    def bit_plane(self, x: Array, bit: int) -> Array:
        return NullArray((1, word_count(x.size, 1)))

    def matmul(self, a: Array, b: Array | Factor, bits: int = WORD) -> Array:
        batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
        return NullArray((*batch, a.shape[-2], b.shape[-1]))

    def beaver_combine(self, x_open: Array, y_open: Array, a: Array, b: Array, c: Array, lead: bool) -> Array:
        return NullArray(c.shape)

    def unwrap(self, x: Array, base: Array, sign: Array, product: Array, bits: int, shift: int) -> Array:
        return NullArray(x.shape)

    def digit_monomials(self, planes: Array, widths: Sequence[int]) -> Array:
        return NullArray((sum((1 << b) - 1 for b in widths) + 1, planes.shape[1]))

    def plane_products(self, planes: Array, subsets: Sequence[int]) -> Array:
        return NullArray((len(subsets), planes.shape[1]))

    def digit_compare(self, c: Array, basis: Array, widths: Sequence[int], lead: Any) -> Array:
        return NullArray((2 * len(widths) - 1, c.shape[1]))

    def node(self, opened: Array, basis: Array, arity: int, with_eq: bool, lead: Any) -> Array:
        return NullArray((1 + with_eq, opened.shape[1]))

    def node_numbers(self, opened: Array, shares: Array, arity: int, field: int, lead: Any) -> Array:
        return NullArray((64 * opened.shape[1],))

    def all_of(self, opened: Array, basis: Array, lead: Any) -> Array:
        return NullArray((1, opened.shape[1]))

    def piecewise(
        self,
        x: Array,
        bits: Array,
        powers: Array,
        products: Array,
        coefficients: Array,
        lead: Any,
        top: int | None = None,
    ) -> Array:
        return NullArray(x.shape)

    def exp_lookup(
        self, x: Array, unit: Array, fractions: Array, frac: int, scale: int, low: int, lead: Any
    ) -> Array:
        return NullArray(x.shape)

    def table_sums(self, x: Array, unit: Array, table: Array) -> Array:
        return NullArray(x.shape)

    def exp_finish(self, opened: Array, d: Array, shares: Array, look_bits: int) -> Array:
        return NullArray(opened.shape)

    def line_values(
        self, x: Array, sums: Array, place_bits: int, looks: tuple[int, int], field: int, lead: Any
    ) -> Array:
        return NullArray((2, x.size))

    def gated_line(
        self,
        value: Array,
        slope: Array,
        words: Array,
        value_wraps: Array,
        slope_wraps: Array,
        looks: tuple[int, int],
        d: Array,
    ) -> Array:
        return NullArray(value.shape)

    def gated_opened(self, c: Array, own: Array, tops: Array, bits: int, d: Array, lead: Any) -> Array:
        return NullArray(c.shape)

    def picked(self, index: Array, entries: Array) -> Array:
        return NullArray(entries.shape[1:])

    def near_counts(self, x: Array, units: Array, offset: int, start: int, widths: tuple[int, int]) -> Array:
        return NullArray(x.shape)

    def picked_product(self, opened: Array, counted: Array, words: Array, wanted: int, bits: int) -> Array:
        return NullArray(opened.shape)

    def window_counts(
        self,
        x: Array,
        units: Array,
        starts: tuple[int, ...],
        widths: tuple[int, ...],
        field: int,
        lead: Any,
    ) -> Array:
        return NullArray((len(starts), x.size))

    def window_lines(
        self,
        values: Array,
        slopes: Array,
        last: Array,
        gated: Array,
        counted: Array,
        looks: tuple[int, int],
    ) -> Array:
        return NullArray(values.shape[1:])

    def signed_units(self, at: Array, share: Array) -> tuple[Array, Array]:
        return NullArray(share.shape), NullArray(at.shape)

    def spread(self, index: Array, rows: Array, count: int) -> Array:
        return NullArray((count, *rows.shape))

    def curve_words(
        self,
        r: Array,
        sign: Array,
        value: Array,
        slope: Array,
        gates: Array,
        cell: int,
        source: int,
        looks: tuple[int, int],
    ) -> Array:
        return NullArray((15, r.size))

    def unpack_add(self, words: Array, bits: int, own: Array) -> Array:
        return NullArray(own.shape)

    def unpack_sum(self, words: Array, bits: int, own: Array, mask: Array) -> Array:
        return NullArray(own.shape)

    def pack_sum(self, value: Array, mask: Array, bits: int) -> Array:
        return NullArray((word_count(value.size, bits),))

    def pack_difference(self, value: Array, share: Array, bits: int) -> Array:
        return NullArray((word_count(value.size, bits),))

    def field_reduce(self, high: Array, low: Array, prime: int) -> Array:
        return NullArray(high.shape)

    def field_multiply_add(self, x: Array, y: Array, z: Array, prime: int) -> Array:
        return NullArray(x.shape)

    def field_dots(self, x: Array, y: Array, prime: int) -> Array:
        return NullArray(x.shape[:1])

    def bit_products(self, r: Array, rho: Array, degree: int) -> Array:
        return NullArray((rho.shape[0], degree + 1, r.size))

    def row_squares(self, x: Array, mask: Array, lead: Any) -> Array:
        return NullArray(x.shape[:1])

    def row_scale(self, x: Array, mask: Array, y: Array, b: Array, products: Array, lead: Any) -> Array:
        return NullArray(x.shape)
