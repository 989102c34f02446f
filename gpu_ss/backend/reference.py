"""The definition of every operation, in NumPy: clear first, vectorised second."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np

from gpu_ss.backend import checks, product, reference_circuits, reference_lookups, reference_steps
from gpu_ss.backend.host import HostMemory
from gpu_ss.backend.product import Factor
from gpu_ss.backend.reference_chacha import output_words
from gpu_ss.backend.reference_fields import ReferenceFields
from gpu_ss.backend.reference_oblivious import ReferenceOblivious
from gpu_ss.backend.reference_slots import ReferenceSlots
from gpu_ss.backend.reference_transfers import ReferenceTransfers
from gpu_ss.ring import WORD, Array, word_count

_CONSTANTS = np.frombuffer(b"expand 32-byte k", "<u4")


class ReferenceBackend(ReferenceFields, ReferenceSlots, ReferenceOblivious, ReferenceTransfers, HostMemory):
    """NumPy, one core: for machines without a compiler, and the standard the other backends are held to."""

    name = "reference"

    @property
    def details(self) -> dict[str, str]:
        return {"numpy": np.__version__, "byte order": sys.byteorder}

    def keystream(self, key: bytes, nonce: int, first_block: int, n_words: int) -> Array:
        groups = checks.keystream_groups(key, nonce, first_block, n_words)
        blocks = groups * checks.GROUP_BLOCKS
        counter = np.uint64(first_block) + np.arange(blocks, dtype=np.uint64)
        state = np.empty((16, blocks), np.uint32)
        state[:4] = _CONSTANTS[:, None]
        state[4:12] = np.frombuffer(key, "<u4")[:, None]
        state[12:14] = counter & np.uint64(0xFFFFFFFF), counter >> np.uint64(32)
        state[14:] = [[nonce & 0xFFFFFFFF], [nonce >> 32]]
        grouped = output_words(state).reshape(8, groups, checks.GROUP_BLOCKS).transpose(1, 0, 2)
        return grouped.reshape(-1)[:n_words].copy()

    def keystreams(self, key: bytes, nonces: Sequence[int], groups: Sequence[int]) -> Array:
        checks.keystream_groups(key, 0, 0, 0)
        checks.streams(nonces, groups)
        parts = [self.keystream(key, nonce, 0, 128 * g) for nonce, g in zip(nonces, groups, strict=True)]
        return np.concatenate([np.empty(0, np.uint64), *parts])

    def pack(self, x: Array, bits: int) -> Array:
        self._check_operands(x=x)
        checks.width(bits)
        groups = word_count(x.size, 1)
        elements = _padded(x.reshape(-1) & _ones(bits), groups * WORD).reshape(groups, WORD)
        out = np.zeros((groups, bits), np.uint64)  # 64 elements fill `bits` words
        for e in range(WORD):
            word, at = divmod(e * bits, WORD)
            out[:, word] |= elements[:, e] << np.uint64(at)
            if at + bits > WORD:
                out[:, word + 1] |= elements[:, e] >> np.uint64(WORD - at)
        return out.reshape(-1)[: word_count(x.size, bits)].copy()

    def unpack(self, words: Array, bits: int, n: int) -> Array:
        self._check_operands(words=words)
        checks.unpacked(words.size, bits, n)
        groups = word_count(n, 1)
        packed = _padded(words.reshape(-1)[: word_count(n, bits)], groups * bits).reshape(groups, bits)
        out = np.empty((groups, WORD), np.uint64)
        for e in range(WORD):
            word, at = divmod(e * bits, WORD)
            out[:, e] = packed[:, word] >> np.uint64(at)
            if at + bits > WORD:
                out[:, e] |= packed[:, word + 1] << np.uint64(WORD - at)
        return (out.reshape(-1) & _ones(bits))[:n]

    def to_planes(self, x: Array, bits: int) -> Array:
        self._check_operands(x=x)
        width = word_count(x.size, 1)
        elements = _padded(x.reshape(-1), width * WORD)
        planes = np.empty((checks.width(bits), width), np.uint64)
        for i in range(bits):
            bit = (elements >> np.uint64(i) & np.uint64(1)).astype(np.uint8)
            planes[i] = np.packbits(bit, bitorder="little").view(np.uint64)
        return planes

    def difference_planes(self, x: Array, thresholds: Sequence[int], bits: int) -> Array:
        self._check_operands(x=x)
        differences = [self.to_planes(x - np.uint64(t % (1 << WORD)), bits) for t in thresholds]
        return np.concatenate([np.empty((checks.width(bits), 0), np.uint64), *differences], axis=1)

    def from_planes(self, planes: Array, n: int) -> Array:
        self._check_operands(planes=planes)
        checks.plane_shape(planes.shape, n)
        out = np.zeros(n, np.uint64)
        for i, plane in enumerate(planes):
            bit = np.unpackbits(plane.view(np.uint8), count=n, bitorder="little")
            out |= bit.astype(np.uint64) << np.uint64(i)
        return out

    def matmul(self, a: Array, b: Array | Factor, bits: int = WORD) -> Array:
        checks.width(bits)
        b = b.words if isinstance(b, Factor) else b
        self._check_words(a=a, b=b)
        left, right, shape = product.operands(np, a, b)
        if 0 in (*shape, a.shape[-1]):
            return self.zeros(shape)
        return product.float_product(np, left, right).reshape(shape)

    def unpack_add(self, words: Array, bits: int, own: Array) -> Array:
        return (self.unpack(words, bits, own.size).reshape(own.shape) + own) & _ones(bits)

    def unpack_sum(self, words: Array, bits: int, own: Array, mask: Array) -> Array:
        self._check_same_shape(own=own, mask=mask)
        return self.unpack_add(words, bits, own + mask)

    def pack_difference(self, value: Array, share: Array, bits: int) -> Array:
        self._check_same_shape(value=value, share=share)
        return self.pack(value - share, bits)

    def pack_sum(self, value: Array, mask: Array, bits: int) -> Array:
        self._check_same_shape(value=value, mask=mask)
        return self.pack(value + mask, bits)

    bit_products = staticmethod(reference_steps.bit_products)
    row_squares = staticmethod(reference_steps.row_squares)
    row_scale = staticmethod(reference_steps.row_scale)
    bit_plane = staticmethod(reference_steps.bit_plane)
    plane_words = staticmethod(reference_steps.plane_words)
    digit_monomials = staticmethod(reference_circuits.digit_monomials)
    plane_products = staticmethod(reference_circuits.plane_products)
    digit_compare = staticmethod(reference_circuits.digit_compare)
    node = staticmethod(reference_circuits.node)
    all_of = staticmethod(reference_circuits.all_of)
    node_numbers = staticmethod(reference_circuits.node_numbers)
    unwrap = staticmethod(reference_steps.unwrap)
    piecewise = staticmethod(reference_steps.piecewise)
    exp_lookup = staticmethod(reference_lookups.exp_lookup)
    exp_finish = staticmethod(reference_lookups.exp_finish)
    table_sums = staticmethod(reference_lookups.table_sums)
    line_values = staticmethod(reference_lookups.line_values)
    gated_line = staticmethod(reference_lookups.gated_line)
    gated_opened = staticmethod(reference_lookups.gated_opened)
    picked = staticmethod(reference_lookups.picked)
    near_counts = staticmethod(reference_lookups.near_counts)
    picked_product = staticmethod(reference_lookups.picked_product)
    window_counts = staticmethod(reference_lookups.window_counts)
    window_lines = staticmethod(reference_lookups.window_lines)
    signed_units = staticmethod(reference_lookups.signed_units)
    spread = staticmethod(reference_lookups.spread)
    curve_words = staticmethod(reference_lookups.curve_words)

    def beaver_combine(self, x_open: Array, y_open: Array, a: Array, b: Array, c: Array, lead: bool) -> Array:
        self._check_same_shape(x_open=x_open, y_open=y_open, a=a, b=b, c=c)
        share = c - x_open * b - y_open * a
        return share + x_open * y_open if lead else share


def _ones(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def _padded(x: Array, size: int) -> Array:
    return np.concatenate([x, np.zeros(size - x.size, np.uint64)])
