"""The host side of the compiled kernels, the same for CPU and GPU: check, allocate, launch.

Where a new operation goes: its contract into base.py, its NumPy definition into reference.py, its kernel into
a .cu file of kernels/ and into the table of signatures.py, its launch here, and a row into the conformance
test.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpu_ss.backend import checks, product
from gpu_ss.backend.kernel_circuits import CircuitKernels
from gpu_ss.backend.kernel_fields import FieldKernels
from gpu_ss.backend.kernel_lookups import LookupKernels
from gpu_ss.backend.kernel_oblivious import ObliviousKernels
from gpu_ss.backend.kernel_slots import SlotKernels
from gpu_ss.backend.kernel_steps import StepKernels
from gpu_ss.backend.kernel_transfers import TransferKernels
from gpu_ss.backend.product import Factor, Forms
from gpu_ss.ring import WORD, Array, word_count

_KEY_WORDS = np.dtype("<u8")
_TILE = 4  # matmul.cu computes tiles of this side


class KernelBackend(
    CircuitKernels,
    FieldKernels,
    LookupKernels,
    ObliviousKernels,
    SlotKernels,
    StepKernels,
    TransferKernels,
):
    """Operations as launches of the kernels in `signatures.KERNELS`."""

    def keystream(self, key: bytes, nonce: int, first_block: int, n_words: int) -> Array:
        groups = checks.keystream_groups(key, nonce, first_block, n_words)
        out = self.empty(n_words)
        if n_words:
            key_words = np.frombuffer(key, _KEY_WORDS).tolist()
            self._launch(
                "keystream", groups * checks.GROUP_BLOCKS, out, *key_words, nonce, first_block, n_words
            )
        return out

    def keystreams(self, key: bytes, nonces: Sequence[int], groups: Sequence[int]) -> Array:
        checks.keystream_groups(key, 0, 0, 0)
        total = checks.streams(nonces, groups)
        out = self.empty(total * checks.GROUP_WORDS)
        if total:
            starts = np.cumsum([0, *groups[:-1]], dtype=np.uint64)
            streams = self.asarray(np.stack([np.array(nonces, np.uint64), starts], axis=1))
            key_words = np.frombuffer(key, _KEY_WORDS).tolist()
            self._launch("keystreams", total * checks.GROUP_BLOCKS, out, streams, *key_words, len(groups))
        return out

    def pack(self, x: Array, bits: int) -> Array:
        self._check_operands(x=x)
        n = word_count(x.size, checks.width(bits))
        if bits == WORD:
            return x.reshape(-1).copy()
        out = self.empty(n)
        if n:
            self._launch("pack", n, x, out, bits, x.size)
        return out

    def unpack(self, words: Array, bits: int, n: int) -> Array:
        self._check_operands(words=words)
        checks.unpacked(words.size, bits, n)
        if bits == WORD:
            return words.reshape(-1)[:n].copy()
        out = self.empty(n)
        if n:
            self._launch("unpack", n, words, out, bits)
        return out

    def to_planes(self, x: Array, bits: int) -> Array:
        self._check_operands(x=x)
        width = word_count(x.size, 1)
        out = self.empty((checks.width(bits), width))
        if width:
            self._launch("to_planes", width, x, out, bits, x.size)
        return out

    def difference_planes(self, x: Array, thresholds: Sequence[int], bits: int) -> Array:
        self._check_operands(x=x)
        width, terms = word_count(x.size, 1), len(thresholds)
        out = self.empty((checks.width(bits), terms * width))
        if out.size:
            table = self.table(tuple(thresholds))
            self._launch("difference_planes", terms * width, x, table, out, bits, x.size, terms)
        return out

    def from_planes(self, planes: Array, n: int) -> Array:
        self._check_operands(planes=planes)
        checks.plane_shape(planes.shape, n)
        out = self.empty(n)
        if n:
            bits, width = planes.shape
            self._launch("from_planes", width, planes, out, bits, n)
        return out

    def matmul(self, a: Array, b: Array | Factor, bits: int = WORD) -> Array:
        checks.width(bits)
        forms = b.forms if isinstance(b, Factor) else None
        b = b.words if isinstance(b, Factor) else b
        self._check_words(a=a, b=b)
        task = product.operands(self.xp, a, b)
        if 0 in (*task.shape, a.shape[-1]):
            return self.zeros(task.shape)
        return self._product(task, bits, forms).reshape(task.shape)

    def _product(self, task: product.Operands, bits: int, forms: Forms | None) -> Array:
        """The product of non-empty batches modulo 2^bits, [batch, M, N]; a backend may know faster ways.

        `forms`: where those of the right operand are kept, if it is a `Factor`.
        """
        return self.plain_product(task)

    def plain_product(self, task: product.Operands) -> Array:
        """The product by the kernel `matmul`: the way that works everywhere, for any shape."""
        (left, rows, inner), (right, _, cols) = task.a.shape, task.b.shape
        out = self.empty((task.batch, rows, cols))
        tiles = task.batch * -(-rows // _TILE) * -(-cols // _TILE)
        steps = (rows * inner if left > 1 else 0, inner * cols if right > 1 else 0)
        self._launch("matmul", tiles, task.a, task.b, out, task.batch, rows, inner, cols, *steps)
        return out

    def beaver_combine(self, x_open: Array, y_open: Array, a: Array, b: Array, c: Array, lead: bool) -> Array:
        self._check_same_shape(x_open=x_open, y_open=y_open, a=a, b=b, c=c)
        out = self.empty(c.shape)
        if c.size:
            lead_mask = 0xFFFFFFFFFFFFFFFF if lead else 0
            self._launch("beaver_combine", c.size, x_open, y_open, a, b, c, out, lead_mask)
        return out
