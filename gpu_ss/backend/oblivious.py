"""What oblivious transfer asks of the machine: trees of blocks, a sparse code over them, and a hash.

A part of `Backend`, split off because nothing in share arithmetic uses it. Same rules: exact, the same words
on every backend, arguments unchanged, C-contiguous. A block is 128 bits: two words, the low one first; n blocks
are an array [n, 2]. Nothing here branches or addresses memory by the value of a block or a target.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from gpu_ss.ring import Array

BLOCK_ROUNDS = 8  # of ChaCha under blocks as keys, see `provider.ot.cot`
CHOICE_ROUNDS = 8  # of ChaCha, for the choices: the code is public and only has to look random
CHOICES = 10  # blocks of the table that a row of the code adds
GROUP_ROWS = 256  # rows whose choices are drawn together
GROUP_BLOCKS = 7 * 16  # keystream blocks of such a group
MOST_SIZE = 21  # log2 of the table's blocks: three choices must fit 64 bits
LEAF_TREES = 32  # trees whose leaves are encoded together
LEAF_WAYS = 4  # leaves of a node
LEAST_TREES = 16
LEAST_NODES = 4  # for leaves: two groups, one of each half
MOST_HASH_WORDS = 8
MOST_NODES = 1 << 16


class Oblivious(ABC):
    """Operations on blocks; defined by `reference_oblivious`."""

    xp: Any

    @abstractmethod
    def tree_level(self, nodes: Array, fixes: Array, targets: Array, first_tree: int, half: bool) -> Array:
        """One more level of as many binary trees as `nodes` [Q, trees, 2] has.

        Node q of tree j is first completed: `fixes` [C, trees, 2] belong to the C = 1 or 2 children of one node of
        the level before, so C P = Q, and node q = c P + p takes fixes[c, j] where p = targets[j] mod P. Its
        children are the first blocks of ChaCha8 under the node (as 128-bit key), at block (first_tree + j) 2^16 + q
        with nonce Q, or, with `half`, the first of them and the node XOR that; child c becomes node c Q + q.
        Children of node targets[j] are zero instead: the node is unknown to who computes, and all ones as target
        means that all is known. Result [2 Q, trees, 2]. Q is a power of two and `trees` one from 16 on.
        """

    @abstractmethod
    def xor_rows(self, x: Array) -> Array:
        """XOR over the middle dimension: [G, R, W] -> [G, W]."""

    @abstractmethod
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
        """The leaves of 32 trees, plus a sparse code of the table [2^s, 2], 1 <= s <= 21: (rows, sums).

        The leaves are four children of each of the `nodes` [Q, 32, 2], Q >= 4, which are first completed as in
        `tree_level`: the first three blocks of ChaCha8 there, and the node XOR these; zero for node targets[j].
        Their lowest bits are cleared. Row 128 q + 32 c + j of the result [128 Q, 2] is child c of node q of tree j,
        XOR ten blocks of the table that `key`, which is public, chooses. Row first_row + 256 g + 16 k + l takes
        number e < 7 of them by the upper s bits of 32-bit word k of ChaCha8 under `key`, nonce 0, at block
        112 (first_row / 256 + g) + 16 e + l, and number 7 + e / 2 of row 16 (8 (e mod 2) + m) + l is the lower
        s bits of 2^11 (word 2 m mod 2^11) + (word 2 m + 1 mod 2^11) of that block, for e < 6.

        sums [2, 2, 4, 32, 2]: of each half of the nodes the XOR of the leaves, then of the rows, by child and tree.
        """

    @abstractmethod
    def lpn_complete(self, rows: Array, fixes: Array, targets: Array) -> None:
        """Changes `rows` of lpn_encode: adds fixes[c, j], [4, 32, 2], to child c of node targets[j] of tree j."""

    @abstractmethod
    def hash_blocks(self, x: Array, offset: tuple[int, int], first: int, domain: int, words: int) -> Array:
        """Words 0 up to `words` (1 to 8) of ChaCha8 under 128-bit keys: [n, words] from blocks [n, 2].

        The key of row i is x[i] XOR offset, its block number first + i, and the nonce `domain`.
        """

    @abstractmethod
    def hash_planes(self, x: Array, offset: tuple[int, int], first: int, domain: int, bits: int) -> Array:
        """The low bits, 1 to 64, of the first word of each hash, as bit planes: [bits, ceil(n / 64)]."""

    # Argument checks shared by the implementations

    def _check_blocks(self, **arrays: Array) -> None:
        for name, array in arrays.items():
            if not isinstance(array, self.xp.ndarray) or array.dtype.str[1:] != "u8":
                raise TypeError(f"{name} must be a uint64 array of this backend")
            if not array.flags.c_contiguous:
                raise ValueError(f"{name} must be contiguous")

    def _check_trees(self, nodes: Array, fixes: Array, targets: Array) -> tuple[int, int, int]:
        """Nodes, parents and trees of a level."""
        self._check_blocks(nodes=nodes, fixes=fixes, targets=targets)
        if nodes.ndim != 3 or fixes.ndim != 3 or nodes.shape[1:] != fixes.shape[1:] or nodes.shape[2] != 2:
            raise ValueError(f"nodes {nodes.shape} and fixes {fixes.shape} must be [_, trees, 2]")
        count, trees = int(nodes.shape[0]), int(nodes.shape[1])
        if not _is_power(count) or count > MOST_NODES or not _is_power(trees) or trees < LEAST_TREES:
            raise ValueError(
                f"{count} nodes of {trees} trees: both must be powers of two, trees {LEAST_TREES} or more"
            )
        if len(fixes) not in (1, 2) or count % len(fixes) or targets.shape != (trees,):
            raise ValueError(
                f"fixes {fixes.shape} and targets {targets.shape} do not fit nodes {nodes.shape}"
            )
        return count, count // len(fixes), trees

    def _check_level(
        self, nodes: Array, fixes: Array, targets: Array, first_tree: int
    ) -> tuple[int, int, int]:
        sizes = self._check_trees(nodes, fixes, targets)
        if not 0 <= first_tree <= (1 << 48) - sizes[2]:
            raise ValueError("tree numbers have 48 bits")
        return sizes

    def _check_code(
        self,
        table: Array,
        nodes: Array,
        fixes: Array,
        targets: Array,
        first_tree: int,
        key: bytes,
        first_row: int,
    ) -> tuple[int, int]:
        """Nodes and parents."""
        count, parents, trees = self._check_level(nodes, fixes, targets, first_tree)
        self._check_blocks(table=table)
        if table.ndim != 2 or table.shape[1] != 2 or not _is_power(len(table)) or len(table) > 1 << MOST_SIZE:
            raise ValueError(f"table must be [2^s, 2], s up to {MOST_SIZE}, not {table.shape}")
        if (
            trees != LEAF_TREES
            or count < LEAST_NODES
            or len(table) < 2
            or first_row % GROUP_ROWS
            or len(key) != 32
        ):
            raise ValueError(
                f"there are leaves of {LEAF_TREES} trees, rows in groups of {GROUP_ROWS}, and 32 bytes of key"
            )
        if not 0 <= first_row <= 1 << 56:
            raise ValueError("row numbers have 56 bits")
        return count, parents

    def _check_rows_of_leaves(self, rows: Array, fixes: Array, targets: Array) -> None:
        self._check_blocks(rows=rows, fixes=fixes, targets=targets)
        shape = (LEAF_WAYS, LEAF_TREES, 2)
        if rows.ndim != 2 or rows.shape[1] != 2 or len(rows) % (LEAF_WAYS * LEAF_TREES):
            raise ValueError(f"{rows.shape} are not the rows of whole nodes")
        if fixes.shape != shape or targets.shape != (LEAF_TREES,):
            raise ValueError(
                f"fixes {fixes.shape} must be {shape}, and targets {targets.shape} as many as trees"
            )

    def _check_hash(self, x: Array, offset: tuple[int, int], first: int, domain: int, words: int) -> None:
        self._check_blocks(x=x)
        if x.ndim != 2 or x.shape[1] != 2 or not 1 <= words <= MOST_HASH_WORDS:
            raise ValueError(f"{x.shape} is not [n, 2], or {words} is not 1 to {MOST_HASH_WORDS} words")
        if not 0 <= first <= (1 << 64) - len(x) or not 0 <= domain < 1 << 64:
            raise ValueError("block numbers and domains have 64 bits")

    def _check_rows(self, x: Array) -> None:
        self._check_blocks(x=x)
        if x.ndim != 3:
            raise ValueError(f"{x.shape} is not [groups, rows, width]")


def _is_power(x: int) -> bool:
    return x > 0 and not x & (x - 1)


class NoOblivious(Oblivious):
    """For backends that compute nothing: correlations are not made in a plan."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError("this backend has no blocks")

    tree_level = xor_rows = lpn_encode = lpn_complete = hash_blocks = hash_planes = _refuse
