"""The definition of the operations on blocks, in NumPy."""

from __future__ import annotations

from typing import cast

import numpy as np

from gpu_ss.backend.host import HostMemory
from gpu_ss.backend.oblivious import (
    BLOCK_ROUNDS,
    CHOICE_ROUNDS,
    CHOICES,
    GROUP_BLOCKS,
    GROUP_ROWS,
    LEAF_TREES,
    LEAF_WAYS,
)
from gpu_ss.backend.reference_chacha import chacha, output_words
from gpu_ss.ring import Array

_SHORT_KEY = np.frombuffer(b"expand 16-byte k", "<u4")
_LONG_KEY = np.frombuffer(b"expand 32-byte k", "<u4")
_LANES = 16  # rows of a group that take the same words of different blocks
_DRAWS = GROUP_BLOCKS // _LANES
_SPARE_BITS = np.uint64(11)


class ReferenceOblivious(HostMemory):
    """`Oblivious` in NumPy."""

    def tree_level(self, nodes: Array, fixes: Array, targets: Array, first_tree: int, half: bool) -> Array:
        count, _, trees = self._check_level(nodes, fixes, targets, first_tree)
        parents, stream = _expanded(nodes, fixes, targets, first_tree)
        first, second = stream[..., :2], stream[..., 2:4]
        if half:
            second = parents ^ first
        return _known(np.stack([first, second]), targets).reshape(2 * count, trees, 2)

    def xor_rows(self, x: Array) -> Array:
        self._check_rows(x)
        return cast(Array, np.bitwise_xor.reduce(x, axis=1))

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
        count, _ = self._check_code(table, nodes, fixes, targets, first_tree, key, first_row)
        parents, stream = _expanded(nodes, fixes, targets, first_tree)
        hashes = [stream[..., 2 * c : 2 * c + 2] for c in range(LEAF_WAYS - 1)]
        last = np.bitwise_xor.reduce([parents, *hashes])
        leaves = _known(np.stack([*hashes, last]), targets).transpose(1, 0, 2, 3).copy()
        leaves[..., 0] &= ~np.uint64(1)
        groups = leaves.size // 2 // GROUP_ROWS
        choices = _choices(key, first_row // GROUP_ROWS, groups, len(table))
        rows = leaves.reshape(-1, 2) ^ np.bitwise_xor.reduce(table[choices], axis=1)
        halves = np.stack([leaves, rows.reshape(leaves.shape)]).reshape(
            2, 2, count // 2, LEAF_WAYS, LEAF_TREES, 2
        )
        return rows, np.bitwise_xor.reduce(halves, axis=2).swapaxes(0, 1).copy()

    def lpn_complete(self, rows: Array, fixes: Array, targets: Array) -> None:
        self._check_rows_of_leaves(rows, fixes, targets)
        nodes = rows.reshape(-1, LEAF_WAYS, LEAF_TREES, 2)
        hit = np.arange(len(nodes), dtype=np.uint64)[:, None] == targets
        nodes ^= fixes * hit[:, None, :, None]

    def hash_blocks(self, x: Array, offset: tuple[int, int], first: int, domain: int, words: int) -> Array:
        self._check_hash(x, offset, first, domain, words)
        number = np.uint64(first) + np.arange(len(x), dtype=np.uint64)
        return np.ascontiguousarray(_under_keys(x ^ np.array(offset, np.uint64), number, domain)[:, :words])

    def hash_planes(self, x: Array, offset: tuple[int, int], first: int, domain: int, bits: int) -> Array:
        return self.to_planes(self.hash_blocks(x, offset, first, domain, 1), bits)


def _completed(nodes: Array, fixes: Array, targets: Array) -> Array:
    """Nodes c P + p of [Q, trees, 2] XOR fixes[c] where p = targets mod P."""
    parents = len(nodes) // len(fixes)
    p = np.arange(parents, dtype=np.uint64)[:, None]
    hit = p == targets % np.uint64(parents)  # [P, trees]
    return (nodes.reshape(len(fixes), parents, *fixes.shape[1:]) ^ fixes[:, None] * hit[:, :, None]).reshape(
        nodes.shape
    )


def _expanded(nodes: Array, fixes: Array, targets: Array, first_tree: int) -> tuple[Array, Array]:
    """Completed nodes [Q, trees, 2], and the keystream of each: eight words."""
    count, trees, _ = nodes.shape
    q = np.arange(count, dtype=np.uint64)[:, None]
    position = (np.uint64(first_tree) + np.arange(trees, dtype=np.uint64)) << np.uint64(16) | q
    parents = _completed(nodes, fixes, targets)
    stream = _under_keys(parents.reshape(-1, 2), position.reshape(-1), count)
    return parents, stream.reshape(count, trees, 8)


def _known(children: Array, targets: Array) -> Array:
    """Children [ways, Q, trees, 2], zero for those of the targets."""
    q = np.arange(children.shape[1], dtype=np.uint64)[:, None]
    return np.ascontiguousarray(children * (q != targets)[:, :, None])


def _under_keys(keys: Array, counter: Array, nonce: int) -> Array:
    """One block of ChaCha for each 128-bit key and counter, as words [n, 8]."""
    state = np.empty((16, len(keys)), np.uint32)
    state[:4] = _SHORT_KEY[:, None]
    state[4:8] = state[8:12] = keys.view(np.uint32).reshape(-1, 4).T
    state[12:14] = counter & np.uint64(0xFFFFFFFF), counter >> np.uint64(32)
    state[14:] = [[nonce & 0xFFFFFFFF], [nonce >> 32]]
    return output_words(state, BLOCK_ROUNDS).T


def _choices(key: bytes, first_group: int, groups: int, size: int) -> Array:
    """Which blocks of the table each row adds: [128 groups, 10]."""
    block = np.uint64(first_group * GROUP_BLOCKS) + np.arange(groups * GROUP_BLOCKS, dtype=np.uint64)
    state = np.zeros((16, block.size), np.uint32)
    state[:4] = _LONG_KEY[:, None]
    state[4:12] = np.frombuffer(key, "<u4")[:, None]
    state[12:14] = block & np.uint64(0xFFFFFFFF), block >> np.uint64(32)
    drawn = chacha(state, CHOICE_ROUNDS).reshape(16, groups, _DRAWS, _LANES)  # [word, group, e, l]
    size_bits = size.bit_length() - 1
    spare = drawn & ((np.uint32(1) << np.uint32(_SPARE_BITS)) - np.uint32(1))
    more = (spare[0::2] << np.uint32(_SPARE_BITS) | spare[1::2])[:, :, : _DRAWS // 2 * 2]
    more = more & np.uint32(size - 1)
    more = more.reshape(8, groups, _DRAWS // 2, 2, _LANES).transpose(
        1, 3, 0, 4, 2
    )  # [group, e mod 2, m, l, e / 2]
    most = (drawn >> np.uint32(32 - size_bits)).transpose(1, 0, 3, 2)  # [group, k, l, e]
    chosen = np.concatenate([most, more.reshape(groups, 16, _LANES, _DRAWS // 2)], axis=3)
    return chosen.reshape(groups * GROUP_ROWS, CHOICES)
