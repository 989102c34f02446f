"""2^z of shares, by a product of what each party takes 2^ of on its own: FASTLMPI's idea, made sound in a field.

For w = z + 21 units, shared modulo 2^(FRAC + 6), party i writes its share as h_i units and a fraction l_i and takes
its factor U_i = u_i 2^h_i modulo p, where u_i is 2^(15 + l_i) to the nearest integer. If the shares sum up to w,
without wrapping around 64 units, then

    U_0 U_1 = u_0 u_1 2^(h_0 + h_1) = 2^(30 + w)   (1 + e),

and 2^64 times that if they wrapped: an integer below p / 2 in the one case, and in the other too once it is
multiplied by 2^-64 modulo p. Nothing is rounded but u_i, so |e| < 2^-15. As w is below 32 units where it matters,
the wrap is m_0 OR m_1 for the shares' top bits (`trunc`, T1), and each party knows its own:

    U_0 V with V = U_1 2^(-64 m_1) if m_0 is 0, else U_1 2^-64.

So rank 1 offers V - b for both values of m_0 by oblivious transfer, b its mask of the correlation a b:

    rank 0 -> 1    its choice m_0 under a uniform bit; U_0 - a, uniform
    rank 1 -> 0    both V - b under pads of which rank 0 has one; it learns V - b, uniform
    shares         U_0 (V - b) + [a b]_0  and  (U_0 - a) b + [a b]_1

The product moves to a ring (`fields.from_field`) and is multiplied by the gate [z >= -21]: the sign of w at whole
units, by the millionaires' protocol, side by side with the product. Below the gate the product means nothing.
"""

from __future__ import annotations

import numpy as np

from gpu_ss.cost import Cost, telling
from gpu_ss.errors import RingMismatch
from gpu_ss.field import FIELD53
from gpu_ss.fixed import own_power
from gpu_ss.party import Item, Party, Round, Steps, protocol, together
from gpu_ss.protocols.fields import from_field, move_cost
from gpu_ss.protocols.io import add_public
from gpu_ss.protocols.lookup import FRAC
from gpu_ss.protocols.millionaire import negative, sign_cost, times_bit, times_bit_cost
from gpu_ss.protocols.trunc import truncate_free
from gpu_ss.provider.correlation import FieldMask
from gpu_ss.provider.specs.bits import words_of
from gpu_ss.provider.specs.fields import FieldProduct
from gpu_ss.provider.specs.transfers import WordChoices
from gpu_ss.ring import WORD, Array, Ring, wire_bytes
from gpu_ss.values import AShare, BShare, FShare

FIELD = FIELD53
BELOW = 21  # units below 0 that the factors reach
UNITS = 6  # bits of them
FACTOR = 15  # fractional bits of a party's factor
POWER_FRAC = 20  # fractional bits of 2^z
LEAST_BITS = FRAC + UNITS + 2  # of a ring that holds z
_UNWRAPPED = pow(2, -(1 << UNITS), FIELD.prime)


def _cost(z: AShare, ring: Ring) -> Cost:
    n, bits = z.size, FIELD.bits
    product = telling(0, (words_of(n), WORD), (n, bits)) + telling(1, (2 * n, bits))
    product = product + move_cost(n, ring.bits) + Cost(offline=2 * wire_bytes(n, bits))
    return (sign_cost(n, z.ring.bits - FRAC) & product) + times_bit_cost(n, ring.bits)


@protocol(cost=_cost, paper="FASTLMPI")
def exp2(party: Party, z: AShare, ring: Ring) -> Steps[AShare]:
    """2^z with POWER_FRAC bits in `ring`, for z < 0.9 with FRAC fractional bits, in a ring of 20 bits or more.

    Relative error 2^-15, and a unit; exactly 0 for z < -21, and for some sharings of z between -21 and -20. Needs
    |z| < 2^(bits-2) units, and 23 bits of `ring`. Opened: see above; bits under the masks of triples and transfers.
    """
    if z.frac_bits != FRAC or z.ring.bits < LEAST_BITS:
        raise RingMismatch(f"exponents need {FRAC} fractional bits in {LEAST_BITS} bits, got {z!r}")
    w = add_public(party, z, BELOW << FRAC)
    below, power = yield from together(
        negative.steps(party, truncate_free(w, FRAC)), _power(party, w.data.reshape(-1), ring)
    )
    gate = BShare(below.planes ^ party.lead, (z.size,))
    gated = yield from times_bit.steps(party, gate, power)
    return AShare(gated.data.reshape(z.shape), ring, POWER_FRAC)


