"""Correlations of arithmetic: products of masks, their powers, and the wrap bit of a truncation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gpu_ss.errors import CorrelationError
from gpu_ss.provider.correlation import Correlation, Dealing, Out
from gpu_ss.ring import Array, Ring


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
class LiftedRowProduct(Correlation):
    """For masks a [rows, n] of a_bits and b [rows] of b_bits: what their signed forms need in a larger Z_2^bits.

    With a' the top bit of a, its signed form is a or a - 2^a_bits a', whichever a public bit says (the same for b).
    So: a, b, a b in Z_2^bits, and a', b', a' b, a b', a' b' in what is left of it above the powers of two that
    multiply them; those that nothing is left for are left out.
    """

    a: int
    b: int
    rows: int
    n: int
    a_bits: int
    b_bits: int
    bits: int

    refs: ClassVar = ("a", "b")

    def parts(self) -> dict[str, Out]:
        """The arrays by name, in order."""
        above_a, above_b = self.bits - self.a_bits, self.bits - self.b_bits
        of_rows, of_all = (self.rows, 1), (self.rows, self.n)
        found = {
            "a": (of_all, self.bits), "top_a": (of_all, above_a),
            "b": (of_rows, self.bits), "top_b": (of_rows, above_b),
            "a_b": (of_all, self.bits), "top_a_b": (of_all, above_a), "a_top_b": (of_all, above_b),
            "tops": (of_all, above_a - self.b_bits),
        }  # fmt: skip
        return {name: Out(shape, bits) for name, (shape, bits) in found.items() if bits > 0}

    def outputs(self) -> tuple[Out, ...]:
        return tuple(self.parts().values())

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        a = Ring(self.a_bits).reduce(dealing.mask(self.a).reshape(self.rows, self.n))
        b = Ring(self.b_bits).reduce(dealing.mask(self.b).reshape(self.rows, 1))
        top_a, top_b = a >> np.uint64(self.a_bits - 1), b >> np.uint64(self.b_bits - 1)
        values = {
            "a": a, "top_a": top_a, "b": b, "top_b": top_b,
            "a_b": a * b, "top_a_b": top_a * b, "a_top_b": a * top_b, "tops": top_a * top_b,
        }  # fmt: skip
        return tuple(values[name] for name in self.parts())


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
