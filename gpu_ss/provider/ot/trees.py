"""Punctured trees: the sender knows every leaf of its pseudorandom trees, the receiver all but one of each.

Trees of Goldreich, Goldwasser and Micali, many at once. On every level the sender adds up (XOR) all first children,
all second children and so on; the receiver learns the sums of the children that are off its path, by OT, and
completes one more node with each. A binary level takes one OT: the receiver's choice bit b opens the sum of child
b, and its path takes the other one. A quaternary level saves half of the cipher calls and takes two OTs, with bits
b and b' for the child 2 j + j': under the key of j come the sums of the children 2 j and 2 j + 1, under the key of
j' that of the children j' and 2 + j' together. The receiver opens three sums and cannot open that of its path.

Why it leaks nothing: each sum is masked with a key that only its OT opens, and the missing leaf stays pseudorandom
because the seeds beside the path are independent of it (ChaCha20 as a pseudorandom function; every node has a
block of its own). The path is the complement of OT choice bits that only the receiver knows, so it need not be
sent: one message from the sender, nothing from the receiver.

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
ONE = np.uint64(1)

Arities = Sequence[int]


@dataclass(frozen=True, slots=True, repr=False)
class Punctured:
    """The receiver's leaves [count, trees, 2], to be completed with what `Backend.lpn_encode` takes too."""

    leaves: Array
    fixes: Array
    targets: Array


