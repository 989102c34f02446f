"""From 128 base OTs to some 10^5 correlated OTs: where silent OT begins.

SoftSpoken OT (Roy, CRYPTO 2022), semi-honest, over the field of 2^8: delta is read as 16 bytes. The receiver of the
correlated OTs plays sender of the base OTs, grows 16 binary trees of 256 leaves and lets the other party have all
leaves but number delta_j of tree j (`trees`). With r_x the keystream of leaf x, n bits long, and for each tree

    receiver    u_j = XOR of r_x,             v_j = XOR of x r_x      (x as 8 bits: 8 strings)
    sender      w_j = XOR of (x + delta_j) r_x = v_j + delta_j u_j     (the unknown term has factor 0)

the receiver sends c_j = u_j + u_0 for j > 0, the sender adds delta_j c_j, and w_j = v_j + delta_j u_0 in every
tree: bit i of u_0 is the choice b_i, column i of v is t_i and column i of w is q_i.

Why it leaks nothing: the sender sees sums masked by base OT keys, of which it can open those that make its own
leaves, and the c_j, each masked by r_(delta_j), a keystream whose key it lacks, so
that u_0, masked by r_(delta_0), stays unknown. The receiver sees the base OTs, which hide delta.

Rounds: that of the base OTs, then one message from the receiver with 4 KiB and 15 n bits.
"""

from __future__ import annotations

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.prg import Prg, derive_key
from gpu_ss.provider.ot import base, trees
from gpu_ss.provider.ot.cot import BLOCK_BYTES, Delta, frame
from gpu_ss.provider.ot.trees import ALL, NOT_LOWEST
from gpu_ss.ring import Array, word_count
from net.channel import Channel

TAG = "ot/extend"
TREES = BLOCK_BYTES
FIELD_BITS = 8
_ROWS = 2 * FIELD_BITS


def extend_as_sender(channel: Channel, backend: Backend, delta: Delta, n: int) -> tuple[Array, bytes]:
    """q_i for i < n as blocks [n, 2], and the digest of the base OTs (public, fresh)."""
    bits = np.array(delta.bits, np.uint64).reshape(TREES, FIELD_BITS).T  # [level, tree]
    choices = np.ascontiguousarray(bits ^ np.uint64(1))
    keys, digest = base.choose(channel, choices.reshape(-1).tolist())
    width = word_count(n, 1)
    sealed, corrections = channel.recv(TAG, [8 * _ROWS * TREES * 2, 8 * (TREES - 1) * width])
    sums = trees.unseal(
        backend.asarray(choices),
        backend.asarray(keys.reshape(FIELD_BITS, TREES, 2)),
        _words(backend, sealed).reshape(_ROWS, TREES, 2),
    )
    leaves = trees.regrow(backend, backend.asarray(choices), sums, 0)
    sent = _words(backend, corrections).reshape(TREES - 1, width)
    planes = []
    for tree in range(TREES):
        u, v = _fold(backend, leaves, tree, width)
        if tree:
            u = u ^ sent[tree - 1]
        planes += [v[d] ^ u & np.uint64(-int(bits[d, tree]) & ALL) for d in range(FIELD_BITS)]
    blocks = _columns(backend, planes, n)
    blocks[:, 0] &= np.uint64(NOT_LOWEST)
    return blocks, digest


def extend_as_receiver(channel: Channel, backend: Backend, prg: Prg, n: int) -> tuple[Array, bytes]:
    """t_i for i < n, with b_i as lowest bits, and the digest."""
    zero, one, digest = base.offer(channel, TREES * FIELD_BITS)
    leaves, sums = trees.grow(backend, prg.words((TREES, 2)), FIELD_BITS, 0)
    masks = tuple(backend.asarray(keys.reshape(FIELD_BITS, TREES, 2)) for keys in (zero, one))
    sealed = trees.seal(backend, sums, (masks[0], masks[1]))
    width = word_count(n, 1)
    planes: list[Array] = []
    choices: list[Array] = []
    for tree in range(TREES):
        u, v = _fold(backend, leaves, tree, width)
        choices.append(u)
        planes += v
    corrections = [u ^ choices[0] for u in choices[1:]]
    channel.send(TAG, [frame(backend, sealed), frame(backend, backend.xp.stack(corrections))])
    blocks = _columns(backend, planes, n)
    choice = backend.plane_words(choices[0].reshape(1, width), n)[0]
    blocks[:, 0] = blocks[:, 0] & np.uint64(NOT_LOWEST) | choice
    return blocks, digest


def _fold(backend: Backend, leaves: Array, tree: int, width: int) -> tuple[Array, list[Array]]:
    """XOR of the leaves' keystreams r_x, and for each bit d of x the XOR of those that have it set."""
    host = np.ascontiguousarray(backend.to_host(leaves)[:, tree]).astype("<u8")
    rows = backend.empty((len(host), width))
    for x, leaf in enumerate(host):
        rows[x] = backend.keystream(derive_key(leaf.tobytes(), "SoftSpoken"), tree, 0, width)
    v: list[Array] = []
    while len(rows) > 1:
        half = len(rows) // 2
        v.append(backend.xor_rows(rows[half:].reshape(1, half, width))[0])
        rows = rows[:half] ^ rows[half:]
    return rows[0], v[::-1]


def _columns(backend: Backend, planes: list[Array], n: int) -> Array:
    """Blocks [n, 2] from their 128 bit planes."""
    words = [backend.from_planes(backend.xp.stack(planes[at : at + 64]), n) for at in (0, 64)]
    return backend.xp.ascontiguousarray(backend.xp.stack(words, axis=1))


def _words(backend: Backend, received: memoryview) -> Array:
    return backend.asarray(np.frombuffer(received, np.uint64))
