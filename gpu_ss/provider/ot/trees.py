"""Punctured trees: the sender knows every leaf of its pseudorandom trees, the receiver all but one of each.

Binary trees, many at once. On every level the sender adds up (XOR) all first children and all second children; the
receiver learns the sum of the children off its path, by OT with its choice bit b, and completes one more node: on
each level its path takes child 1 - b. Two kinds:

* Goldreich, Goldwasser, Micali: both children are hashes of their parent. The sender sends both sums, each under a
  key that only its OT opens: two blocks for a level.
* Half-tree (Guo, Yang, Wang, Zhang, Xie, Liu, Zhao, EUROCRYPT 2023): the second child is the parent XOR the first,
  and the first level is (r, r XOR delta). So the nodes of a level add up to delta, and the second sum is the
  first XOR delta: one block for a level, K XOR q under the correlated OT (q; b, t = q XOR b delta), gives the
  receiver K XOR b delta, the sum of child b. The leaves add up to delta too.

Why they leak nothing. The first: each sum is masked with a key that only its OT opens, and the missing leaf stays
pseudorandom because the seeds beside the path are independent of it. The second: the block sent is t XOR the sum
that the receiver is to learn, and tells no more; the missing leaves stay pseudorandom if the hash, ChaCha8 with
the node as key and the node's place as block, is circular correlation robust, see `cot`. (That delta and every t
have a lowest bit of 1 and b is known.) The path is the complement of OT choice bits that only the receiver knows,
so it need not be sent: one message from the sender, nothing from the receiver.

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
    """The receiver's leaves [count, trees, 2], to be completed with what `Backend.lpn_encode` takes too."""

    leaves: Array
    fixes: Array
    targets: Array


def grow(backend: Backend, roots: Array, depth: int, first_tree: int) -> tuple[Array, list[Array]]:
    """Leaves [2^depth, trees, 2] from roots [trees, 2], and the sums [2, trees, 2] of every level.

    Trees are numbered; no two under one roof alike.
    """
    nodes, sums = roots.reshape(1, -1, 2), []
    for _ in range(depth):
        nodes = _level(backend, nodes, first_tree, half=False, keep=ALL)
        sums.append(_child_sums(backend, nodes))
    return nodes, sums


def grow_half(
    backend: Backend, delta: Array, roots: Array, depth: int, first_tree: int
) -> tuple[Array, Array]:
    """Leaves [2^depth, trees, 2] that add up to delta [2], and the first sums [depth, trees, 2].

    depth >= 2; roots [trees, 2] are random. Lowest bits of leaves are cleared.
    """
    nodes = backend.xp.stack([roots, roots ^ delta])
    sums = [roots]
    for level in range(1, depth):
        nodes = _level(backend, nodes, first_tree, half=True, keep=NOT_LOWEST if level == depth - 1 else ALL)
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
    """The receiver's trees from its choice bits [depth, trees] (words 0 or 1) and its sums [depth, trees, 2].

    Of half-trees the leaf on the path becomes the missing one XOR delta, and has a lowest bit of 1.
    """
    depth, trees = choices.shape
    off_path = backend.xp.stack([choices ^ ONE, choices], axis=1)  # [depth, child, trees]
    masks = (ZERO - off_path)[..., None]
    nodes, fixes = backend.zeros((1, trees, 2)), backend.zeros((1, trees, 2))
    path = targets = backend.zeros(trees)
    for level in range(depth):
        targets, count, closing = path, len(nodes), half and level == depth - 1
        nodes = backend.tree_level(nodes, fixes, targets, first_tree, half, NOT_LOWEST if closing else ALL)
        fixes = _child_sums(backend, nodes) ^ sums[level]
        if closing:
            fixes[..., 0] = fixes[..., 0] & np.uint64(NOT_LOWEST) | off_path[level] ^ ONE
        else:
            fixes = fixes & masks[level]
        path = path + off_path[level, 0] * np.uint64(count)
    return Punctured(nodes, fixes, targets)


def complete(backend: Backend, punctured: Punctured) -> Array:
    """The leaves with their last fixes, which `Backend.lpn_encode` would add by itself."""
    fixes = backend.to_host(punctured.fixes)
    leaves = backend.to_host(punctured.leaves).reshape(len(fixes), -1, *fixes.shape[1:])
    places = np.arange(leaves.shape[1], dtype=np.uint64)[:, None]
    hit = (places == backend.to_host(punctured.targets)).astype(np.uint64)
    done = leaves ^ fixes[:, None] * hit[:, :, None]
    return backend.asarray(done.reshape(punctured.leaves.shape))


def _level(backend: Backend, nodes: Array, first_tree: int, half: bool, keep: int) -> Array:
    """One level of trees without gaps."""
    trees = nodes.shape[1]
    everything = backend.asarray(np.full(trees, ALL, np.uint64))
    return backend.tree_level(nodes, backend.zeros((1, trees, 2)), everything, first_tree, half, keep)


def _child_sums(backend: Backend, nodes: Array) -> Array:
    """XOR of all first and of all second children: [2, trees, 2]."""
    count, trees, _ = nodes.shape
    return backend.xor_rows(nodes.reshape(2, count // 2, 2 * trees)).reshape(2, trees, 2)
