"""A value that is opened first and divided by 2^shift afterwards: one round instead of two.

Rank 0 adds 2^(bits-2), so that y = x + 2^(bits-2) is in [0, 2^(bits-1)), and c = y + r is opened under a uniform
mask r of the whole ring. With c, r read as integers y = c - r + 2^bits w: they wrapped, w = 1, exactly if c has its
top bit 0 and r its top bit m 1. So with l = bits - shift

    floor(y / 2^shift) + {0, 1} = (c >> shift) - R,   R = (r >> shift) - [c has top bit 0] 2^l m,

in any ring: the quotient is open under the mask R, a public combination of two numbers that the dealer knows. It is
one unit more with the probability that its fraction says, so it is unbiased, as `trunc.truncate` is.

Opened is c alone, uniform whatever x is. For correlations of a dealer: two parties alone truncate first.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gpu_ss.cost import Cost, opening
from gpu_ss.errors import RingMismatch
from gpu_ss.party import Party, Steps, protocol
from gpu_ss.protocols.io import Opened, add_public, open_masked
from gpu_ss.provider.base import Material
from gpu_ss.provider.specs.quotients import QuotientMask, QuotientProduct, QuotientProducts, QuotientSquares
from gpu_ss.ring import Array, Ring, wire_bytes
from gpu_ss.values import AShare


@dataclass(frozen=True, slots=True, repr=False)
class OpenedQuotient:
    """A quotient [rows, n] in `ring` that is open under a mask: value = words - R.

    `wide`: what was opened, with more fractional bits, under the mask that correlations name. `mask`: this party's
    share of R. `wrapped`: [c has top bit 0] as words. `top`: this party's share of m, modulo 2^(ring's bits - l).
    """

    words: Array
    mask: Array
    wrapped: Array
    top: Array
    wide: Opened
    shift: int
    ring: Ring

    @property
    def frac_bits(self) -> int:
        return self.wide.frac_bits - self.shift

    @property
    def shape(self) -> tuple[int, ...]:
        return self.wide.shape

    def undivided(self, shape: tuple[int, ...]) -> Opened:
        """What was opened with shift 0, as an opening in its own ring and in this shape."""
        mask = Material(self.wide.mask.number, (self.wide.mask.only.reshape(shape),))
        return Opened(self.words.reshape(shape), mask, self.wide.ring, self.frac_bits)

    @property
    def whole_bits(self) -> int:
        """l: a wrap counts 2^l."""
        return self.wide.ring.bits - self.shift


def quotient_cost(n: int, source: int, shift: int, bits: int) -> Cost:
    """Cost of opening n numbers of `source` bits for their quotients in `bits` bits."""
    above = bits - source + shift
    return opening((n, source)) + Cost(offline=wire_bytes(n, bits) + wire_bytes(n, above))


@protocol(
    cost=lambda x, shift, ring, tag="quotient": quotient_cost(x.size, x.ring.bits, shift, ring.bits),
    paper="HLHD22",
)
def open_quotient(
    party: Party, x: AShare, shift: int, ring: Ring, tag: str = "quotient"
) -> Steps[OpenedQuotient]:
    """x with `shift` fractional bits less, opened under a mask of `ring`: floor(x / 2^shift) + {0, 1} units.

    x [rows, n], |x| < 2^(bits - 2) units; `ring` has more bits than shifting leaves (else truncating is free).
    Opened: x, biased, under a uniform mask of its own ring.
    """
    source = x.ring.bits
    if not 0 <= shift <= source - 2 or ring.bits <= source - shift:
        raise RingMismatch(f"opening {x!r} first saves nothing for a shift of {shift} to {ring.bits} bits")
    bias = 1 << (source - 2)
    (wide,) = yield from open_masked.steps(party, add_public(party, x, bias), tag=tag)
    parts = party.provider.take(QuotientMask(wide.mask.number, x.size, source, shift, ring.bits))
    whole, top = (part.reshape(x.shape) for part in parts.arrays)  # type: ignore[union-attr]
    c = x.ring.reduce(wide.words)
    wrapped = (c >> np.uint64(source - 1)) ^ np.uint64(1)
    words = (c >> np.uint64(shift)) - np.uint64(bias >> shift)
    mask = _less_wraps(whole, wrapped, top, source - shift)
    return OpenedQuotient(words, mask, wrapped, top, wide, shift, ring)


def _less_wraps(whole: Array, wrapped: Array, top: Array, bits: int) -> Array:
    """whole - [wrapped] 2^bits top, of shares of what a product needs of the mask's two parts."""
    return whole - ((wrapped * top) << np.uint64(bits))


