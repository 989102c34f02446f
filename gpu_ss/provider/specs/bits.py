"""Correlations of boolean circuits: monomials of mask bits, and bits times arithmetic masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.backend.reference_circuits import and_subsets, node_subsets
from gpu_ss.provider.correlation import Correlation, Dealing, Out
from gpu_ss.ring import Array, Ring

PLAIN, PAIRS, ROWS, COLUMNS = 0, 1, 2, 3


@dataclass(frozen=True)
class MaskView:
    """A mask, or a difference of masks, read as a flat array of `bits`-bit numbers.

    PLAIN: mask a, shifted right. PAIRS: a is [groups, group]; the differences a_i - a_j of all i < j of a
    group, [pairs, groups]. COLUMNS: the same a transposed, [group, groups]; both with rows padded by zeros to
    whole words of bit planes. ROWS: a[i, j] - b[i] for a [rows, group] and b [rows].
    Elements are first reduced to `source` bits and shifted right by `shift`.
    """

    a: int
    n: int
    source: int
    bits: int
    shift: int = 0
    form: int = PLAIN
    group: int = 1
    b: int = 0

    def __post_init__(self) -> None:
        if not (
            1 <= self.bits <= self.source - self.shift <= 64
            and min(self.a, self.b, self.n, self.shift) >= 0
            and self.group >= 1
            and self.form in (PLAIN, PAIRS, ROWS, COLUMNS)
        ):
            raise ValueError(f"inconsistent mask view {self}")

    def moved(self, offset: int, base: int) -> MaskView:
        """See Correlation.moved."""
        a, b = (m + offset if m >= base else m for m in (self.a, self.b))
        return replace(self, a=a, b=b if self.form == ROWS else 0)

    def words(self, dealing: Dealing) -> Array:
        """The clear words, canonical modulo 2^bits."""
        a = Ring(self.source).reduce(dealing.mask(self.a)) >> np.uint64(self.shift)
        if self.form == PAIRS:
            a = pair_differences(dealing.backend, a.reshape(-1, self.group))
        elif self.form == COLUMNS:
            a = columns(dealing.backend, a.reshape(-1, self.group))
        elif self.form == ROWS:
            a = a.reshape(-1, self.group) - dealing.mask(self.b).reshape(-1, 1)
        return Ring(self.bits).reduce(a.reshape(-1))


def pairs_of(group: int) -> list[tuple[int, int]]:
    """All (i, j) with i < j, in the order of `pair_differences`."""
    return [(i, j) for i in range(group) for j in range(i + 1, group)]


def pair_differences(backend: Backend, values: Array) -> Array:
    """[groups, group] -> value_i - value_j of all pairs, [pairs, groups] padded to whole plane words."""
    by_column = columns(backend, values)
    return backend.xp.stack([by_column[i] - by_column[j] for i, j in pairs_of(values.shape[1])])


def columns(backend: Backend, values: Array) -> Array:
    """[groups, group] -> [group, groups], rows padded by zeros to a multiple of 64."""
    groups, group = values.shape
    result = backend.zeros((group, 64 * words_of(groups)))
    result[:, :groups] = values.T
    return result


def words_of(n: int) -> int:
    """Words of a bit plane of n elements."""
    return -(-n // 64)


@dataclass(frozen=True)
class DigitMonomials(Correlation):
    """For a viewed mask r of n numbers: all products of bits inside each digit, and the top bit.

    Digits of `widths` bits from the low end cover all bits but the top one. Of a digit with bits r_0..r_b-1
    the planes are prod_{i in S} r_i for S = 1 .. 2^b - 1 (as bit sets), digits one after the other; the last
    plane is the top bit. XOR-shared.
    """

    view: MaskView
    widths: tuple[int, ...]

    refs: ClassVar = ("view",)

    def outputs(self) -> tuple[Out, ...]:
        planes = sum((1 << b) - 1 for b in self.widths) + 1
        return (Out((planes, words_of(self.view.n)), xor=True),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        planes = dealing.backend.to_planes(self.view.words(dealing), self.view.bits)
        return (dealing.backend.digit_monomials(planes, self.widths),)


@dataclass(frozen=True)
class NodeMonomials(Correlation):
    """The products of masks that one node of a comparison tree needs (`node_subsets`), XOR-shared."""

    mask: int
    words: int
    arity: int
    with_eq: int

    refs: ClassVar = ("mask",)

    def subsets(self) -> tuple[int, ...]:
        return node_subsets(self.arity, bool(self.with_eq))

    def outputs(self) -> tuple[Out, ...]:
        return (Out((len(self.subsets()), self.words), xor=True),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        return (dealing.backend.plane_products(dealing.mask(self.mask), self.subsets()),)


@dataclass(frozen=True)
class AndMonomials(Correlation):
    """All products of two and more of the planes of one BitMask, XOR-shared."""

    mask: int
    words: int
    fan_in: int

    refs: ClassVar = ("mask",)

    def outputs(self) -> tuple[Out, ...]:
        return (Out((len(and_subsets(self.fan_in)), self.words), xor=True),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        return (dealing.backend.plane_products(dealing.mask(self.mask), and_subsets(self.fan_in)),)


@dataclass(frozen=True)
class BitValues(Correlation):
    """The bits of a BitMask [planes, words] as arithmetic shares [planes, n] in Z_2^bits (daBits)."""

    mask: int
    planes: int
    n: int
    bits: int

    refs: ClassVar = ("mask",)

    def outputs(self) -> tuple[Out, ...]:
        return (Out((self.planes, self.n), self.bits),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        return (bit_words(dealing, self.mask, self.n),)


@dataclass(frozen=True)
class ViewPowers(Correlation):
    """r, r^2, ..., r^degree of a viewed mask, in Z_2^bits: [1 + lift, degree, n].

    With `lift`, bits may exceed the view's: entry 0 holds the powers of r as an integer in [0, 2^view.bits),
    entry 1 those of r - 2^view.bits * (top bit of r). Which of the two is v = C - r over the integers is
    public, see protocols/piecewise.py.
    """

    view: MaskView
    degree: int
    bits: int
    lift: int = 0

    refs: ClassVar = ("view",)

    def outputs(self) -> tuple[Out, ...]:
        return (Out((1 + self.lift, self.degree, self.view.n), self.bits),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        cases = lifted_cases(self.view, dealing, self.lift)
        return (dealing.backend.xp.stack([_powers(dealing, r, self.degree)[1:] for r in cases]),)


@dataclass(frozen=True)
class BitProducts(Correlation):
    """rho_k * r^j for bit mask planes rho and a viewed mask r: [1 + lift, planes, degree + 1, n].

    `lift` as in ViewPowers.
    """

    mask: int
    planes: int
    view: MaskView
    degree: int
    bits: int
    lift: int = 0

    refs: ClassVar = ("mask", "view")

    def outputs(self) -> tuple[Out, ...]:
        return (Out((1 + self.lift, self.planes, self.degree + 1, self.view.n), self.bits),)

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        backend, rho = dealing.backend, dealing.mask(self.mask)
        cases = lifted_cases(self.view, dealing, self.lift)
        products = [backend.bit_products(r, rho, self.degree) for r in cases]
        return (products[0] if len(products) == 1 else backend.xp.stack(products),)


def lifted_cases(view: MaskView, dealing: Dealing, lift: int) -> list[Array]:
    """The viewed mask, and with `lift` also the same less 2^bits where its top bit is set."""
    r = view.words(dealing)
    if not lift:
        return [r]
    return [r, r - ((r >> np.uint64(view.bits - 1)) << np.uint64(view.bits))]


def _powers(dealing: Dealing, r: Array, degree: int) -> Array:
    """1, r, ..., r^degree: [degree + 1, n]."""
    powers = [r * np.uint64(0) + np.uint64(1)]
    for _ in range(degree):
        powers.append(powers[-1] * r)
    return dealing.backend.xp.stack(powers)


def bit_words(dealing: Dealing, mask: int, n: int) -> Array:
    """The planes of a bit mask as words 0 or 1: [planes, n]."""
    return dealing.backend.plane_words(dealing.mask(mask), n)