def digits(arities: Arities) -> int:
    """OTs of one tree, which is also the number of bits of a path."""
    return sum(arity // 2 for arity in arities)


def sealed_blocks(arities: Arities) -> int:
    """Blocks that the sender sends for the levels of one tree."""
    return sum(2 if arity == 2 else 6 for arity in arities)


def grow(
    backend: Backend, roots: Array, arities: Arities, first_tree: int, keep: int
) -> tuple[Array, list[Array]]:
    """Leaves [count, trees, 2] from roots [trees, 2], and the sums [arity, trees, 2] of every level.

    `keep` is ANDed to the low words of the leaves. Trees are numbered; no two under one roof alike.
    """
    trees = len(roots)
    nodes, sums = roots.reshape(1, trees, 2), []
    nothing = backend.zeros((max(arities), trees, 2))
    everything = backend.asarray(np.full(trees, ALL, np.uint64))
    before = 1
    for level, arity in enumerate(arities):
        mask = keep if level == len(arities) - 1 else ALL
        nodes = backend.tree_level(nodes, nothing[:before], everything, first_tree, arity, mask)
        sums.append(_child_sums(backend, nodes, arity))
        before = arity
    return nodes, sums


def seal(sums: Sequence[Array], masks: tuple[Array, Array]) -> list[Array]:
    """The sums under the keys of both choices, as rows [trees, 2]. `masks` [digits, trees, 2 or 4]."""
    rows, digit = [], 0
    for children in sums:
        zero, one = (mask[digit] for mask in masks)
        if len(children) == 2:
            rows += [children[0] ^ zero[:, :2], children[1] ^ one[:, :2]]
            digit += 1
            continue
        rows += [children[0] ^ zero[:, :2], children[1] ^ zero[:, 2:4]]
        rows += [children[2] ^ one[:, :2], children[3] ^ one[:, 2:4]]
        zero, one = (mask[digit + 1] for mask in masks)
        rows += [children[0] ^ children[2] ^ zero[:, :2], children[1] ^ children[3] ^ one[:, :2]]
        digit += 2
    return rows


def regrow(
    backend: Backend,
    choices: Array,
    masks: Array,
    sealed: Array,
    total: Array,
    arities: Arities,
    first_tree: int,
    keep: int,
) -> Punctured:
    """The receiver's trees from its choice bits [digits, trees] (words 0 or 1), their keys and the sealed rows.

    If the last level is quaternary, the leaf on the path becomes `total` [trees, 2] XOR all leaves off the path.
    """
    trees = choices.shape[1]
    nodes, fixes = backend.zeros((1, trees, 2)), backend.zeros((1, trees, 2))
    path = backend.zeros(trees)
    targets, digit, row = path, 0, 0
    for level, arity in enumerate(arities):
        targets = path
        mask = keep if level == len(arities) - 1 else ALL
        count = len(nodes)
        nodes = backend.tree_level(nodes, fixes, targets, first_tree, arity, mask)
        known = _child_sums(backend, nodes, arity)
        if arity == 2:
            choice, key = choices[digit], masks[digit]
            opened = _pick(choice, sealed[row], sealed[row + 1]) ^ key[:, :2]
            fixes = _stack(backend, [_where(choice ^ c ^ ONE, opened ^ known[int(c)]) for c in _numbers(2)])
            path = path + (choice ^ ONE) * np.uint64(count)
            digit, row = digit + 1, row + 2
        else:
            high, low = choices[digit], choices[digit + 1]
            fixes = _stack(
                backend, _open_four(high, low, masks[digit : digit + 2], sealed[row : row + 6], known, total)
            )
            path = path + ((high ^ ONE) * np.uint64(2) + (low ^ ONE)) * np.uint64(count)
            digit, row = digit + 2, row + 6
    return Punctured(nodes, fixes, targets)


def complete(backend: Backend, punctured: Punctured) -> Array:
    """The leaves with their last fixes, which `Backend.lpn_encode` would add by itself."""
    fixes = backend.to_host(punctured.fixes)
    leaves = backend.to_host(punctured.leaves).reshape(len(fixes), -1, *fixes.shape[1:])
    places = np.arange(leaves.shape[1], dtype=np.uint64)[:, None]
    hit = (places == backend.to_host(punctured.targets)).astype(np.uint64)
    done = leaves ^ fixes[:, None] * hit[:, :, None]
    return backend.asarray(done.reshape(punctured.leaves.shape))


def _open_four(
    high: Array, low: Array, masks: Array, sealed: Array, known: Array, total: Array
) -> list[Array]:
    """What completes the four children of the path's node.

    Off the path it is the child's sum XOR what is known of it; on the path, `total` XOR what is known of all.
    """
    beside = [_pick(high, sealed[k], sealed[2 + k]) ^ masks[0][:, 2 * k : 2 * k + 2] for k in (0, 1)]
    across = _pick(low, sealed[4], sealed[5]) ^ masks[1][:, :2] ^ _pick(low, beside[0], beside[1])
    everything = beside[0] ^ beside[1] ^ across ^ total
    fixes = []
    for child in range(4):
        j, k = (np.uint64(d) for d in divmod(child, 2))
        on_high, on_low = high ^ j, low ^ k  # 1 where the digit is the path's
        off = _where(on_high ^ ONE, beside[int(k)]) ^ _where(on_high & (on_low ^ ONE), across)
        fixes.append(known[child] ^ off ^ _where(on_high & on_low, everything))
    return fixes


def _child_sums(backend: Backend, nodes: Array, arity: int) -> Array:
    """XOR of all first children, all second ones and so on: [arity, trees, 2]."""
    count, trees, _ = nodes.shape
    return backend.xor_rows(nodes.reshape(arity, count // arity, 2 * trees)).reshape(arity, trees, 2)


def _numbers(count: int) -> list[np.uint64]:
    return [np.uint64(k) for k in range(count)]


def _where(bit: Array, blocks: Array) -> Array:
    """The blocks where their bit is 1, zero elsewhere."""
    return blocks & (np.uint64(0) - bit)[:, None]


def _pick(bit: Array, zero: Array, one: Array) -> Array:
    return zero ^ _where(bit, zero ^ one)


def _stack(backend: Backend, rows: Sequence[Array]) -> Array:
    return backend.xp.ascontiguousarray(backend.xp.stack(rows))
