"""One call of every kernel of oblivious transfer: trees of blocks, the code over their leaves, the hash."""

from __future__ import annotations

import numpy as np

from bench.kernel_cases import Call, Maker, Operands
from gpu_ss.backend.base import Backend
from gpu_ss.backend.oblivious import LEAF_TREES, LEAF_WAYS, LEAST_TREES
from gpu_ss.ring import Array

CHILDREN = 2
TABLE = 1 << 16  # blocks that the code draws from: 1 MiB
HASHED_WORDS = 2
HASHED_BITS = 16
ALL = 2**64 - 1


def _side(elements: int, least: int) -> int:
    """The largest power of two up to elements / least, and at least `least`."""
    return max(least, 1 << (max(1, elements // least).bit_length() - 1))


def _tree_level(draw: Operands, elements: int) -> Call:
    count = _side(elements // CHILDREN, LEAST_TREES) // CHILDREN * CHILDREN
    operands = [
        draw.words(count, LEAST_TREES, 2),
        draw.words(CHILDREN, LEAST_TREES, 2),
        np.full(LEAST_TREES, ALL, np.uint64),
    ]
    return Call(
        (count, LEAST_TREES),
        operands,
        lambda backend, nodes, fixes, targets: backend.tree_level(nodes, fixes, targets, 0, True),
        CHILDREN * count * LEAST_TREES,
        128,
    )


def _xor_rows(draw: Operands, elements: int) -> Call:
    rows = _side(elements, 128)
    return Call(
        (1, rows, 128), [draw.words(1, rows, 128)], lambda backend, x: backend.xor_rows(x), rows * 128
    )


def _lpn_encode(draw: Operands, elements: int) -> Call:
    count = _side(elements, LEAF_WAYS * LEAF_TREES)
    operands = [
        draw.words(TABLE, 2),
        draw.words(count, LEAF_TREES, 2),
        draw.words(CHILDREN, LEAF_TREES, 2),
        np.full(LEAF_TREES, ALL, np.uint64),
    ]
    key = bytes(range(32))
    return Call(
        (LEAF_WAYS * count, LEAF_TREES),
        operands,
        lambda backend, table, nodes, fixes, targets: backend.lpn_encode(
            table, nodes, fixes, targets, 0, key, 0
        )[0],
        LEAF_WAYS * count * LEAF_TREES,
        128,
    )


def _lpn_complete(draw: Operands, elements: int) -> Call:
    count = _side(elements, LEAF_WAYS * LEAF_TREES)
    operands = [
        draw.words(LEAF_WAYS * count * LEAF_TREES, 2),
        draw.words(LEAF_WAYS, LEAF_TREES, 2),
        draw.words(LEAF_TREES) % np.uint64(count),
    ]

    def complete(backend: Backend, rows: Array, fixes: Array, targets: Array) -> Array:
        backend.lpn_complete(rows, fixes, targets)
        return rows

    return Call((LEAF_WAYS * count, LEAF_TREES), operands, complete, LEAF_WAYS * count * LEAF_TREES, 128)


def _hash_blocks(draw: Operands, elements: int) -> Call:
    return Call(
        (elements,),
        [draw.words(elements, 2)],
        lambda backend, x: backend.hash_blocks(x, (1, 2), 0, 1, HASHED_WORDS),
        elements,
        128,
    )


def _hash_planes(draw: Operands, elements: int) -> Call:
    return Call(
        (elements,),
        [draw.words(elements, 2)],
        lambda backend, x: backend.hash_planes(x, (1, 2), 0, 1, HASHED_BITS),
        elements,
        128,
    )


OBLIVIOUS: dict[str, Maker] = {
    "tree_level": _tree_level,
    "xor_rows": _xor_rows,
    "lpn_encode": _lpn_encode,
    "lpn_complete": _lpn_complete,
    "hash_blocks": _hash_blocks,
    "hash_planes": _hash_planes,
}
