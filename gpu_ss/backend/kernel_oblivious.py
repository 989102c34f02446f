"""The launches of the kernels on blocks (trees.cu, lpn.cu, hash.cu)."""

from __future__ import annotations

import numpy as np

from gpu_ss.backend.launcher import Launcher
from gpu_ss.backend.oblivious import GROUP_BLOCKS, GROUP_ROWS
from gpu_ss.ring import Array

_LONG = 256  # rows that are worth adding in two steps: the items of one step must keep a GPU busy
_SPLIT = 32
_ALL = 0xFFFFFFFFFFFFFFFF


class ObliviousKernels(Launcher):
    """`Oblivious` by kernels."""

    def tree_level(
        self, nodes: Array, fixes: Array, targets: Array, first_tree: int, half: bool, keep: int
    ) -> Array:
        count, parents, trees = self._check_level(nodes, fixes, targets, first_tree)
        out = self.empty((2 * count, trees, 2))
        how = (first_tree, keep, _ALL if half else 0, _log2(parents), _log2(trees))
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
        self, table: Array, leaves: Array, fixes: Array, targets: Array, key: bytes, first_row: int
    ) -> Array:
        count, parents, trees = self._check_code(table, leaves, fixes, targets, key, first_row)
        out = self.empty((count * trees, 2))
        key_words = np.frombuffer(key, "<u8").tolist()
        block, shift = first_row // GROUP_ROWS * GROUP_BLOCKS, 32 - _log2(len(table))
        sizes = (block, shift, _log2(parents), _log2(trees))
        self._launch("lpn_encode", count * trees // 8, table, leaves, fixes, targets, out, *key_words, *sizes)
        return out

    def hash_blocks(self, x: Array, offset: tuple[int, int], first: int, domain: int, words: int) -> Array:
        self._check_hash(x, offset, first, domain, words)
        out = self.empty((len(x), words))
        if out.size:
            self._launch("hash_blocks", len(x), x, out, *offset, first, domain, words)
        return out


def _log2(power: int) -> int:
    return power.bit_length() - 1
