"""1 / x and 1 / sqrt(x) by Goldschmidt's iteration from a deflated input, as SecFormer divides.

q = x / eta is brought to 1 by factors that p = 1 takes along, so that p / eta, or p / sqrt(eta), is the inverse:

    1 / x:        p <- p (2 - q),        q <- q (2 - q)          from 0 < q < 2
    1 / sqrt x:   p <- p (3 - q) / 2,    q <- q (3 - q)^2 / 4    from 0 < q < 3

So many steps come within 1e-3 of it for q in a window. Below it p stops at 2^steps, or 1.5^steps: too small, as in
SecFormer. Above it the iteration diverges: there a larger eta, chosen by comparisons, brings q into the window, so
that the result is right for every larger x too, and SecFormer's where its own is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from math import frexp, sqrt
from operator import add

import numpy as np
from numpy.typing import NDArray

from gpu_ss.cost import FREE, Cost, opening
from gpu_ss.functions.tables import INVERSE_BITS
from gpu_ss.party import Party, Round, Steps, protocol, together
from gpu_ss.protocols.arith import mul_opened, powers_opened
from gpu_ss.protocols.compare import at_least, effective, shape_for, tree_cost
from gpu_ss.protocols.io import Opened, add_public, open_masked
from gpu_ss.protocols.select import Chooser, Variable, chooser_cost, inject
from gpu_ss.protocols.trunc import truncate, truncate_cost
from gpu_ss.ring import RING64, WORD, wire_bytes
from gpu_ss.values import AShare, BShare

Real = NDArray[np.float64]
DEFLATED_BITS = 60  # x times a public integer is q with so many fractional bits
ERROR = 1e-3  # of the iteration in its window, relative
INFLATION_BITS = 18  # of what p is multiplied by in the end
OCTAVES = 10  # from one eta to the next: less than a window has


@dataclass(frozen=True, slots=True)
class Iteration:
    """A way to an inverse: eta, steps, the window of q where these suffice, and the degree of q's step.

    q has `frac_bits`, p `start_bits`: a step's products then fit in 64.
    """

    eta: float
    steps: int
    low: float
    high: float
    degree: int
    frac_bits: int
    start_bits: int

    def factors(self, unit: float, bound: float) -> list[int]:
        """What makes raw x <= bound, `unit` of which are 1, q with DEFLATED_BITS: by eta, then by larger ones."""
        found = [max(1, round(2.0**DEFLATED_BITS / (self.eta * unit)))]
        while found[-1] > 1 and self.end(found[-1]) < bound:
            found.append(max(1, found[-1] >> OCTAVES))
        return found

    def end(self, factor: int) -> int:
        """The raw x that this factor brings to the window's end."""
        return round(self.high * 2.0**DEFLATED_BITS / factor)

    def inflation(self, factor: int) -> tuple[int, int]:
        """What p is multiplied by and then shifted by to be 2^INVERSE_BITS / x or / sqrt(x), for a factor's eta."""
        eta = 2.0**DEFLATED_BITS / factor
        scale = 2.0 ** (INVERSE_BITS - self.start_bits) / (eta if self.degree == 2 else sqrt(eta))
        shift = max(0, INFLATION_BITS - frexp(scale)[1])
        return round(scale * 2.0**shift), shift

    def clear(self, x: Real) -> Real:
        """1 / x, or 1 / sqrt(x), by the iteration from eta in float64, wherever it leads."""
        q, p = x / self.eta, np.ones_like(x)
        for _ in range(self.steps):
            m = 2 - q if self.degree == 2 else (3 - q) / 2
            p, q = p * m, q * m ** (self.degree - 1)
        return np.asarray(p / (self.eta if self.degree == 2 else sqrt(self.eta)))


#: Of a row's squares after centring (LayerNorm), and of a row's sum (SoftMax); docs/profiles.md has the sources.
INVERSE_ROOT = Iteration(2000.0, 11, 0.001, 2.9, degree=3, frac_bits=20, start_bits=31)
INVERSE = Iteration(5000.0, 13, 0.001, 1.999, degree=2, frac_bits=22, start_bits=25)


def _cost(x: AShare, way: Iteration, unit: float, bound: float) -> Cost:
    n, f, factors = x.size, way.frac_bits, way.factors(unit, bound)
    of_q, of_p = (f, f) if way.degree == 2 else (2 * f + 2, f + 1)
    shrunk = truncate_cost(n, WORD, of_q, WORD) & truncate_cost(n, WORD, of_p, WORD)
    products = Cost(offline=wire_bytes((way.degree - 1) * n, WORD) + wire_bytes(n, WORD))
    step = opening((n, WORD), (n, WORD)) + products + shrunk
    cost, chosen, count = truncate_cost(n, WORD, DEFLATED_BITS - f, WORD), FREE, len(factors) - 1
    if count:
        cost = cost + opening((n, WORD)) + tree_cost(n, shape_for(WORD, count), count)
        cost = cost + chooser_cost(n, WORD, count, [(1, False, True)])
    for _ in range(way.steps):
        cost = cost + step
    for _ in range(count):
        chosen = chosen & inject.cost(None, x)
    inflated = FREE
    for factor in factors:
        inflated = inflated & truncate_cost(n, WORD, way.inflation(factor)[1], WORD)
    return cost + inflated + chosen


