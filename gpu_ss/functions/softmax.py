"""Softmax over the last axis, right for rows of any length and spread, with masks.

    M = max over the row (read in halves: only a stabiliser), E_j = 2^(y_j - M), S = sum E_j, P_j = E_j / S.

y are scores in units of log2: the factor log2(e) is folded into whatever made them. The opening of y serves
the maximum and the exponential: y - M is open as (y + r) - (M + r_M). E is exactly 0 far below the maximum,
so a mask is a large negative score. Attention multiplies E by the values first and by 1/S last.
"""

from __future__ import annotations

from math import prod

from gpu_ss.cost import Cost, opening
from gpu_ss.errors import RingMismatch
from gpu_ss.functions.exp import exponent, exponent_ring
from gpu_ss.functions.inverse import raw_inverse
from gpu_ss.functions.maximum import maximum_cost, padded_rows, padded_width, tournament
from gpu_ss.functions.rows import NARROW, opened_rows, scaled_rows
from gpu_ss.party import Party, Steps, protocol, together
from gpu_ss.protocols import power
from gpu_ss.protocols.compare import OpenedNumber
from gpu_ss.protocols.io import add_public, open_masked
from gpu_ss.protocols.lookup import FRAC, SOFTMAX, exp2_cost, exp2_opened
from gpu_ss.protocols.trunc import truncate, truncate_cost
from gpu_ss.provider.specs.bits import ROWS, MaskView
from gpu_ss.ring import RING64, Ring, wire_bytes
from gpu_ss.values import AShare

HALF = FRAC - 1  # bits of a score that the maximum ignores
SUM_FRAC = 20  # fractional bits of the row sums
INVERSE_RING = Ring(48)
INVERSE_FRAC = 25  # of 1/S in INVERSE_RING: 61 - SUM_FRAC - 16
WEIGHT_FRAC = SOFTMAX.result_bits  # 32, in the 64-bit ring
SHORT_RING = Ring(64 - WEIGHT_FRAC + SUM_FRAC)  # of weights with SUM_FRAC bits, and of their sums
PROBABILITY_FRAC = 16


def with_mask(party: Party, scores: AShare, keep: AShare) -> AShare:
    """Scores less 2^(bits-3) units wherever the shared bit `keep` (0 fractional bits) is 0: local.

    Scores must stay below 2^(bits-4) units, so that masked ones are below all others.
    """
    far = 1 << (scores.ring.bits - 3)
    blocked = add_public(party, keep.narrowed(scores.ring), -1).times(far)
    shape = scores.shape
    spread = blocked.map(lambda d: party.backend.xp.broadcast_to(d, shape))
    return scores + AShare(spread.data, scores.ring, scores.frac_bits)


def weights_cost(shape: tuple[int, ...], bits: int) -> Cost:
    """Cost of `softmax_weights` for scores of that shape and ring."""
    rows, n = prod(shape[:-1]), shape[-1]
    width = padded_width(n)
    cost = opening((rows * width, bits)) + maximum_cost(rows, n, bits, HALF, opened=True)
    return cost + opening((rows, bits)) + exp2_cost(rows * width, bits, SOFTMAX, RING64)


