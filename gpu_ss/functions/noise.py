"""Discrete Laplace and Gaussian noise that neither party knows, added to what is revealed.

A coin of bias p is the comparison [c < r] of a public c with a uniform mask r of 63 bits, of which each party has a
share that is uniform by itself: nothing of r is opened, and the coins are XOR-shared. All else is integers, so
there is no floating point whose low bits could tell (Mironov, CCS 2012).

Laplace: the bits of a geometric variable are independent, P[bit i] = 1 / (1 + e^(2^i / t)), and the difference of
two has P[z] proportional to e^(-|z| / t): two coins a bit (Dwork et al., Our data, ourselves, EUROCRYPT 2006).

Gaussian, P[z] proportional to e^(-z^2 / (2 sigma^2)) (Canonne, Kamath, Steinke, NeurIPS 2020): a narrow one by its
cumulative distribution, a sum of coins [c_k < r] of one r; a wide one as x_0 + 4 x_1 + 16 x_2 + ... of independent
narrow ones. Their widths keep the smoothing condition, by which the sum's probabilities are the exact ones but for
a factor 1 +- 2^-65 a part (Micciancio, Walter, CRYPTO 2017).

With a dealer, the dealer could work the noise out; it sees nothing that it is added to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal, localcontext
from functools import cache
from math import prod, sqrt
from typing import NoReturn

import numpy as np

from gpu_ss.cost import FREE, Cost
from gpu_ss.errors import RangeError
from gpu_ss.functions.privacy import DIGITS, Guarantee
from gpu_ss.party import Party, Steps, protocol, together
from gpu_ss.protocols.compare import COIN_BITS, coins, shape_for, tree_cost
from gpu_ss.protocols.io import add_public
from gpu_ss.protocols.select import bit_values, bit_values_cost
from gpu_ss.protocols.trunc import truncate
from gpu_ss.provider.correlation import Mask
from gpu_ss.provider.specs.bits import MaskView
from gpu_ss.ring import Ring
from gpu_ss.values import AShare

FRAC = 16  # results are rounded to so many fractional bits before noise is added
STEP = 4  # between the parts of a wide Gaussian
NARROW = Decimal("6.5")  # deviation of its lower parts; the last one's is at least LAST
LAST = 5
TAILS = Decimal("9.6")  # deviations that a table covers: less than 2^-69 lies outside
HALF = 1 << (COIN_BITS - 1)


# -- Laplace ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Laplace:
    """Two-sided geometric noise of scale t: e^(-|z| / t). `bits` of each of the two geometric variables."""

    scale: Decimal
    bits: int

    @staticmethod
    def within(scale: Decimal, distance: Decimal) -> Laplace:
        """As many bits as leave no more than that statistical distance."""
        with localcontext(prec=DIGITS):
            bits = 1
            while 2 * (-(1 << bits) / scale).exp() > distance / 2:
                bits += 1
        found = Laplace(scale, bits)
        return found if found.distance <= distance else _too_precise()

    @property
    def distance(self) -> Decimal:
        """What lies beyond the bits, and the coins' rounding to 2^-63."""
        with localcontext(prec=DIGITS):
            return 2 * (-(1 << self.bits) / self.scale).exp() + Decimal(2 * self.bits) / (2 * HALF)

    @property
    def limit(self) -> int:
        """|z| is less than this."""
        return 1 << self.bits

    @property
    def thresholds(self) -> list[int]:
        """c of each bit's coin."""
        with localcontext(prec=DIGITS):
            chances = [1 / (1 + ((1 << i) / self.scale).exp()) for i in range(self.bits)]
            return [HALF - 1 - round(p * HALF) for p in chances]


def _laplace_cost(n: int, noise: Laplace, ring: Ring) -> Cost:
    count = 2 * noise.bits * n
    return tree_cost(count, shape_for(COIN_BITS), 1) + bit_values_cost(count, 1, ring)


@protocol(cost=_laplace_cost, paper="DKMMN06")
def laplace(party: Party, n: int, noise: Laplace, ring: Ring) -> Steps[AShare]:
    """n independent values of the noise, in units. Opened: comparison nodes and coins under uniform bits."""
    count = 2 * noise.bits * n
    mask = party.provider.take(Mask((count,), COIN_BITS))
    limits = np.repeat(np.array(noise.thresholds, np.uint64), 2 * n)
    tossed = yield from coins(party, MaskView(mask.number, count, COIN_BITS, COIN_BITS), [limits])
    values = yield from bit_values(party, tossed, ring)
    weights = np.uint64(1) << np.arange(noise.bits, dtype=np.uint64)
    sums = (values.reshape(noise.bits, 2 * n) * party.backend.asarray(weights)[:, None]).sum(axis=0)
    return AShare(sums[:n] - sums[n:], ring)