def _power(party: Party, own: Array, ring: Ring) -> Steps[AShare]:
    """2^z in `ring`: [n]."""
    product = yield from _product(party, own)
    return (yield from from_field.steps(party, product, 2 * FACTOR + BELOW - POWER_FRAC, ring, signed=False))


def _product(party: Party, own: Array) -> Steps[FShare]:
    """2^(w + 2 FACTOR) for this party's words of w, as a field element: [n]."""
    n, backend, prime, bits = own.size, party.backend, FIELD.prime, FIELD.bits
    a = party.provider.take(FieldMask((n,), prime, owner=0))
    b = party.provider.take(FieldMask((n,), prime, owner=1))
    c = party.provider.take(FieldProduct(a.number, b.number, n, prime)).only
    transfer = party.provider.take(WordChoices(n, bits)).arrays
    top = backend.bit_plane(own, FRAC + UNITS - 1)
    factor = _own_factor(party, own)
    asked = blinded = offers = None
    if party.rank == 0:
        asked, blinded = _ending(top ^ transfer[0], n), FIELD.subtract(factor, a.only)
    flips, opened = yield Round(
        "power",
        (
            Item(asked, (1, words_of(n)), WORD, xor=True, sender=0),
            Item(blinded, (n,), bits, sender=0, field=FIELD),
        ),
    )
    if party.rank == 1:
        offers = _offers(party, factor, top, b.only) ^ _pads(party, transfer, flips)
    (offered,) = yield Round("power", (Item(offers, (2, n), bits, xor=True, sender=1),))
    if party.rank == 0:
        chosen = _words(party, top, n)
        told = offered[0] ^ ((offered[0] ^ offered[1]) & chosen) ^ transfer[2]
        data = backend.field_multiply_add(factor, FIELD.canonical(Ring(bits).reduce(told)), c, prime)
    else:
        data = backend.field_multiply_add(opened, b.only, c, prime)
    return FShare(data, FIELD)


def _own_factor(party: Party, own: Array) -> Array:
    """2^(FACTOR + share), the whole units exactly: u 2^h modulo p for h below 64."""
    u = own_power(own, FRAC, FACTOR)
    units = (own >> np.uint64(FRAC)) & np.uint64((1 << UNITS) - 1)
    high = (u >> np.uint64(1)) >> (np.uint64((1 << UNITS) - 1) - units)
    return party.backend.field_reduce(high, u << units, FIELD.prime)


def _offers(party: Party, factor: Array, top: Array, b: Array) -> Array:
    """Rank 1's V - b for rank 0's top bit 0 and 1: [2, n]."""
    wrapped = np.uint64(_UNWRAPPED)
    powers = np.uint64(1) ^ (_words(party, top, int(factor.size)) & (wrapped ^ np.uint64(1)))
    both = party.backend.xp.stack([powers, powers ^ powers | wrapped])
    factors = party.backend.xp.stack([factor, factor])
    less = FIELD.subtract(both ^ both, party.backend.xp.stack([b, b]))
    return party.backend.field_multiply_add(factors, both, less, FIELD.prime)


def _pads(party: Party, transfer: tuple[Array, ...], flips: Array) -> Array:
    """Rank 1's pads of the offers [2, n]: exchanged where rank 0 chose otherwise than it had at random."""
    zero, one = transfer[1] ^ transfer[2][None]
    exchanged = (zero ^ one) & _words(party, flips, int(zero.size))
    return party.backend.xp.stack([zero ^ exchanged, one ^ exchanged])


def _words(party: Party, plane: Array, n: int) -> Array:
    """A plane [1, W] as masks: all ones where a bit is set."""
    return np.uint64(0) - party.backend.plane_words(plane, n)[0]


def _ending(plane: Array, n: int) -> Array:
    """A plane whose bits past the last one are zero: they are not masked, so they stay here."""
    if n % WORD:
        plane[:, -1] &= np.uint64((1 << n % WORD) - 1)
    return plane
