"""Moves between rings and fields, and products of rows in a field.

The sum of two shares, taken over the integers, is the value or the value plus the modulus; which of the two is the
wrap bit. As in `trunc` (T1), a value with room to spare makes that bit the OR of one bit of each party:

ring to field    |x| < 2^(w-2). Rank 0 adds 2^(w-2); then the shares wrapped exactly if one has its top bit set.
field to ring    0 <= x < p/2. If the shares did not wrap, both are at most x, so below p/2. If they did, they add
                 up to p + x, so one is at least p/2. So wrap = [x_0 >= p/2] OR [x_1 >= p/2]: never wrong.
                 (Signed |x| < p/4 by adding a multiple of 2^shift just below p/4.)

Either way each party tells its bit under a uniform bit of its own, and the product of the two bits, needed modulo
the target's size only, is a correlation: one correlated OT. Each share may be shifted right on the way (`shift`),
with the errors given at each function.

A product in a field is Beaver's, `arith` has the algebra. Masks are uniform in the field, so is what is opened.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpu_ss.cost import Cost, opening
from gpu_ss.errors import RingMismatch
from gpu_ss.field import Field
from gpu_ss.party import Party, Round, Steps, masked_element, protocol
from gpu_ss.protocols.io import add_public
from gpu_ss.protocols.trunc import either
from gpu_ss.provider.base import Material
from gpu_ss.provider.correlation import FieldMask
from gpu_ss.provider.specs.arithmetic import WrapProduct
from gpu_ss.provider.specs.bits import words_of
from gpu_ss.provider.specs.fields import FieldRowProduct, FieldRowSquareSum, FieldWrap
from gpu_ss.ring import WORD, Array, Ring, wire_bytes
from gpu_ss.values import AShare, FShare


def move_cost(n: int, bits: int) -> Cost:
    """Cost of moving n elements to a ring or a field of `bits` bits."""
    return opening((words_of(n), WORD)) + Cost(offline=wire_bytes(n, bits))


@protocol(cost=lambda x, shift, field: move_cost(x.size, field.bits), paper="HLHD22")
def to_field(party: Party, x: AShare, shift: int, field: Field) -> Steps[FShare]:
    """x with `shift` fractional bits less, in a field. Needs |x| < 2^(w-2) units, and the result below p/2.

    Error: 0 or 1 unit of the result above the rounded-down quotient; none for shift 0. Opened: the top bits of the
    biased shares, each under a uniform bit its owner alone knows.
    """
    bits, backend = x.ring.bits, party.backend
    if not 0 <= shift <= bits - 2:
        raise RingMismatch(f"cannot shift {x!r} by {shift} bits")
    bias = 1 << (bits - 2)
    words = x.ring.reduce(add_public(party, x, bias).data).reshape(-1)
    top = backend.bit_plane(words, bits - 1)
    wrap = yield from either(party, top, party.provider.take(FieldWrap(x.size, field.prime)))
    own = words >> np.uint64(shift)
    own = backend.field_reduce(own ^ own, own, field.prime)
    public = ((1 if shift else 0) - (bias >> shift)) % field.prime
    own = field.add(own, np.uint64(public) & party.lead).reshape(1, -1)
    factor = backend.zeros(1) + field.constant(-(1 << (bits - shift)))
    carried = _bit_elements(party, wrap, x.size, field).reshape(1, -1)
    data = backend.field_multiply_add(carried, factor, own, field.prime)
    return FShare(data.reshape(x.shape), field, x.frac_bits - shift)


@protocol(cost=lambda x, shift, ring, signed=True: move_cost(x.size, ring.bits), paper="HLHD22")
def from_field(party: Party, x: FShare, shift: int, ring: Ring, signed: bool = True) -> Steps[AShare]:
    """x with `shift` fractional bits less, in a ring. Needs |x| < p/4 - 2^shift, or 0 <= x < p/2 if not `signed`.

    Exact for shift 0. Else the error is 0 or 1 unit of the result above the rounded-down quotient; one unit beyond
    these for some sharings, a fraction of at most d / 2^shift with d the distance of p from a multiple of 2^shift.
    For shares y_i = 2^s a_i + b_i give a_0 + a_1 - wrap P + 1 with P nearest to p / 2^s, so the rounded-down
    quotient is this plus floor((b_0 + b_1 - wrap (p - 2^s P)) / 2^s) - 1, and b_0 + b_1 < 2^(s+1) - 1.
    Opened: whether each share lies in the upper half, under a uniform bit its owner alone knows.
    """
    field, backend, n = x.field, party.backend, x.size
    if not 0 <= shift <= field.bits - 3:
        raise RingMismatch(f"cannot shift {x!r} by {shift} bits")
    bias = field.prime // 4 >> shift << shift if signed else 0
    words = field.add(x.data.reshape(-1), np.uint64(bias) & party.lead)
    half = np.uint64((field.prime + 1) // 2)
    upper = backend.bit_plane(~(words - half), WORD - 1)  # words - half is negative below the half
    wrap = yield from either(party, upper, party.provider.take(WrapProduct(n, ring.bits)))
    period = (field.prime + (1 << shift >> 1)) >> shift
    public = (1 if shift else 0) - (bias >> shift)
    data = (words >> np.uint64(shift)) - _bit_words(party, wrap, n) * np.uint64(period)
    return add_public(party, AShare(data.reshape(x.shape), ring, x.frac_bits - shift), public)


def _bit_words(party: Party, wrap: tuple[Array, Array, Array], n: int) -> Array:
    """Shares of the wrap bit modulo a power of two."""
    base, sign, product = wrap
    bits = party.backend.plane_words(party.backend.xp.concatenate([base, sign]), n)
    return bits[0] - product + ((product * bits[1]) << np.uint64(1))


def _bit_elements(party: Party, wrap: tuple[Array, Array, Array], n: int, field: Field) -> Array:
    """Shares of the wrap bit in a field."""
    base, sign, product = wrap
    bits = party.backend.plane_words(party.backend.xp.concatenate([base, sign]), n)
    negative = field.subtract(product ^ product, product)
    signed = negative ^ ((negative ^ product) & (np.uint64(0) - bits[1]))
    return field.add(bits[0], signed)


# -- products of rows -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class OpenedElements:
    """A share whose masked form both parties know: value = words - mask modulo p. See `io.Opened`."""

    words: Array
    mask: Material
    field: Field
    frac_bits: int


@protocol(cost=lambda x, tag="open": opening((x.size, x.field.bits)))
def open_elements(party: Party, x: FShare, tag: str = "open") -> Steps[OpenedElements]:
    """Open x + r with a fresh uniform r of x's field: uniform whatever x is, so nothing is learnt."""
    mask = party.provider.take(FieldMask(x.shape, x.field.prime))
    (words,) = yield Round(tag, (masked_element(x, mask.only),))
    return OpenedElements(words, mask, x.field, x.frac_bits)