def squares_cost(rows: int, n: int, source: int, shift: int, bits: int) -> Cost:
    """Cost of `row_square_sums`."""
    above = max(1, bits - source + shift - 1)
    return Cost(offline=wire_bytes(rows, bits) + wire_bytes(rows * n, above))


def row_square_sums(party: Party, x: OpenedQuotient) -> AShare:
    """sum_j x_ij^2: local. R^2 = (r >> shift)^2 - [wrapped] m (2^(l + 1) (r >> shift) - 2^(2 l))."""
    rows, n = x.shape
    bits = x.wide.ring.bits
    spec = QuotientSquares(x.wide.mask.number, rows, n, bits, x.shift, x.ring.bits)
    squares, crossed = party.provider.take(spec).arrays
    data = party.backend.row_squares(x.words, x.mask, party.lead) + squares
    if x.whole_bits + 1 < x.ring.bits:
        data = data - ((x.wrapped * crossed).sum(axis=1) << np.uint64(x.whole_bits + 1))
    if 2 * x.whole_bits < x.ring.bits:
        data = data + ((x.wrapped * x.top).sum(axis=1) << np.uint64(2 * x.whole_bits))
    return AShare(data, x.ring, 2 * x.frac_bits)


def scaled_cost(
    rows: int, n: int, source: int, shift: int, bits: int, factor_bits: int | None = None
) -> Cost:
    """Cost of `times_rows`."""
    if factor_bits is None or factor_bits == bits:
        return opening((rows, bits)) + Cost(
            offline=wire_bytes(rows * n, bits) + wire_bytes(rows * n, bits - source + shift)
        )
    spec = QuotientProducts(0, 0, rows, n, source, shift, factor_bits, bits)
    return quotient_cost(rows, factor_bits, 0, bits) + Cost(offline=spec.correction_bytes)


def times_rows(party: Party, x: OpenedQuotient, factor: AShare) -> Steps[AShare]:
    """x_ij * factor_i: only the factors are opened, as in `arith.times_rows`.

    Factors in a smaller ring are lifted too (|factor| < 2^(bits - 2) of it), by an opening of their own kind.
    """
    rows, n = x.shape
    if factor.ring.bits < x.ring.bits:
        return (yield from _times_lifted(party, x, factor))
    (opened,) = yield from open_masked.steps(party, factor, tag="scale")
    spec = QuotientProduct(
        x.wide.mask.number, opened.mask.number, rows, n, x.wide.ring.bits, x.shift, x.ring.bits
    )
    whole, top = party.provider.take(spec).arrays
    products = _less_wraps(whole, x.wrapped, top, x.whole_bits)
    data = party.backend.row_scale(x.words, x.mask, opened.words, opened.mask.only, products, party.lead)
    return AShare(data, x.ring, x.frac_bits + factor.frac_bits)


def _times_lifted(party: Party, x: OpenedQuotient, factor: AShare) -> Steps[AShare]:
    """With w of the rows and v of the factors, R' F' = R b - w 2^l m b - v 2^k (R t - w 2^l m t)."""
    (rows, n), bits = x.shape, factor.ring.bits
    f = yield from open_quotient.unreplaced(party, factor, 0, x.ring, tag="scale")
    spec = QuotientProducts(
        x.wide.mask.number, f.wide.mask.number, rows, n, x.wide.ring.bits, x.shift, bits, x.ring.bits
    )
    whole, top, whole_t, *top_t = party.provider.take(spec).arrays
    products = _less_wraps(whole, x.wrapped, top, x.whole_bits)
    crossed = _less_wraps(whole_t, x.wrapped, top_t[0], x.whole_bits) if top_t else whole_t
    products = _less_wraps(products, f.wrapped.reshape(rows, 1), crossed, bits)
    data = party.backend.row_scale(x.words, x.mask, f.words, f.mask, products, party.lead)
    return AShare(data, x.ring, x.frac_bits + factor.frac_bits)