@protocol(cost=_cost, paper="SecFormer")
def deflated_inverse(party: Party, x: AShare, way: Iteration, unit: float, bound: float) -> Steps[AShare]:
    """2^61 / x or 2^61 / sqrt(x) of raw 1 <= x <= bound <= 2^60 by an iteration; `unit` raw units are 1.

    Relative error: ERROR, what q's rounding does (2^-frac_bits / q) and a unit of the result; below low * eta the
    result is too small. Opened: q and p under uniform masks of 64 bits; and where x can be above the window, x and
    differences of results under such masks, comparison nodes and the bits that choose eta under uniform bits.
    """
    factors, f = way.factors(unit, bound), way.frac_bits
    deflated, above = yield from _deflated(party, x, way, factors)
    q = yield from truncate.steps(party, deflated, DEFLATED_BITS - f)
    p = add_public(party, AShare(x.data * np.uint64(0), RING64, 0), 1 << way.start_bits)
    step = _of_inverse if way.degree == 2 else _of_root
    for _ in range(way.steps):
        opened_q, opened_p = yield from open_masked.steps(party, q, p, tag="iteration")
        q, p = yield from step(party, q, p, opened_q, opened_p, f)
    results: list[AShare] = yield from together(*(_inflated(party, p, way, factor) for factor in factors))
    if above is None:
        return results[0]
    rises = [b - a for a, b in pairwise(results)]
    chosen = yield from together(*(inject.steps(party, above.bit(k), rise) for k, rise in enumerate(rises)))
    return reduce(add, chosen, results[0])


def _inflated(party: Party, p: AShare, way: Iteration, factor: int) -> Steps[AShare]:
    scale, shift = way.inflation(factor)
    result = yield from truncate.steps(party, p.times(scale), shift)
    return AShare(result.data, RING64, 0)


def _deflated(
    party: Party, x: AShare, way: Iteration, factors: list[int]
) -> Steps[tuple[AShare, BShare | None]]:
    """x times its factor, and for each factor but the first whether x is large enough for it."""
    q = AShare(x.times(factors[0]).data, RING64, DEFLATED_BITS)
    if len(factors) == 1:
        return q, None
    (opened,) = yield from open_masked.steps(party, x, tag="window")
    ends = [way.end(factor) for factor in factors[:-1]]
    above = (yield from at_least(party, effective(opened, WORD), ends)).reshape(*x.shape)
    chooser = Chooser(party, above, [Variable.of(opened)], RING64)
    (d,) = yield Round("window", (chooser.item,))
    rises = chooser.finish(party, d, [opened.words], [[[0, b - a] for a, b in pairwise(factors)]])
    return q + AShare(rises.reshape(x.shape), RING64, DEFLATED_BITS), above


Step = Callable[[Party, AShare, AShare, Opened, Opened, int], Steps[list[AShare]]]


def _of_inverse(
    party: Party, q: AShare, p: AShare, opened_q: Opened, opened_p: Opened, f: int
) -> Steps[list[AShare]]:
    """q (2 - q) and p (2 - q)."""
    square = powers_opened(party, opened_q, 2)[1]
    product = mul_opened(party, opened_p, opened_q)
    return (
        yield from together(
            truncate.steps(party, q.times(2).lifted(2 * f) - square, f),
            truncate.steps(party, p.times(2).lifted(f) - product, f),
        )
    )


def _of_root(
    party: Party, q: AShare, p: AShare, opened_q: Opened, opened_p: Opened, f: int
) -> Steps[list[AShare]]:
    """q (3 - q)^2 / 4 and p (3 - q) / 2. The first, at most 1, is rounded less a half: so it has room for that."""
    _, square, cube = powers_opened(party, opened_q, 3)
    fourfold = q.times(9).lifted(3 * f) - square.times(6).lifted(3 * f) + cube
    fourfold = add_public(party, fourfold, -(2 << 3 * f))
    twofold = p.times(3).lifted(f) - mul_opened(party, opened_p, opened_q)
    quarter, half = yield from together(
        truncate.steps(party, AShare(fourfold.data, RING64, 3 * f + 2), 2 * f + 2),
        truncate.steps(party, AShare(twofold.data, RING64, f + 1), f + 1),
    )
    return [add_public(party, quarter, 1 << (f - 1)), half]
