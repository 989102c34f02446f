"""NumPy definitions of the boolean-circuit kernels: monomials of mask bits, digit comparison, tree nodes.

All of them work on bit planes [planes, words] and treat every bit position of a word as one element.
`lead` is all ones at rank 0 and zero at rank 1: the share of the constant 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]


def digit_monomials(planes: Words, widths: Sequence[int]) -> Words:
    """All products of planes inside each digit, then the top plane.

    `planes` [1 + sum(widths), W] holds the bits of numbers, lowest first; digits of `widths` bits from the low
    end cover all but the top one. A digit of b bits gives 2^b - 1 planes, the product over the set bits of
    S for S = 1 .. 2^b - 1. Result [sum(2^b - 1) + 1, W].
    """
    rows: list[Words] = []
    start = 0
    for width in widths:
        products: list[Words] = [planes[start]]  # by subset number - 1, grown bit by bit
        for bit in range(1, width):
            plane = planes[start + bit]
            products += [plane, *(plane & p for p in products)]
        rows += products
        start += width
    return np.stack([*rows, planes[start]])


def plane_products(planes: Words, subsets: Sequence[int]) -> Words:
    """For each bit set in `subsets`, the AND of the planes it names: [len(subsets), W]."""
    result = np.empty((len(subsets), planes.shape[1]), np.uint64)
    for row, subset in enumerate(subsets):
        chosen = [k for k in range(planes.shape[0]) if subset >> k & 1]
        result[row] = np.bitwise_and.reduce(planes[chosen], axis=0)
    return result


def digit_compare(c: Words, basis: Words, widths: Sequence[int], lead: np.uint64) -> Words:
    """Shares of [c < r] and [c == r] per digit, for public c and shared monomials of the bits of r.

    `c` [sum(widths), V] are bit planes of public numbers, V a multiple of the basis' word count W (several
    numbers compared with the same r). `basis` comes from `digit_monomials` (one more plane is ignored).
    Result [2 m - 1, V] for m digits: lt_0 .. lt_(m-1), eq_1 .. eq_(m-1). Linear in the shares, so local.
    """
    width_words = basis.shape[1]
    number = c.reshape(c.shape[0], c.shape[1] // max(1, width_words), width_words)
    less: list[Words] = []
    equal: list[Words] = []
    bit = plane = 0
    for width in widths:
        count = (1 << width) - 1
        monomials = np.concatenate([np.full((1, width_words), lead), basis[plane : plane + count]])
        lt, eq = _compare_digit(number[bit : bit + width], monomials)
        less.append(lt)
        equal.append(eq)
        bit, plane = bit + width, plane + count
    return np.stack([*less, *equal[1:]]).reshape(2 * len(widths) - 1, -1)


def _compare_digit(c: Words, monomials: Words) -> tuple[Words, Words]:
    """Fold the bits from the lowest up. After bit i, lt[T] and eq[T] are the shares of
    m_T * [c < r] and m_T * [c == r] on the bits folded so far, m_T any product of the bits above."""
    raw = monomials[:, None, :]  # m_T itself, T over the bits not folded yet
    lt = np.zeros_like(raw)
    eq = raw
    for public in c:
        flip = ~public  # [c_i == 0], the coefficient of everything without r_i
        lt = (flip & raw[1::2]) ^ (flip & lt[0::2]) ^ lt[1::2]
        eq = (flip & eq[0::2]) ^ eq[1::2]
        raw = raw[0::2]
    return lt[0], eq[0]


@lru_cache(maxsize=64)
def node_subsets(arity: int, with_eq: bool) -> tuple[int, ...]:
    """The monomials of degree >= 2 a tree node needs, as bit sets over its input planes.

    Inputs of a node of `arity` digits: lt_j is plane j, eq_j (j >= 1) plane arity + j - 1, and eq_0, only when
    the node also computes equality, plane 2 arity - 1.
    """
    subsets: set[int] = set()
    for digit in range(arity):
        for above in _subsets([arity + j - 1 for j in range(digit + 1, arity)]):
            subsets |= {above, above | 1 << digit}
    if with_eq:
        subsets |= set(_subsets([2 * arity - 1, *range(arity, 2 * arity - 1)]))
    return tuple(sorted(s for s in subsets if s.bit_count() >= 2))


def _subsets(planes: Sequence[int]) -> list[int]:
    """All bit sets over `planes`; entry t of the list uses plane k exactly when bit k of t is set."""
    result = [0]
    for plane in planes:
        result += [s | 1 << plane for s in result]
    return result


@lru_cache(maxsize=64)
def node_slots(arity: int, with_eq: bool) -> dict[int, int]:
    """Row of `basis` that holds the monomial of a bit set: the masks themselves, then `node_subsets`."""
    inputs = node_inputs(arity, with_eq)
    slots = {1 << k: k for k in range(inputs)}
    return slots | {s: inputs + k for k, s in enumerate(node_subsets(arity, with_eq))}


def node_inputs(arity: int, with_eq: bool) -> int:
    """Planes that a node opens."""
    return 2 * arity - (0 if with_eq else 1)


def node(opened: Words, basis: Words, arity: int, with_eq: bool, lead: np.uint64) -> Words:
    """One node of the comparison tree: from opened masked digit results to shares of the joint result.

    lt = lt_(m-1) + eq_(m-1) (lt_(m-2) + eq_(m-2) (...)), and with `with_eq` also eq = prod eq_j. `opened`
    [node_inputs, V] are inputs XOR masks, `basis` [node_inputs + len(node_subsets), V] shares of the masks
    and of their products. Result [1 or 2, V]: lt, eq.
    """
    slots = node_slots(arity, with_eq)

    def share(subset: int) -> Words:
        return basis[slots[subset]] if subset else np.full(basis.shape[1], lead)

    above = _subsets([arity + j - 1 for j in range(1, arity)])
    raw = np.stack([share(t) for t in above])
    value: Words = (opened[0] & raw) ^ np.stack([share(t | 1) for t in above])
    for digit in range(1, arity):
        e_lt, e_eq = opened[digit], opened[arity + digit - 1]
        raw, above = raw[0::2], above[0::2]
        direct = (e_lt & raw) ^ np.stack([share(t | 1 << digit) for t in above])
        value = direct ^ (e_eq & value[0::2]) ^ value[1::2]
    if not with_eq:
        return value
    eq_planes = [2 * arity - 1, *range(arity, 2 * arity - 1)]
    product = np.stack([share(t) for t in _subsets(eq_planes)])
    for plane in eq_planes:
        product = (opened[plane] & product[0::2]) ^ product[1::2]
    return np.concatenate([value, product])


@lru_cache(maxsize=64)
def number_subsets(arity: int) -> tuple[int, ...]:
    """The products of masks, single ones among them, that `node_numbers` needs, as bit sets over a node's inputs.

    For every set of eq's, in ascending order: the set itself, then with lt_j of each digit j below its members.
    """
    subsets = []
    for t, above in enumerate(_subsets([arity + j - 1 for j in range(1, arity)])):
        below = (t & -t).bit_length() if t else arity
        subsets += [*([above] if t else []), *(above | 1 << digit for digit in range(below))]
    return tuple(subsets)


def number_fields(arity: int, field: int) -> tuple[int, int]:
    """Words that hold `number_subsets` in fields of that many bits, and fields to a word."""
    count = len(number_subsets(arity))
    rows = -(-count // (64 // field))
    return rows, -(-count // rows)


def node_numbers(opened: Words, shares: Words, arity: int, field: int, lead: np.uint64) -> Words:
    """See Operations.node_numbers: lt_(m-1) + eq_(m-1) (lt_(m-2) + ...) over the integers."""
    n, (_, per) = 64 * opened.shape[1], number_fields(arity, field)
    slots = {s: divmod(k, per) for k, s in enumerate(number_subsets(arity))}
    bits = np.unpackbits(opened.view(np.uint8), axis=1, bitorder="little").astype(np.uint64)

    def share(subset: int) -> Words:
        row, place = slots[subset] if subset else (0, 0)
        return shares[row] >> np.uint64(place * field) if subset else np.full(n, lead & np.uint64(1))

    def times(plane: int, plain: Words, masked: Words) -> Words:
        """From shares of E and rho E: of x E, for x = d + (1 - 2 d) rho with d open."""
        return np.where(bits[plane] == 1, plain - masked, masked)

    above = _subsets([arity + j - 1 for j in range(1, arity)])
    value = [times(0, share(t), share(t | 1)) for t in above]
    for digit in range(1, arity):
        above = above[0::2]
        lower = [times(arity + digit - 1, *pair) for pair in zip(value[0::2], value[1::2], strict=True)]
        value = [
            times(digit, share(t), share(t | 1 << digit)) + low for t, low in zip(above, lower, strict=True)
        ]
    return value[0] & np.uint64((1 << field) - 1)


@lru_cache(maxsize=64)
def and_subsets(fan_in: int) -> tuple[int, ...]:
    """The products of two and more of `fan_in` masks, as bit sets in ascending order."""
    return tuple(s for s in range(1, 1 << fan_in) if s.bit_count() >= 2)


def all_of(opened: Words, basis: Words, lead: np.uint64) -> Words:
    """AND of k shared planes from their opened masked forms: [1, V].

    `opened` [k, V]; `basis` [2^k - 1, V] are shares of the k masks, then of their products (`and_subsets`).
    """
    fan_in = opened.shape[0]
    slots = {1 << k: k for k in range(fan_in)} | {s: fan_in + k for k, s in enumerate(and_subsets(fan_in))}
    order = [slots[s] for s in range(1, 1 << fan_in)]
    product = np.concatenate([np.full((1, basis.shape[1]), lead), basis[order]])
    for plane in opened:
        product = (plane & product[0::2]) ^ product[1::2]
    return product
