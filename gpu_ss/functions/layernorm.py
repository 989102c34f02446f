"""Rows divided by their norm after centring: the core of LayerNorm.

With a = n x - sum(x) (exact, no division), t = a / sqrt(sum a^2 + eps') is the centred row over its norm, in
[-1, 1], and LayerNorm(x) = sqrt(n) t * gamma + beta: sqrt(n) is absorbed by gamma, or by the next weight.

a is opened once: that opening serves the squares and the product with the inverse root. In a field (many rows, two
parties alone) squares leave little room: there a is opened twice, coarser for them and finer for the product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpu_ss.cost import Cost
from gpu_ss.errors import RingMismatch
from gpu_ss.functions.goldschmidt import Iteration, deflated_inverse
from gpu_ss.functions.inverse import raw_inverse
from gpu_ss.functions.rows import (
    WIDE,
    Rows,
    factors_cost,
    opened_cost,
    opened_in_field,
    opened_in_ring,
    scaled_rows,
    square_sums,
    squares_cost,
)
from gpu_ss.functions.tables import INVERSE_BITS
from gpu_ss.party import Party, Steps, protocol, together
from gpu_ss.protocols.io import add_public
from gpu_ss.protocols.trunc import truncate_cost
from gpu_ss.ring import RING64, WORD, Ring
from gpu_ss.values import AShare

CENTRED_FRAC = 16
SQUARES = 2.0**60  # what a row's sum of squares is at most
#: In a field: bits that a row's squares are read with less, so that they fit, and its product more, where there
#: are so many; and bits of 2^61 times the root that the product leaves away, besides those.
COARSER, FINER, FACTOR_DROP = 2, 3, 4


def _shift(x: AShare, frac_bits: int, centred: bool) -> int:
    """What brings n x (x itself if `centred`) to `frac_bits`, n counted as the next power of two."""
    return (0 if centred else (x.shape[-1] - 1).bit_length()) + x.frac_bits - frac_bits


def _unit(n: int, frac_bits: int, centred: bool) -> float:
    """What a row's sum of squares of 1 is as integers: n x is read as if n were the next power of two."""
    kappa = 1.0 if centred else n / 2 ** (n - 1).bit_length()
    return float(kappa**2 * 4.0**frac_bits)


def _cost(
    x: AShare,
    eps: float,
    frac_bits: int,
    ring: Ring = RING64,
    centred_frac: int = CENTRED_FRAC,
    centred: bool = False,
    iteration: Iteration | None = None,
) -> Cost:
    rows = x.size // x.shape[-1]
    per_row = AShare(x.data[..., 0], RING64, 0)
    root: Cost = raw_inverse.cost(per_row, "rsqrt")
    if iteration is not None:
        root = deflated_inverse.cost(per_row, iteration, _unit(x.shape[-1], centred_frac, centred), SQUARES)
    read = rows, x.shape[-1], x.ring.bits, _shift(x, centred_frac, centred), WORD
    return (
        opened_cost(*read)
        + squares_cost(*read)
        + root
        + factors_cost(*read)
        + truncate_cost(x.size, WORD, INVERSE_BITS - frac_bits, ring.bits)
    )


@protocol(cost=_cost, paper="FASTLMPI")
def unit_rows(
    party: Party,
    x: AShare,
    eps: float,
    frac_bits: int,
    ring: Ring = RING64,
    centred_frac: int = CENTRED_FRAC,
    centred: bool = False,
    iteration: Iteration | None = None,
) -> Steps[AShare]:
    """t = (x - mean) / sqrt(n (var + eps)) over the last axis, with `frac_bits`, in `ring`: |t| <= 1.

    sqrt(n) t is LayerNorm without gamma and beta. With `centred` nothing is subtracted: t = x / sqrt(sum x^2 +
    n eps), the unit vector. Needs n |x| < 2^(bits - 2) units of x (|x| if centred), and for the norm of the
    centred row |x - mean|_2 < 2^(30 - centred_frac): a larger `centred_frac` resolves smaller rows. The inverse
    root is the project's own, or by an `iteration` from the sum of squares (`goldschmidt.deflated_inverse`).
    """
    n, shift = x.shape[-1], _shift(x, centred_frac, centred)
    if shift < 0:
        raise RingMismatch(
            f"{x!r} has too few fractional bits for centred_frac={centred_frac}; lift it first"
        )
    flat = x.reshape(-1, n)
    a = flat if centred else _centred(party, flat)
    root = _InverseRoot(_unit(n, centred_frac, centred), n * eps, iteration)
    if party.economy.in_fields(x.size):
        finer = min(FINER, shift)
        rows, inverse = yield from together(
            opened_in_field(party, a, shift - finer, WIDE, "norm"), root.of_coarse(party, a, shift)
        )
        t = yield from scaled_rows(party, rows, inverse, FACTOR_DROP + COARSER + finer, frac_bits, ring)
    else:
        rows = yield from opened_in_ring(party, a, shift, RING64, "norm")
        inverse = yield from root.of_rows(party, rows)
        t = yield from scaled_rows(party, rows, inverse, 0, frac_bits, ring)
    return t.reshape(*x.shape)


@dataclass(frozen=True, slots=True)
class _InverseRoot:
    """1 / sqrt(sum of squares + least), such that a row times it is t.

    unit: what a sum of 1 is as integers, for rows as `unit_rows` reads them.
    """

    unit: float
    least: float
    iteration: Iteration | None

    def of_rows(self, party: Party, rows: Rows) -> Steps[AShare]:
        squares = yield from square_sums(party, rows)
        total = add_public(party, squares, max(1, round(self.least * self.unit)))
        if self.iteration is None:
            root = yield from raw_inverse.steps(party, total, "rsqrt")
        else:
            root = yield from deflated_inverse.steps(party, total, self.iteration, self.unit, SQUARES)
        return AShare(root.data, root.ring, INVERSE_BITS - rows.frac_bits)

    def of_coarse(self, party: Party, a: AShare, shift: int) -> Steps[AShare]:
        """The same in a field, from rows that are read with COARSER bits less than `shift` leaves.

        A root needs the sum to a few digits only, and what single entries lose averages out.
        """
        rows = yield from opened_in_field(party, a, shift + COARSER, WIDE, "norm")
        return (yield from replace(self, unit=self.unit / 4.0**COARSER).of_rows(party, rows))


def _centred(party: Party, x: AShare) -> AShare:
    """n x - sum(x): exact."""
    shape, total = x.shape, x.sum(axis=1, keepdims=True)
    return x.times(shape[1]) - total.map(lambda d: party.backend.xp.broadcast_to(d, shape))
