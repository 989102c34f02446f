"""The launches of the kernels on blocks (trees.cu, lpn.cu, leaves.cu, hash.cu)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpu_ss.backend import checks
from gpu_ss.backend.launcher import Launcher
from gpu_ss.backend.oblivious import GROUP_BLOCKS, GROUP_ROWS, HASH_WORDS, LEAF_TREES, LEAF_WAYS
from gpu_ss.ring import Array, word_count

_LONG = 256  # rows that are worth adding in two steps: the items of one step must keep a GPU busy
_SPLIT = 32
_PARTS = 32  # of a slab's rows, which add up their own sums
_TOGETHER = 2  # trees that a block of threads makes
_ALL = 0xFFFFFFFFFFFFFFFF


class ObliviousKernels(Launcher):
    """`Oblivious` by kernels."""

    #: Whether rows are encoded in so few parts that each can add up its own.
    _sums_at_once = False

    def grow_trees(
        self, roots: Array, delta: tuple[int, int] | None, depth: int, first_tree: int
    ) -> tuple[Array, Array]:
        slabs, trees = self._check_growth(roots, depth, first_tree)
        out, sums = self.empty((slabs, 1 << depth, trees, 2)), self.empty((slabs, depth, 2, trees, 2))
        how = (*(delta or (0, 0)), first_tree, _ALL if delta else 0, depth, _log2(trees))
        self._launch("grow_trees", slabs * trees // _TOGETHER, roots, out, sums, *how)
        return out, sums

    def regrow_trees(
        self, choices: Array, sums: Array, depth: int, first_tree: int, half: bool
    ) -> tuple[Array, Array]:
        slabs, levels, trees = self._check_regrowth(choices, sums, depth, first_tree)
        out, targets = self.empty((slabs, 1 << depth, trees, 2)), self.empty((slabs, trees))
        how = (first_tree, _ALL if half else 0, levels, depth, _log2(trees))
        self._launch("regrow_trees", slabs * trees // _TOGETHER, choices, sums, out, targets, *how)
        return out, targets

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
        self, table: Array, nodes: Array, targets: Array, first_tree: int, key: bytes, first_row: int
    ) -> tuple[Array, Array]:
        slabs, count = self._check_code(table, nodes, targets, first_tree, key, first_row)
        n = slabs * count * LEAF_WAYS * LEAF_TREES
        groups = n // GROUP_ROWS
        span = max(1, groups // slabs // _PARTS) if self._sums_at_once else 1
        out = self.empty((n, 2))
        parts = self.empty((2 * slabs, groups // span // (2 * slabs), 4 * LEAF_WAYS * LEAF_TREES))
        key_words = np.frombuffer(key, "<u8").tolist()
        block = first_row // GROUP_ROWS * GROUP_BLOCKS
        sizes = (first_tree, block, _log2(len(table)), _log2(count), span)
        self._launch("lpn_encode", n // 16, table, nodes, targets, out, parts, *key_words, *sizes)
        return out, self.xor_rows(parts).reshape(slabs, 2, 2, LEAF_WAYS, LEAF_TREES, 2)

    def lpn_complete(self, rows: Array, fixes: Array, targets: Array) -> None:
        count = self._check_rows_of_leaves(rows, fixes, targets)
        self._launch("lpn_complete", rows.size, rows, fixes, targets, _log2(count))

    def tree_offers(
        self, firsts: Array, sums: Array, keys: Array, delta: tuple[int, int], first: int, domain: int
    ) -> Array:
        slabs, levels = self._check_firsts(firsts, sums, keys, first, domain)
        out = self.empty((slabs, levels + 2, LEAF_TREES, 2))
        how = (*delta, first, domain, levels)
        self._launch("tree_offers", slabs * LEAF_TREES, firsts, sums, keys, out, *how)
        return out

    def leaf_fixes(
        self, sums: Array, keys: Array, told: Array, targets: Array, nodes: int, first: int, domain: int
    ) -> tuple[Array, Array]:
        slabs, levels = self._check_told(sums, keys, told, targets, nodes, first, domain)
        fixes = self.empty((slabs, LEAF_WAYS, LEAF_TREES, 2))
        of_rows = self.empty((slabs, 2, LEAF_WAYS, LEAF_TREES, 2))
        how = (first, domain, levels, _log2(nodes))
        self._launch("leaf_fixes", slabs * LEAF_TREES, sums, keys, told, targets, fixes, of_rows, *how)
        return fixes, of_rows

    def hash_blocks(
        self, x: Array, offsets: Sequence[tuple[int, int]], first: int, domain: int, words: int
    ) -> Array:
        self._check_hash(x, offsets, first, domain, words)
        out = self.empty((len(offsets), len(x), words))
        if out.size:
            hashes = len(offsets) * -(-words // HASH_WORDS) * len(x)
            how = (*offsets[0], *offsets[-1], first, domain, words)
            self._launch("hash_blocks", hashes, x, out, *how, len(x))
        return out

    def hash_planes(
        self, x: Array, offsets: Sequence[tuple[int, int]], first: int, domain: int, bits: int
    ) -> Array:
        self._check_hash(x, offsets, first, domain, 1)
        width = word_count(len(x), 1)
        out = self.empty((len(offsets), checks.width(bits), width))
        if width:
            how = (*offsets[0], *offsets[-1], first, domain, bits, width)
            self._launch("hash_planes", len(offsets) * width, x, out, *how, len(x))
        return out

    def plane_triples(self, sent: Array, choices: Array, chosen: Array) -> tuple[Array, Array]:
        rows, width = self._check_triples(sent, choices, chosen)
        a, c = self.empty((rows, width)), self.empty((rows, width))
        if a.size:
            self._launch("plane_triples", a.size, sent, choices, chosen, a, c, width)
        return a, c


def _log2(power: int) -> int:
    return power.bit_length() - 1