# -- Gaussian ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Gaussian:
    """Discrete Gaussian noise of that variance: e^(-z^2 / (2 variance)), as a sum of STEP^j x_j."""

    variance: Decimal

    @staticmethod
    def within(deviation: Decimal, distance: Decimal) -> Gaussian:
        """The noise, if it can be sampled to that statistical distance."""
        with localcontext(prec=DIGITS):
            found = Gaussian(deviation * deviation)
        return found if found.distance <= distance else _too_precise()

    @property
    def parts(self) -> list[Decimal]:
        """Variances of x_0, x_1, ..."""
        with localcontext(prec=DIGITS):
            rest, parts = self.variance, []
            while (rest - NARROW * NARROW) / STEP**2 >= LAST * LAST:
                parts.append(NARROW * NARROW)
                rest = (rest - NARROW * NARROW) / STEP**2
            return [*parts, rest]

    @property
    def distance(self) -> Decimal:
        """The rounding of all thresholds to 2^-63, tails and smoothing error."""
        parts = [part_table(v) for v in self.parts]
        return Decimal(sum(len(thresholds) + 2 for _, thresholds in parts)) / HALF

    @property
    def limit(self) -> int:
        """|z| is less than this."""
        return sum(STEP**j * (abs(part_table(v)[0]) + 1) for j, v in enumerate(self.parts))


@cache
def part_table(variance: Decimal) -> tuple[int, tuple[int, ...]]:
    """(least value, thresholds): least + the number of thresholds below a uniform r of 63 bits is the Gaussian."""
    with localcontext(prec=DIGITS):
        reach = int(TAILS * variance.sqrt()) + 2
        weights = [(Decimal(-k * k) / (2 * variance)).exp() for k in range(-reach, reach + 1)]
        total, above, chances = sum(weights), sum(weights), []
        for weight in weights[:-1]:
            above -= weight
            chances.append(round(above / total * HALF))  # of a value beyond this one
        low = -reach + sum(c >= HALF for c in chances)
        return low, tuple(HALF - 1 - c for c in chances if 0 < c < HALF)


def _gaussian_cost(n: int, noise: Gaussian, ring: Ring) -> Cost:
    cost = FREE
    for variance in noise.parts:
        count = len(part_table(variance)[1])
        nodes = tree_cost(n, shape_for(COIN_BITS, count), count)
        cost = cost & (nodes + bit_values_cost(n, count, ring))
    return cost


@protocol(cost=_gaussian_cost, paper="CKS20")
def gaussian(party: Party, n: int, noise: Gaussian, ring: Ring) -> Steps[AShare]:
    """n independent values of the noise, in units. Opened: comparison nodes and coins under uniform bits."""
    parts = yield from together(*(_part(party, n, variance, ring) for variance in noise.parts))
    total: AShare = parts[0]
    for j, part in enumerate(parts[1:], 1):
        total = total + part.times(STEP**j)
    return total


def _part(party: Party, n: int, variance: Decimal, ring: Ring) -> Steps[AShare]:
    low, thresholds = part_table(variance)
    mask = party.provider.take(Mask((n,), COIN_BITS))
    view = MaskView(mask.number, n, COIN_BITS, COIN_BITS)
    tossed = yield from coins(party, view, [np.full(n, c, np.uint64) for c in thresholds])
    values = yield from bit_values(party, tossed, ring)
    return add_public(party, AShare(values.sum(axis=0), ring), low)


# -- on results -------------------------------------------------------------------------------------------


def protect(party: Party, results: Sequence[AShare], guarantee: Guarantee) -> Steps[list[AShare]]:
    """The results with noise that gives all of them together the guarantee.

    Those with more than FRAC fractional bits are rounded to FRAC first, which may move each by two units; that is
    added to the sensitivity. Raises RangeError if the noise does not fit a result's ring, or cannot be that exact.
    """
    count = sum(x.size for x in results)
    moved = sum(x.size for x in results if x.frac_bits > FRAC) * 1.0
    rounding = 2.0 ** (1 - FRAC) * (moved if guarantee.mechanism == "laplace" else sqrt(moved))
    scale, distance = guarantee.scale(rounding), guarantee.distance / count
    return (yield from together(*(_noisy(party, x, guarantee, scale, distance) for x in results)))


def _noisy(party: Party, x: AShare, guarantee: Guarantee, scale: Decimal, distance: Decimal) -> Steps[AShare]:
    shift = max(0, x.frac_bits - FRAC)
    x = yield from truncate.steps(party, x, shift, Ring(x.ring.bits - shift))
    n = prod(x.shape)
    with localcontext(prec=DIGITS):
        units = scale * (1 << x.frac_bits)
    noise = (Laplace if guarantee.mechanism == "laplace" else Gaussian).within(units, distance)
    if noise.limit >= 1 << (x.ring.bits - 2):
        raise RangeError(
            f"noise of scale {float(scale):.3g} may exceed the {x.ring.bits} bits of a result; state a larger "
            "epsilon or a smaller sensitivity"
        )
    made = yield from (
        laplace.steps(party, n, noise, x.ring)
        if isinstance(noise, Laplace)
        else gaussian.steps(party, n, noise, x.ring)
    )
    return x + AShare(made.data.reshape(x.shape), x.ring, x.frac_bits)


def _too_precise() -> NoReturn:
    raise RangeError(
        f"coins of {COIN_BITS - 1} bits are not exact enough for so small a delta and so many results; "
        "state a larger delta"
    )
