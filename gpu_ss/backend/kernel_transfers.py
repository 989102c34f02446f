"""The launches of the kernels on keys and triples (transfers.cu, triples.cu): check, allocate, launch."""

from __future__ import annotations

import numpy as np

from gpu_ss.backend.checks import check_shapes
from gpu_ss.backend.launcher import Launcher
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
from gpu_ss.ring import Array, word_count

_BYTES = 8
_RANDOM, _CHOSEN, _MUX, _VALUE = range(4)  # `Factor` in transfers.cu


class TransferKernels(Launcher):
    """`Transfers` by kernels."""

    def choice_planes(self, blocks: Array, rows: int) -> Array:
        self._check_operands(blocks=blocks)
        n = check_choices(blocks, rows)
        out = self.empty((rows, word_count(n, 1)))
        if n:
            self._launch("choice_planes", out.size * _BYTES, blocks, out, n)
        return out

    def and_masked(self, choice: Array, payload: Array, b: Array, a: Array) -> Array:
        self._check_operands(choice=choice, payload=payload, b=b, a=a)
        check_and(choice, payload, b, a)
        count, words = payload.shape
        out = self.empty((1 + count, words))
        if words:
            self._launch("and_masked", out.size, choice, payload, b, a, out, words)
        return out

    def and_opened(self, mine: Array, other: Array, b: Array, a: Array, c: Array, lead: np.uint64) -> Array:
        self._check_operands(mine=mine, other=other, b=b, a=a, c=c)
        check_opened(mine, other, b, a, c)
        out = self.empty(a.shape)
        if out.size:
            self._launch("and_opened", out.size, mine, other, b, a, c, out, int(lead), a.shape[1])
        return out

    def word_corrections(
        self, x: Array, zero: Array, one: Array, flips: Array, bits: int
    ) -> tuple[Array, Array]:
        self._check_operands(x=x, zero=zero, one=one, flips=flips)
        rows, n = check_rows(zero, bits, flips=flips)
        check_shapes(x=(x, (n,)), one=(one, (rows, n)))
        messages, share = self.empty(sum(row_sizes(n, bits, rows))), self.empty(n)
        if n:
            items = rows * word_count(n, bits) + n
            self._launch("word_corrections", items, x, zero, one, flips, messages, share, bits, rows, n)
        return messages, share

    def word_shares(self, keys: Array, corrections: Array, planes: Array, bits: int) -> Array:
        self._check_operands(keys=keys, corrections=corrections, planes=planes)
        rows, n = check_rows(keys, bits, planes=planes)
        check_row_words(corrections, n, bits, rows)
        out = self.empty(n)
        if n:
            self._launch("word_shares", n, keys, corrections, planes, out, bits, rows)
        return out

    def bit_word_corrections(self, zero: Array, one: Array, bits: int) -> tuple[Array, Array, Array]:
        self._check_operands(zero=zero, one=one)
        rows, n = check_rows(zero, bits)
        check_shapes(one=(one, (rows, n)))
        messages, out = self.empty(sum(row_sizes(n, bits - 1, rows - 1))), self.empty((1 + rows, n))
        if n:
            items = (rows - 1) * word_count(n, bits - 1) + n
            self._launch("bit_word_corrections", items, zero, one, messages, out, bits, rows, n)
        return messages, out[0], out[1:]

    def bit_word_shares(self, keys: Array, corrections: Array, planes: Array, bits: int) -> Array:
        self._check_operands(keys=keys, corrections=corrections, planes=planes)
        rows, n = check_rows(keys, bits, planes=planes)
        check_row_words(corrections, n, bits - 1, rows - 1)
        out = self.empty((rows, n))
        if n:
            self._launch("bit_word_shares", n, keys, corrections, planes, out, bits, rows)
        return out

    def product_corrections(
        self, x: Array, zero: Array, one: Array, flips: Array | None, bits: int
    ) -> tuple[Array, Array]:
        if flips is None:
            self._check_operands(x=x, zero=zero, one=one)
            shape = check_products(zero, bits)
        else:
            self._check_operands(x=x, zero=zero, one=one, flips=flips)
            shape = check_products(zero, bits, flips=flips)
        check_shapes(x=(x, shape), one=(one, zero.shape))
        factor = _RANDOM if flips is None else _CHOSEN
        return self._corrected(factor, x, x, zero, one, x if flips is None else flips, bits)

    def mux_corrections(
        self, x: Array, own: Array, zero: Array, one: Array, flips: Array, bits: int
    ) -> tuple[Array, Array]:
        self._check_operands(x=x, own=own, zero=zero, one=one, flips=flips)
        shape = check_products(zero, bits, own=own, flips=flips)
        check_shapes(x=(x, shape), one=(one, zero.shape))
        return self._corrected(_MUX, x, own, zero, one, flips, bits)

    def value_corrections(
        self, own: Array, zero: Array, one: Array, flips: Array, bits: int
    ) -> tuple[Array, Array]:
        self._check_operands(own=own, zero=zero, one=one, flips=flips)
        n = check_value(zero, bits, own=own, flips=flips)
        check_shapes(one=(one, (n, 1)))
        messages, share = self._corrected(_VALUE, own, own, zero, one, flips, bits - 1)
        return messages, share.reshape(n)

    def _corrected(
        self, factor: int, x: Array, own: Array, zero: Array, one: Array, flips: Array, bits: int
    ) -> tuple[Array, Array]:
        """Messages of `bits` bits, and the share; an array that the factor does not need is any other."""
        n, rows = zero.shape
        messages, share = self.empty(word_count(rows * n, bits)), self.empty((rows, n))
        if share.size:
            arrays = (x, own, zero, one, flips, messages, share)
            items = messages.size + share.size
            self._launch("product_corrections", items, *arrays, factor, bits, rows, n)
        return messages, share

    def product_shares(self, keys: Array, corrections: Array, plane: Array, bits: int) -> Array:
        self._check_operands(keys=keys, corrections=corrections, plane=plane)
        check_products(keys, bits, plane=plane)
        return self._received(_CHOSEN, keys, keys, corrections, plane, bits)

    def mux_shares(self, base: Array, keys: Array, corrections: Array, plane: Array, bits: int) -> Array:
        self._check_operands(base=base, keys=keys, corrections=corrections, plane=plane)
        check_shapes(base=(base, check_products(keys, bits, plane=plane)))
        return self._received(_MUX, base, keys, corrections, plane, bits)

    def value_shares(self, keys: Array, corrections: Array, own: Array, bits: int) -> Array:
        self._check_operands(keys=keys, corrections=corrections, own=own)
        n = check_value(keys, bits, own=own)
        return self._received(_VALUE, keys, keys, corrections, own, bits - 1).reshape(n)

    def _received(
        self, factor: int, base: Array, keys: Array, corrections: Array, plane: Array, bits: int
    ) -> Array:
        n, rows = keys.shape
        check_product_words(corrections, rows * n, bits)
        out = self.empty((rows, n))
        if out.size:
            arrays = (base, keys, corrections, plane, out)
            self._launch("product_shares", out.size, *arrays, factor, bits, rows, n)
        return out
