"""The definition of the operations on keys and triples, in NumPy."""

from __future__ import annotations

import numpy as np

from gpu_ss.backend.checks import check_shapes
from gpu_ss.backend.host import HostMemory
from gpu_ss.backend.transfers import (
    check_and,
    check_choices,
    check_opened,
    check_product_words,
    check_products,
    check_row_words,
    check_rows,
    check_value,
    row_sizes,
)
from gpu_ss.ring import Array, Ring

_ONE = np.uint64(1)


class ReferenceTransfers(HostMemory):
    """`Transfers` in NumPy."""

    def choice_planes(self, blocks: Array, rows: int) -> Array:
        self._check_operands(blocks=blocks)
        bits = blocks.reshape(rows, check_choices(blocks, rows), 2)[:, :, 0]
        return np.concatenate([self.bit_plane(row, 0) for row in bits])

    def and_masked(self, choice: Array, payload: Array, b: Array, a: Array) -> Array:
        check_and(choice, payload, b, a)
        return np.concatenate([choice ^ b, payload ^ a])

    def and_opened(self, mine: Array, other: Array, b: Array, a: Array, c: Array, lead: np.uint64) -> Array:
        check_opened(mine, other, b, a, c)
        opened = mine ^ other
        d, e = opened[:1], opened[1:]
        return c ^ (d & a) ^ (e & b) ^ (d & e & lead)

    def word_corrections(
        self, x: Array, zero: Array, one: Array, flips: Array, bits: int
    ) -> tuple[Array, Array]:
        rows, n = check_rows(zero, bits, flips=flips)
        check_shapes(x=(x, (n,)), one=(one, (rows, n)))
        first, second = _ordered(zero, one, self.plane_words(flips, n))
        messages = self._packed_rows(x + first - second, bits)
        return messages, Ring(bits).reduce(np.uint64(0) - _lifted(first).sum(axis=0))

    def word_shares(self, keys: Array, corrections: Array, planes: Array, bits: int) -> Array:
        rows, n = check_rows(keys, bits, planes=planes)
        taken = self._unpacked_rows(corrections, n, bits, rows) * self.plane_words(planes, n)
        return Ring(bits).reduce(_lifted(keys + taken).sum(axis=0))

    def bit_word_corrections(self, zero: Array, one: Array, bits: int) -> tuple[Array, Array, Array]:
        rows, n = check_rows(zero, bits)
        check_shapes(one=(one, (rows, n)))
        x = one[0] - zero[0]
        messages = self._packed_rows(x + zero[1:] - one[1:], bits - 1)
        ring = Ring(bits)
        return messages, ring.reduce(x), ring.reduce(_lifted(np.uint64(0) - zero))

    def bit_word_shares(self, keys: Array, corrections: Array, planes: Array, bits: int) -> Array:
        rows, n = check_rows(keys, bits, planes=planes)
        told = np.concatenate(
            [np.zeros((1, n), np.uint64), self._unpacked_rows(corrections, n, bits - 1, rows - 1)]
        )
        return Ring(bits).reduce(_lifted(keys + told * self.plane_words(planes, n)))

    def product_corrections(
        self, x: Array, zero: Array, one: Array, flips: Array | None, bits: int
    ) -> tuple[Array, Array]:
        shape = check_products(zero, bits) if flips is None else check_products(zero, bits, flips=flips)
        check_shapes(x=(x, shape), one=(one, zero.shape))
        first, second = (np.ascontiguousarray(key.T) for key in (zero, one))
        if flips is not None:
            first, second = _ordered(first, second, self.plane_words(flips, shape[1]))
        return self.pack(x + first - second, bits), Ring(bits).reduce(np.uint64(0) - first)

    def product_shares(self, keys: Array, corrections: Array, plane: Array, bits: int) -> Array:
        rows, n = check_products(keys, bits, plane=plane)
        check_product_words(corrections, rows * n, bits)
        told = self.unpack(corrections, bits, rows * n).reshape(rows, n)
        return Ring(bits).reduce(np.ascontiguousarray(keys.T) + told * self.plane_words(plane, n))

    def mux_corrections(
        self, x: Array, own: Array, zero: Array, one: Array, flips: Array, bits: int
    ) -> tuple[Array, Array]:
        _, n = check_products(zero, bits, own=own, flips=flips)
        selected = x * self.plane_words(own, n)
        messages, share = self.product_corrections(x - (selected << _ONE), zero, one, flips, bits)
        return messages, Ring(bits).reduce(selected + share)

    def mux_shares(self, base: Array, keys: Array, corrections: Array, plane: Array, bits: int) -> Array:
        check_shapes(base=(base, check_products(keys, bits, plane=plane)))
        return Ring(bits).reduce(base + self.product_shares(keys, corrections, plane, bits))

    def value_corrections(
        self, own: Array, zero: Array, one: Array, flips: Array, bits: int
    ) -> tuple[Array, Array]:
        b = self.plane_words(own, check_value(zero, bits, own=own, flips=flips))
        messages, share = self.product_corrections(b, zero, one, flips, bits - 1)
        return messages, Ring(bits).reduce(b - (share << _ONE))[0]

    def value_shares(self, keys: Array, corrections: Array, own: Array, bits: int) -> Array:
        b = self.plane_words(own, check_value(keys, bits, own=own))
        return Ring(bits).reduce(b - (self.product_shares(keys, corrections, own, bits - 1) << _ONE))[0]

    # Rows of words of different widths

    def _packed_rows(self, rows: Array, bits: int) -> Array:
        nothing = np.empty(0, np.uint64)
        return np.concatenate([nothing, *(self.pack(row, bits - k) for k, row in enumerate(rows))])

    def _unpacked_rows(self, words: Array, n: int, bits: int, rows: int) -> Array:
        check_row_words(words, n, bits, rows)
        sizes, out, start = row_sizes(n, bits, rows), np.empty((rows, n), np.uint64), 0
        for k, size in enumerate(sizes):
            out[k] = self.unpack(words[start : start + size], bits - k, n)
            start += size
        return out


def _ordered(zero: Array, one: Array, flips: Array) -> tuple[Array, Array]:
    """The keys in the order of the receiver's bits."""
    return np.where(flips, one, zero), np.where(flips, zero, one)


def _lifted(rows: Array) -> Array:
    """Row k times 2^k."""
    return rows << np.arange(len(rows), dtype=np.uint64)[:, None]
