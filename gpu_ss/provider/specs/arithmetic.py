"""Correlations of arithmetic: products of masks, their powers, and the wrap bit of a truncation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from gpu_ss.errors import CorrelationError
from gpu_ss.provider.correlation import Correlation, Dealing, Out
from gpu_ss.ring import Array


@dataclass(frozen=True)
class Product(Correlation):
    """c = a * b elementwise for masks `a`, `b` of n elements each."""

    a: int
    b: int
    n: int
    bits: int

    refs: ClassVar = ("a", "b")

    def outputs(self) -> tuple[Out, ...]:
        return (Out((self.n,), self.bits),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        return (dealing.mask(self.a).reshape(-1) * dealing.mask(self.b).reshape(-1),)


@dataclass(frozen=True)
class Powers(Correlation):
    """a^2, ..., a^degree of one mask of n elements: [degree - 1, n]."""

    a: int
    n: int
    degree: int
    bits: int

    refs: ClassVar = ("a",)

    def outputs(self) -> tuple[Out, ...]:
        return (Out((self.degree - 1, self.n), self.bits),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        base = dealing.mask(self.a).reshape(-1)
        powers = [base * base]
        for _ in range(self.degree - 2):
            powers.append(powers[-1] * base)
        return (dealing.backend.xp.stack(powers),)


@dataclass(frozen=True)
class MatmulProduct(Correlation):
    """C = A B for mask matrices A [batch, m, k] and B [batch or 1, k, n] (B stored [n, k] if transposed)."""

    a: int
    b: int
    batch: int
    m: int
    k: int
    n: int
    b_batch: int
    transposed: int
    bits: int

    refs: ClassVar = ("a", "b")

    def outputs(self) -> tuple[Out, ...]:
        return (Out((self.batch, self.m, self.n), self.bits),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        left = dealing.mask(self.a).reshape(self.batch, self.m, self.k)
        return (dealing.backend.matmul(left, self.right(dealing.mask(self.b)), self.bits),)

    def right(self, words: Array) -> Array:
        """The words of B as [b_batch, k, n]."""
        if self.transposed:
            return words.reshape(self.b_batch, self.n, self.k).transpose(0, 2, 1)
        return words.reshape(self.b_batch, self.k, self.n)


@dataclass(frozen=True)
class RowSquareSum(Correlation):
    """sum_j a[i, j]^2 of a mask [rows, n]."""

    a: int
    rows: int
    n: int
    bits: int

    refs: ClassVar = ("a",)

    def outputs(self) -> tuple[Out, ...]:
        return (Out((self.rows,), self.bits),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        a = dealing.mask(self.a).reshape(self.rows, self.n)
        return ((a * a).sum(axis=1),)


@dataclass(frozen=True)
class RowProduct(Correlation):
    """a[i, j] * b[i] for masks a [rows, n] and b [rows]."""

    a: int
    b: int
    rows: int
    n: int
    bits: int

    refs: ClassVar = ("a", "b")

    def outputs(self) -> tuple[Out, ...]:
        return (Out((self.rows, self.n), self.bits),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        a = dealing.mask(self.a).reshape(self.rows, self.n)
        return (a * dealing.mask(self.b).reshape(self.rows, 1),)


@dataclass(frozen=True)
class ColumnProduct(Correlation):
    """a[i, j] * b[j] for masks a [rows, n] and b [n]: multiplication by a diagonal matrix."""

    a: int
    b: int
    rows: int
    n: int
    bits: int

    refs: ClassVar = ("a", "b")

    def outputs(self) -> tuple[Out, ...]:
        return (Out((self.rows, self.n), self.bits),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        a = dealing.mask(self.a).reshape(self.rows, self.n)
        return (a * dealing.mask(self.b).reshape(1, self.n),)


@dataclass(frozen=True)
class WeightProduct(Correlation):
    """A W for a mask A [rows, k] of one party and weight number `weight` [k, n] that the other holds in clear.

    With `diagonal` the weight is [k] and the product A_ij w_j. Only the two parties can make it (he_bridge): a
    dealer does not know W.
    """

    a: int
    weight: int
    rows: int
    k: int
    n: int
    diagonal: int
    bits: int

    refs: ClassVar = ("a",)

    def outputs(self) -> tuple[Out, ...]:
        return (Out((self.rows, self.n), self.bits),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        raise CorrelationError("a dealer cannot multiply by weights that one party holds in clear")


@dataclass(frozen=True)
class Elsewhere(Correlation):
    """Holds the number of a correlation that does not come from the dealer."""

    def outputs(self) -> tuple[Out, ...]:
        return ()


@dataclass(frozen=True)
class WrapProduct(Correlation):
    """Bits a (rank 0 alone) and b (rank 1 alone) of n elements, and shares of a * b modulo 2^bits."""

    n: int
    bits: int

    def outputs(self) -> tuple[Out, ...]:
        plane = (1, -(-self.n // 64))
        return (
            Out(plane, xor=True, random=True, owner=0),
            Out(plane, xor=True, random=True, owner=1),
            Out((self.n,), self.bits),
        )

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        a, b = dealing.clear[0], dealing.clear[1]
        return (dealing.backend.from_planes(a & b, self.n),)  # type: ignore[operator]
