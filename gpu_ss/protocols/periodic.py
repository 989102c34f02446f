"""Sums of sines of a shared angle, from what each party can work out of its own share.

An angle in a ring of m bits, 2^m being a full turn, is x = x_0 + x_1 modulo a turn exactly, whatever the shares
are: a wrap-around is no more than a turn. So sin(k x) = sin(k x_0) cos(k x_1) + cos(k x_0) sin(k x_1), where each
factor is known to one party, and two products of such numbers give a shared sine. That is the sound form of
masking an angle: published code opens x - t for a t from an interval of real numbers, which tells about x.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import pi

import numpy as np

from gpu_ss.cost import Cost
from gpu_ss.party import Party, Steps, protocol
from gpu_ss.protocols.arith import mul
from gpu_ss.ring import Array, Ring
from gpu_ss.values import AShare

WAVE_FRAC = 14  # fractional bits of a party's sines and cosines
WAVE_RING = Ring(2 * WAVE_FRAC + 7)  # of their products, and of sums below 2^4


def _cost(angle: AShare, factors: Sequence[float]) -> Cost:
    many = AShare(np.broadcast_to(np.uint64(0), (2 * len(factors), angle.size)), WAVE_RING, WAVE_FRAC)
    cost: Cost = mul.cost(many, many)
    return cost


@protocol(cost=_cost, paper="SecFormer")
def sine_series(party: Party, angle: AShare, factors: Sequence[float]) -> Steps[AShare]:
    """sum_k factors[k - 1] sin(k x) for x = 2 pi angle / 2^bits, with 2 WAVE_FRAC bits in WAVE_RING.

    The sum of the factors' magnitudes must stay below 8. Error: 2^-WAVE_FRAC times that sum. Opened: each party's
    sines and cosines under uniform masks of WAVE_RING. A party computes them of its own share in floating point;
    they need not agree to the last bit with anybody's.
    """
    theirs = [_waves(party, angle, k) for k in range(1, len(factors) + 1)]
    xp, count = party.backend.xp, 2 * len(factors)
    sines, cosines = [s for s, _ in theirs], [c for _, c in theirs]
    mine = [*sines, *cosines] if party.rank == 0 else [*cosines, *sines]
    if party.rank == 0:
        mine = [wave * factor for wave, factor in zip(mine, [*factors, *factors], strict=True)]
    own = xp.stack([_fixed(party, wave) for wave in mine])
    nothing = party.backend.zeros((count, angle.size))
    left, right = (own, nothing) if party.rank == 0 else (nothing, own)
    products = yield from mul.steps(
        party, AShare(left, WAVE_RING, WAVE_FRAC), AShare(right, WAVE_RING, WAVE_FRAC)
    )
    return products.sum(axis=0).reshape(*angle.shape)


def _waves(party: Party, angle: AShare, k: int) -> tuple[Array, Array]:
    """sin and cos of k times this party's share, as real numbers: flat."""
    turned = angle.ring.reduce(angle.data.reshape(-1) * np.uint64(k))
    real = turned.astype(np.float64) * (2 * pi / 2.0**angle.ring.bits)
    return party.backend.xp.sin(real), party.backend.xp.cos(real)


def _fixed(party: Party, wave: Array) -> Array:
    """Real numbers as ring words."""
    return party.backend.xp.rint(wave * 2.0**WAVE_FRAC).astype(np.int64).astype(np.uint64)
