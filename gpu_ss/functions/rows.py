"""Rows that are opened once and multiplied by one factor each: what softmax and LayerNorm end with.

Where the two parties make the correlations themselves and the rows are many, the product is made in a field (see
`protocols.fields`), else in a ring.
"""

from __future__ import annotations

from gpu_ss.cost import Cost, opening
from gpu_ss.field import FIELD53, FIELD60, Field
from gpu_ss.party import Party, Steps
from gpu_ss.protocols import arith, extended, fields
from gpu_ss.protocols.extended import OpenedExtended, open_extended
from gpu_ss.protocols.fields import OpenedElements, from_field, open_elements, to_field
from gpu_ss.protocols.io import Opened, open_masked
from gpu_ss.protocols.trunc import truncate
from gpu_ss.ring import RING64, Ring, wire_bytes
from gpu_ss.values import AShare

#: Rows, opened in whichever of the two; in a ring also in a smaller one, and extended.
Rows = Opened | OpenedExtended | OpenedElements
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
    """The same in `ring`. With a dealer it is opened in what the shift leaves, if that is smaller, and extended."""
    left = x.ring.bits - shift
    if left < ring.bits and not party.economy.alone:
        short = yield from truncate.steps(party, x, shift, Ring(left))
        return (yield from open_extended.steps(party, short, ring, tag))
    short = yield from truncate.steps(party, x, shift, ring)
    (opened,) = yield from open_masked.steps(party, short, tag=tag)
    return opened


def opened_cost(rows: int, n: int, bits: int, shift: int, out_bits: int) -> Cost:
    """Cost of `opened_in_ring` with a dealer."""
    if bits - shift < out_bits:
        return extended.opening_cost(rows * n, bits - shift, out_bits)
    return opening((rows * n, out_bits))


def squares_cost(rows: int, n: int, bits: int, shift: int, out_bits: int) -> Cost:
    """Cost of `square_sums` of rows that were opened so."""
    if bits - shift < out_bits:
        return extended.squares_cost(rows, n, bits - shift, out_bits)
    return Cost(offline=wire_bytes(rows, out_bits))


def factors_cost(rows: int, n: int, bits: int, shift: int, out_bits: int) -> Cost:
    """Cost of the product in `scaled_rows`, before it is truncated."""
    if bits - shift < out_bits:
        return extended.times_rows_cost(rows, n, bits - shift, out_bits, out_bits)
    return opening((rows, out_bits)) + Cost(offline=wire_bytes(rows * n, out_bits))


def square_sums(party: Party, x: Rows) -> Steps[AShare]:
    """sum_j x_ij^2 in 64 bits, exact below half the field's size: [rows]."""
    if isinstance(x, Opened):
        return arith.row_square_sums(party, x)
    if isinstance(x, OpenedExtended):
        return extended.row_square_sums(party, x)
    sums = fields.row_square_sums(party, x)
    return (yield from from_field.steps(party, sums, 0, RING64, signed=False))


def scaled_rows(
    party: Party, x: Rows, factor: AShare, drop: int, frac_bits: int, ring: Ring
) -> Steps[AShare]:
    """x_ij * factor_i with `frac_bits`, in `ring`. In a field the factor is taken with `drop` bits less."""
    if not isinstance(x, OpenedElements):
        product = yield from (
            arith.times_rows(party, x, factor)
            if isinstance(x, Opened)
            else extended.times_rows(party, x, factor)
        )
        return (yield from truncate.steps(party, product, product.frac_bits - frac_bits, ring))
    short = yield from to_field.steps(party, factor, drop, x.field)
    elements = yield from fields.times_rows.steps(party, x, short)
    return (yield from from_field.steps(party, elements, elements.frac_bits - frac_bits, ring))
