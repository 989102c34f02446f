"""Rows that are opened once and multiplied by one factor each: what softmax and LayerNorm end with.

Where the two parties make the correlations themselves and the rows are many, the product is made in a field (see
`protocols.fields`), else in a ring.
"""

from __future__ import annotations

from gpu_ss.errors import RingMismatch
from gpu_ss.field import FIELD53, FIELD60, Field
from gpu_ss.party import Party, Steps
from gpu_ss.protocols import arith, fields, lifted
from gpu_ss.protocols.fields import OpenedElements, from_field, open_elements, to_field
from gpu_ss.protocols.io import Opened, open_masked
from gpu_ss.protocols.lifted import Liftable, open_liftable
from gpu_ss.protocols.trunc import truncate
from gpu_ss.ring import RING64, WORD, Ring
from gpu_ss.values import AShare

#: Rows, opened in whichever of the two, or in a small ring for products in a larger one.
Rows = Opened | OpenedElements | Liftable
#: Products of up to 2^51 and of up to 2^58.
NARROW, WIDE = FIELD53, FIELD60


def opened_in_field(party: Party, x: AShare, shift: int, field: Field, tag: str) -> Steps[Rows]:
    """x [rows, n] with `shift` fractional bits less, opened under a mask of a field."""
    elements = yield from to_field.steps(party, x, shift, field)
    return (yield from open_elements.steps(party, elements, tag=tag))


def opened_rows(party: Party, x: AShare, shift: int, ring: Ring, field: Field, tag: str) -> Steps[Rows]:
    """The same in `ring`, or in a field where that is cheaper."""
    if party.economy.in_fields(x.size):
        return (yield from opened_in_field(party, x, shift, field, tag))
    return (yield from opened_in_ring(party, x, shift, ring, tag))


def opened_in_ring(party: Party, x: AShare, shift: int, ring: Ring, tag: str) -> Steps[Rows]:
    """The same in `ring`."""
    short = yield from truncate.steps(party, x, shift, ring)
    (opened,) = yield from open_masked.steps(party, short, tag=tag)
    return opened


def liftable_rows(party: Party, x: AShare, shift: int, ring: Ring, field: Field, tag: str) -> Steps[Rows]:
    """The same in the ring that the shift leaves, without a round, for a dealer can lift rows from there.

    Two parties alone: `opened_rows`.
    """
    if party.economy.alone:
        return (yield from opened_rows(party, x, shift, ring, field, tag))
    short = yield from truncate.steps(party, x, shift, Ring(x.ring.bits - shift))
    return (yield from open_liftable(party, short, tag))


def square_sums(party: Party, x: Rows) -> Steps[AShare]:
    """sum_j x_ij^2 in 64 bits, exact below half the field's size: [rows]."""
    if isinstance(x, Liftable):
        raise RingMismatch("rows that are opened in a small ring have no room for squares")
    if isinstance(x, Opened):
        return arith.row_square_sums(party, x)
    sums = fields.row_square_sums(party, x)
    return (yield from from_field.steps(party, sums, 0, RING64, signed=False))


def scaled_rows(
    party: Party, x: Rows, factor: AShare, drop: int, frac_bits: int, ring: Ring
) -> Steps[AShare]:
    """x_ij * factor_i with `frac_bits`, in `ring`. The factor loses `drop` bits first (of `Opened` rows: none)."""
    if isinstance(x, Liftable):
        return (yield from _scaled_lifted(party, x, factor, drop, frac_bits, ring))
    if isinstance(x, Opened):
        product = yield from arith.times_rows(party, x, factor)
        return (yield from truncate.steps(party, product, product.frac_bits - frac_bits, ring))
    short = yield from to_field.steps(party, factor, drop, x.field)
    elements = yield from fields.times_rows.steps(party, x, short)
    return (yield from from_field.steps(party, elements, elements.frac_bits - frac_bits, ring))


def _scaled_lifted(
    party: Party, x: Liftable, factor: AShare, drop: int, frac_bits: int, ring: Ring
) -> Steps[AShare]:
    """In the ring from which the result is a free truncation, if there is one."""
    short = yield from truncate.steps(party, factor, drop, Ring(factor.ring.bits - drop))
    shift = x.frac_bits + short.frac_bits - frac_bits
    wide = Ring(min(WORD, ring.bits + shift))
    product = yield from lifted.times_rows.steps(party, x, short, wide)
    return (yield from truncate.steps(party, product, shift, ring))
