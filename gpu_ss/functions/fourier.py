"""GeLU by a Fourier series of the error function, as SecFormer has it.

erf(z) is -1 below -1.7, 1 above 1.7, and between them sum_k beta_k sin(k pi z / 10), a series of period 20.
"""

from __future__ import annotations

from math import pi, sqrt

import numpy as np
from numpy.typing import NDArray

from gpu_ss.cost import Cost, opening
from gpu_ss.functions.activation import FRAC
from gpu_ss.party import Party, Steps, protocol, together
from gpu_ss.protocols.arith import mul_opened
from gpu_ss.protocols.compare import at_least, effective, shape_for, tree_cost
from gpu_ss.protocols.io import Opened, open_masked
from gpu_ss.protocols.periodic import WAVE_FRAC, WAVE_RING, sine_series
from gpu_ss.protocols.select import inject
from gpu_ss.protocols.trunc import truncate, truncate_cost
from gpu_ss.ring import RING64, WORD, Ring, wire_bytes
from gpu_ss.values import AShare

Real = NDArray[np.float64]

BETA = (1.25772, -0.0299154, 0.382155, -0.0519123, 0.196033, -0.0624557, 0.118029)
EDGE = 1.7  # of the series, in z = x / sqrt(2)
PERIOD = 20.0

ANGLE = Ring(18)  # a turn is 2^18 units: 1e-4 of x
TURN_FRAC = 20  # fractional bits of the public factor from x to the angle
TURN = round(2.0**ANGLE.bits / (PERIOD * sqrt(2) * 2**FRAC) * 2**TURN_FRAC)


def _cost(x: AShare, compare_bits: int | None = None, ring: Ring | None = None) -> Cost:
    n = x.size
    wide, angle = AShare(x.data, RING64, FRAC), AShare(x.data, ANGLE, 0)
    nodes = tree_cost(n, shape_for(compare_bits or WORD, 2), 2)
    series = sine_series.cost(angle, BETA)
    series = series + truncate_cost(n, WAVE_RING.bits, WAVE_FRAC, WORD) + opening((n, WORD))
    middle = Cost(offline=wire_bytes(n, WORD)) + truncate_cost(n, WORD, WAVE_FRAC + 1, WORD)
    return (
        truncate_cost(n, x.ring.bits, x.frac_bits - FRAC, WORD)
        + opening((n, WORD))
        + (nodes & series)
        + middle
        + (inject.cost(None, wide) & inject.cost(None, wide))
    )


@protocol(cost=_cost, paper="SecFormer")
def fourier_gelu(
    party: Party, x: AShare, compare_bits: int | None = None, ring: Ring | None = None
) -> Steps[AShare]:
    """x (1 + erf(x / sqrt 2)) / 2 with FRAC fractional bits in `ring` (default: 64 bits), its erf by the series.

    Exactly 0 and x outside +-EDGE sqrt(2). Right for |x| < 2^(bits - 2) units, and < 2^(compare_bits - 2 - FRAC)
    if that is promised. Largest distance from GeLU 2e-2 (the series' own). Opened: what comparisons, the series,
    products and selections open.
    """
    x = yield from truncate.steps(party, x, x.frac_bits - FRAC, RING64)
    (opened,) = yield from open_masked.steps(party, x, tag="fourier")
    edge = round(EDGE * sqrt(2) * 2**FRAC)
    bits, erf = yield from together(
        at_least(party, effective(opened, compare_bits or WORD), [-edge, edge]), _erf(party, x)
    )
    bits = bits.reshape(*x.shape)
    product = mul_opened(party, opened, erf)
    middle = AShare(product.data + x.lifted(product.frac_bits).data, RING64, product.frac_bits + 1)
    middle = yield from truncate.steps(party, middle, middle.frac_bits - FRAC)
    inside, above = yield from together(
        inject.steps(party, bits.bit(0) ^ bits.bit(1), middle), inject.steps(party, bits.bit(1), x)
    )
    result: AShare = inside + above
    return result.narrowed(ring or RING64)


def _erf(party: Party, x: AShare) -> Steps[Opened]:
    """The series at x / sqrt(2), opened under a mask with WAVE_FRAC bits."""
    turned = yield from truncate.steps(party, x.times(TURN), TURN_FRAC, Ring(WORD - TURN_FRAC))
    series = yield from sine_series.steps(party, AShare(turned.data, ANGLE, 0), BETA)
    rounded = yield from truncate.steps(party, series, WAVE_FRAC, RING64)
    (opened,) = yield from open_masked.steps(party, rounded, tag="fourier")
    return opened


def clear(x: Real) -> Real:
    """The function in float64."""
    z = x / sqrt(2)
    series = sum(b * np.sin((k + 1) * 2 * pi * z / PERIOD) for k, b in enumerate(BETA))
    erf = np.where(z < -EDGE, -1.0, np.where(z >= EDGE, 1.0, series))
    return np.asarray(0.5 * x * (1 + erf))
