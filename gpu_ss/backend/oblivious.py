"""What oblivious transfer asks of the machine: trees of blocks, a sparse code over them, and a hash.

A part of `Backend`, split off because nothing in share arithmetic uses it. Same rules: exact, the same words
on every backend, arguments unchanged, C-contiguous. A block is 128 bits: two words, the low one first; n blocks
are an array [n, 2]. Nothing here branches or addresses memory by the value of a block or a target.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from gpu_ss.ring import WORD, Array

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
HASH_WORDS = 8  # of a block
MOST_OFFSETS = 2
MOST_NODES = 1 << 16
LEAST_WORDS = 1 << 24
MOST_DEPTH = 10  # of trees: their nodes fit the memory that threads of a GPU share


class Oblivious(ABC):
    """Operations on blocks; defined by `reference_oblivious`."""

    xp: Any
    #: How many slabs of trees silent OT makes in one go here: few fill a cache, many fill a GPU.
    slabs_at_once: ClassVar[int] = 1
    #: How many blocks are waited for, while more are due, before they are hashed: a few are in the cache.
    hashed_at_once: ClassVar[int] = WORD

    @property
    def words_at_once(self) -> int:
        """Words of correlations that parties should make side by side here, at least LEAST_WORDS.

        More need fewer messages and larger operations, and more memory.
        """
        return LEAST_WORDS

    @abstractmethod
    def grow_trees(
        self, roots: Array, delta: tuple[int, int] | None, depth: int, first_tree: int
    ) -> tuple[Array, Array]:
        """`depth` levels of binary trees, of G times T from `roots` [G, T, 2].

        The children of node q of Q of tree j of slab g are the first blocks of ChaCha8 under the node (as 128-bit
        key), at block (first_tree + g T + j) 2^16 + q with nonce Q; child c becomes node c Q + q of 2 Q. In
        half-trees, those with a delta, the second child is the node XOR the first instead, and a root r has the
        children r and r XOR delta. Results: the nodes [G, 2^depth, T, 2] of the last level, and of every level the
        XOR of all first and of all second children, [G, depth, 2, T, 2]. T is a power of two from 16 on, depth 1
        to 10.
        """

    @abstractmethod
    def regrow_trees(
        self, choices: Array, sums: Array, depth: int, first_tree: int, half: bool
    ) -> tuple[Array, Array]:
        """The same trees for whom one path of each is unknown: nodes [G, 2^depth, T, 2] and `targets` [G, T].

        `choices` [G, L, T] are words 0 or 1, L >= depth; the path starts at the root, and on each level takes
        child 1 - choice. `sums` [G, L, T, 2] are the XORs of all children number `choice`, from which that of the
        path's node comes. The node that remains unknown, targets[g, j], is zero.
        """

    @abstractmethod
    def xor_rows(self, x: Array) -> Array:
        """XOR over the middle dimension: [G, R, W] -> [G, W]."""

    @abstractmethod
    def lpn_encode(
        self, table: Array, nodes: Array, targets: Array, first_tree: int, key: bytes, first_row: int
    ) -> tuple[Array, Array]:
        """The leaves of G slabs of 32 trees, plus a sparse code of the table [2^s, 2], 1 <= s <= 21: (rows, sums).

        The leaves are four children of each of the `nodes` [G, Q, 32, 2], Q a power of two from 4 on: the first
        three blocks of ChaCha8 as in `grow_trees`, and the node XOR these; zero for node targets[g, j], and all
        ones as target means that all are known. Their lowest bits are cleared. Row 128 (g Q + q) + 32 c + j of the
        result [128 G Q, 2] is child c of node q of tree j of slab g, XOR ten blocks of the table that `key`, which
        is public, chooses. Row first_row + 256 i + 16 k + l takes number e < 7 of them by the upper s bits of
        32-bit word k of ChaCha8 under `key`, nonce 0, at block 112 (first_row / 256 + i) + 16 e + l, and number
        7 + e / 2 of row 16 (8 (e mod 2) + m) + l is the lower s bits of
        2^11 (word 2 m mod 2^11) + (word 2 m + 1 mod 2^11) of that block, for e < 6.

        sums [G, 2, 2, 4, 32, 2]: of each half of the nodes the XOR of the leaves, then of the rows, by child and
        tree.
        """

    @abstractmethod
    def lpn_complete(self, rows: Array, fixes: Array, targets: Array) -> None:
        """Changes `rows` of lpn_encode: adds fixes[g, c, j], [G, 4, 32, 2], to child c of node targets[g, j]."""

    @abstractmethod
    def tree_offers(
        self, firsts: Array, sums: Array, keys: Array, delta: tuple[int, int], first: int, domain: int
    ) -> Array:
        """What the sender of half-trees tells of them: [G, L + 2, 32, 2].

        `firsts` [G, L - 2, 2, 32, 2] are the sums of `grow_trees`, `sums` those of `lpn_encode`; `keys`
        [G, L, 32, 2] are blocks of one OT for each level, K and K' the last two. With S_c = sums[g, 0, 0, c] XOR
        sums[g, 1, 0, c] it is firsts[g, k, 0] XOR keys[g, k] for each k, S_0 XOR S_1 XOR K, S_0 XOR S_2 XOR K',
        S_0 XOR H(K) and S_2 XOR H(K XOR delta), where H is the first block that `hash_blocks` gives tree 32 g + j
        as its element number.
        """

    @abstractmethod
    def leaf_fixes(
        self, sums: Array, keys: Array, told: Array, targets: Array, nodes: int, first: int, domain: int
    ) -> tuple[Array, Array]:
        """What the receiver makes of the last four: `fixes` [G, 4, 32, 2] for lpn_complete, and [G, 2, 4, 32, 2].

        `told` [G, L + 2, 32, 2] are the offers, `keys` the receiver's blocks of the same OTs, b and b' the lowest
        bits of its K and K'. O = told[L + b] XOR H(K) is the sum of all children 2 b, O XOR P of all children
        2 b + 1 with P = told[L - 2] XOR K, and with P' = told[L - 1] XOR K' that of all children 2 (1 - b) + b' is
        O XOR P' XOR (P where b' is 1), and of 2 (1 - b) + 1 - b' the same XOR P. (The last one is XOR delta what
        the sender's leaves add up to.) A fix is a sum XOR that of the known leaves, S_c of the own `sums`; its
        lowest bit is 1 for child 2 (1 - b) + 1 - b', else 0. The second result are the
        XORs of the rows, sums[g, half, 1], with the fixes added to the half that targets[g, j] of `nodes` is in.
        """

    @abstractmethod
    def hash_blocks(
        self, x: Array, offsets: Sequence[tuple[int, int]], first: int, domain: int, words: int
    ) -> Array:
        """Words of ChaCha8 under 128-bit keys: [len(offsets), n, words] from blocks [n, 2], one or two offsets.

        The key of row i is x[i] XOR the offset and its block number first + i. Word w is word w mod 8 with nonce
        domain + w / 8.
        """

    @abstractmethod
    def hash_planes(
        self, x: Array, offsets: Sequence[tuple[int, int]], first: int, domain: int, bits: int
    ) -> Array:
        """The low bits, 1 to 64, of the first word of each hash, as planes [len(offsets), bits, ceil(n / 64)]."""

    @abstractmethod
    def plane_triples(self, sent: Array, choices: Array, chosen: Array) -> tuple[Array, Array]:
        """Shares (a, c) of AND triples, planes [m, W], from random OTs in both directions.

        a = sent[0] XOR sent[1], of `sent` [2, m, W], and c = (a AND choices) XOR sent[0] XOR chosen, for `choices`
        [1, W] and `chosen` [m, W].
        """

    # Argument checks shared by the implementations

    def _check_blocks(self, **arrays: Array) -> None:
        for name, array in arrays.items():
            if not isinstance(array, self.xp.ndarray) or array.dtype.str[1:] != "u8":
                raise TypeError(f"{name} must be a uint64 array of this backend")
            if not array.flags.c_contiguous:
                raise ValueError(f"{name} must be contiguous")

    def _check_nodes(self, nodes: Array, first_tree: int) -> tuple[int, int]:
        """Slabs and nodes."""
        self._check_blocks(nodes=nodes)
        if nodes.ndim != 4 or nodes.shape[2:] != (LEAF_TREES, 2) or not nodes.size:
            raise ValueError(f"nodes {nodes.shape} must be [slabs, nodes, {LEAF_TREES}, 2]")
        slabs, count = (int(side) for side in nodes.shape[:2])
        if not _is_power(count) or not LEAST_NODES <= count <= MOST_NODES:
            raise ValueError(f"{count} nodes are not a power of two from {LEAST_NODES} to {MOST_NODES}")
        self._check_numbers_of_trees(first_tree, slabs * LEAF_TREES)
        return slabs, count

    def _check_numbers_of_trees(self, first_tree: int, count: int) -> None:
        if not 0 <= first_tree <= (1 << 48) - count:
            raise ValueError("tree numbers have 48 bits")

    def _check_growth(self, roots: Array, depth: int, first_tree: int) -> tuple[int, int]:
        """Slabs and trees."""
        self._check_blocks(roots=roots)
        if roots.ndim != 3 or roots.shape[2] != 2 or not roots.size:
            raise ValueError(f"roots {roots.shape} must be [slabs, trees, 2]")
        return self._check_depth(int(roots.shape[0]), int(roots.shape[1]), depth, first_tree)

    def _check_depth(self, slabs: int, trees: int, depth: int, first_tree: int) -> tuple[int, int]:
        if not 1 <= depth <= MOST_DEPTH:
            raise ValueError(f"trees have 1 to {MOST_DEPTH} levels, not {depth}")
        if not _is_power(trees) or trees < LEAST_TREES:
            raise ValueError(f"{trees} trees are not a power of two from {LEAST_TREES} on")
        self._check_numbers_of_trees(first_tree, slabs * trees)
        return slabs, trees

    def _check_regrowth(
        self, choices: Array, sums: Array, depth: int, first_tree: int
    ) -> tuple[int, int, int]:
        """Slabs, levels and trees."""
        self._check_blocks(choices=choices, sums=sums)
        if choices.ndim != 3 or sums.shape != (*choices.shape, 2) or not choices.size:
            raise ValueError(
                f"choices {choices.shape} and sums {sums.shape} must be [slabs, levels, trees(, 2)]"
            )
        slabs, levels, trees = (int(side) for side in choices.shape)
        if depth > levels:
            raise ValueError(f"{depth} levels cannot be made of the sums of {levels}")
        self._check_depth(slabs, trees, depth, first_tree)
        return slabs, levels, trees

    def _check_code(
        self, table: Array, nodes: Array, targets: Array, first_tree: int, key: bytes, first_row: int
    ) -> tuple[int, int]:
        """Slabs and nodes."""
        slabs, count = self._check_nodes(nodes, first_tree)
        self._check_blocks(table=table, targets=targets)
        if table.ndim != 2 or table.shape[1] != 2 or not _is_power(len(table)) or len(table) > 1 << MOST_SIZE:
            raise ValueError(f"table must be [2^s, 2], s up to {MOST_SIZE}, not {table.shape}")
        if len(table) < 2 or first_row % GROUP_ROWS or len(key) != 32:
            raise ValueError(
                f"there are tables from 2 on, rows in groups of {GROUP_ROWS}, and 32 bytes of key"
            )
        if targets.shape != (slabs, LEAF_TREES):
            raise ValueError(f"targets {targets.shape} do not fit nodes {nodes.shape}")
        if not 0 <= first_row <= 1 << 56:
            raise ValueError("row numbers have 56 bits")
        return slabs, count

    def _check_rows_of_leaves(self, rows: Array, fixes: Array, targets: Array) -> int:
        """Nodes of a slab."""
        self._check_blocks(rows=rows, fixes=fixes, targets=targets)
        slabs = len(targets)
        if targets.shape != (slabs, LEAF_TREES) or fixes.shape != (slabs, LEAF_WAYS, LEAF_TREES, 2):
            raise ValueError(f"fixes {fixes.shape} and targets {targets.shape} are not of whole slabs")
        if rows.ndim != 2 or rows.shape[1] != 2 or not slabs or len(rows) % (slabs * LEAF_WAYS * LEAF_TREES):
            raise ValueError(f"{rows.shape} are not the rows of whole nodes")
        nodes = len(rows) // (slabs * LEAF_WAYS * LEAF_TREES)
        if not _is_power(nodes):
            raise ValueError(f"{nodes} nodes are not a power of two")
        return nodes

    def _check_leaves(self, sums: Array, keys: Array, first: int, domain: int) -> tuple[int, int]:
        """Slabs and levels."""
        self._check_blocks(sums=sums, keys=keys)
        slabs = len(sums)
        if sums.shape != (slabs, 2, 2, LEAF_WAYS, LEAF_TREES, 2) or not slabs:
            raise ValueError(f"sums {sums.shape} are not those of leaves")
        if keys.ndim != 4 or keys.shape != (slabs, keys.shape[1], LEAF_TREES, 2) or keys.shape[1] < 2:
            raise ValueError(f"keys {keys.shape} are not blocks of two or more levels of {slabs} slabs")
        self._check_numbers(first, slabs * LEAF_TREES, domain)
        return slabs, int(keys.shape[1])

    def _check_firsts(
        self, firsts: Array, sums: Array, keys: Array, first: int, domain: int
    ) -> tuple[int, int]:
        """Slabs and levels."""
        slabs, levels = self._check_leaves(sums, keys, first, domain)
        self._check_blocks(firsts=firsts)
        if firsts.shape != (slabs, levels - 2, 2, LEAF_TREES, 2):
            raise ValueError(f"firsts {firsts.shape} do not fit keys {keys.shape}")
        return slabs, levels

    def _check_told(
        self, sums: Array, keys: Array, told: Array, targets: Array, nodes: int, first: int, domain: int
    ) -> tuple[int, int]:
        """Slabs and levels."""
        slabs, levels = self._check_leaves(sums, keys, first, domain)
        self._check_blocks(told=told, targets=targets)
        if told.shape != (slabs, levels + 2, LEAF_TREES, 2) or targets.shape != (slabs, LEAF_TREES):
            raise ValueError(f"told {told.shape} and targets {targets.shape} do not fit keys {keys.shape}")
        if not _is_power(nodes) or nodes < 2:
            raise ValueError(f"{nodes} nodes have no halves")
        return slabs, levels

    def _check_hash(
        self, x: Array, offsets: Sequence[tuple[int, int]], first: int, domain: int, words: int
    ) -> None:
        self._check_choices(x)
        if words < 1 or not 1 <= len(offsets) <= MOST_OFFSETS:
            raise ValueError(f"{words} words under {len(offsets)} offsets cannot be hashed")
        self._check_numbers(first, len(x), domain + (words - 1) // HASH_WORDS)

    def _check_numbers(self, first: int, n: int, domain: int) -> None:
        if not 0 <= first <= (1 << 64) - n or not 0 <= domain < 1 << 64:
            raise ValueError("block numbers and domains have 64 bits")

    def _check_choices(self, x: Array) -> None:
        self._check_blocks(x=x)
        if x.ndim != 2 or x.shape[1] != 2:
            raise ValueError(f"{x.shape} is not [n, 2]")

    def _check_triples(self, sent: Array, choices: Array, chosen: Array) -> tuple[int, int]:
        """Planes of a, and their words."""
        self._check_blocks(sent=sent, choices=choices, chosen=chosen)
        if sent.shape != (2, *chosen.shape) or choices.shape != (1, chosen.shape[-1]):
            raise ValueError(f"sent {sent.shape}, choices {choices.shape}, chosen {chosen.shape} do not fit")
        return int(chosen.shape[0]), int(chosen.shape[1])

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

    grow_trees = regrow_trees = xor_rows = lpn_encode = lpn_complete = _refuse
    tree_offers = leaf_fixes = hash_blocks = hash_planes = plane_triples = _refuse
