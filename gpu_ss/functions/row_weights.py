"""Published ways to the weights of a softmax's row: what stands in for e^(x - max), before or instead of it.

All take scores y = x log2(e) with FRAC fractional bits. Those that approximate the exponential give what
`softmax.softmax_weights` gives: WEIGHT_FRAC bits in the 64-bit ring, the largest of a row about 1, masked keys 0.
The others are polynomials without a maximum, and give rows that are divided by their sum already.
"""

from __future__ import annotations

from functools import cache
from math import log, prod

import numpy as np
from numpy.typing import NDArray

from gpu_ss.cost import FREE, Cost, opening
from gpu_ss.errors import RingMismatch
from gpu_ss.functions.fitting.polynomials import expand
from gpu_ss.functions.goldschmidt import INVERSE, deflated_inverse
from gpu_ss.functions.inverse import raw_inverse
from gpu_ss.functions.layernorm import unit_rows
from gpu_ss.functions.maximum import maximum
from gpu_ss.functions.softmax import INVERSE_RING, PROBABILITY_FRAC, WEIGHT_FRAC
from gpu_ss.functions.tables import INVERSE_BITS
from gpu_ss.party import Party, Steps, protocol, together
from gpu_ss.protocols.arith import mul, powers_opened, row_square_sums, square, times_rows
from gpu_ss.protocols.compare import ge_public
from gpu_ss.protocols.io import add_public, open_masked
from gpu_ss.protocols.lookup import FRAC
from gpu_ss.protocols.piecewise import PiecewiseTable, Window, evaluate
from gpu_ss.protocols.select import inject
from gpu_ss.protocols.trunc import extend, truncate, truncate_cost
from gpu_ss.ring import RING64, WORD, Ring, wire_bytes
from gpu_ss.values import AShare

LN2 = log(2.0)
CONSTANT_FRAC = 29  # fractional bits of public factors; one more, and the limit would need a round more
LIMIT_FRAC = 19
LIMIT_RING = Ring(42)  # a square of at most 1 keeps two bits of room


def _below_maximum(party: Party, y: AShare) -> Steps[AShare]:
    """y less its row's maximum, exact."""
    top = yield from maximum.steps(party, y)
    shape = y.shape
    return y - top.map(lambda d: party.backend.xp.broadcast_to(d[..., None], shape))


# -- (1 + x / 2^k)^(2^k) ------------------------------------------------------------------------------------


def _limit_cost(y: AShare, doublings: int, lowest: float) -> Cost:
    n, bits = y.size, LIMIT_RING.bits
    short, weights = AShare(y.data, LIMIT_RING, LIMIT_FRAC), AShare(y.data, RING64, WEIGHT_FRAC)
    squares = FREE
    for k in range(doublings):
        last = k == doublings - 1
        shift = 2 * LIMIT_FRAC - (WEIGHT_FRAC if last else LIMIT_FRAC)
        squares = squares + square.cost(short) + truncate_cost(n, bits, shift, WORD if last else bits)
    power = truncate_cost(n, y.ring.bits, 0, WORD) + squares
    gated: Cost = maximum.cost(y) + (power & ge_public.cost(y)) + inject.cost(None, weights)
    return gated


@protocol(cost=_limit_cost, paper="PUMA")
def limit_weights(party: Party, y: AShare, doublings: int, lowest: float) -> Steps[AShare]:
    """(1 + x / 2^doublings)^(2^doublings) for x = (y - max y) ln 2 >= lowest, else exactly 0.

    Needs |y| < 2^(bits - 3) units, 20 bits of range at most. Error: 2^-14, besides what the limit leaves of e^x
    (relative x^2 / 2^(doublings + 1)). Opened: what maximum, comparison, squares and the product with the gate
    open; outside the range the powers wrap around and are multiplied by an exact 0.
    """
    z = yield from _below_maximum(party, y)
    power, inside = yield from together(
        _power(party, z, doublings), ge_public.steps(party, z, round(lowest / LN2 * 2**FRAC))
    )
    return (yield from inject.steps(party, inside, power))


