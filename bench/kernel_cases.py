"""One call of every kernel, with operands of the sizes and widths that an encoder layer gives it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ss.backend import Backend
from gpu_ss.backend.reference_circuits import and_subsets, node_inputs, node_subsets, number_fields
from gpu_ss.protocols.compare import shape_for
from gpu_ss.ring import Array, word_count

Words = NDArray[np.uint64]

LEAD = np.uint64(2**64 - 1)  # rank 0's; it has a little more to do than rank 1
WIDTH = 40  # bits of packed elements: a layer sends 28 to 64
COMPARED_BITS = 24  # of GELU's comparisons
DIGITS = shape_for(COMPARED_BITS, 6).digits
PIECES, DEGREE = 6, 3  # of GELU
ARITY = 4
SMALL, GROUP = 4, 128  # groups of a small correlation, words of a group of keystream
THRESHOLDS = 6  # of GELU
COUNT_BITS = 3  # of the wins in a group of the row maximum
SIDE = 768  # of BERT-base's matrices
HEADS, HEAD_SIZE = 12, 64


@dataclass(frozen=True)
class Call:
    """A kernel's operands on the host, and the call on a backend's arrays of them.

    `items` are the elements it works on; `products` the multiplications of ring elements of a matrix product;
    `transforms` the polynomials modulo one prime that it transforms.
    """

    shape: Sequence[int]
    operands: Sequence[NDArray[Any]]
    on: Callable[..., Array]
    items: int
    bits: int = 64
    products: int | None = None
    transforms: int | None = None


class Operands:
    """Random words, the same on every machine."""

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def words(self, *shape: int, bits: int = 64) -> Words:
        """Uniform words below 2^bits."""
        return self._random.integers(0, 2**bits, shape, dtype=np.uint64)

    def planes(self, count: int, n: int) -> Words:
        """`count` bit planes of n elements."""
        return self.words(count, word_count(n, 1))


Maker = Callable[[Operands, int], Call]


def _keystream(draw: Operands, n: int) -> Call:
    key = bytes(range(32))
    return Call((n,), [], lambda backend: backend.keystream(key, 1, 0, n), n)


def _keystreams(draw: Operands, n: int) -> Call:
    key, count = bytes(range(32)), max(1, n // (SMALL * GROUP))
    return Call(
        (count, SMALL * GROUP),
        [],
        lambda backend: backend.keystreams(key, range(count), [SMALL] * count),
        count * SMALL * GROUP,
    )


def _pack(draw: Operands, n: int) -> Call:
    return Call((n,), [draw.words(n)], lambda backend, x: backend.pack(x, WIDTH), n, WIDTH)


def _unpack(draw: Operands, n: int) -> Call:
    packed = draw.words(word_count(n, WIDTH))
    return Call((n,), [packed], lambda backend, x: backend.unpack(x, WIDTH, n), n, WIDTH)


def _unpack_add(draw: Operands, n: int) -> Call:
    operands = [draw.words(word_count(n, WIDTH)), draw.words(n)]
    return Call((n,), operands, lambda backend, x, own: backend.unpack_add(x, WIDTH, own), n, WIDTH)


def _pack_difference(draw: Operands, n: int) -> Call:
    operands = [draw.words(n), draw.words(n)]
    return Call((n,), operands, lambda backend, x, y: backend.pack_difference(x, y, WIDTH), n, WIDTH)


def _unpack_sum(draw: Operands, n: int) -> Call:
    operands = [draw.words(word_count(n, WIDTH)), draw.words(n), draw.words(n)]
    return Call((n,), operands, lambda backend, x, *given: backend.unpack_sum(x, WIDTH, *given), n, WIDTH)


def _pack_sum(draw: Operands, n: int) -> Call:
    operands = [draw.words(n), draw.words(n)]
    return Call((n,), operands, lambda backend, x, y: backend.pack_sum(x, y, WIDTH), n, WIDTH)


def _to_planes(draw: Operands, n: int) -> Call:
    return Call((n,), [draw.words(n)], lambda backend, x: backend.to_planes(x, WIDTH), n, WIDTH)


def _difference_planes(draw: Operands, n: int) -> Call:
    return Call(
        (THRESHOLDS, n),
        [draw.words(n)],
        lambda backend, x: backend.difference_planes(x, range(THRESHOLDS), WIDTH),
        THRESHOLDS * n,
        WIDTH,
    )


def _from_planes(draw: Operands, n: int) -> Call:
    planes = draw.planes(WIDTH, n)
    return Call((n,), [planes], lambda backend, x: backend.from_planes(x, n), n, WIDTH)


def _bit_plane(draw: Operands, n: int) -> Call:
    return Call((n,), [draw.words(n)], lambda backend, x: backend.bit_plane(x, WIDTH - 1), n, WIDTH)


def _plane_words(draw: Operands, n: int) -> Call:
    return Call((PIECES, n), [draw.planes(PIECES, n)], lambda backend, x: backend.plane_words(x, n), n, 1)


def _digit_monomials(draw: Operands, n: int) -> Call:
    planes = draw.planes(COMPARED_BITS, n)
    return Call((n,), [planes], lambda backend, x: backend.digit_monomials(x, DIGITS), n, COMPARED_BITS)


def _plane_products(draw: Operands, n: int) -> Call:
    subsets = node_subsets(ARITY, False)
    planes = draw.planes(node_inputs(ARITY, False), n)
    return Call((len(subsets), n), [planes], lambda backend, x: backend.plane_products(x, subsets), n, 1)


def _digit_compare(draw: Operands, n: int) -> Call:
    """Each mask serves PIECES comparisons, as for the pieces of a function."""
    masks = draw.planes(sum((1 << b) - 1 for b in DIGITS), n)
    public = draw.words(COMPARED_BITS - 1, PIECES * masks.shape[1])
    return Call(
        (PIECES, n),
        [public, masks],
        lambda backend, c, basis: backend.digit_compare(c, basis, DIGITS, LEAD),
        PIECES * n,
        COMPARED_BITS,
    )


def _node(draw: Operands, n: int) -> Call:
    inputs = node_inputs(ARITY, False)
    operands = [draw.planes(inputs, n), draw.planes(inputs + len(node_subsets(ARITY, False)), n)]
    return Call(
        (ARITY, n), operands, lambda backend, x, basis: backend.node(x, basis, ARITY, False, LEAD), n, 1
    )


def _node_numbers(draw: Operands, n: int) -> Call:
    words = word_count(n, 1)
    rows, _ = number_fields(ARITY, COUNT_BITS)
    operands = [draw.planes(2 * ARITY - 1, n), draw.words(rows, 64 * words)]
    return Call(
        (ARITY, n), operands, lambda backend, x, s: backend.node_numbers(x, s, ARITY, COUNT_BITS, LEAD), n
    )


def _all_of(draw: Operands, n: int) -> Call:
    operands = [draw.planes(ARITY, n), draw.planes(ARITY + len(and_subsets(ARITY)), n)]
    return Call((ARITY, n), operands, lambda backend, x, basis: backend.all_of(x, basis, LEAD), n, 1)


def _unwrap(draw: Operands, n: int) -> Call:
    operands = [draw.words(n), draw.planes(1, n), draw.planes(1, n), draw.words(n)]
    return Call((n,), operands, lambda backend, *given: backend.unwrap(*given, WIDTH, 12), n, WIDTH)


def _piecewise(draw: Operands, n: int) -> Call:
    operands = [
        draw.words(n),
        draw.planes(PIECES, n),
        draw.words(DEGREE, n),
        draw.words(PIECES, DEGREE + 1, n),
        draw.words(PIECES, DEGREE + 1),
    ]
    return Call((PIECES, DEGREE, n), operands, lambda backend, *given: backend.piecewise(*given, LEAD), n)


def _bit_products(draw: Operands, n: int) -> Call:
    operands = [draw.words(n), draw.planes(PIECES, n)]
    return Call(
        (PIECES, DEGREE, n), operands, lambda backend, r, rho: backend.bit_products(r, rho, DEGREE), n
    )


def _row_squares(draw: Operands, n: int) -> Call:
    rows = max(1, n // SIDE)
    operands = [draw.words(rows, SIDE), draw.words(rows, SIDE)]
    return Call(
        (rows, SIDE), operands, lambda backend, x, mask: backend.row_squares(x, mask, LEAD), rows * SIDE
    )


def _row_scale(draw: Operands, n: int) -> Call:
    rows = max(1, n // SIDE)
    large, small = (rows, SIDE), (rows,)
    operands = [draw.words(*shape) for shape in (large, large, small, small, large)]
    return Call(large, operands, lambda backend, *given: backend.row_scale(*given, LEAD), rows * SIDE)


def _beaver_combine(draw: Operands, n: int) -> Call:
    operands = [draw.words(n) for _ in range(5)]
    return Call((n,), operands, lambda backend, *given: backend.beaver_combine(*given, True), n)


def _matmul(draw: Operands, n: int) -> Call:
    rows = max(1, n // 8192)  # 128 of the default
    operands = [draw.words(rows, SIDE), draw.words(SIDE, SIDE)]
    products = rows * SIDE * SIDE
    return Call((rows, SIDE, SIDE), operands, _product, rows * SIDE, products=products)


def _matmul_heads(draw: Operands, n: int) -> Call:
    length = max(1, n // 8192)
    operands = [draw.words(HEADS, length, HEAD_SIZE), draw.words(HEADS, HEAD_SIZE, length)]
    items = HEADS * length * length
    return Call((HEADS, length, HEAD_SIZE, length), operands, _product, items, products=items * HEAD_SIZE)


def _matmul_square(bits: int) -> Maker:
    """Modulo 2^bits; sides of 1024 at the default size, 4096 with --elements 16777216."""

    def make(draw: Operands, n: int) -> Call:
        side = max(1, isqrt(n))
        operands = [draw.words(side, side), draw.words(side, side)]
        run = lambda backend, a, b: backend.matmul(a, b, bits)  # noqa: E731
        return Call((side, side, side), operands, run, side * side, bits, side**3)

    return make


def _product(backend: Backend, a: Array, b: Array) -> Array:
    return backend.matmul(a, b)


#: By the name of the operation; `matmul_heads` is the batched product of attention scores.
SHARES: dict[str, Maker] = {
    "keystream": _keystream,
    "keystreams": _keystreams,
    "pack": _pack,
    "unpack": _unpack,
    "unpack_add": _unpack_add,
    "unpack_sum": _unpack_sum,
    "pack_difference": _pack_difference,
    "pack_sum": _pack_sum,
    "to_planes": _to_planes,
    "difference_planes": _difference_planes,
    "from_planes": _from_planes,
    "bit_plane": _bit_plane,
    "plane_words": _plane_words,
    "digit_monomials": _digit_monomials,
    "plane_products": _plane_products,
    "digit_compare": _digit_compare,
    "node": _node,
    "node_numbers": _node_numbers,
    "all_of": _all_of,
    "unwrap": _unwrap,
    "piecewise": _piecewise,
    "bit_products": _bit_products,
    "row_squares": _row_squares,
    "row_scale": _row_scale,
    "beaver_combine": _beaver_combine,
    "matmul": _matmul,
    "matmul_heads": _matmul_heads,
    "matmul_square": _matmul_square(64),
    "matmul_square_32": _matmul_square(32),
}


def prepared(call: Call, backend: Backend) -> Callable[[], Any]:
    """The call with its operands where the backend computes."""
    arrays = [backend.asarray(x) for x in call.operands]
    return lambda: call.on(backend, *arrays)
