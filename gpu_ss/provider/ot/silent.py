"""Silent correlated OT: one short message for a million of them.

Ferret (Yang, Weng, Lan, Zhang, Wang, CCS 2020), semi-honest, with single-point correlated OT from punctured trees
and the primal learning-parity-with-noise assumption with regular noise (`parameters`).

1. Start, once: RESERVE correlated OTs from `extension`. Every iteration's first RESERVE outputs are kept for the
   next iteration, the rest is for use.
2. Single points. For each of t half-trees the sender has all leaves w_p, which add up to delta, the receiver all
   but w_a, for a position a that its own OT choice bits say: it computes w_a + delta. So they share a correlated
   OT with choice bits 0, ..., 0, 1 (at a), 0, ...: the noise e.
3. Code. From k kept OTs with choice bits s, sender's blocks q and receiver's t' = q + s delta, and the public
   sparse code A: the sender's outputs are A q + w, the receiver's A t' + w + e delta. These are correlated OTs
   with choice bits A s + e.

Why it leaks nothing. The sender receives no message at all after the start. The receiver sees tree sums,
of which it can open those off its path (`trees`). That the choice bits A s + e look random to the sender, who knows
neither s nor e, is the LPN assumption; positions come from choice bits of earlier iterations, so from the same
assumption. A is drawn from a hash of the base OT messages, to which both contributed.

The work goes in slabs of 32 trees (2^17 outputs, a 7 KB message, and a 256 byte check), so memory stays small, and
nobody waits: the sender streams. Leaves are made and encoded in one go; those that the receiver cannot know before
it has the sums of all others are added afterwards. 0.49 bits per output in all, start apart: 0.5 MB from the
receiver to the sender.

The check compares eight sums of a slab's outputs, Y = sum of q_i and Z = sum of t_i = Y + z delta: the
sender sends H(Y) and H(Y + delta), the receiver compares its H(Z) with the one that its bit z names. Any damage in
a slab shows (parties out of step, a garbled message, a wrong kernel), and nothing is learned: the other hash is
unpredictable. (The sums of the first to fourth children of all nodes are at the receiver what it was told, so they
show damage to what is said of leaves, and hide damage further up, but not in each half of the nodes.) It is no
protection against parties that deviate on purpose.
"""

from __future__ import annotations

import hashlib
import hmac
from abc import abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.errors import CorrelationError
from gpu_ss.prg import Prg
from gpu_ss.provider.ot import parameters as lpn
from gpu_ss.provider.ot import trees
from gpu_ss.provider.ot.cot import (
    BLOCK_BYTES,
    NOTHING,
    CotReceiver,
    CotSender,
    CotSource,
    Delta,
    Domain,
    frame,
    hashed,
    low_bits,
)
from gpu_ss.provider.ot.extension import TREES as FIRST_TREE
from gpu_ss.provider.ot.extension import extend_as_receiver, extend_as_sender
from gpu_ss.provider.ot.trees import ZERO, Punctured
from gpu_ss.ring import Array
from net.channel import Channel

TREES_TAG = "ot/trees"
CHECK_TAG = "ot/check"
_PARTS = 8
_HALF_LEVELS = lpn.TREE_LOG - 2


class _Silent(CotSource):
    """What both ends do: iterations of slabs, each from what the one before kept."""

    _table: Array
    _path_ots: Array
    _kept: Array
    _filled = 0

    def __init__(self, backend: Backend, channel: Channel) -> None:
        super().__init__(backend, channel)
        self._prg = Prg(backend)
        self._code_key = b""
        self._slab = 0
        self._over = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}(taken={self.taken}, ready={self.ready}, secrets=<hidden>)"

    def begin(self) -> None:
        if not self._code_key:
            with self._once():
                self._kept, digest = self._extend()
                self._code_key = hashlib.sha256(b"fastlmpi LPN code 1" + digest).digest()

    def _make(self) -> Array:
        self.begin()
        with self._once():
            out = self._kept[:0]
            while not len(out):
                out = self._one_slab()
            return out

    @contextmanager
    def _once(self) -> Iterator[None]:
        """What cannot be tried again."""
        if self._over:
            raise CorrelationError("an earlier failure ended this source of OTs; open a new session")
        self._over = True
        yield
        self._over = False

    def _one_slab(self) -> Array:
        """One slab's outputs, less those that the next iteration is made from."""
        slab = self._slab % lpn.SLABS
        if slab == 0:
            self._table = self._kept[: lpn.SECRET]
            self._path_ots = self._kept[lpn.SECRET :].reshape(lpn.SLABS, lpn.SLAB_OTS, 2)
            self._kept = self.backend.empty((lpn.RESERVE, 2))
            self._filled = 0
        out, sums = self._grow(self._path_ots[slab])
        self._check(self.backend.xor_rows(sums.reshape(_PARTS, lpn.SLAB_TREES, 2)))
        self._slab += 1
        keep = min(len(out), lpn.RESERVE - self._filled)
        self._kept[self._filled : self._filled + keep] = out[:keep]
        self._filled += keep
        return out[keep:]

    @property
    def _first_tree(self) -> int:
        return FIRST_TREE + self._slab * lpn.SLAB_TREES

    def _encode(self, level: Punctured) -> tuple[Array, Array]:
        first_row = self._slab * lpn.SLAB_ROWS
        return self.backend.lpn_encode(
            self._table, level.nodes, level.fixes, level.targets, self._first_tree, self._code_key, first_row
        )

    def _leaf_key(self, ots: Array, offset: tuple[int, int]) -> Array:
        """Hashes [trees, 2] of the OTs of the last level but one."""
        return hashed(self.backend, ots, offset, self._first_tree, Domain.LEAVES, 2)

    def _check_hashes(self, totals: Array, offset: tuple[int, int]) -> list[bytes]:
        words = hashed(self.backend, totals, offset, _PARTS * self._slab, Domain.CHECK, 2)
        return [row.astype("<u8").tobytes() for row in self.backend.to_host(words)]

    @abstractmethod
    def _extend(self) -> tuple[Array, bytes]:
        """The first RESERVE correlated OTs, and a public digest."""

    @abstractmethod
    def _grow(self, ots: Array) -> tuple[Array, Array]:
        """The outputs of one slab, from the OTs of its trees, and their XORs [2, 4, trees, 2] by node and child."""

    @abstractmethod
    def _check(self, totals: Array) -> None:
        """Compare the XORs of a slab's outputs."""


