"""Correlations in a field: products of masks modulo a prime, and bits as numbers modulo it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from gpu_ss.provider.correlation import Correlation, Dealing, Out
from gpu_ss.provider.specs.bits import words_of
from gpu_ss.ring import Array


@dataclass(frozen=True)
class FieldProduct(Correlation):
    """a_i b_i for masks a of rank 0 alone and b of rank 1 alone, n elements each."""

    a: int
    b: int
    n: int
    prime: int

    refs: ClassVar = ("a", "b")

    def outputs(self) -> tuple[Out, ...]:
        return (Out.element((self.n,), self.prime),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        a, b = (dealing.mask(number).reshape(-1) for number in (self.a, self.b))
        zeros = dealing.backend.zeros((self.n,))
        return (dealing.backend.field_multiply_add(a, b, zeros, self.prime),)


@dataclass(frozen=True)
class FieldRowProduct(Correlation):
    """a[i, j] * b[i] for shared masks a [rows, n] and b [rows]."""

    a: int
    b: int
    rows: int
    n: int
    prime: int

    refs: ClassVar = ("a", "b")

    def outputs(self) -> tuple[Out, ...]:
        return (Out.element((self.rows, self.n), self.prime),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        a = dealing.mask(self.a).reshape(self.rows, self.n)
        zeros = dealing.backend.zeros((self.rows, self.n))
        return (dealing.backend.field_multiply_add(a, dealing.mask(self.b).reshape(-1), zeros, self.prime),)


@dataclass(frozen=True)
class FieldRowSquareSum(Correlation):
    """sum_j a[i, j]^2 of a shared mask [rows, n]."""

    a: int
    rows: int
    n: int
    prime: int

    refs: ClassVar = ("a",)

    def outputs(self) -> tuple[Out, ...]:
        return (Out.element((self.rows,), self.prime),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        a = dealing.mask(self.a).reshape(self.rows, self.n)
        return (dealing.backend.field_dots(a, a, self.prime),)


@dataclass(frozen=True)
class FieldWrap(Correlation):
    """Bits a (rank 0 alone) and b (rank 1 alone) of n elements, and shares of a * b modulo a prime."""

    n: int
    prime: int

    def outputs(self) -> tuple[Out, ...]:
        plane = (1, words_of(self.n))
        return (
            Out(plane, xor=True, random=True, owner=0),
            Out(plane, xor=True, random=True, owner=1),
            Out.element((self.n,), self.prime),
        )

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        a, b = dealing.clear[0], dealing.clear[1]
        return (dealing.backend.from_planes(a & b, self.n),)  # type: ignore[operator]
