"""Division by powers of two, and moves between rings, on shares.

Both gadgets shift each share and repair the wrap-around of the sum of shares. They return
floor(x / 2^shift) + {0, 1} units: each party rounds its own share down, which loses 0 or 1 unit, and rank 0
adds the one unit back that makes the error centred. There is no rare large error. `x` must keep
|x| < 2^(bits - 2) units.

T0: when the result lives in a ring of at most bits - shift bits, the wrap-around vanishes by itself: no
    communication.
T1: otherwise the wrap bit is needed. Rank 0 adds 2^(bits-2), so that the sum y is in [0, 2^(bits-1)); then
    the shares wrapped exactly if one of them has its top bit set: wrap = m0 + m1 - m0 m1. m0 is rank 0's
    secret and m1 rank 1's; their product comes from one correlated pair of bits: one bit each way.

Local truncation without the wrap bit fails with probability |x| / 2^(bits-1) per element and is not
offered. These are functions of the shares (which of the two neighbours comes out depends on them), as in
every probabilistic truncation; docs/threat-model.md states the functionality.
"""

from __future__ import annotations

from dataclasses import replace

from gpu_ss.cost import FREE, Cost, opening
from gpu_ss.errors import RingMismatch
from gpu_ss.party import Item, Party, Round, Steps, protocol
from gpu_ss.protocols.io import add_public
from gpu_ss.provider.base import Material
from gpu_ss.provider.specs.arithmetic import WrapProduct
from gpu_ss.provider.specs.bits import words_of
from gpu_ss.ring import Array, Ring, wire_bytes
from gpu_ss.values import AShare


def truncate_cost(n: int, bits: int, shift: int, out_bits: int) -> Cost:
    """Cost of moving n elements from `bits` to `out_bits`, divided by 2^shift."""
    wrap_bits = out_bits - (bits - shift)
    if wrap_bits <= 0:
        return FREE
    return opening((words_of(n), 64)) + Cost(offline=wire_bytes(n, wrap_bits))


def _truncate_cost(x: AShare, shift: int, ring: Ring | None = None) -> Cost:
    return truncate_cost(x.size, x.ring.bits, shift, (ring or x.ring).bits)


@protocol(cost=_truncate_cost, paper="HLHD22")
def truncate(party: Party, x: AShare, shift: int, ring: Ring | None = None) -> Steps[AShare]:
    """x with `shift` fractional bits less, in `ring` (default: x's own). Free when the ring is small enough.

    Error: 0 or 1 unit of the result above the rounded-down quotient. Needs |x| < 2^(bits-2) units.
    Opened: the top bits of the biased shares, each masked by a uniform bit its owner alone knows.
    """
    ring = ring or x.ring
    if not 0 <= shift < x.ring.bits:
        raise RingMismatch(f"cannot shift {x!r} by {shift} bits")
    if ring.bits <= x.ring.bits - shift:
        rounded = _with_unit(party, truncate_free(x, shift), shift)
        return rounded.narrowed(ring)
    biased = add_public(party, x, 1 << (x.ring.bits - 2))
    top = party.backend.bit_plane(biased.data.reshape(-1), x.ring.bits - 1)
    correlation = party.provider.take(WrapProduct(x.size, ring.bits - (x.ring.bits - shift)))
    wrap = yield from either(party, top, correlation)
    quotient = party.backend.unwrap(biased.data.reshape(-1), *wrap, x.ring.bits, shift).reshape(x.shape)
    bias = -(1 << (x.ring.bits - 2)) >> shift
    return _with_unit(party, add_public(party, AShare(quotient, ring, x.frac_bits - shift), bias), shift)


def truncate_free(x: AShare, shift: int) -> AShare:
    """T0 without the rounding unit: each party shifts its share; the ring shrinks by `shift` bits."""
    data = x.ring.reduce(x.data) >> Ring(64).constant(shift)
    return replace(x, data=data, ring=Ring(x.ring.bits - shift), frac_bits=x.frac_bits - shift)


def _with_unit(party: Party, x: AShare, shift: int) -> AShare:
    """The unit that centres the rounding (nothing was rounded when shift is 0)."""
    return add_public(party, x, 1) if shift else x


@protocol(cost=lambda x, ring: _truncate_cost(x, 0, ring), paper="HLHD22")
def extend(party: Party, x: AShare, ring: Ring) -> Steps[AShare]:
    """The same value in a larger ring, exact. Needs |x| < 2^(bits-2) units. Opens what `truncate` opens."""
    return (yield from truncate.steps(party, x, 0, ring))


def either(party: Party, top: Array, correlation: Material) -> Steps[tuple[Array, Array, Array]]:
    """Shares of wrap = m0 OR m1 for one plane `top` of each party, as base, sign, product: wrap = base -+ product.

    The correlation has a bit of each party and shares of their product, modulo whatever wrap is wanted in.

    Rank 0 tells d = m0 ^ a, rank 1 tells e = m1 ^ b. Then m0 m1 = e m0 + (1 - 2e)(d b + (1 - 2d) a b), so
    rank 0's share is m0 - e m0 - s [ab]_0 and rank 1's m1 - (1 - 2e) d b - s [ab]_1 with s = (1-2d)(1-2e);
    what stands before the last term is a single bit in both cases.
    """
    a, b, product = correlation.arrays
    mask = a if party.rank == 0 else b
    mine = top ^ mask
    (both,) = yield Round("wrap", (Item(mine, tuple(mine.shape), 64, xor=True),))
    theirs = both ^ mine
    base = (top & ~theirs) if party.rank == 0 else (mask & ~theirs) ^ mine
    return base, both, product
