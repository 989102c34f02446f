"""Silent correlated OT: one short message for a million of them.

Ferret (Yang, Weng, Lan, Zhang, Wang, CCS 2020), semi-honest, with single-point correlated OT from punctured trees
and the primal learning-parity-with-noise assumption with regular noise (`parameters`).

1. Start, once: RESERVE correlated OTs from `extension`. Every iteration's first RESERVE outputs are kept for the
   next iteration, the rest is for use.
2. Single points. For each of t trees the sender has all leaves w_p, the receiver all but w_a, for a position a that
   its own OT choice bits say. The sender also sends c = delta + sum of all w_p; with it the receiver computes
   w_a + delta. So they share a correlated OT with choice bits 0, ..., 0, 1 (at a), 0, ...: the noise e.
3. Code. From k kept OTs with choice bits s, sender's blocks q and receiver's t' = q + s delta, and the public
   sparse code A: the sender's outputs are A q + w, the receiver's A t' + w + e delta. These are correlated OTs
   with choice bits A s + e.

Why it leaks nothing. The sender receives no message at all after the start. The receiver sees tree sums under keys
it cannot open, and c, masked by a leaf it lacks. That the choice bits A s + e look random to the sender, who knows
neither s nor e, is the LPN assumption; positions come from choice bits of earlier iterations, so from the same
assumption. A is drawn from a hash of the base OT messages, to which both contributed.

The work goes in slabs of 32 trees (2^18 outputs, a 15 KB message, and a 32 byte check), so memory stays small, and
nobody waits: the sender streams. 0.47 bits per output in all, start apart: 1.0 MB from the receiver to the sender.

The check compares sums of all outputs of a slab, Y = sum of q_i and Z = sum of t_i = Y + z delta: the sender sends
H(Y) and H(Y + delta), the receiver compares its H(Z) with the one that its bit z names. Any damage in a slab shows
(parties out of step, a garbled message, a wrong kernel), and nothing is learned: the other hash is unpredictable.
It is no protection against parties that deviate on purpose.
"""

from __future__ import annotations

import hashlib
import hmac
from abc import abstractmethod

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
from gpu_ss.provider.ot.trees import ALL, NOT_LOWEST
from gpu_ss.ring import Array
from net.channel import Channel

