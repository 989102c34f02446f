"""NumPy definitions of the arithmetic modulo a prime: Python's integers, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_ss.backend.fields import Fields, check_prime
from gpu_ss.ring import Array


class ReferenceFields(Fields):
    """See `Fields`."""

    def field_reduce(self, high: Array, low: Array, prime: int) -> Array:
        return _words(((_integers(high) << 64) + _integers(low)) % check_prime(prime))

    def field_multiply_add(self, x: Array, y: Array, z: Array, prime: int) -> Array:
        factors = _integers(y) if y.shape == x.shape else _integers(y)[:, None]
        return _words((_integers(x) * factors + _integers(z)) % check_prime(prime))

    def field_dots(self, x: Array, y: Array, prime: int) -> Array:
        products = _integers(x) * _integers(y)
        return _words(np.array([int(row.sum()) % check_prime(prime) for row in products], object))


def _integers(words: Array) -> Any:
    return words.astype(object)


def _words(integers: Any) -> Array:
    return np.ascontiguousarray(integers.astype(np.uint64))
