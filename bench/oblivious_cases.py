"""One call of every kernel of oblivious transfer: trees of blocks, the code over their leaves, the hash."""

from __future__ import annotations

import numpy as np

from bench.kernel_cases import Call, Maker, Operands, Words
from gpu_ss.backend.base import Backend
from gpu_ss.backend.oblivious import LEAF_TREES, LEAF_WAYS
from gpu_ss.ring import WORD, Array

LEVELS = 10  # of half-trees, and with those that the leaves take
ALL_LEVELS = LEVELS + 2
SLAB_ROWS = LEAF_WAYS * LEAF_TREES << LEVELS
TABLE = 1 << 16  # blocks that the code draws from: 1 MiB
HASHED_WORDS = 2
HASHED_BITS = 16
OFFSETS = [(0, 0), (1, 2)]
ALL = 2**64 - 1


def _slabs(elements: int) -> int:
    return max(1, elements // SLAB_ROWS)


def _grow_trees(draw: Operands, elements: int) -> Call:
    slabs = _slabs(elements)
    return Call(
        (slabs, 1 << LEVELS, LEAF_TREES),
        [draw.words(slabs, LEAF_TREES, 2)],
        lambda backend, roots: backend.grow_trees(roots, (1, 2), LEVELS, 0)[0],
        slabs * LEAF_TREES << LEVELS,
        128,
    )


def _regrow_trees(draw: Operands, elements: int) -> Call:
    slabs = _slabs(elements)
    operands = [draw.words(slabs, LEVELS, LEAF_TREES, bits=1), draw.words(slabs, LEVELS, LEAF_TREES, 2)]
    return Call(
        (slabs, 1 << LEVELS, LEAF_TREES),
        operands,
        lambda backend, choices, sums: backend.regrow_trees(choices, sums, LEVELS, 0, True)[0],
        slabs * LEAF_TREES << LEVELS,
        128,
    )


def _xor_rows(draw: Operands, elements: int) -> Call:
    rows = max(128, 1 << (max(1, elements // 128).bit_length() - 1))
    return Call(
        (1, rows, 128), [draw.words(1, rows, 128)], lambda backend, x: backend.xor_rows(x), rows * 128
    )


def _lpn_encode(draw: Operands, elements: int) -> Call:
    slabs, key = _slabs(elements), bytes(range(32))
    operands = [
        draw.words(TABLE, 2),
        draw.words(slabs, 1 << LEVELS, LEAF_TREES, 2),
        np.full((slabs, LEAF_TREES), ALL, np.uint64),
    ]
    return Call(
        (slabs, SLAB_ROWS),
        operands,
        lambda backend, table, nodes, targets: backend.lpn_encode(table, nodes, targets, 0, key, 0)[0],
        slabs * SLAB_ROWS,
        128,
    )


def _lpn_complete(draw: Operands, elements: int) -> Call:
    slabs = _slabs(elements)
    operands = [
        draw.words(slabs * SLAB_ROWS, 2),
        draw.words(slabs, LEAF_WAYS, LEAF_TREES, 2),
        draw.words(slabs, LEAF_TREES, bits=LEVELS),
    ]

    def complete(backend: Backend, rows: Array, fixes: Array, targets: Array) -> Array:
        backend.lpn_complete(rows, fixes, targets)
        return rows

    return Call((slabs, SLAB_ROWS), operands, complete, slabs * SLAB_ROWS, 128)


def _leaf_operands(draw: Operands, slabs: int) -> list[Words]:
    return [draw.words(slabs, 2, 2, LEAF_WAYS, LEAF_TREES, 2), draw.words(slabs, ALL_LEVELS, LEAF_TREES, 2)]


def _tree_offers(draw: Operands, elements: int) -> Call:
    slabs = _slabs(elements)
    return Call(
        (slabs, ALL_LEVELS + 2, LEAF_TREES),
        [draw.words(slabs, LEVELS, 2, LEAF_TREES, 2), *_leaf_operands(draw, slabs)],
        lambda backend, firsts, sums, keys: backend.tree_offers(firsts, sums, keys, (1, 2), 0, 1),
        slabs * (ALL_LEVELS + 2) * LEAF_TREES,
        128,
    )


def _leaf_fixes(draw: Operands, elements: int) -> Call:
    slabs = _slabs(elements)
    told = draw.words(slabs, ALL_LEVELS + 2, LEAF_TREES, 2)
    operands = [*_leaf_operands(draw, slabs), told, draw.words(slabs, LEAF_TREES, bits=LEVELS)]
    return Call(
        (slabs, LEAF_WAYS, LEAF_TREES),
        operands,
        lambda backend, *given: backend.leaf_fixes(*given, 1 << LEVELS, 0, 1)[0],
        slabs * LEAF_WAYS * LEAF_TREES,
        128,
    )


def _hash_blocks(draw: Operands, elements: int) -> Call:
    return Call(
        (len(OFFSETS), elements),
        [draw.words(elements, 2)],
        lambda backend, x: backend.hash_blocks(x, OFFSETS, 0, 1, HASHED_WORDS),
        len(OFFSETS) * elements,
        128,
    )


def _hash_planes(draw: Operands, elements: int) -> Call:
    return Call(
        (len(OFFSETS), elements),
        [draw.words(elements, 2)],
        lambda backend, x: backend.hash_planes(x, OFFSETS, 0, 1, HASHED_BITS),
        len(OFFSETS) * elements,
        128,
    )


def _plane_triples(draw: Operands, elements: int) -> Call:
    width = max(1, elements // WORD)
    return Call(
        (width,),
        [draw.words(2, 1, width), draw.words(1, width), draw.words(1, width)],
        lambda backend, *planes: backend.plane_triples(*planes)[1],
        WORD * width,
        1,
    )


OBLIVIOUS: dict[str, Maker] = {
    "grow_trees": _grow_trees,
    "regrow_trees": _regrow_trees,
    "xor_rows": _xor_rows,
    "lpn_encode": _lpn_encode,
    "lpn_complete": _lpn_complete,
    "tree_offers": _tree_offers,
    "leaf_fixes": _leaf_fixes,
    "hash_blocks": _hash_blocks,
    "hash_planes": _hash_planes,
    "plane_triples": _plane_triples,
}
