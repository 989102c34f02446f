"""The host side of the fused arithmetic kernels: check, allocate, launch (see kernel.py)."""

from __future__ import annotations

import numpy as np

from gpu_ss.backend import checks
from gpu_ss.backend.checks import check_shapes, require
from gpu_ss.backend.launcher import Launcher
from gpu_ss.ring import WORD, Array, word_count

_MAX_DEGREE = 4  # choose.cu is compiled for degrees 1 to 4
_BYTES = 8
_SUMS = 32  # partial sums per row (steps.cu)


class StepKernels(Launcher):
    """Planes and words, openings and corrections, fused arithmetic: see `Operations`."""

    def bit_plane(self, x: Array, bit: int) -> Array:
        self._check_operands(x=x)
        require(0 <= bit < WORD, f"words have no bit {bit}")
        width = word_count(x.size, 1)
        out = self.empty((1, width))
        if width:
            self._launch("bit_plane", width * _BYTES, x, out, bit, x.size)
        return out

    def plane_words(self, planes: Array, n: int) -> Array:
        self._check_operands(planes=planes)
        require(planes.ndim == 2 and n >= 0, "planes must be [k, W], and n not negative")
        count = planes.shape[0]
        check_shapes(planes=(planes, (count, word_count(n, 1))))
        out = self.empty((count, n))
        if out.size:
            self._launch("plane_words", n, planes, out, count)
        return out

    def unpack_add(self, words: Array, bits: int, own: Array) -> Array:
        self._check_operands(words=words, own=own)
        checks.unpacked(words.size, bits, own.size)
        out = self.empty(own.shape)
        if own.size:
            self._launch("unpack_add", own.size, words, own, out, bits)
        return out

    def unpack_sum(self, words: Array, bits: int, own: Array, mask: Array) -> Array:
        self._check_operands(words=words)
        self._check_same_shape(own=own, mask=mask)
        checks.unpacked(words.size, bits, own.size)
        out = self.empty(own.shape)
        if own.size:
            self._launch("unpack_sum", own.size, words, own, mask, out, bits)
        return out

    def pack_difference(self, value: Array, share: Array, bits: int) -> Array:
        self._check_same_shape(value=value, share=share)
        return self._packed("pack_difference", value, share, bits)

    def pack_sum(self, value: Array, mask: Array, bits: int) -> Array:
        self._check_same_shape(value=value, mask=mask)
        return self._packed("pack_sum", value, mask, bits)

    def _packed(self, kernel: str, x: Array, y: Array, bits: int) -> Array:
        n = word_count(x.size, checks.width(bits))
        out = self.empty(n)
        if n:
            self._launch(kernel, n, x, y, out, bits, x.size)
        return out

    def unwrap(self, x: Array, base: Array, sign: Array, product: Array, bits: int, shift: int) -> Array:
        self._check_operands(x=x, base=base, sign=sign, product=product)
        n = x.size
        plane = (1, word_count(n, 1))
        check_shapes(x=(x, (n,)), base=(base, plane), sign=(sign, plane), product=(product, (n,)))
        require(0 <= shift < checks.width(bits), f"{bits} bits cannot be shifted by {shift}")
        out = self.empty(n)
        if n:
            self._launch("unwrap", n, x, base, sign, product, out, bits, shift)
        return out

    def piecewise(
        self,
        x: Array,
        bits: Array,
        powers: Array,
        products: Array,
        coefficients: Array,
        lead: np.uint64,
        top: int | None = None,
    ) -> Array:
        self._check_operands(x=x, bits=bits, powers=powers, products=products, coefficients=coefficients)
        dimensions, more = (coefficients.ndim, powers.ndim, products.ndim), () if top is None else (2,)
        require(
            dimensions == (2, 2 + len(more), 3 + len(more)),
            f"coefficients, powers, products cannot have {dimensions} dimensions",
        )
        require(top is None or 0 <= top < WORD, f"words have no bit {top}")
        n, (terms, size), most, stride = x.size, coefficients.shape, powers.shape[-2], products.shape[-2]
        degree = size - 1
        require(1 <= degree <= _MAX_DEGREE, f"the degree must be 1 to {_MAX_DEGREE}, not {degree}")
        require(most >= degree and stride > degree, f"degree {degree} needs that many powers and products")
        check_shapes(
            x=(x, (n,)),
            bits=(bits, (terms, word_count(n, 1))),
            powers=(powers, (*more, most, n)),
            products=(products, (*more, terms, stride, n)),
        )
        out = self.empty(n)
        if n:
            arrays = (x, bits, powers, products, coefficients, out)
            sizes = (terms, degree, most, stride, -1 if top is None else top)
            self._launch("piecewise", n, *arrays, *sizes, int(lead))
        return out

    def bit_products(self, r: Array, rho: Array, degree: int) -> Array:
        self._check_operands(r=r, rho=rho)
        require(rho.ndim == 2 and degree >= 0, "rho must be planes [T, W], and the degree not negative")
        n, terms = r.size, rho.shape[0]
        check_shapes(r=(r, (n,)), rho=(rho, (terms, word_count(n, 1))))
        out = self.empty((terms, degree + 1, n))
        if out.size:
            self._launch("bit_products", n, r, rho, out, terms, degree)
        return out

    def row_squares(self, x: Array, mask: Array, lead: np.uint64) -> Array:
        self._check_same_shape(x=x, mask=mask)
        rows, width = _rows(x)
        if not x.size:
            return self.zeros(rows)
        sums, out = self.empty((rows, _SUMS)), self.empty(rows)
        self._launch("row_squares", sums.size, x, mask, sums, int(lead), width)
        self._launch("row_sums", rows, sums, out)
        return out

    def row_scale(self, x: Array, mask: Array, y: Array, b: Array, products: Array, lead: np.uint64) -> Array:
        self._check_same_shape(x=x, mask=mask, products=products)
        self._check_operands(y=y, b=b)
        rows, width = _rows(x)
        check_shapes(y=(y, (rows,)), b=(b, (rows,)))
        out = self.empty((rows, width))
        if x.size:
            self._launch("row_scale", x.size, x, mask, y, b, products, out, int(lead), width)
        return out


def _rows(x: Array) -> tuple[int, int]:
    """Rows and their length."""
    if x.ndim != 2:
        raise ValueError(f"rows make a matrix, not {x.shape}")
    return int(x.shape[0]), int(x.shape[1])
