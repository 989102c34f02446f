"""The recipe for `ExpLookup`: a unit vector, its sign, and 2^(-low bits) times a mask and a gate bit.

Everything happens on shares of the viewed mask r = rh 2^frac + rl and of the look-up mask mu.

1. The bits of r; the unit vector of rh from six of them, the sign as an inner product of the two parties' shares.
2. 2^(-rl) = 2^(-r0) 2^(-r1) 2^c for the parties' low parts r0, r1 and the carry c of their sum: each party
   computes its factor by itself, with FACTOR fractional bits; an error of 2^-FACTOR, and one unit of `scale`.
3. K = sign times that, then K mu and K 2^look_bits msb(mu), in a ring just large enough; then times the gate bit.
"""

from __future__ import annotations

import numpy as np

from gpu_ss.fixed import own_power
from gpu_ss.provider.jobs import Work
from gpu_ss.provider.ot import circuits
from gpu_ss.provider.ot.recipes import Kitchen, Made, rescaled
from gpu_ss.provider.ot.requests import Joint, Mux, Overlap, Times
from gpu_ss.provider.specs.bits import MaskView
from gpu_ss.provider.specs.tables import INDEX_BITS, ExpLookup
from gpu_ss.ring import Array, Ring

FACTOR = 16  # fractional bits of a party's own factor


def exp_lookup(kitchen: Kitchen, spec: ExpLookup) -> Made:
    backend, xp, n = kitchen.backend, kitchen.backend.xp, spec.view.n
    planes = yield kitchen.bits(spec.view)
    unit = yield from circuits.unit_vector(xp, kitchen.lead, planes[spec.frac : spec.frac + INDEX_BITS])
    positive = yield from _sign(kitchen, unit)
    room = Ring(min(spec.bits, spec.scale + spec.look_bits + 5))
    size = yield from _size(kitchen, spec, room, planes[spec.frac], positive)
    three = yield from _times_mask(kitchen, spec, size, room)
    (gated,) = yield [Mux(kitchen.planes_of(spec.gate)[0], three, room)]
    six = xp.concatenate([three, gated])
    if room.bits < spec.bits:
        wide = yield from rescaled(kitchen, six.reshape(-1), room, 0, Ring(spec.bits))
        six = wide.reshape(6, n)
    return [backend.from_planes(unit, n), six]


def _sign(kitchen: Kitchen, unit: Array) -> Work[Array]:
    """Rank 0's bit in the place where the shares differ, XOR-shared: sum_j u0_j (u0_j + u1_j)."""
    (overlap,) = yield [Overlap(unit)]
    return overlap ^ kitchen.backend.xor_rows(unit[None])[0] & kitchen.lead


def _size(kitchen: Kitchen, spec: ExpLookup, room: Ring, bit: Array, positive: Array) -> Work[Array]:
    """sigma 2^(-rl) with `scale` fractional bits. `bit`: the share of bit `frac` of r."""
    backend = kitchen.backend
    share = yield kitchen.number(spec.view)
    carry = bit ^ backend.bit_plane(share, spec.frac)[0]
    factor = own_power(share, spec.frac, FACTOR, -1)
    ring = Ring(2 * FACTOR + 4)
    (product,) = yield [Joint(factor, ring, FACTOR + 1)]
    (doubled,) = yield [Mux(carry, product[None], ring)]
    size = product + doubled[0]
    (kept,) = yield [Mux(positive, size[None], ring)]
    signed = ring.reduce((kept[0] << np.uint64(1)) - size)
    return (yield from rescaled(kitchen, signed, ring, 2 * FACTOR - spec.scale, room))


def _times_mask(kitchen: Kitchen, spec: ExpLookup, size: Array, room: Ring) -> Work[Array]:
    """K, -K mu, K 2^look_bits msb(mu): [3, n]. mu is mu0 + mu1, less 2^look_bits where that carries."""
    xp, view = kitchen.backend.xp, MaskView(spec.look, spec.view.n, spec.look_bits, spec.look_bits)
    planes = yield kitchen.bits(view)
    carry = yield kitchen.carry(view)
    mu = yield kitchen.number(view)
    above = Ring(room.bits - spec.look_bits)
    product, (wrapped,), (top,) = yield [
        Times(size, mu, room, spec.look_bits),
        Mux(carry, above.reduce(size)[None], above),
        Mux(planes[-1], above.reduce(size)[None], above),
    ]
    shift = np.uint64(spec.look_bits)
    return xp.stack([size, (wrapped << shift) - product, top << shift])
