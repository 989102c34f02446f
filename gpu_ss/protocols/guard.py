"""The check behind bounds that were measured and not proven: one bit says whether all numbers kept their bounds.

What is checked is computed in rings that hold it for certain. If a number does not keep its bound, what came of
smaller rings is worthless, and `gated` makes it 0 before it is revealed: that bit is all that is learnt.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpu_ss.cost import FREE, Cost, opening
from gpu_ss.party import Party, Steps, protocol, together
from gpu_ss.protocols.arith import times_rows
from gpu_ss.protocols.boolean import invert
from gpu_ss.protocols.compare import ge_public, shape_for, tree_cost
from gpu_ss.protocols.io import add_public, open_masked
from gpu_ss.protocols.select import b2a, bit_values_cost
from gpu_ss.protocols.trunc import truncate
from gpu_ss.ring import RING64, Ring, wire_bytes
from gpu_ss.values import AShare

UNIT_RING = Ring(40)  # of what is compared, in whole units


def _count_ring(n: int) -> Ring:
    """Of a number of at most n, with the two bits of room of a comparison."""
    return Ring(n.bit_length() + 2)


def _compared(n: int, ring: Ring) -> Cost:
    return opening((n, ring.bits)) + tree_cost(n, shape_for(ring.bits), 1)


def _all_below_cost(xs: Sequence[AShare], exponents: Sequence[int]) -> Cost:
    n = sum(x.size for x in xs)
    ring = _count_ring(n)
    counted = _compared(n, UNIT_RING) + bit_values_cost(n, 1, ring)
    return counted + _compared(1, ring) + bit_values_cost(1, 1, RING64)


@protocol(cost=_all_below_cost, paper="EGKRS20")
def all_below(party: Party, xs: Sequence[AShare], exponents: Sequence[int]) -> Steps[AShare]:
    """1 if each x is below its 2^exponent, else 0: [1] in the 64-bit ring, 0 fractional bits.

    For 0 <= x < 2^62 raw in the 64-bit ring with 24 fractional bits or more. Exact but for x within one unit (1.0)
    below its bound, which may count as a violation; what is not below never passes. No statistical error. Opened:
    what comparisons open, and bits under uniform bits.
    """
    margins = []
    for x, exponent in zip(xs, exponents, strict=True):
        whole = yield from truncate.steps(party, x.reshape(-1), x.frac_bits, UNIT_RING)
        margins.append(add_public(party, -whole, (1 << exponent) - 1).data)
    margin = AShare(party.backend.xp.concatenate(margins), UNIT_RING)
    kept = yield from ge_public.steps(party, margin)
    violated = yield from b2a.steps(party, invert(party, kept), _count_ring(margin.size))
    none = yield from ge_public.steps(party, -violated.reshape(1, -1).sum(axis=1))
    return (yield from b2a.steps(party, none, RING64))


def _gated_cost(kept: AShare, *xs: AShare) -> Cost:
    cost = FREE
    for x in xs:
        one = opening((x.size, x.ring.bits)) + opening((1, x.ring.bits))
        cost = cost & (one + Cost(offline=wire_bytes(x.size, x.ring.bits)))
    return cost


@protocol(cost=_gated_cost, paper="Bea91")
def gated(party: Party, kept: AShare, *xs: AShare) -> Steps[list[AShare]]:
    """Each x where `kept` is 1, and 0 where it is 0: exact. Opened: all under uniform masks of their rings."""
    return (yield from together(*(_times_one(party, x, kept) for x in xs)))


def _times_one(party: Party, x: AShare, kept: AShare) -> Steps[AShare]:
    (opened,) = yield from open_masked.steps(party, x.reshape(1, -1), tag="guard")
    product = yield from times_rows(party, opened, kept.narrowed(x.ring))
    return product.reshape(*x.shape)