class SilentSender(_Silent, CotSender):
    """The end that holds delta."""

    def __init__(self, backend: Backend, channel: Channel) -> None:
        super().__init__(backend, channel)
        self.delta = Delta()

    def _extend(self) -> tuple[Array, bytes]:
        return extend_as_sender(self.channel, self.backend, self.delta, lpn.RESERVE)

    def _grow(self, ots: Array) -> tuple[Array, Array]:
        backend, keys = self.backend, ots.reshape(lpn.TREE_LOG, lpn.SLAB_TREES, 2)
        delta, roots = backend.asarray(np.array(self.delta.words, np.uint64)), self._prg.words(keys.shape[1:])
        nodes, sums = trees.grow_half(backend, delta, roots, _HALF_LEVELS, self._first_tree)
        out, (lower, upper) = self._encode(trees.whole(backend, nodes))
        leaf_keys = [self._leaf_key(keys[_HALF_LEVELS], offset) for offset in (NOTHING, self.delta.words)]
        pairs, sealed = trees.leaf_messages(backend, lower[0] ^ upper[0], (leaf_keys[0], leaf_keys[1]))
        masked = backend.xp.concatenate([sums, pairs]) ^ keys
        self.channel.send(TREES_TAG, [frame(backend, backend.xp.concatenate([masked, sealed]))], round=False)
        return out, backend.xp.stack([lower[1], upper[1]])

    def _check(self, totals: Array) -> None:
        hashes = [self._check_hashes(totals, offset) for offset in (NOTHING, self.delta.words)]
        self.channel.send(CHECK_TAG, [b"".join(hashes[0] + hashes[1])], round=False)


class SilentReceiver(_Silent, CotReceiver):
    """The end that holds the choice bits."""

    def _extend(self) -> tuple[Array, bytes]:
        return extend_as_receiver(self.channel, self.backend, self._prg, lpn.RESERVE)

    def _grow(self, ots: Array) -> tuple[Array, Array]:
        backend, keys = self.backend, ots.reshape(lpn.TREE_LOG, lpn.SLAB_TREES, 2)
        (received,) = self.channel.recv(
            TREES_TAG, [BLOCK_BYTES * lpn.SLAB_TREES * lpn.TREE_BLOCKS], round=False
        )
        told = backend.asarray(np.frombuffer(received, np.uint64)).reshape(lpn.TREE_BLOCKS, *keys.shape[1:])
        sums, choices = told[: lpn.TREE_LOG] ^ keys, low_bits(keys)
        level = trees.regrow(
            backend, choices[:_HALF_LEVELS], sums[:_HALF_LEVELS], self._first_tree, half=True
        )
        out, (lower, upper) = self._encode(level)
        last = choices[_HALF_LEVELS:]
        leaf_key = self._leaf_key(keys[_HALF_LEVELS], NOTHING)
        all_sums = trees.leaf_sums(backend, last, sums[_HALF_LEVELS:], told[lpn.TREE_LOG :], leaf_key)
        fixes = trees.leaf_fixes(last, lower[0] ^ upper[0], all_sums)
        backend.lpn_complete(out, fixes, level.targets)
        in_upper = (ZERO - (level.targets >> np.uint64(_HALF_LEVELS - 1)))[:, None]
        return out, backend.xp.stack([lower[1] ^ fixes & ~in_upper, upper[1] ^ fixes & in_upper])

    def _check(self, totals: Array) -> None:
        (received,) = self.channel.recv(CHECK_TAG, [2 * _PARTS * BLOCK_BYTES], round=False)
        own = self._check_hashes(totals, NOTHING)
        told = [bytes(received[at : at + BLOCK_BYTES]) for at in range(0, len(received), BLOCK_BYTES)]
        choices = [int(word) & 1 for word in self.backend.to_host(totals)[:, 0]]
        named = [told[_PARTS * choice + part] for part, choice in enumerate(choices)]
        if not hmac.compare_digest(b"".join(own), b"".join(named)):
            raise CorrelationError(
                f"the oblivious transfers with {self.channel.peer} do not match. Run the same version on both "
                "sides."
            )
