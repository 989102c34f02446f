"""Which functions stand for SoftMax, GeLU and LayerNorm: this project's own, or those of a published system.

A profile is a choice of functions, run by this project's protocols, in either trust mode. So the systems can be
compared on one runtime, in what they compute and in what that costs here. docs/profiles.md describes each.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gpu_ss.functions import published
from gpu_ss.functions.activation import activation, by_lines, relu
from gpu_ss.functions.fourier import fourier_gelu
from gpu_ss.functions.goldschmidt import INVERSE_ROOT
from gpu_ss.functions.quadratic import quad
from gpu_ss.functions.row_weights import (
    DEFLATED_RANGE,
    deflated_squares,
    limit_weights,
    octave_weights,
    relu_cubes,
    shifted_squares,
)
from gpu_ss.functions.segmented import Segments, segmented
from gpu_ss.functions.softmax import softmax_weights
from gpu_ss.party import Party, Steps
from gpu_ss.protocols.trunc import extend
from gpu_ss.ring import Ring
from gpu_ss.values import AShare
from transformer.architecture import Architecture, Numbers, Ranges
from transformer.attention import Kernel, gaussian, normalised_first, normalised_last
from transformer.norms import EXACT, Norm, normalised, saturated
from transformer.terms import ProfileName

#: An activation of x at scale ACTIVATION, with the same scale into a ring.
Activate = Callable[[Party, Numbers, AShare, Ring], Steps[AShare]]
#: Bound of the norm of an activation's outputs from that of its inputs, the largest input, and their number.
Growth = Callable[[float, float, int], float]

OVERSHOOT = 0.04  # what a fit exceeds |x| by, at most


@dataclass(frozen=True)
class Profile:
    """The functions of a system.

    softmax, gelu, layernorm, source: what they are and where from, for people. tuned: what a model has to be
    fine-tuned to, None where a usual one does. averages: whether attention's weights sum to 1. sums: whether it
    adds up values before it divides. saturation: where rows are not normalised, entries saturate at 2^saturation.
    """

    name: ProfileName
    softmax: str
    gelu: str
    source: str
    attention: Kernel
    activation: Activate
    layernorm: str = "exact"
    norm: Norm = EXACT
    tuned: str | None = None
    averages: bool = True
    sums: bool = True
    saturation: int | None = None
    growth: Growth = lambda norm, entry, count: norm + OVERSHOOT * math.sqrt(count)

    def numbers(self, arch: Architecture, ranges: Ranges) -> Numbers:
        """Rings and scales of a model with these functions."""
        return Numbers(arch=arch, ranges=ranges, saturation=self.saturation)


# -- activations ------------------------------------------------------------------------------------------------


def table_activation(party: Party, numbers: Numbers, x: AShare, ring: Ring) -> Steps[AShare]:
    """The model's own function by this project's tables."""
    name = numbers.arch.activation
    return (yield from activation.steps(party, x, name, numbers.compare_bits, ring, numbers.ACTIVATION))


def relu_activation(party: Party, numbers: Numbers, x: AShare, ring: Ring) -> Steps[AShare]:
    """max(x, 0)."""
    x = yield from relu.steps(party, x, numbers.compare_bits)
    return (yield from extend.steps(party, x, ring)) if ring.bits > x.ring.bits else x.narrowed(ring)


def segment_activation(segments: Segments) -> Activate:
    """GeLU in segments."""

    def activate(party: Party, numbers: Numbers, x: AShare, ring: Ring) -> Steps[AShare]:
        return (
            yield from segmented.steps(party, x, segments, numbers.compare_bits, ring, numbers.ACTIVATION)
        )

    return activate


def fastlmpi_activation(party: Party, numbers: Numbers, x: AShare, ring: Ring) -> Steps[AShare]:
    """GeLU in segments: two quartics with a dealer; where the parties make the correlations, lines that meet."""
    if party.economy.alone:
        return (yield from by_lines.steps(party, x, "gelu", numbers.compare_bits, ring, numbers.ACTIVATION))
    return (yield from segment_activation(published.FASTLMPI)(party, numbers, x, ring))


def _fourier(party: Party, numbers: Numbers, x: AShare, ring: Ring) -> Steps[AShare]:
    return (yield from fourier_gelu.steps(party, x, numbers.compare_bits, ring))


def _quad(party: Party, numbers: Numbers, x: AShare, ring: Ring) -> Steps[AShare]:
    return (yield from quad.steps(party, x, ring))


def _quad_growth(norm: float, entry: float, count: int) -> float:
    """|x^2| is at most the largest entry times |x|."""
    return norm * (entry / 8 + 0.25) + 0.5 * math.sqrt(count)


# -- weights of a row ---------------------------------------------------------------------------------------------


def _limit(doublings: int, lowest: float) -> Kernel:
    return normalised_last(lambda party, y: limit_weights.steps(party, y, doublings, lowest))


def _cubes(party: Party, y: AShare, keep: AShare, range_bits: int) -> Steps[AShare]:
    return (yield from relu_cubes.steps(party, y, range_bits))


_softmax = normalised_last(softmax_weights.steps)
_squares = normalised_first(shifted_squares.steps, masked=False)


def _divided(party: Party, y: AShare, keep: AShare, range_bits: int) -> Steps[AShare]:
    """2Quad with Goldschmidt's division, as far as its numbers hold the scores."""
    way = deflated_squares if range_bits <= DEFLATED_RANGE else shifted_squares
    return (yield from way.steps(party, y, keep, range_bits))


