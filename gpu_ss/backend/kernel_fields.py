"""The host side of the kernels modulo a prime: check, allocate, launch (see kernel.py)."""

from __future__ import annotations

from functools import cache

from gpu_ss.backend.fields import check_prime
from gpu_ss.backend.launcher import Launcher
from gpu_ss.ring import Array

_PARTS = 32  # partial sums per row (fields.cu)


@cache
def _constants(prime: int) -> tuple[int, int, int]:
    """The prime, its scaled inverse, and the shift that belongs to it: see fields.cu."""
    shift = check_prime(prime).bit_length() - 2
    return prime, (1 << (shift + 64)) // prime, shift


class FieldKernels(Launcher):
    """See `Fields`."""

    def field_reduce(self, high: Array, low: Array, prime: int) -> Array:
        self._check_same_shape(high=high, low=low)
        p, inverse, shift = _constants(prime)
        out = self.empty(high.shape)
        if out.size:
            power = (1 << 64) % p, (1 << 64) // p
            self._launch("field_reduce", out.size, high, low, out, p, inverse, power[1], power[0], shift)
        return out

    def field_multiply_add(self, x: Array, y: Array, z: Array, prime: int) -> Array:
        self._check_same_shape(x=x, z=z)
        self._check_operands(y=y)
        whole = y.shape == x.shape
        if not whole and (x.ndim != 2 or y.shape != x.shape[:1]):
            raise ValueError(f"{x.shape} elements cannot be multiplied by {y.shape}")
        out = self.empty(x.shape)
        if out.size:
            width = 0 if whole else x.shape[1]
            self._launch("field_multiply_add", out.size, x, y, z, out, *_constants(prime), width)
        return out

    def field_dots(self, x: Array, y: Array, prime: int) -> Array:
        self._check_same_shape(x=x, y=y)
        if x.ndim != 2:
            raise ValueError(f"rows make a matrix, not {x.shape}")
        rows, width = x.shape
        if not x.size:
            return self.zeros(rows)
        parts, out = self.empty((rows, _PARTS)), self.empty(rows)
        self._launch("field_dots", parts.size, x, y, parts, *_constants(prime), _PARTS, width)
        self._launch("field_sums", rows, parts, out, prime, _PARTS)
        return out
