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
address depends on a path.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.ring import Array

ALL = 0xFFFFFFFFFFFFFFFF
NOT_LOWEST = ALL - 1
ZERO, ONE = np.uint64(0), np.uint64(1)


@dataclass(frozen=True, slots=True, repr=False)
class Punctured:
    """A level of the receiver's trees: nodes [count, trees, 2], those missing zero; `targets` [trees] says which.

    `fixes` [2, trees, 2] are yet to be added to the children of the path's node before, see `Backend.tree_level`.
    """

    nodes: Array
    fixes: Array
    targets: Array


def grow(backend: Backend, roots: Array, depth: int, first_tree: int) -> tuple[Array, list[Array]]:
    """Leaves [2^depth, trees, 2] from roots [trees, 2], and the sums [2, trees, 2] of every level.

    Trees are numbered; no two under one roof alike.
    """
    nodes, sums = roots.reshape(1, -1, 2), []
    for _ in range(depth):
        nodes = _level(backend, nodes, first_tree, half=False)
        sums.append(_child_sums(backend, nodes))
    return nodes, sums


def grow_half(
    backend: Backend, delta: Array, roots: Array, depth: int, first_tree: int
) -> tuple[Array, Array]:
    """Nodes [2^depth, trees, 2] that add up to delta [2], and the first sums [depth, trees, 2].

    roots [trees, 2] are random.
    """
    nodes = backend.xp.stack([roots, roots ^ delta])
    sums = [roots]
    for _ in range(1, depth):
        nodes = _level(backend, nodes, first_tree, half=True)
        first = nodes[: len(nodes) // 2].reshape(1, len(nodes) // 2, -1)
        sums.append(backend.xor_rows(first).reshape(-1, 2))
    return nodes, backend.xp.stack(sums)


def seal(sums: Sequence[Array], masks: tuple[Array, Array]) -> list[Array]:
    """The sums under the keys of both choices, as rows [trees, 2]. `masks` [depth, trees, 2]."""
    return [
        children[c] ^ masks[c][level] for level, children in enumerate(sums) for c in range(len(children))
    ]


def unseal(choices: Array, masks: Array, sealed: Array) -> Array:
    """The sums that choice bits [depth, trees] (words 0 or 1) open with their keys: [depth, trees, 2]."""
    zero, one = sealed[0::2], sealed[1::2]
    return zero ^ (zero ^ one) & (ZERO - choices)[..., None] ^ masks


def regrow(
    backend: Backend, choices: Array, sums: Array, first_tree: int, *, half: bool = False
) -> Punctured:
    """The receiver's trees from its choice bits [depth, trees] (words 0 or 1) and its sums [depth, trees, 2]."""
    depth, trees = choices.shape
    off_path = backend.xp.stack([choices ^ ONE, choices], axis=1)  # [depth, child, trees]
    masks = (ZERO - off_path)[..., None]
    nodes, fixes = backend.zeros((1, trees, 2)), backend.zeros((1, trees, 2))
    path = backend.zeros(trees)
    for level in range(depth):
        count = len(nodes)
        nodes = backend.tree_level(nodes, fixes, path, first_tree, half)
        fixes = (_child_sums(backend, nodes) ^ sums[level]) & masks[level]
        path = path + off_path[level, 0] * np.uint64(count)
    return Punctured(nodes, fixes, path)


def complete(backend: Backend, punctured: Punctured) -> Array:
    """The nodes with their last fixes, as leaves."""
    fixes = backend.to_host(punctured.fixes)
    leaves = backend.to_host(punctured.nodes).reshape(len(fixes), -1, *fixes.shape[1:])
    places = np.arange(leaves.shape[1], dtype=np.uint64)[:, None]
    hit = (places == backend.to_host(punctured.targets) % np.uint64(leaves.shape[1])).astype(np.uint64)
    done = leaves ^ fixes[:, None] * hit[:, :, None]
    return backend.asarray(done.reshape(punctured.nodes.shape))


def leaf_messages(backend: Backend, sums: Array, keys: tuple[Array, Array]) -> tuple[Array, Array]:
    """What the sender sends of its leaves' sums [4, trees, 2]: what goes under two levels' OTs, and what is sealed.

    The keys [trees, 2] are hashes of the first of these OTs for choices 0 and 1. Both results are [2, trees, 2].
    """
    pairs = backend.xp.stack([sums[0] ^ sums[1], sums[0] ^ sums[2]])
    return pairs, backend.xp.stack([sums[0] ^ keys[0], sums[2] ^ keys[1]])


def leaf_sums(backend: Backend, choices: Array, pairs: Array, sealed: Array, key: Array) -> Array:
    """The receiver's sums [4, trees, 2], that of the missing leaves XOR delta, from its choice bits [2, trees].

    `pairs` [2, trees, 2] is what the OTs opened; `key` [trees, 2] opens one block of those sealed.
    """
    first, second = (ZERO - choices)[..., None]
    opened = sealed[0] ^ (sealed[0] ^ sealed[1]) & first ^ key
    own = [opened, opened ^ pairs[0]]  # children 2 b and 2 b + 1
    shared = opened ^ pairs[0] & second ^ pairs[1]  # child 2 (1 - b) + b'
    other = [shared ^ pairs[0] & second, shared ^ pairs[0] & ~second]
    exchanged = [(x ^ y) & first for x, y in zip(own, other, strict=True)]
    lower, upper = ([x ^ change for x, change in zip(row, exchanged, strict=True)] for row in (own, other))
    return backend.xp.stack([*lower, *upper])


def leaf_fixes(choices: Array, known: Array, sums: Array) -> Array:
    """What completes the leaves [4, trees, 2] beside and on the path, from the sums of those known and of all.

    The leaf on the path becomes the missing one XOR delta, and the only one with a lowest bit of 1.
    """
    fixes = known ^ sums
    for child in range(len(fixes)):
        on_path = (choices[0] ^ np.uint64(child >> 1)) & (choices[1] ^ np.uint64(child & 1))
        fixes[child, :, 0] = fixes[child, :, 0] & np.uint64(NOT_LOWEST) | on_path
    return fixes


def whole(backend: Backend, nodes: Array) -> Punctured:
    """A level without gaps."""
    trees = nodes.shape[1]
    return Punctured(nodes, backend.zeros((1, trees, 2)), backend.asarray(np.full(trees, ALL, np.uint64)))


def _level(backend: Backend, nodes: Array, first_tree: int, half: bool) -> Array:
    level = whole(backend, nodes)
    return backend.tree_level(level.nodes, level.fixes, level.targets, first_tree, half)


def _child_sums(backend: Backend, nodes: Array) -> Array:
    """XOR of all first and of all second children: [2, trees, 2]."""
    count, trees, _ = nodes.shape
    return backend.xor_rows(nodes.reshape(2, count // 2, 2 * trees)).reshape(2, trees, 2)
