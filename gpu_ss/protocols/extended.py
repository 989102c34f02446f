"""A value that comes into a larger ring by the opening that it needs anyway: `trunc.extend` without its round.

Rank 0 adds 2^(bits-2), so that y = x + 2^(bits-2) is in [0, 2^(bits-1)), and c = y + r is opened under a uniform
mask r of x's own ring. With c, r read as integers y = c - r + 2^bits w: they wrapped, w = 1, exactly if c has its
top bit 0 and r its top bit m 1. So in any ring

    y = c - R,   R = r - [c has top bit 0] 2^bits m:

y is open there under the mask R, a public combination of two numbers that the dealer knows. Exact.

Opened is c alone, in x's own ring, uniform whatever x is, because r is. R is not uniform in the larger ring, and
need not be: nothing is sent under it. For correlations of a dealer: two parties alone extend first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from gpu_ss.cost import Cost, opening
from gpu_ss.errors import RingMismatch
from gpu_ss.party import Party, Steps, protocol
from gpu_ss.protocols.io import Opened, add_public, open_masked
from gpu_ss.provider.specs.extended import ExtendedMask, ExtendedProduct, ExtendedSquares
from gpu_ss.ring import Array, Ring, wire_bytes
from gpu_ss.values import AShare


@dataclass(frozen=True, slots=True, repr=False)
class OpenedExtended:
    """A value [rows, n] in `ring` that is open under a mask: value = words - R.

    `own`: the opening in the value's own ring, under the mask r that correlations name. `mask`: this party's share
    of R. `wrapped`: [c has top bit 0] as words. `top`: this party's share of m, modulo 2^(ring's bits - own_bits).
    """

    own: Opened
    mask: Array
    wrapped: Array
    top: Array
    ring: Ring

    @property
    def words(self) -> Array:
        """c less what rank 0 added, modulo 2^64: right in every ring."""
        return self.own.words

    @property
    def frac_bits(self) -> int:
        return self.own.frac_bits

    @property
    def shape(self) -> tuple[int, ...]:
        return self.own.shape

    @property
    def own_bits(self) -> int:
        """Bits of the value's own ring: a wrap counts 2^own_bits."""
        return self.own.ring.bits


def opening_cost(n: int, own_bits: int, bits: int) -> Cost:
    """Cost of opening n numbers of `own_bits` bits in `bits` bits."""
    dealt = wire_bytes(n, bits) + wire_bytes(n, bits - own_bits)
    return opening((n, own_bits)) + Cost(offline=dealt)


@protocol(cost=lambda x, ring, tag="open": opening_cost(x.size, x.ring.bits, ring.bits), paper="HLHD22")
def open_extended(party: Party, x: AShare, ring: Ring, tag: str = "open") -> Steps[OpenedExtended]:
    """x [rows, n], |x| < 2^(bits - 2) units, opened under a mask in `ring`, which has more bits than x's. Exact.

    Opened: x, biased, under a uniform mask of its own ring.
    """
    bits = x.ring.bits
    if not 2 <= bits < ring.bits:
        raise RingMismatch(f"{x!r} cannot be extended to {ring.bits} bits by its opening")
    bias = 1 << (bits - 2)
    (opened,) = yield from open_masked.steps(party, add_public(party, x, bias), tag=tag)
    parts = party.provider.take(ExtendedMask(opened.mask.number, x.size, bits, ring.bits))
    whole, top = (part.reshape(x.shape) for part in parts.arrays)  # type: ignore[union-attr]
    c = x.ring.reduce(opened.words)
    wrapped = (c >> np.uint64(bits - 1)) ^ np.uint64(1)
    own = replace(opened, words=c - np.uint64(bias))
    return OpenedExtended(own, _less_wraps(whole, wrapped, top, bits), wrapped, top, ring)


def _less_wraps(whole: Array, wrapped: Array, top: Array, bits: int) -> Array:
    """whole - [wrapped] 2^bits top, of shares of what a product needs of the mask and of its top bit."""
    return whole - ((wrapped * top) << np.uint64(bits))


def squares_cost(rows: int, n: int, own_bits: int, bits: int) -> Cost:
    """Cost of `row_square_sums`."""
    above = max(1, bits - own_bits - 1)
    return Cost(offline=wire_bytes(rows, bits) + wire_bytes(rows * n, above))


def row_square_sums(party: Party, x: OpenedExtended) -> AShare:
    """sum_j x_ij^2: local. R^2 = r^2 - [wrapped] m (2^(own_bits + 1) r - 2^(2 own_bits))."""
    (rows, n), bits = x.shape, x.ring.bits
    spec = ExtendedSquares(x.own.mask.number, rows, n, x.own_bits, bits)
    squares, crossed = party.provider.take(spec).arrays
    data = party.backend.row_squares(x.words, x.mask, party.lead) + squares
    if x.own_bits + 1 < bits:
        data = data - ((x.wrapped * crossed).sum(axis=1) << np.uint64(x.own_bits + 1))
    if 2 * x.own_bits < bits:
        data = data + ((x.wrapped * x.top).sum(axis=1) << np.uint64(2 * x.own_bits))
    return AShare(data, x.ring, 2 * x.frac_bits)


def times_rows_cost(rows: int, n: int, own_bits: int, factor_bits: int, bits: int) -> Cost:
    """Cost of `times_rows`."""
    factors = opening_cost(rows, factor_bits, bits) if factor_bits < bits else opening((rows, bits))
    spec = ExtendedProduct(0, 0, rows, n, own_bits, min(factor_bits, bits), bits)
    return factors + Cost(offline=spec.correction_bytes)


def times_rows(party: Party, x: OpenedExtended, factor: AShare) -> Steps[AShare]:
    """x_ij * factor_i: only the factors are opened, as in `arith.times_rows`.

    Factors of a smaller ring are extended too (|factor| < 2^(bits - 2) of it), by an opening of the same kind.
    """
    wrapped = None
    if factor.ring.bits < x.ring.bits:
        extended = yield from open_extended.steps(party, factor, x.ring, tag="scale")
        opened, mask, wrapped = extended.own, extended.mask, extended.wrapped
    else:
        (opened,) = yield from open_masked.steps(party, factor.narrowed(x.ring), tag="scale")
        mask = opened.mask.only
    products = _mask_products(party, x, opened, wrapped)
    data = party.backend.row_scale(x.words, x.mask, opened.words, mask, products, party.lead)
    return AShare(data, x.ring, x.frac_bits + factor.frac_bits)


def _mask_products(party: Party, x: OpenedExtended, factor: Opened, wrapped: Array | None) -> Array:
    """Shares of the mask of x_ij times that of factor_i. `wrapped` as in OpenedExtended; None: not extended.

    Of masks r of l bits and s of k bits, with top bits m and t, w and v saying where a wrap is possible:
    (r - w 2^l m) (s - v 2^k t) = (r s - w 2^l m s) - v 2^k (r t - w 2^l m t).
    """
    (rows, n), factor_bits = x.shape, factor.ring.bits
    spec = ExtendedProduct(
        x.own.mask.number, factor.mask.number, rows, n, x.own_bits, factor_bits, x.ring.bits
    )
    whole, top, *with_t = party.provider.take(spec).arrays
    products = _less_wraps(whole, x.wrapped, top, x.own_bits)
    if wrapped is None:
        return products
    whole_t, *top_t = with_t
    crossed = _less_wraps(whole_t, x.wrapped, top_t[0], x.own_bits) if top_t else whole_t
    return _less_wraps(products, wrapped.reshape(rows, 1), crossed, factor_bits)
