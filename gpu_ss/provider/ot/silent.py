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
receiver to the sender. A GPU makes several slabs in one go (`Backend.slabs_at_once`), but says of each what it
would say of it alone, in the same order, and never makes more than what is asked for takes: the other party may
make them one by one, and both know how many there are.

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
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.errors import CorrelationError
from gpu_ss.prg import Prg
from gpu_ss.provider.ot import parameters as lpn
from gpu_ss.provider.ot import trees
from gpu_ss.provider.ot.cot import (
    NOTHING,
    PART_BITS,
    CotReceiver,
    CotSender,
    CotSource,
    Delta,
    Domain,
    frame,
    low_bits,
)
from gpu_ss.provider.ot.extension import TREES as FIRST_TREE
from gpu_ss.provider.ot.extension import extend_as_receiver, extend_as_sender
from gpu_ss.provider.ot.trees import Punctured
from gpu_ss.ring import Array
from net.channel import Channel

TREES_TAG = "ot/trees"
CHECK_TAG = "ot/check"
_PARTS = 8
_HALF_LEVELS = lpn.TREE_LOG - 2
_NODES = 1 << _HALF_LEVELS
_LEAVES = Domain.LEAVES << PART_BITS


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

    def _make(self, needed: int) -> Array:
        self.begin()
        with self._once():
            while True:
                out = self._some_slabs(needed)
                if len(out):
                    return out

    @contextmanager
    def _once(self) -> Iterator[None]:
        """What cannot be tried again."""
        if self._over:
            raise CorrelationError("an earlier failure ended this source of OTs; open a new session")
        self._over = True
        yield
        self._over = False

    def _some_slabs(self, needed: int) -> Array:
        """Outputs of the next slabs, less those that the next iteration is made from.

        Of the slabs that `needed` outputs take, in whole groups, which both parties make, as many groups as this
        backend wants at once.
        """
        first = self._slab % lpn.SLABS
        if first == 0:
            self._turn_over()
        group = self.slabs_together
        takes = -(-(needed + lpn.RESERVE - self._filled) // (group * lpn.SLAB_ROWS))
        count = min(group * min(takes, max(1, self.backend.slabs_at_once // group)), lpn.SLABS - first)
        out = self._slabs(self._path_ots[first : first + count])
        self._slab += count
        keep = min(len(out), lpn.RESERVE - self._filled)
        if keep == 0:
            return out
        self._kept[self._filled : self._filled + keep] = out[:keep]
        self._filled += keep
        return out[keep:]

    def _turn_over(self) -> None:
        """Begin an iteration from what the one before kept."""
        self._table = self._kept[: lpn.SECRET]
        self._path_ots = self._kept[lpn.SECRET :].reshape(lpn.SLABS, lpn.TREE_LOG, lpn.SLAB_TREES, 2)
        self._kept = self.backend.empty((lpn.RESERVE, 2))
        self._filled = 0

    @property
    def _first_tree(self) -> int:
        return FIRST_TREE + self._slab * lpn.SLAB_TREES

    def _encode(self, level: Punctured) -> tuple[Array, Array]:
        """Rows, and the XORs [slabs, 2, 2, 4, trees, 2] of leaves and rows."""
        first_row = self._slab * lpn.SLAB_ROWS
        return self.backend.lpn_encode(
            self._table, level.nodes, level.targets, self._first_tree, self._code_key, first_row
        )

    def _totals(self, sums: Array) -> Array:
        """What a check compares, eight XORs of each slab's rows, [8 slabs, 2], from those by tree."""
        return self.backend.xor_rows(sums.reshape(-1, lpn.SLAB_TREES, 2))

    def _check_hashes(self, totals: Array, offsets: Sequence[tuple[int, int]]) -> Array:
        """[offsets, 8 slabs, 2]."""
        return self.backend.hash_blocks(totals, offsets, _PARTS * self._slab, Domain.CHECK << PART_BITS, 2)

    @abstractmethod
    def _extend(self) -> tuple[Array, bytes]:
        """The first RESERVE correlated OTs, and a public digest."""

    @abstractmethod
    def _slabs(self, ots: Array) -> Array:
        """The outputs of the next slabs, checked, from the OTs [slabs, TREE_LOG, trees, 2] of their trees."""


class SilentSender(_Silent, CotSender):
    """The end that holds delta."""

    def __init__(self, backend: Backend, channel: Channel) -> None:
        super().__init__(backend, channel)
        self.delta = Delta()

    def _extend(self) -> tuple[Array, bytes]:
        return extend_as_sender(self.channel, self.backend, self.delta, lpn.RESERVE)

    def _slabs(self, ots: Array) -> Array:
        out, told, sums = self._grow(ots)
        hashes = self._check_hashes(self._totals(sums), [NOTHING, self.delta.words])
        blocks = frame(self.backend, told)
        checks: Any = frame(self.backend, hashes).reshape(2, len(ots), -1).swapaxes(0, 1)
        for start in range(0, len(ots), self.slabs_together):
            some = slice(start, start + self.slabs_together)
            self.channel.send(TREES_TAG, [blocks[some]], round=False)
            self.channel.send(CHECK_TAG, [checks[some].tobytes()], round=False)
        return out

    def _grow(self, ots: Array) -> tuple[Array, Array, Array]:
        """Rows, what the receiver is told [slabs, TREE_BLOCKS, trees, 2], and the rows' XORs by child and tree."""
        backend, delta, first_tree = self.backend, self.delta.words, self._first_tree
        roots = self._prg.words((len(ots), lpn.SLAB_TREES, 2))
        nodes, firsts = trees.grow_half(backend, delta, roots, _HALF_LEVELS, first_tree)
        out, sums = self._encode(nodes)
        return out, backend.tree_offers(firsts, sums, ots, delta, first_tree, _LEAVES), sums[:, :, 1]


class SilentReceiver(_Silent, CotReceiver):
    """The end that holds the choice bits."""

    def _extend(self) -> tuple[Array, bytes]:
        return extend_as_receiver(self.channel, self.backend, self._prg, lpn.RESERVE)

    def _slabs(self, ots: Array) -> Array:
        told, checks = self._hear(len(ots))
        out, sums = self._grow(ots, told)
        self._compare(self._totals(sums), checks)
        return out

    def _hear(self, count: int) -> tuple[Array, Any]:
        """What the sender tells of so many slabs, and the hashes [slabs, 2, 8, 2] for their checks."""
        told = np.empty((count, lpn.TREE_BLOCKS, lpn.SLAB_TREES, 2), np.uint64)
        checks = np.empty((count, 2, _PARTS, 2), np.uint64)
        for start in range(0, count, self.slabs_together):
            some = slice(start, start + self.slabs_together)
            for tag, room in ((TREES_TAG, told[some]), (CHECK_TAG, checks[some])):
                (received,) = self.channel.recv(tag, [room.nbytes], round=False)
                room[...] = np.frombuffer(received, np.uint64).reshape(room.shape)
        return self.backend.asarray(told), checks

    def _grow(self, ots: Array, told: Array) -> tuple[Array, Array]:
        """Rows, and their XORs by child and tree, from the blocks that were told."""
        backend, first_tree = self.backend, self._first_tree
        level = trees.regrow_half(
            backend, low_bits(ots), told[:, : lpn.TREE_LOG] ^ ots, _HALF_LEVELS, first_tree
        )
        out, known = self._encode(level)
        fixes, sums = backend.leaf_fixes(known, ots, told, level.targets, _NODES, first_tree, _LEAVES)
        backend.lpn_complete(out, fixes, level.targets)
        return out, sums

    def _compare(self, totals: Array, checks: Any) -> None:
        """The own hashes with those that the totals' bits name."""
        both = self.backend.xp.concatenate([self._check_hashes(totals, [NOTHING])[0], totals])
        own, of_rows = self.backend.to_host(both).reshape(2, -1, _PARTS, 2)
        choice = of_rows[..., :1] & np.uint64(1)
        named = np.where(choice == 1, checks[:, 1], checks[:, 0])
        if not hmac.compare_digest(own.tobytes(), named.tobytes()):
            raise CorrelationError(
                f"the oblivious transfers with {self.channel.peer} do not match. Run the same version on both "
                "sides."
            )