def _power(party: Party, z: AShare, doublings: int) -> Steps[AShare]:
    wide = yield from extend.steps(party, z, RING64)
    step = wide.scaled(LN2 / 2**doublings, CONSTANT_FRAC)
    u = yield from truncate.steps(party, step, step.frac_bits - LIMIT_FRAC, LIMIT_RING)
    u = add_public(party, u, 1 << LIMIT_FRAC)
    for k in range(doublings):
        u = yield from square.steps(party, u)
        last = k == doublings - 1
        shift = u.frac_bits - (WEIGHT_FRAC if last else LIMIT_FRAC)
        u = yield from truncate.steps(party, u, shift, RING64 if last else LIMIT_RING)
    return u


# -- 2^-z L(p): a quadratic and a shift -----------------------------------------------------------------------

OCTAVES = 13  # below 2^-13 the 12 fractional bits of the published protocol hold nothing
_QUADRATIC = (0.3585, 1.353, 0.344)  # e^p about 0.3585 (p + 1.353)^2 + 0.344 on (-ln 2, 0]
QUADRATIC_BITS = 40


@cache
def octave_table() -> PiecewiseTable:
    """2^y on (-OCTAVES, 0] as 2^-z times one quadratic in the fraction, 0 below; constant above 0."""
    a, b, c = _QUADRATIC
    starts, pieces = [], []
    for z in range(OCTAVES, 0, -1):  # y in [-z, 1 - z): p = (y + z - 1) ln 2
        scale = 2.0 ** (QUADRATIC_BITS + 1 - z)
        local = (a * b * b + c, 2 * a * b * LN2 / 2**FRAC, a * LN2**2 / 4**FRAC)
        starts.append(-z << FRAC)
        pieces.append((expand([round(v * scale) for v in local], (1 - z) << FRAC),))
    starts.append(0)
    pieces.append(((round((a * b * b + c) * 2.0**QUADRATIC_BITS),),))
    window = Window(0, (0,), tuple(starts), tuple(pieces))
    return PiecewiseTable("octaves", FRAC, QUADRATIC_BITS, 0, (window,))


def _octave_cost(y: AShare) -> Cost:
    z = AShare(y.data, RING64, FRAC)
    cost: Cost = maximum.cost(y) + truncate_cost(y.size, y.ring.bits, 0, WORD)
    shift = QUADRATIC_BITS - WEIGHT_FRAC
    return cost + evaluate.cost(z, octave_table(), y.ring.bits) + truncate_cost(y.size, WORD, shift, WORD)


@protocol(cost=_octave_cost, paper="BOLT")
def octave_weights(party: Party, y: AShare) -> Steps[AShare]:
    """e^p 2^-z for y - max y = -z + p / ln 2, e^p by one quadratic (relative error 2e-3); 0 below 2^-OCTAVES.

    Needs |y| < 2^(bits - 3) units. Opens what maximum and piecewise.evaluate open.
    """
    z = yield from _below_maximum(party, y)
    z = yield from extend.steps(party, z, RING64)
    found = yield from evaluate.steps(party, z, octave_table(), y.ring.bits)
    return (yield from truncate.steps(party, found.value, QUADRATIC_BITS - WEIGHT_FRAC))


# -- polynomials without a maximum ------------------------------------------------------------------------------

SHIFT = 5.0  # the c of (x + c)^2
UNIT_FRAC, UNIT_RING = 20, Ring(44)  # of a row over its norm: its square keeps two bits of room
TINY = 1e-18  # keeps a row of zeros from being divided by nothing


def _natural(party: Party, y: AShare, factor: float, frac_bits: int) -> Steps[AShare]:
    """y ln(2) factor with `frac_bits`, in 64 bits."""
    wide = yield from extend.steps(party, y, RING64)
    product = wide.scaled(LN2 * factor, _constant_frac(y))
    return (yield from truncate.steps(party, product, product.frac_bits - frac_bits, RING64))


