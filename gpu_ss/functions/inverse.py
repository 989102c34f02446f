"""1/x and 1/sqrt(x) over the whole range of a ring.

Made for values that there are few of (one per row of a softmax or a LayerNorm), with kilobytes of dealer material
for each. Of what is known to be positive by lines in tables (protocols/inverses.py), two rounds; else, and for two
parties alone, by piecewise quadratics (protocols/piecewise.py), three rounds.

The raw forms work on integers: 2^61 / x and 2^61 / sqrt(x) for raw x in [1, 2^62). Whoever multiplies by
the result knows the scales; |y| <= x gives |y| * 2^61 / x <= 2^61, which just fits.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from gpu_ss.cost import Cost
from gpu_ss.errors import RingMismatch
from gpu_ss.functions.tables import INVERSE_BITS, table
from gpu_ss.party import Party, Steps, protocol
from gpu_ss.protocols.inverses import inverses, windows_for
from gpu_ss.protocols.piecewise import PiecewiseTable, evaluate
from gpu_ss.protocols.trunc import truncate, truncate_cost
from gpu_ss.ring import RING64, WORD
from gpu_ss.values import AShare


@cache
def inverse_table(name: str, low: int, high: int, frac_bits: int) -> PiecewiseTable:
    """The table `name` for raw x in [low, high] (values outside saturate), reading `frac_bits`."""
    return replace(table(name).restricted(low, high), frac_bits=frac_bits)


def _width(high: int) -> int:
    """Bits that hold 0 <= x <= high with the room comparisons need."""
    return min(WORD, high.bit_length() + 2)


def _raw_cost(x: AShare, name: str, low: int = 1, high: int = 1 << 62) -> Cost:
    windows = windows_for(name, low, high, x.ring.bits)
    cost: Cost = inverses.cost(x, windows) if windows else _pieces_cost(x, name, low, high)
    return cost


@protocol(cost=_raw_cost, paper="gadget")
def raw_inverse(party: Party, x: AShare, name: str, low: int = 1, high: int = 1 << 62) -> Steps[AShare]:
    """2^61 / x ("reciprocal") or 2^61 / sqrt(x) ("rsqrt") of raw x in [low, high], as raw integers modulo 2^64.

    Two rounds with a dealer, where tables hold that range (`inverses.windows_for`), else three; rsqrt of 0 is that
    of 1. Opens what `inverses.inverses` or `piecewise.evaluate` opens.
    """
    windows = None if party.economy.alone else windows_for(name, low, high, x.ring.bits)
    if windows is None:
        return (yield from _by_pieces(party, x, name, low, high))
    return (yield from inverses.steps(party, x, windows))


def _pieces_cost(x: AShare, name: str, low: int = 1, high: int = 1 << 62) -> Cost:
    cost: Cost = evaluate.cost(x, inverse_table(name, low, high, x.frac_bits), _width(high), RING64)
    return cost


def _by_pieces(party: Party, x: AShare, name: str, low: int = 1, high: int = 1 << 62) -> Steps[AShare]:
    """`raw_inverse` by piecewise quadratics: also of what is outside the range, where it saturates."""
    table_ = inverse_table(name, low, high, x.frac_bits)
    evaluated = yield from evaluate.steps(party, x, table_, _width(high), RING64)
    return replace(evaluated.value, frac_bits=0)


def _rescaled_cost(x: AShare, name: str, shift: int) -> Cost:
    return _pieces_cost(x, name) + truncate_cost(x.size, WORD, shift, WORD)


@protocol(cost=lambda x: _rescaled_cost(x, "reciprocal", INVERSE_BITS - 2 * x.frac_bits), paper="piecewise")
def reciprocal(party: Party, x: AShare) -> Steps[AShare]:
    """1/x at x's scale for x > 0 (64-bit ring, up to 30 fractional bits); x <= 0 gives the largest value,
    2^frac_bits. Error: relative 3e-4 plus one unit."""
    return (yield from _rescaled(party, x, "reciprocal", 2 * x.frac_bits))


def _rsqrt_cost(x: AShare) -> Cost:
    return _rescaled_cost(x, "rsqrt", INVERSE_BITS - x.frac_bits - x.frac_bits // 2)


@protocol(cost=_rsqrt_cost, paper="piecewise")
def rsqrt(party: Party, x: AShare) -> Steps[AShare]:
    """1/sqrt(x) at x's scale (even number of fractional bits) for x > 0; x <= 0 gives the largest value,
    2^(frac_bits/2). Error: relative 3e-4 plus one unit."""
    if x.frac_bits % 2:
        raise RingMismatch(f"rsqrt needs an even number of fractional bits, got {x!r}")
    return (yield from _rescaled(party, x, "rsqrt", x.frac_bits + x.frac_bits // 2))


def _rescaled(party: Party, x: AShare, name: str, scale: int) -> Steps[AShare]:
    """The raw inverse divided down: 2^61 / f(raw x) holds `scale` bits more than the result has."""
    raw = yield from _by_pieces(party, x, name)
    rounded = yield from truncate.steps(party, raw, INVERSE_BITS - scale)
    return replace(rounded, frac_bits=x.frac_bits)
