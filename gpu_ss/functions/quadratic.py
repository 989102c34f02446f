"""MPCFormer's activation: GeLU replaced by a single quadratic, for models fine-tuned to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpu_ss.cost import Cost
from gpu_ss.functions.activation import FRAC
from gpu_ss.party import Party, Steps, protocol
from gpu_ss.protocols.arith import square
from gpu_ss.protocols.io import add_public
from gpu_ss.protocols.trunc import extend, truncate, truncate_cost
from gpu_ss.ring import RING64, WORD, Ring
from gpu_ss.values import AShare


def _cost(x: AShare, ring: Ring = RING64) -> Cost:
    wide = AShare(x.data, RING64, FRAC)
    cost: Cost = truncate_cost(x.size, x.ring.bits, 0, WORD) + square.cost(wide)
    return cost + truncate_cost(x.size, WORD, FRAC + 3, ring.bits)


@protocol(cost=_cost, paper="MPCFormer")
def quad(party: Party, x: AShare, ring: Ring = RING64) -> Steps[AShare]:
    """0.125 x^2 + 0.25 x + 0.5 = ((x + 1)^2 + 3) / 8 for x with FRAC fractional bits, in `ring` with as many.

    Needs |x| < 2^19 - 1 (a real number). Error: one unit of 2^-FRAC. Opens what `square` and `truncate` open.
    """
    wide = yield from extend.steps(party, x, RING64)
    squared = yield from square.steps(party, add_public(party, wide, 1 << FRAC))
    eightfold = add_public(party, squared, 3 << 2 * FRAC)
    eighth = AShare(eightfold.data, RING64, eightfold.frac_bits + 3)
    return (yield from truncate.steps(party, eighth, FRAC + 3, ring))


def clear(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """The function in float64."""
    return np.asarray(0.125 * x * x + 0.25 * x + 0.5)
