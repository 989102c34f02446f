"""Arithmetic modulo a prime in whole words.

A part of `Backend`, split off for length. Same rules: exact, the same words on every backend, arguments unchanged,
C-contiguous. Elements are canonical: below the prime, which has 3 to 60 bits.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from gpu_ss.ring import Array

LEAST_BITS, MOST_BITS = 3, 60


class Fields(ABC):
    """Operations modulo a prime; defined by `reference_fields`."""

    @abstractmethod
    def field_reduce(self, high: Array, low: Array, prime: int) -> Array:
        """high 2^64 + low modulo the prime, for any words: of uniform ones, uniform up to prime / 2^128."""

    @abstractmethod
    def field_multiply_add(self, x: Array, y: Array, z: Array, prime: int) -> Array:
        """x y + z element by element, x and z of one shape; y has that shape too, or one element for each row of
        x [rows, n]."""

    @abstractmethod
    def field_dots(self, x: Array, y: Array, prime: int) -> Array:
        """sum_j x_ij y_ij: [rows] from [rows, n]."""


def check_prime(prime: int) -> int:
    """`prime` if its size is one that can be handled (that it is a prime is the caller's care)."""
    if not LEAST_BITS <= prime.bit_length() <= MOST_BITS:
        raise ValueError(f"{prime} is no prime of {LEAST_BITS} to {MOST_BITS} bits")
    return prime
