"""e^x over the whole range: x is turned into an exponent of 2 without communication, then looked up."""

from __future__ import annotations

from gpu_ss.cost import Cost, opening
from gpu_ss.party import Party, Steps, protocol
from gpu_ss.protocols.compare import effective
from gpu_ss.protocols.io import open_masked
from gpu_ss.protocols.lookup import FRAC, WIDE, exp2_cost, exp2_opened
from gpu_ss.protocols.trunc import truncate, truncate_cost
from gpu_ss.ring import RING64, WORD, Ring
from gpu_ss.values import AShare

LOG2_E = 1.4426950408889634
LOG2_E_SCALE = 18  # fractional bits of that constant


def exponent_ring(x: AShare) -> Ring:
    """Ring of `exponent`: what the factor and the dropped fraction leave of x's."""
    return Ring(x.ring.bits - (x.frac_bits + LOG2_E_SCALE - FRAC))


def exponent(party: Party, x: AShare) -> Steps[AShare]:
    """x * log2(e) with FRAC fractional bits, without communication (the ring shrinks)."""
    product = x.scaled(LOG2_E, LOG2_E_SCALE)
    return (yield from truncate.steps(party, product, product.frac_bits - FRAC, exponent_ring(x)))


def _exp_cost(x: AShare) -> Cost:
    bits = exponent_ring(x).bits
    n = x.size
    trunc = truncate_cost(n, WORD, WIDE.result_bits - x.frac_bits, WORD)
    return opening((n, bits)) + exp2_cost(n, bits, WIDE, RING64, saturate=True) + trunc


@protocol(cost=_exp_cost, paper="gadget")
def exp(party: Party, x: AShare) -> Steps[AShare]:
    """e^x elementwise, at x's scale, in the 64-bit ring.

    Right for |x| < 2^(bits - 2 - frac_bits - LOG2_E_SCALE) (2^32 for 64 bits and 16 fractional bits): 0 below
    e^x = 2^-18, saturated at 2^29 above. Relative error about 2^-13 (2^-12 |x| more for the rounding of log2 e).
    """
    y = yield from exponent(party, x)
    (opened,) = yield from open_masked.steps(party, y, tag="exp")
    number = effective(opened, opened.ring.bits)
    power = yield from exp2_opened(party, number, WIDE, RING64, saturate=True)
    result = yield from truncate.steps(party, power, WIDE.result_bits - x.frac_bits)
    return result.reshape(*x.shape)