def _constant_frac(y: AShare) -> int:
    """Of a factor below 1 whose product with y keeps two bits of room in 64."""
    return min(CONSTANT_FRAC, WORD - y.ring.bits)


def _natural_cost(y: AShare, frac_bits: int) -> Cost:
    shift = FRAC + _constant_frac(y) - frac_bits
    return truncate_cost(y.size, y.ring.bits, 0, WORD) + truncate_cost(y.size, WORD, shift, WORD)


def _norm_frac(n: int, range_bits: int) -> int:
    """Fractional bits with which `unit_rows` holds n numbers below 2^range_bits."""
    return min(NATURAL_FRAC, 30 - range_bits - (n.bit_length() + 1) // 2)


NATURAL_FRAC = 16


def _shifted_cost(y: AShare, keep: AShare) -> Cost:
    cost = _natural_cost(y, NATURAL_FRAC) + opening((y.size, WORD)) + opening((keep.size, WORD))
    return cost + Cost(offline=wire_bytes(y.size, WORD))


def _shifted(party: Party, y: AShare, keep: AShare) -> Steps[AShare]:
    """x + SHIFT for x = y ln 2 with NATURAL_FRAC bits in 64, 0 for keys with keep = 0."""
    x = yield from _natural(party, y, 1.0, NATURAL_FRAC)
    x = add_public(party, x, round(SHIFT * 2**NATURAL_FRAC))
    return (yield from _kept(party, x, keep))


def _squares_cost(y: AShare, keep: AShare, range_bits: int) -> Cost:
    x, unit = AShare(y.data, RING64, NATURAL_FRAC), AShare(y.data, UNIT_RING, UNIT_FRAC)
    norm_frac = _norm_frac(y.shape[-1], range_bits)
    cost: Cost = _shifted_cost(y, keep)
    cost = cost + unit_rows.cost(x, TINY, UNIT_FRAC, UNIT_RING, norm_frac, True) + square.cost(unit)
    shift = 2 * UNIT_FRAC - PROBABILITY_FRAC
    return cost + truncate_cost(y.size, UNIT_RING.bits, shift, INVERSE_RING.bits)


@protocol(cost=_squares_cost, paper="MPCFormer")
def shifted_squares(party: Party, y: AShare, keep: AShare, range_bits: int) -> Steps[AShare]:
    """(x + 5)^2 / sum (x + 5)^2 over the last axis for x = y ln 2, keys with keep = 0 left out ("2Quad").

    These are the squares of the row x + 5 over its norm, so LayerNorm's core makes them. y [..., m, n]; keep
    [..., n] with 0 fractional bits. |y| < 2^range_bits (a real number), range_bits at least 5. Result:
    PROBABILITY_FRAC bits in INVERSE_RING. Opens what products and `unit_rows` open.
    """
    n = y.shape[-1]
    x = yield from _shifted(party, y, keep)
    t = yield from unit_rows.steps(
        party, x, TINY, UNIT_FRAC, UNIT_RING, _norm_frac(n, range_bits), centred=True
    )
    squared = yield from square.steps(party, t)
    return (yield from truncate.steps(party, squared, 2 * UNIT_FRAC - PROBABILITY_FRAC, INVERSE_RING))


DEFLATED_RANGE = (
    12  # of scores: with more their squares would be read too coarsely for the sum's inverse to fit
)


def _sum_frac(n: int, range_bits: int) -> int:
    """Fractional bits of n numbers below 2^range_bits, such that the inverse of their squares' sum has 14 bits."""
    return min(NATURAL_FRAC, (INVERSE_BITS - 14 - 2 * range_bits - n.bit_length()) // 2)


def _sum_range(y: AShare, range_bits: int) -> tuple[float, float]:
    """What a sum of 1 is as integers, and the largest sum."""
    unit = 4.0 ** _sum_frac(y.shape[-1], range_bits)
    return unit, unit * y.shape[-1] * 4.0**range_bits


def _deflated_cost(y: AShare, keep: AShare, range_bits: int) -> Cost:
    n, rows = y.size, AShare(y.data[..., 0], RING64, 0)
    drop = NATURAL_FRAC - _sum_frac(y.shape[-1], range_bits)
    cost = _shifted_cost(y, keep) + truncate_cost(n, WORD, drop, WORD) + opening((n, WORD))
    cost = cost + Cost(offline=wire_bytes(n, WORD) + wire_bytes(rows.size, WORD))
    inverse: Cost = deflated_inverse.cost(rows, INVERSE, *_sum_range(y, range_bits))
    cost = cost + (inverse & opening((n, WORD)))
    cost = cost + opening((rows.size, WORD)) + Cost(offline=wire_bytes(n, WORD))
    return cost + truncate_cost(n, WORD, INVERSE_BITS - PROBABILITY_FRAC, INVERSE_RING.bits)


@protocol(cost=_deflated_cost, paper="SecFormer")
def deflated_squares(party: Party, y: AShare, keep: AShare, range_bits: int) -> Steps[AShare]:
    """What `shifted_squares` gives, by squares, their sum, and the sum's inverse by Goldschmidt's iteration.

    Arguments and result as there; range_bits at most DEFLATED_RANGE. Error: relative 1e-3, and a unit. Rows with a
    sum below 5 give less, in proportion. Opens what products and `deflated_inverse` open.
    """
    if range_bits > DEFLATED_RANGE:
        raise RingMismatch(f"scores up to 2^{range_bits} are too large, at most 2^{DEFLATED_RANGE}")
    shape, n = y.shape, y.shape[-1]
    x = yield from _shifted(party, y, keep)
    x = yield from truncate.steps(party, x, NATURAL_FRAC - _sum_frac(n, range_bits))
    (opened,) = yield from open_masked.steps(party, x.reshape(-1, n), tag="weights")
    total = add_public(party, row_square_sums(party, opened), 1)
    inverse, (squares,) = yield from together(
        deflated_inverse.steps(party, total, INVERSE, *_sum_range(y, range_bits)),
        open_masked.steps(party, powers_opened(party, opened, 2)[1], tag="weights"),
    )
    rows = yield from times_rows(
        party, squares, inverse
    )  # at most 2^INVERSE_BITS: a square is at most the sum
    whole = AShare(rows.data.reshape(shape), RING64, INVERSE_BITS)
    return (yield from truncate.steps(party, whole, INVERSE_BITS - PROBABILITY_FRAC, INVERSE_RING))


def _kept(party: Party, x: AShare, keep: AShare) -> Steps[AShare]:
    """x [..., m, n] times keep [..., n]: columns are what is opened as rows, so each bit is opened once."""
    *lead, m, n = x.shape
    columns = x.reshape(-1, m, n).transpose(0, 2, 1).reshape(-1, m)
    (opened,) = yield from open_masked.steps(party, columns, tag="weights")
    found = yield from times_rows(party, opened, AShare(keep.data.reshape(-1), RING64, 0))
    return found.reshape(-1, n, m).transpose(0, 2, 1).reshape(*lead, m, n)


CUBE_FRAC = 12  # of the base
CAP = 64  # bases saturate here, scores at 2 (CAP - 1)
SQUARE_FRAC, CUBED_FRAC = 16, 18
ROOT_FRAC = 39  # 2^39 / sqrt(sum) times a cube stays below 2^62


@cache
def capped() -> PiecewiseTable:
    """min(max(x, 0), CAP), exact."""
    window = Window(0, (0,), (0, CAP << CUBE_FRAC), (((0, 0),), ((CAP << CUBE_FRAC,),)), (1, 0))
    return PiecewiseTable("capped", CUBE_FRAC, CUBE_FRAC, 0, (window,))


def _cubes_cost(y: AShare, range_bits: int) -> Cost:
    n, wide = y.size, AShare(y.data, RING64, CUBE_FRAC)
    rows = AShare(y.data[..., 0], RING64, 0)
    root: Cost = raw_inverse.cost(rows, "rsqrt") + truncate_cost(rows.size, WORD, 61 - ROOT_FRAC, WORD)
    scaled = opening((rows.size, WORD)) + Cost(offline=wire_bytes(n, WORD))
    cost: Cost = _natural_cost(y, CUBE_FRAC) + evaluate.cost(wide, capped(), _cube_bits(range_bits))
    cost = cost + square.cost(wide) + truncate_cost(n, WORD, 2 * CUBE_FRAC - SQUARE_FRAC, WORD)
    cost = cost + mul.cost(wide, wide) + truncate_cost(n, WORD, SQUARE_FRAC + CUBE_FRAC - CUBED_FRAC, WORD)
    cost = cost + (root & opening((n, WORD))) + scaled
    cost = cost + truncate_cost(n, WORD, ROOT_FRAC - PROBABILITY_FRAC, WORD) + opening((n, WORD)) + scaled
    return cost + truncate_cost(n, WORD, ROOT_FRAC, INVERSE_RING.bits)


def _cube_bits(range_bits: int) -> int:
    return CUBE_FRAC + range_bits + 2


@protocol(cost=_cubes_cost, paper="THEX")
def relu_cubes(party: Party, y: AShare, range_bits: int) -> Steps[AShare]:
    """c / sum c over the last axis (of at most 2^9), c = min(ReLU(x / 2 + 1), CAP)^3 for x = y ln 2.

    |y| < 2^range_bits (a real number) for masked keys too, whose scores are far below and give 0. The sum's inverse
    is taken twice as an inverse root, which holds over the whole range; a row of zeros gives 0. Result:
    PROBABILITY_FRAC bits in INVERSE_RING. Opens what the steps open: bits, products, piecewise polynomials.
    """
    shape = y.shape
    x = yield from _natural(party, y, 0.5, CUBE_FRAC)
    x = add_public(party, x, 1 << CUBE_FRAC)
    found = yield from evaluate.steps(party, x, capped(), _cube_bits(range_bits))
    base = found.value + found.linear  # type: ignore[operator]
    squared = yield from square.steps(party, base)
    squared = yield from truncate.steps(party, squared, 2 * CUBE_FRAC - SQUARE_FRAC)
    cubed = yield from mul.steps(party, squared, base)
    cubed = yield from truncate.steps(party, cubed, SQUARE_FRAC + CUBE_FRAC - CUBED_FRAC)
    rows = AShare(cubed.data.reshape(prod(shape[:-1]), shape[-1]), RING64, 0)
    root, (opened,) = yield from together(
        _root(party, rows.sum(axis=1)), open_masked.steps(party, rows, tag="weights")
    )
    half = yield from times_rows(party, opened, root)  # c / sqrt(sum)
    half = yield from truncate.steps(
        party, AShare(half.data, RING64, ROOT_FRAC), ROOT_FRAC - PROBABILITY_FRAC
    )
    (opened,) = yield from open_masked.steps(party, half, tag="weights")
    whole = yield from times_rows(party, opened, root)
    whole = yield from truncate.steps(
        party, AShare(whole.data, RING64, ROOT_FRAC + PROBABILITY_FRAC), ROOT_FRAC, INVERSE_RING
    )
    return AShare(whole.data.reshape(shape), INVERSE_RING, PROBABILITY_FRAC)


def _root(party: Party, sums: AShare) -> Steps[AShare]:
    """2^ROOT_FRAC / sqrt(raw sum)."""
    raw = yield from raw_inverse.steps(party, sums, "rsqrt")
    return AShare((yield from truncate.steps(party, raw, INVERSE_BITS - ROOT_FRAC)).data, RING64, 0)


# -- in clear, for tests -----------------------------------------------------------------------------------------


def octaves(y: NDArray[np.float64]) -> NDArray[np.float64]:
    """What `octave_weights` computes of y - max y, in float64."""
    a, b, c = _QUADRATIC
    z = np.minimum(np.floor(y), -1.0) + 1
    p = np.where(y >= 0, 0.0, y - z) * LN2
    return np.where(y < -OCTAVES, 0.0, (a * (p + b) ** 2 + c) * 2.0**z)