def row_square_sums(party: Party, x: OpenedElements) -> FShare:
    """sum_j x_ij^2 of opened [rows, n] modulo p: local; the correlation is one element per row.

    sum X (X - 2 a) + sum a^2, the X at rank 0 alone.
    """
    (rows, n), field, backend = x.words.shape, x.field, party.backend
    squares = party.provider.take(FieldRowSquareSum(x.mask.number, rows, n, field.prime)).only
    mask = x.mask.only
    factors = field.subtract(field.subtract(x.words & party.lead, mask), mask)
    data = field.add(backend.field_dots(x.words, factors, field.prime), squares)
    return FShare(data, field, 2 * x.frac_bits)


def _times_rows_cost(x: OpenedElements, factor: FShare) -> Cost:
    size, bits = int(x.words.size), x.field.bits
    return opening((factor.size, bits)) + Cost(offline=wire_bytes(size, bits))


@protocol(cost=_times_rows_cost, paper="Bea91")
def times_rows(party: Party, x: OpenedElements, factor: FShare) -> Steps[FShare]:
    """x_ij * factor_i for opened [rows, n], exact modulo p: only the factors are opened, under uniform masks."""
    (rows, n), field, backend = x.words.shape, x.field, party.backend
    y = yield from open_elements.steps(party, factor, tag="scale")
    spec = FieldRowProduct(x.mask.number, y.mask.number, rows, n, field.prime)
    products = party.provider.take(spec).only
    zero = x.words ^ x.words
    own = field.subtract(y.words & party.lead, y.mask.only)
    data = backend.field_multiply_add(x.words, own, products, field.prime)
    data = backend.field_multiply_add(field.subtract(zero, x.mask.only), y.words, data, field.prime)
    return FShare(data, field, x.frac_bits + factor.frac_bits)