@protocol(cost=lambda y: weights_cost(y.shape, y.ring.bits), paper="gadget")
def softmax_weights(party: Party, y: AShare) -> Steps[AShare]:
    """E = 2^(y - M) with WEIGHT_FRAC bits in the 64-bit ring, M within half a unit of the row's maximum.

    y has FRAC fractional bits and |y| < 2^(bits-4) units. So the largest E of a row is between 0.7 and 1.5, and E
    is exactly 0 where y - M < -20. Opened: y under a uniform mask, the tournament's bits, M under a uniform
    mask, and what lookup.exp2_opened opens. Two parties alone, with many scores: E has SUM_FRAC bits in a ring
    of 52, is exactly 0 where y - M < -21, and what power.exp2 opens is opened, not M.
    """
    if y.frac_bits != FRAC:
        raise RingMismatch(f"scores need {FRAC} fractional bits, got {y!r}")
    n = y.shape[-1]
    flat = padded_rows(party, y.reshape(-1, n))
    rows, width = flat.shape
    (opened,) = yield from open_masked.steps(party, flat, tag="scores")
    if n == 1:
        best = flat[:, 0]
    else:
        half = yield from tournament(party, opened, n, drop=HALF)
        best = AShare(half.data << Ring(64).constant(HALF), y.ring, FRAC)  # modulo 2^bits again
    if party.economy.in_fields(rows * n):
        spread = best.map(lambda d: party.backend.xp.broadcast_to(d[:, None], (rows, n)))
        weights = yield from power.exp2.steps(party, flat[:, :n] - spread, SHORT_RING)
        return weights.reshape(*y.shape)
    (top,) = yield from open_masked.steps(party, best, tag="rowmax")
    view = MaskView(
        opened.mask.number, rows * width, y.ring.bits, y.ring.bits, 0, ROWS, width, top.mask.number
    )
    number = OpenedNumber(y.ring.reduce(opened.words - top.words[:, None]).reshape(-1), view)
    weights = yield from exp2_opened(party, number, SOFTMAX, RING64)
    return weights.reshape(rows, width)[:, :n].reshape(*y.shape)


def _sums_cost(weights: AShare) -> Cost:
    sums = AShare(weights.data[..., 0], SHORT_RING, SUM_FRAC)
    cost: Cost = raw_inverse.cost(sums, "reciprocal", *_sum_range(weights.shape[-1]))
    return cost


def _sum_range(n: int) -> tuple[int, int]:
    """Bounds of a row sum of n weights, in its raw units."""
    return 1 << (SUM_FRAC - 1), n << (SUM_FRAC + 1)


@protocol(cost=_sums_cost, paper="piecewise")
def inverse_sums(party: Party, weights: AShare) -> Steps[AShare]:
    """1 / (sum over the last axis) of `softmax_weights`, with INVERSE_FRAC bits in INVERSE_RING: [...]."""
    sums = weights.sum(axis=-1)
    sums = yield from truncate.steps(party, sums, weights.frac_bits - SUM_FRAC, SHORT_RING)
    inverse = yield from raw_inverse.steps(party, sums, "reciprocal", *_sum_range(weights.shape[-1]))
    return AShare(
        (yield from truncate.steps(party, inverse, 16, INVERSE_RING)).data, INVERSE_RING, INVERSE_FRAC
    )


def _softmax_cost(x: AShare, keep: AShare | None = None) -> Cost:
    rows = x.size // x.shape[-1]
    weights = AShare(x.data, RING64, WEIGHT_FRAC)
    return (
        weights_cost(x.shape, exponent_ring(x).bits)
        + (_sums_cost(weights) & opening((x.size, INVERSE_RING.bits)))
        + opening((rows, INVERSE_RING.bits))
        + Cost(offline=wire_bytes(x.size, INVERSE_RING.bits))
        + truncate_cost(x.size, INVERSE_RING.bits, PROBABILITY_FRAC + INVERSE_FRAC - x.frac_bits, x.ring.bits)
    )


@protocol(cost=_softmax_cost, paper="gadget")
def softmax(party: Party, x: AShare, keep: AShare | None = None) -> Steps[AShare]:
    """Softmax over the last axis at x's scale and ring. `keep`: shared bits, 0 where a key is masked out.

    Right for |x| < 2^(bits - 8 - frac_bits - LOG2_E_SCALE) and rows of up to 2^12. Error: see docs/protocols.md.
    """
    y = yield from exponent(party, x)
    if keep is not None:
        y = with_mask(party, y, keep)
    weights = yield from softmax_weights.steps(party, y)
    rows = weights.reshape(-1, x.shape[-1])
    inverse, opened = yield from together(
        inverse_sums.steps(party, weights),
        opened_rows(party, rows, weights.frac_bits - PROBABILITY_FRAC, INVERSE_RING, NARROW, "weights"),
    )
    result = yield from scaled_rows(party, opened, inverse.reshape(-1), 0, x.frac_bits, x.ring)
    return result.reshape(*x.shape)
