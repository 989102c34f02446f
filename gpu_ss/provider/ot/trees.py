"""Punctured trees: the sender knows every leaf of its pseudorandom trees, the receiver all but one of each.

Binary trees, many at once. On every level the sender adds up (XOR) all first children and all second children; the
receiver learns the sum of the children off its path, by OT with its choice bit b, and completes one more node: on
each level its path takes child 1 - b. Three kinds of levels:

* Goldreich, Goldwasser, Micali: both children are hashes of their parent. The sender sends both sums, each under a
  key that only its OT opens: two blocks for a level.
* Half-tree (Guo, Yang, Wang, Zhang, Xie, Liu, Zhao, EUROCRYPT 2023): the second child is the parent XOR the first,
  and the first level is (r, r XOR delta). So the nodes of a level add up to delta, and the second sum is the
  first XOR delta: one block for a level, K XOR q under the correlated OT (q; b, t = q XOR b delta), gives the
  receiver K XOR b delta, the sum of child b.
* Leaves, two levels of a half-tree in one, for half the work: of the four children 2 c + c' three are hashes, from
  one call, and the last is the parent XOR these. The leaves' sums S add up to delta too. As on two levels of a
  half-tree the receiver gets S_(2b) XOR S_(2b + 1) and S_b' XOR S_(2 + b'); of S_0 and S_2, each under a hash of
  the first OT's blocks, it opens S_(2b). That makes three of the four, and the missing one XOR delta: four blocks.

Why they leak nothing. The first: each sum is masked with a key that only its OT opens, and the missing leaf stays
pseudorandom because the seeds beside the path are independent of it. The others: a block sent is t XOR the sum
that the receiver is to learn, and tells no more, or is masked by H(q XOR (1 - b) delta), which the receiver lacks.
The missing nodes stay pseudorandom if the hash, ChaCha8 with the node as key and the node's place as block, is
circular correlation robust, see `cot`: of an unknown node v XOR delta, v known, at most one of the hashes is seen
XOR delta, the others as they are (if a hash is the missing leaf, the last child shows it XOR delta; if the last
child is missing, it is XOR delta what v and all three add up to). (That delta has a lowest bit of 1, and that b
is the lowest bit of t, is known.) The path is the complement of OT choice bits that only the receiver knows, so it
need not be sent: one message from the sender, nothing from the receiver.

What the receiver lacks it holds as zeros, and where these are is decided by masks in the kernels: no branch and no
address depends on a path. The levels are grown by `Backend.grow_trees` and `regrow_trees`; leaves are made by
`lpn_encode`; `tree_offers` makes what the sender says, `leaf_fixes` what the receiver takes from it of leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.ring import Array

ALL = 0xFFFFFFFFFFFFFFFF
NOT_LOWEST = ALL - 1
ZERO = np.uint64(0)


@dataclass(frozen=True, slots=True, repr=False)
class Punctured:
    """A level of the receiver's trees: nodes [slabs, count, trees, 2], `targets` [slabs, trees] of them zero."""

    nodes: Array
    targets: Array


def grow(backend: Backend, roots: Array, depth: int, first_tree: int) -> tuple[Array, Array]:
    """Leaves [2^depth, trees, 2] from roots [trees, 2], and the sums [depth, 2, trees, 2] of every level.

    Trees are numbered; no two under one roof alike.
    """
    leaves, sums = backend.grow_trees(roots[None], None, depth, first_tree)
    return leaves[0], sums[0]


def regrow(backend: Backend, choices: Array, sums: Array, first_tree: int) -> Array:
    """The receiver's leaves [2^depth, trees, 2], from its choice bits [depth, trees] and sums [depth, trees, 2]."""
    leaves, _ = backend.regrow_trees(choices[None], sums[None], len(choices), first_tree, False)
    return leaves[0]


def seal(backend: Backend, sums: Array, masks: tuple[Array, Array]) -> Array:
    """The sums [depth, 2, trees, 2] under the keys [depth, trees, 2] of both choices: [2 depth, trees, 2]."""
    return (sums ^ backend.xp.stack(masks, axis=1)).reshape(-1, *sums.shape[2:])


def unseal(choices: Array, masks: Array, sealed: Array) -> Array:
    """The sums that choice bits [depth, trees] (words 0 or 1) open with their keys: [depth, trees, 2]."""
    zero, one = sealed[0::2], sealed[1::2]
    return zero ^ (zero ^ one) & (ZERO - choices)[..., None] ^ masks


def grow_half(
    backend: Backend, delta: tuple[int, int], roots: Array, depth: int, first_tree: int
) -> tuple[Punctured, Array]:
    """Nodes [slabs, 2^depth, trees, 2] that add up to delta, none missing, and sums [slabs, depth, 2, trees, 2].

    roots [slabs, trees, 2] are random.
    """
    nodes, sums = backend.grow_trees(roots, delta, depth, first_tree)
    slabs, trees, _ = roots.shape
    return Punctured(nodes, backend.table((ALL,) * (slabs * trees)).reshape(slabs, trees)), sums


def regrow_half(backend: Backend, choices: Array, sums: Array, depth: int, first_tree: int) -> Punctured:
    """The receiver's, from its choice bits [slabs, levels, trees] and sums [slabs, levels, trees, 2]."""
    return Punctured(*backend.regrow_trees(choices, sums, depth, first_tree, True))