SATURATION = 4  # of THE-X's rows; with more, the proven scores of usual models would need rings too large

PRECISE = Profile(
    "precise",
    softmax="2^(y - max) by look-up, relative error 5e-4",
    gelu="piecewise cubics (lines or quadratics for two parties alone), error 4e-4",
    source="this project",
    attention=_softmax,
    activation=table_activation,
)

PROFILES: dict[ProfileName, Profile] = {
    p.name: p
    for p in (
        PRECISE,
        Profile(
            "fastlmpi",
            softmax="exponentials of per-party factors, one reciprocal a row after the value product",
            gelu="ReLU(x) - h(|x|), two quartics, error 5e-4 (128 lines for two parties alone, 2.4e-4)",
            layernorm="n x - sum x, cross terms of the squares, one inverse root a row",
            source="Chen et al., IEEE TIFS 20 (2025), in sound form",
            attention=_softmax,
            activation=fastlmpi_activation,
        ),
        Profile(
            "bolt",
            softmax="2^-z (0.3585 (p + 1.353)^2 + 0.344), 0 below 2^-13",
            gelu="a quartic in |x| up to 2.7",
            source="Pang et al., IEEE S&P 2024; the quadratic is I-BERT's (Kim et al., ICML 2021)",
            attention=normalised_last(octave_weights.steps),
            activation=segment_activation(published.BOLT),
        ),
        Profile(
            "puma",
            softmax="(1 + x / 2^5)^(2^5), 0 below -14",
            gelu="a cubic and a sextic, cuts -4, -1.95, 3",
            source="Dong et al., arXiv 2307.12533",
            attention=_limit(5, -14.0),
            activation=segment_activation(published.PUMA),
        ),
        Profile(
            "bumblebee",
            softmax="(1 + x / 2^6)^(2^6), 0 below -13",
            gelu="a cubic and a sextic, cuts -5, -1.97, 3",
            source="Lu et al., NDSS 2025",
            attention=_limit(6, -13.0),
            activation=segment_activation(published.BUMBLEBEE),
        ),
        Profile(
            "secformer",
            softmax="2Quad: (x + 5)^2 / sum, by 13 steps of Goldschmidt's iteration, eta 5000",
            gelu="erf by a Fourier series of 7 terms, period 20, up to 1.7",
            layernorm="inverse root by 11 steps of Goldschmidt's iteration, eta 2000",
            source="Luo et al., ACL Findings 2024",
            attention=normalised_first(_divided, masked=False),
            activation=_fourier,
            norm=normalised(INVERSE_ROOT),
            tuned="2Quad attention",
            sums=False,
        ),
        Profile(
            "mpcformer",
            softmax="2Quad: (x + 5)^2 / sum",
            gelu="Quad: 0.125 x^2 + 0.25 x + 0.5",
            source="Li et al., ICLR 2023",
            attention=_squares,
            activation=_quad,
            tuned="Quad activations and 2Quad attention",
            sums=False,
            growth=_quad_growth,
        ),
        Profile(
            "the-x",
            softmax="ReLU((x / 2 + 1)^3) / sum",
            gelu="ReLU",
            layernorm="x gamma + beta, neither centred nor normalised; entries saturate at 16",
            source="Chen et al., ACL Findings 2022",
            attention=normalised_first(_cubes, masked=True),
            activation=relu_activation,
            norm=saturated(SATURATION),
            tuned="ReLU activations, its attention and affine LayerNorms",
            sums=False,
            saturation=SATURATION,
        ),
        Profile(
            "gaussian-kernel",
            softmax="exp(-|q - k|^2 / (2 sqrt d)), not normalised",
            gelu="as precise",
            source="Rho et al., ICLR 2025",
            attention=gaussian,
            activation=table_activation,
            tuned="Gaussian-kernel attention",
            averages=False,
        ),
    )
}