TREES_TAG = "ot/trees"
CHECK_TAG = "ot/check"
_MASK_WORDS = 4
_SUM_WIDTH = 256


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

    def _make(self) -> Array:
        if self._over:
            raise CorrelationError("an earlier failure ended this source of OTs; open a new session")
        self._over = True  # unless all goes well
        if not self._code_key:
            self._kept, digest = self._extend()
            self._code_key = hashlib.sha256(b"fastlmpi LPN code 1" + digest).digest()
        out = self._kept[:0]
        while not len(out):
            out = self._one_slab()
        self._over = False
        return out

    def _one_slab(self) -> Array:
        """One slab's outputs, less those that the next iteration is made from."""
        slab = self._slab % lpn.SLABS
        if slab == 0:
            self._table = self._kept[: lpn.SECRET]
            self._path_ots = self._kept[lpn.SECRET :].reshape(lpn.SLABS, lpn.SLAB_OTS, 2)
            self._kept = self.backend.empty((lpn.RESERVE, 2))
            self._filled = 0
        out = self._grow(self._path_ots[slab])
        self._check(self._sum(out))
        self._slab += 1
        keep = min(len(out), lpn.RESERVE - self._filled)
        self._kept[self._filled : self._filled + keep] = out[:keep]
        self._filled += keep
        return out[keep:]

    def _masks(self, ots: Array, offset: tuple[int, int]) -> Array:
        """The keys of a slab's tree OTs: [digits, trees, 4]."""
        first = self._slab * lpn.SLAB_OTS
        words = hashed(self.backend, ots, offset, first, Domain.TREES, _MASK_WORDS)
        return words.reshape(-1, lpn.SLAB_TREES, _MASK_WORDS)

    @property
    def _first_tree(self) -> int:
        return FIRST_TREE + self._slab * lpn.SLAB_TREES

    def _encode(self, leaves: Array, fixes: Array, targets: Array) -> Array:
        first_row = self._slab * lpn.SLAB_ROWS
        return self.backend.lpn_encode(self._table, leaves, fixes, targets, self._code_key, first_row)

    def _sum(self, out: Array) -> Array:
        """XOR of all blocks: [1, 2]."""
        partial = self.backend.xor_rows(out.reshape(1, out.size // _SUM_WIDTH, _SUM_WIDTH))
        return self.backend.xor_rows(partial.reshape(1, _SUM_WIDTH // 2, 2))

    def _check_hash(self, total: Array, offset: tuple[int, int]) -> bytes:
        words = hashed(self.backend, total, offset, self._slab, Domain.CHECK, 2)
        return self.backend.to_host(words).astype("<u8").tobytes()

    @abstractmethod
    def _extend(self) -> tuple[Array, bytes]:
        """The first RESERVE correlated OTs, and a public digest."""

    @abstractmethod
    def _grow(self, ots: Array) -> Array:
        """The outputs of one slab, from the OTs of its trees."""

    @abstractmethod
    def _check(self, total: Array) -> None:
        """Compare the XOR of a slab's outputs."""


class SilentSender(_Silent, CotSender):
    """The end that holds delta."""

    def __init__(self, backend: Backend, channel: Channel) -> None:
        super().__init__(backend, channel)
        self.delta = Delta()

    def _extend(self) -> tuple[Array, bytes]:
        return extend_as_sender(self.channel, self.backend, self.delta, lpn.RESERVE)

    def _grow(self, ots: Array) -> Array:
        backend, trees_ = self.backend, lpn.SLAB_TREES
        roots = self._prg.words((trees_, 2))
        leaves, sums = trees.grow(backend, roots, lpn.ARITIES, self._first_tree, NOT_LOWEST)
        rows = trees.seal(sums, (self._masks(ots, NOTHING), self._masks(ots, self.delta.words)))
        zero, one, two, three = sums[-1]
        delta = backend.asarray(np.array(self.delta.words, np.uint64))
        message = backend.xp.stack([*rows, zero ^ one ^ two ^ three ^ delta])
        self.channel.send(TREES_TAG, [frame(backend, message)], round=False)
        everything = backend.asarray(np.full(trees_, ALL, np.uint64))
        return self._encode(leaves, backend.zeros((lpn.ARITIES[-1], trees_, 2)), everything)

    def _check(self, total: Array) -> None:
        hashes = [self._check_hash(total, offset) for offset in (NOTHING, self.delta.words)]
        self.channel.send(CHECK_TAG, [b"".join(hashes)], round=False)


class SilentReceiver(_Silent, CotReceiver):
    """The end that holds the choice bits."""

    def _extend(self) -> tuple[Array, bytes]:
        return extend_as_receiver(self.channel, self.backend, self._prg, lpn.RESERVE)

    def _grow(self, ots: Array) -> Array:
        backend, trees_ = self.backend, lpn.SLAB_TREES
        (received,) = self.channel.recv(TREES_TAG, [BLOCK_BYTES * lpn.SLAB_BLOCKS * trees_], round=False)
        rows = backend.asarray(np.frombuffer(received, np.uint64)).reshape(lpn.SLAB_BLOCKS, trees_, 2)
        choices, masks = low_bits(ots).reshape(-1, trees_), self._masks(ots, NOTHING)
        grown = trees.regrow(
            backend, choices, masks, rows[:-1], rows[-1], lpn.ARITIES, self._first_tree, NOT_LOWEST
        )
        return self._encode(grown.leaves, grown.fixes, grown.targets)

    def _check(self, total: Array) -> None:
        (received,) = self.channel.recv(CHECK_TAG, [2 * BLOCK_BYTES], round=False)
        own = self._check_hash(total, NOTHING)
        equal = [hmac.compare_digest(own, bytes(received[at : at + BLOCK_BYTES])) for at in (0, BLOCK_BYTES)]
        choice = int(self.backend.to_host(total)[0, 0]) & 1
        if not equal[choice]:
            raise CorrelationError(
                f"the oblivious transfers with {self.channel.peer} do not match. Run the same version on both "
                "sides."
            )
