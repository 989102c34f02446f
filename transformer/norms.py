"""What stands for LayerNorm: from a block's sums to rows t, which the next weights take with gamma and beta.

Every norm is a protocol step with the same arguments (`Norm`): `x` [..., hidden], entries below 2^range_bits (real
numbers), `ring` of the result, and how centred rows are read: with `frac_bits`, and `centred` if they are already.
Result: t with numbers.unit_frac bits, |t| <= 1, such that row_factor t gamma + beta is the norm's output.
A profile picks one (profiles.py).
"""

from __future__ import annotations

from collections.abc import Callable

from gpu_ss.functions.activation import relu
from gpu_ss.functions.goldschmidt import Iteration
from gpu_ss.functions.layernorm import unit_rows
from gpu_ss.party import Party, Steps, together
from gpu_ss.protocols.io import add_public
from gpu_ss.protocols.trunc import extend, truncate
from gpu_ss.ring import Ring
from gpu_ss.values import AShare
from transformer.architecture import Numbers

Norm = Callable[[Party, Numbers, AShare, int, Ring, int, bool], Steps[AShare]]


def normalised(iteration: Iteration | None = None) -> Norm:
    """Centred rows over their norm; its inverse by the project's own root, or by an iteration."""

    def norm(
        party: Party, numbers: Numbers, x: AShare, range_bits: int, ring: Ring, frac_bits: int, centred: bool
    ) -> Steps[AShare]:
        eps, unit = numbers.arch.eps, numbers.unit_frac
        return (yield from unit_rows.steps(party, x, eps, unit, ring, frac_bits, centred, iteration))

    return norm


EXACT = normalised()


def saturated(saturation: int) -> Norm:
    """Rows as they are, neither centred nor normalised; entries saturate at 2^saturation, exactly."""

    def norm(
        party: Party, numbers: Numbers, x: AShare, range_bits: int, ring: Ring, frac_bits: int, centred: bool
    ) -> Steps[AShare]:
        shift = x.frac_bits - numbers.ACTIVATION
        x = yield from truncate.steps(party, x, shift, Ring(x.ring.bits - shift))
        if range_bits > saturation:
            x = yield from _clipped(party, x, saturation, range_bits)
        wide = (yield from extend.steps(party, x, ring)) if ring.bits > x.ring.bits else x.narrowed(ring)
        return AShare(wide.data, ring, numbers.unit_frac)

    return norm


def _clipped(party: Party, x: AShare, saturation: int, range_bits: int) -> Steps[AShare]:
    """x, or +-2^saturation beyond: x - ReLU(x - limit) + ReLU(-x - limit)."""
    bits = x.frac_bits + range_bits + 3
    x = (yield from extend.steps(party, x, Ring(bits))) if bits > x.ring.bits else x.narrowed(Ring(bits))
    limit = 1 << (x.frac_bits + saturation)
    above, below = yield from together(
        relu.steps(party, add_public(party, x, -limit)), relu.steps(party, add_public(party, -x, -limit))
    )
    result: AShare = x - above + below
    return result
