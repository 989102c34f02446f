"""The definition of the operations on blocks, in NumPy."""

from __future__ import annotations

from typing import cast

import numpy as np

from gpu_ss.backend.host import HostMemory
from gpu_ss.backend.oblivious import BLOCK_ROUNDS, CHOICE_ROUNDS, CHOICES, GROUP_BLOCKS, GROUP_ROWS
from gpu_ss.backend.reference_chacha import chacha, output_words
from gpu_ss.ring import Array

_SHORT_KEY = np.frombuffer(b"expand 16-byte k", "<u4")
_LONG_KEY = np.frombuffer(b"expand 32-byte k", "<u4")
_ROWS = GROUP_ROWS // 8  # rows of a group that take the same words of different blocks


class ReferenceOblivious(HostMemory):
    """`Oblivious` in NumPy."""

    def tree_level(
        self, nodes: Array, fixes: Array, targets: Array, first_tree: int, half: bool, keep: int
    ) -> Array:
        count, _, trees = self._check_level(nodes, fixes, targets, first_tree)
        q = np.arange(count, dtype=np.uint64)[:, None]
        tree = np.uint64(first_tree) + np.arange(trees, dtype=np.uint64)
        position = tree << np.uint64(16) | q
        parents = _completed(nodes, fixes, targets)
        stream = _under_keys(parents.reshape(-1, 2), position.reshape(-1), count).reshape(count, trees, 8)
        first, second = stream[..., :2], stream[..., 2:4]
        if half:
            second = parents ^ first
        children = np.stack([first, second]) * (q != targets)[:, :, None]
        children[..., 0] &= np.uint64(keep)
        return np.ascontiguousarray(children).reshape(2 * count, trees, 2)

    def xor_rows(self, x: Array) -> Array:
        self._check_rows(x)
        return cast(Array, np.bitwise_xor.reduce(x, axis=1))

    def lpn_encode(
        self, table: Array, leaves: Array, fixes: Array, targets: Array, key: bytes, first_row: int
    ) -> Array:
        count, _, trees = self._check_code(table, leaves, fixes, targets, key, first_row)
        choices = _choices(key, first_row // GROUP_ROWS, count * trees // GROUP_ROWS, len(table))
        rows = _completed(leaves, fixes, targets).reshape(-1, 2)
        return rows ^ np.bitwise_xor.reduce(table[choices], axis=1)

    def hash_blocks(self, x: Array, offset: tuple[int, int], first: int, domain: int, words: int) -> Array:
        self._check_hash(x, offset, first, domain, words)
        number = np.uint64(first) + np.arange(len(x), dtype=np.uint64)
        return np.ascontiguousarray(_under_keys(x ^ np.array(offset, np.uint64), number, domain)[:, :words])


def _completed(nodes: Array, fixes: Array, targets: Array) -> Array:
    """Nodes c P + p of [Q, trees, 2] XOR fixes[c] where p = targets mod P."""
    parents = len(nodes) // len(fixes)
    p = np.arange(parents, dtype=np.uint64)[:, None]
    hit = p == targets % np.uint64(parents)  # [P, trees]
    return (nodes.reshape(len(fixes), parents, *fixes.shape[1:]) ^ fixes[:, None] * hit[:, :, None]).reshape(
        nodes.shape
    )


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
    drawn = chacha(state, CHOICE_ROUNDS).astype(np.uint64) >> np.uint64(32 - (size.bit_length() - 1))
    parts = drawn.reshape(2, 8, groups, CHOICES // 2, _ROWS)  # [half, m, group, e, l]
    return np.ascontiguousarray(parts.transpose(2, 1, 4, 3, 0)).reshape(groups * GROUP_ROWS, CHOICES)
