"""The launches of the kernels on blocks (trees.cu, lpn.cu, hash.cu)."""

from __future__ import annotations

import numpy as np

from gpu_ss.backend.launcher import Launcher
from gpu_ss.backend.oblivious import GROUP_BLOCKS, GROUP_ROWS, LEAF_TREES, LEAF_WAYS
from gpu_ss.ring import Array

_LONG = 256  # rows that are worth adding in two steps: the items of one step must keep a GPU busy
_SPLIT = 32
_PARTS = 32  # of rows, which add up their own sums
_ALL = 0xFFFFFFFFFFFFFFFF


class ObliviousKernels(Launcher):
    """`Oblivious` by kernels."""

    #: Whether rows are encoded in so few parts that each can add up its own.
    _sums_at_once = False

    def tree_level(self, nodes: Array, fixes: Array, targets: Array, first_tree: int, half: bool) -> Array:
        count, parents, trees = self._check_level(nodes, fixes, targets, first_tree)
        out = self.empty((2 * count, trees, 2))
        how = (first_tree, _ALL if half else 0, _log2(parents), _log2(trees))
        self._launch("tree_level", count * trees, nodes, fixes, targets, out, *how)
        return out

    def xor_rows(self, x: Array) -> Array:
        self._check_rows(x)
        groups, rows, width = x.shape
        if rows >= _LONG and rows % _SPLIT == 0:
            parts = self.xor_rows(x.reshape(groups * _SPLIT, rows // _SPLIT, width))
            return self.xor_rows(parts.reshape(groups, _SPLIT, width))
        out = self.empty((groups, width))
        if out.size:
            self._launch("xor_rows", out.size, x, out, rows, width)
        return out

    def lpn_encode(
        self,
        table: Array,
        nodes: Array,
        fixes: Array,
        targets: Array,
        first_tree: int,
        key: bytes,
        first_row: int,
    ) -> tuple[Array, Array]:
        count, parents = self._check_code(table, nodes, fixes, targets, first_tree, key, first_row)
        n = count * LEAF_WAYS * LEAF_TREES
        groups = n // GROUP_ROWS
        span = max(1, groups // _PARTS) if self._sums_at_once else 1
        out, parts = self.empty((n, 2)), self.empty((2, groups // span // 2, 4 * LEAF_WAYS * LEAF_TREES))
        key_words = np.frombuffer(key, "<u8").tolist()
        block = first_row // GROUP_ROWS * GROUP_BLOCKS
        sizes = (first_tree, block, _log2(len(table)), _log2(parents), span)
        self._launch("lpn_encode", n // 16, table, nodes, fixes, targets, out, parts, *key_words, *sizes)
        return out, self.xor_rows(parts).reshape(2, 2, LEAF_WAYS, LEAF_TREES, 2)

    def lpn_complete(self, rows: Array, fixes: Array, targets: Array) -> None:
        self._check_rows_of_leaves(rows, fixes, targets)
        self._launch("lpn_complete", rows.size, rows, fixes, targets)

    def hash_blocks(self, x: Array, offset: tuple[int, int], first: int, domain: int, words: int) -> Array:
        self._check_hash(x, offset, first, domain, words)
        out = self.empty((len(x), words))
        if out.size:
            self._launch("hash_blocks", len(x), x, out, *offset, first, domain, words)
        return out

    def hash_planes(self, x: Array, offset: tuple[int, int], first: int, domain: int, bits: int) -> Array:
        return self.to_planes(self.hash_blocks(x, offset, first, domain, 1), bits)


def _log2(power: int) -> int:
    return power.bit_length() - 1
