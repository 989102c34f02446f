"""Rows opened in a small ring and multiplied by a factor each in a larger one: a ring extension without a round.

With y = x + 2^(k-2) in [0, 2^(k-1)) and Y = y + r modulo 2^k open, the sum over the integers wrapped exactly if the
top bit of r is set and that of Y is not. So over the integers y = Y - r where the top bit of Y is set, and
y = Y - (r - 2^k top(r)) where it is not: which of the two masks counts is public, and shares of both in the larger
ring are the dealer's to give. Nothing is opened besides Y, which is uniform modulo 2^k.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpu_ss.cost import Cost, opening
from gpu_ss.errors import RingMismatch
from gpu_ss.party import Party, Steps, protocol
from gpu_ss.protocols.io import Opened, add_public, open_masked
from gpu_ss.provider.specs.arithmetic import LiftedRowProduct
from gpu_ss.ring import Array, Ring
from gpu_ss.values import AShare


@dataclass(frozen=True, slots=True)
class Liftable:
    """An opened [rows, n] of x + bias, x below 2^(bits-2) units in magnitude and bias = 2^(bits-2)."""

    opened: Opened

    @property
    def frac_bits(self) -> int:
        return self.opened.frac_bits


def _bias(ring: Ring) -> int:
    return 1 << (ring.bits - 2)


def open_liftable(party: Party, x: AShare, tag: str) -> Steps[Liftable]:
    """Open x [rows, n] for use in larger rings. Needs |x| < 2^(bits-2) units."""
    (opened,) = yield from open_masked.steps(party, add_public(party, x, _bias(x.ring)), tag=tag)
    return Liftable(opened)


def _times_rows_cost(x: Liftable, factor: AShare, ring: Ring) -> Cost:
    (rows, n), inner = x.opened.shape, x.opened.ring
    spec = LiftedRowProduct(0, 0, rows, n, inner.bits, factor.ring.bits, ring.bits)
    return opening((rows, factor.ring.bits)) + Cost(offline=spec.correction_bytes)


@protocol(cost=_times_rows_cost, paper="HLHD22")
def times_rows(party: Party, x: Liftable, factor: AShare, ring: Ring) -> Steps[AShare]:
    """x_ij * factor_i in `ring`, exact modulo it; it is at least as large as both operands' rings.

    Needs |factor| < 2^(bits-2) of its own ring. Opened: the factors, biased, under uniform masks of their ring.
    """
    (rows, n), small, narrow = x.opened.shape, x.opened.ring, factor.ring
    if ring.bits < max(small.bits, narrow.bits):
        raise RingMismatch(
            f"rows of {small.bits} and factors of {narrow.bits} bits do not fit {ring.bits} bits"
        )
    biased = add_public(party, factor, _bias(narrow))
    (opened,) = yield from open_masked.steps(party, biased, tag="scale")
    spec = LiftedRowProduct(
        x.opened.mask.number, opened.mask.number, rows, n, small.bits, narrow.bits, ring.bits
    )
    made = dict(zip(spec.parts(), party.provider.take(spec).arrays, strict=True))
    words, low = _integers(x.opened)
    factors, low_factor = _integers(opened)
    factors, low_factor = factors.reshape(rows, 1), low_factor.reshape(rows, 1)

    def signed(name: str, *corrections: tuple[str, Array, int]) -> Array:
        """That array with what the public bits say taken off."""
        total = made[name]
        for part, bits, shift in corrections:
            if part in made:
                total = total - made[part] * (bits << np.uint64(shift))
        return total

    a = signed("a", ("top_a", low, small.bits))
    b = signed("b", ("top_b", low_factor, narrow.bits))
    product = signed("a_b", ("top_a_b", low, small.bits), ("a_top_b", low_factor, narrow.bits))
    if "tops" in made:
        product = product + made["tops"] * ((low * low_factor) << np.uint64(small.bits + narrow.bits))
    data = party.backend.row_scale(words, a, factors.reshape(-1), b.reshape(-1), product, party.lead)
    return AShare(data, ring, x.frac_bits + factor.frac_bits)


def _integers(opened: Opened) -> tuple[Array, Array]:
    """The public words less their bias, and a 1 where the top bit is not set: there the mask may have wrapped."""
    words, bits = opened.ring.reduce(opened.words), opened.ring.bits
    low = (words >> np.uint64(bits - 1)) ^ np.uint64(1)
    return words - np.uint64(_bias(opened.ring)), low
