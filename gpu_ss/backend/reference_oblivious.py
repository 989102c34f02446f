"""The definition of the operations on blocks, in NumPy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np

from gpu_ss.backend.host import HostMemory
from gpu_ss.backend.oblivious import (
    BLOCK_ROUNDS,
    CHOICE_ROUNDS,
    CHOICES,
    GROUP_BLOCKS,
    GROUP_ROWS,
    HASH_WORDS,
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

    def grow_trees(
        self, roots: Array, delta: tuple[int, int] | None, depth: int, first_tree: int
    ) -> tuple[Array, Array]:
        self._check_growth(roots, depth, first_tree)
        nodes, sums = roots[:, None], []
        for level in range(depth):
            if delta and level == 0:
                nodes = np.concatenate([nodes, nodes ^ np.array(delta, np.uint64)], axis=1)
            else:
                nodes = _children(nodes, first_tree, delta is not None)
            sums.append(_child_sums(nodes))
        return nodes, np.stack(sums, axis=1)

    def regrow_trees(
        self, choices: Array, sums: Array, depth: int, first_tree: int, half: bool
    ) -> tuple[Array, Array]:
        slabs, _, trees = self._check_regrowth(choices, sums, depth, first_tree)
        nodes, targets = np.zeros((slabs, 1, trees, 2), np.uint64), np.zeros((slabs, trees), np.uint64)
        for level in range(depth):
            count, choice = np.uint64(1 << level), choices[:, level]
            nodes = _children(nodes, first_tree, half, targets)
            known = np.where(choice[..., None] == 1, *_child_sums(nodes).swapaxes(0, 1)[::-1])
            _add(nodes, known ^ sums[:, level], targets + count * choice)
            targets = targets + count * (np.uint64(1) - choice)
        return nodes, targets

    def xor_rows(self, x: Array) -> Array:
        self._check_rows(x)
        return cast(Array, np.bitwise_xor.reduce(x, axis=1))

    def lpn_encode(
        self, table: Array, nodes: Array, targets: Array, first_tree: int, key: bytes, first_row: int
    ) -> tuple[Array, Array]:
        slabs, count = self._check_code(table, nodes, targets, first_tree, key, first_row)
        stream = _expanded(nodes, first_tree)
        hashes = [stream[..., 2 * c : 2 * c + 2] for c in range(LEAF_WAYS - 1)]
        last = np.bitwise_xor.reduce([nodes, *hashes])
        leaves = np.stack([*hashes, last], axis=2) * _known(count, targets)[:, :, None]
        leaves[..., 0] &= ~np.uint64(1)
        groups = leaves.size // 2 // GROUP_ROWS
        choices = _choices(key, first_row // GROUP_ROWS, groups, len(table))
        rows = leaves.reshape(-1, 2) ^ np.bitwise_xor.reduce(table[choices], axis=1)
        halves = np.stack([leaves, rows.reshape(leaves.shape)], axis=1).reshape(
            slabs, 2, 2, count // 2, LEAF_WAYS, LEAF_TREES, 2
        )
        return rows, np.bitwise_xor.reduce(halves, axis=3).swapaxes(1, 2).copy()

    def lpn_complete(self, rows: Array, fixes: Array, targets: Array) -> None:
        count = self._check_rows_of_leaves(rows, fixes, targets)
        nodes = rows.reshape(-1, count, LEAF_WAYS, LEAF_TREES, 2)
        nodes ^= fixes[:, None] * _hit(count, targets)[:, :, None]

    def tree_offers(
        self, firsts: Array, sums: Array, keys: Array, delta: tuple[int, int], first: int, domain: int
    ) -> Array:
        self._check_firsts(firsts, sums, keys, first, domain)
        leaves = sums[:, 0, 0] ^ sums[:, 1, 0]
        zero, one = (_pads(keys[:, -2] ^ np.array(x, np.uint64), first, domain) for x in ((0, 0), delta))
        pairs = [leaves[:, 0] ^ leaves[:, 1], leaves[:, 0] ^ leaves[:, 2]]
        under_keys = np.concatenate([firsts[:, :, 0], np.stack(pairs, axis=1)], axis=1) ^ keys
        sealed = np.stack([leaves[:, 0] ^ zero, leaves[:, 2] ^ one], axis=1)
        return np.concatenate([under_keys, sealed], axis=1)

    def leaf_fixes(
        self, sums: Array, keys: Array, told: Array, targets: Array, nodes: int, first: int, domain: int
    ) -> tuple[Array, Array]:
        _, levels = self._check_told(sums, keys, told, targets, nodes, first, domain)
        b, c = (keys[:, at, :, :1] & np.uint64(1) for at in (-2, -1))
        opened = np.where(b == 1, told[:, levels + 1], told[:, levels]) ^ _pads(keys[:, -2], first, domain)
        one, other = (told[:, levels + at] ^ keys[:, at] for at in (-2, -1))
        shared = opened ^ other ^ one * c
        own, beside = [opened, opened ^ one], [shared ^ one * c, shared ^ one * (np.uint64(1) - c)]
        whole = [
            np.where(b == 1, x, y)
            for x, y in [*zip(beside, own, strict=True), *zip(own, beside, strict=True)]
        ]
        fixes = np.stack(whole, axis=1) ^ sums[:, 0, 0] ^ sums[:, 1, 0]
        on_path = np.uint64(2) * (np.uint64(1) - b) + (np.uint64(1) - c)
        ways = np.arange(LEAF_WAYS, dtype=np.uint64)[:, None]
        fixes[..., 0] = fixes[..., 0] & ~np.uint64(1) | (on_path[:, None, :, 0] == ways)
        upper = targets >= np.uint64(nodes // 2)
        in_half = np.stack([~upper, upper], axis=1)[:, :, None, :, None]
        return fixes, sums[:, :, 1] ^ fixes[:, None] * in_half

    def hash_blocks(
        self, x: Array, offsets: Sequence[tuple[int, int]], first: int, domain: int, words: int
    ) -> Array:
        self._check_hash(x, offsets, first, domain, words)
        number = np.uint64(first) + np.arange(len(x), dtype=np.uint64)
        keys = [x ^ np.array(offset, np.uint64) for offset in offsets]
        nonces = range(domain, domain + -(-words // HASH_WORDS))
        hashes = [np.concatenate([_under_keys(key, number, n) for n in nonces], axis=1) for key in keys]
        return np.ascontiguousarray(np.stack(hashes)[..., :words])

    def hash_planes(
        self, x: Array, offsets: Sequence[tuple[int, int]], first: int, domain: int, bits: int
    ) -> Array:
        words = self.hash_blocks(x, offsets, first, domain, 1)
        return np.stack([self.to_planes(word, bits) for word in words])

    def plane_triples(self, sent: Array, choices: Array, chosen: Array) -> tuple[Array, Array]:
        self._check_triples(sent, choices, chosen)
        a = sent[0] ^ sent[1]
        return a, a & choices ^ sent[0] ^ chosen


def _children(nodes: Array, first_tree: int, half: bool, targets: Array | None = None) -> Array:
    """The next level of [G, Q, T, 2]: child c of node q becomes node c Q + q, zero for those of the targets."""
    stream = _expanded(nodes, first_tree)
    first, second = stream[..., :2], stream[..., 2:4]
    if half:
        second = nodes ^ first
    children = np.concatenate([first, second], axis=1)
    return children if targets is None else children * np.tile(_known(nodes.shape[1], targets), (1, 2, 1, 1))


def _child_sums(nodes: Array) -> Array:
    """XOR of all first and of all second children of [G, 2 Q, T, 2]: [G, 2, T, 2]."""
    slabs, count, trees, _ = nodes.shape
    return np.bitwise_xor.reduce(nodes.reshape(slabs, 2, count // 2, trees, 2), axis=2)


def _add(nodes: Array, fixes: Array, targets: Array) -> None:
    """Changes nodes [G, Q, T, 2]: adds fixes [G, T, 2] to node targets[g, j]."""
    nodes ^= fixes[:, None] * _hit(nodes.shape[1], targets)


def _hit(count: int, targets: Array) -> Array:
    """1 at node targets[g, j], else 0: [G, Q, T, 1]."""
    return (np.arange(count, dtype=np.uint64)[:, None] == targets[:, None]).astype(np.uint64)[..., None]


def _known(count: int, targets: Array) -> Array:
    """0 at node targets[g, j], else 1: [G, Q, T, 1]."""
    return np.uint64(1) - _hit(count, targets)


def _expanded(nodes: Array, first_tree: int) -> Array:
    """The keystream of each of the nodes [G, Q, T, 2]: eight words."""
    slabs, count, trees, _ = nodes.shape
    tree = np.uint64(first_tree) + np.arange(slabs * trees, dtype=np.uint64).reshape(slabs, 1, trees)
    position = tree << np.uint64(16) | np.arange(count, dtype=np.uint64)[:, None]
    return _under_keys(nodes.reshape(-1, 2), position.reshape(-1), count).reshape(slabs, count, trees, 8)


def _pads(blocks: Array, first: int, domain: int) -> Array:
    """The first block of the hash of each of [G, T, 2]."""
    number = np.uint64(first) + np.arange(blocks.size // 2, dtype=np.uint64)
    return _under_keys(blocks.reshape(-1, 2), number, domain)[:, :2].reshape(blocks.shape)


def _under_keys(keys: Array, counter: Array, nonce: int) -> Array:
    """One block of ChaCha for each 128-bit key and counter, as words [n, 8]."""
    state = np.empty((16, len(keys)), np.uint32)
    state[:4] = _SHORT_KEY[:, None]
    state[4:8] = state[8:12] = keys.view(np.uint32).reshape(-1, 4).T
    state[12:14] = counter & np.uint64(0xFFFFFFFF), counter >> np.uint64(32)
    state[14:] = [[nonce & 0xFFFFFFFF], [nonce >> 32]]
    return np.ascontiguousarray(output_words(state, BLOCK_ROUNDS).T)


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
