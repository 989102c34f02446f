"""Bits times values: bit injection, selection, and piecewise polynomials.

A shared bit b is opened as d = b XOR rho. Then b = d + (1 - 2d) rho, so b times anything the dealer knows
(a power of a mask) costs the one bit d: the value itself is already open under its mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from gpu_ss.cost import Cost, opening
from gpu_ss.party import Item, Party, Round, Steps, masked, protocol
from gpu_ss.protocols.io import Opened
from gpu_ss.provider.base import Material
from gpu_ss.provider.correlation import BitMask, Mask
from gpu_ss.provider.specs.arithmetic import Powers
from gpu_ss.provider.specs.bits import BitProducts, BitValues, MaskView, ViewPowers, words_of
from gpu_ss.ring import Array, Ring, wire_bytes
from gpu_ss.values import AShare, BShare


def bit_values_cost(n: int, bits: int, ring: Ring) -> Cost:
    """Cost of `bit_values` for n elements of so many bits."""
    return opening((bits * words_of(n), 64)) + Cost(offline=wire_bytes(bits * n, ring.bits))


@protocol(cost=lambda b, ring: bit_values_cost(b.size, b.nbits, ring), paper="RW19")
def b2a(party: Party, b: BShare, ring: Ring) -> Steps[AShare]:
    """The number with these bits (lowest first) as an arithmetic share in `ring`, 0 fractional bits.

    Opened: every bit under a uniform bit the dealer also gave as arithmetic share (daBit).
    """
    bits = yield from bit_values(party, b, ring)
    weights = party.backend.constant(_weights, b.nbits)
    return AShare((bits * weights[:, None]).sum(axis=0).reshape(b.shape), ring, 0)


def bit_values(party: Party, b: BShare, ring: Ring) -> Steps[Array]:
    """Each bit as an arithmetic share: [nbits, n] words."""
    count, words = b.nbits, words_of(b.size)
    mask = party.provider.take(BitMask(count, words))
    rho = party.provider.take(BitValues(mask.number, count, b.size, ring.bits)).only
    (opened,) = yield Round("b2a", (Item(b.planes ^ mask.only, (count, words), 64, xor=True),))
    d = party.backend.plane_words(opened, b.size)
    return (d & party.lead) + rho - ((rho * d) << Ring(64).constant(1))


def _inject_cost(b: BShare, x: AShare) -> Cost:
    n, bits = x.size, x.ring.bits
    return opening((n, bits), (words_of(n), 64)) + Cost(offline=wire_bytes(2 * n, bits))


@protocol(cost=_inject_cost, paper="RW19")
def inject(party: Party, b: BShare, x: AShare) -> Steps[AShare]:
    """b * x for a single-bit b of x's shape: exact. Opens x and b, each under its own uniform mask."""
    mask = party.provider.take(Mask(x.shape, x.ring.bits))
    chooser = Chooser(party, b, [Variable.of(Opened(None, mask, x.ring, x.frac_bits))], x.ring)
    words, d = yield Round("select", (masked(x, mask.only), chooser.item))
    data = chooser.finish(party, d, [words], [[[0, 1]]])
    return AShare(data.reshape(x.shape), x.ring, x.frac_bits)


@protocol(cost=lambda b, x, y: _inject_cost(b, x), paper="RW19")
def select(party: Party, b: BShare, x: AShare, y: AShare) -> Steps[AShare]:
    """x where b is 1, y where it is 0."""
    return y + (yield from inject.steps(party, b, x - y))


@dataclass(frozen=True, slots=True)
class Variable:
    """A viewed mask whose value enters polynomials up to `degree`; `lift` as in specs.bits.ViewPowers.

    `share`: this party's share of the mask when it is one already in the ring of the result, else None.
    """

    view: MaskView
    degree: int
    lift: bool = False
    share: Array | None = field(default=None, repr=False)

    @staticmethod
    def of(opened: Opened, degree: int = 1) -> Variable:
        """The opened value itself."""
        bits = opened.ring.bits
        view = MaskView(opened.mask.number, opened.size, bits, bits)
        return Variable(view, degree, share=opened.mask.only.reshape(1, -1))


class Chooser:
    """sum_k b_k D_k(v): shared bits b [T planes] times public polynomials of opened values v.

    Building it draws the correlations; `item` is what has to be opened (the bits, each under a uniform bit);
    `finish` takes it opened. In between lies the caller's round.
    """

    def __init__(self, party: Party, b: BShare, variables: Sequence[Variable], ring: Ring) -> None:
        count, words = b.nbits, words_of(b.size)
        mask = party.provider.take(BitMask(count, words))
        self.item = Item(b.planes ^ mask.only, (count, words), 64, xor=True)
        self._variables = [(v, *_materials(party, v, mask, count, ring)) for v in variables]

    def finish(
        self, party: Party, d: Array, values: Sequence[Array], polynomials: Sequence[Sequence[Sequence[int]]]
    ) -> Array:
        """Shares of sum_k sum_v D_kv(v), flat. `values[v]` are the opened words (value + mask) of variable v,
        `polynomials[v][k]` the integer coefficients of D_kv, constant first."""
        total = None
        used = self._variables[: len(values)]
        for (variable, powers, products), words, rows in zip(used, values, polynomials, strict=True):
            public = words.reshape(-1)
            top = variable.view.bits - 1 if variable.lift else None
            coefficients = _table(party, rows)
            part = party.backend.piecewise(public, d, powers, products, coefficients, party.lead, top)
            total = part if total is None else total + part
        return total


def _materials(
    party: Party, variable: Variable, mask: Material, count: int, ring: Ring
) -> tuple[Array, Array]:
    """Shares of the powers [degree, n] and bit products [T, degree + 1, n] (both stacked when lifted)."""
    take, view, degree = party.provider.take, variable.view, variable.degree
    lift = int(variable.lift)
    products = take(BitProducts(mask.number, count, view, degree, ring.bits, lift)).only
    if variable.share is None:
        powers = take(ViewPowers(view, degree, ring.bits, lift)).only
    elif degree == 1:
        powers = variable.share
    else:
        higher = take(Powers(view.a, view.n, degree, ring.bits)).only
        powers = party.backend.xp.concatenate([variable.share, higher])
    return (powers, products) if lift else (powers.reshape(degree, -1), products[0])


def chooser_cost(n: int, bits: int, thresholds: int, variables: Sequence[tuple[int, bool, bool]]) -> Cost:
    """One round opening the bits, and the dealer material, for variables (degree, lift, own share)."""
    cost = opening((thresholds * words_of(n), 64))
    for degree, lift, own in variables:
        powers = degree - 1 if own else degree * (1 + lift)
        products = (1 + lift) * thresholds * (degree + 1)
        cost = cost + Cost(offline=wire_bytes(powers * n, bits) + wire_bytes(products * n, bits))
    return cost


def _weights(count: int) -> np.ndarray[Any, np.dtype[np.uint64]]:
    return np.uint64(1) << np.arange(count, dtype=np.uint64)


def _table(party: Party, rows: Sequence[Sequence[int]]) -> Array:
    """Integers as a rectangular array of words (short rows are filled with zeros)."""
    width = max(len(row) for row in rows)
    numbers = tuple(c for row in rows for c in (*row, *[0] * (width - len(row))))
    return party.backend.table(numbers).reshape(len(rows), width)
