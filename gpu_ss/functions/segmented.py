"""Activations in segments of degree up to 6, as published systems have them, with exact tails.

The sextics in use have no fifth power, so they are a cubic in x and a cubic in u = x^2: opening x and u (rounded)
serves all segments, and neither needs a ring of more than 64 bits. Where a polynomial overflows, far from its
segment, its selection bit is 0 and the product exactly 0, as in protocols/piecewise.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gpu_ss.cost import Cost, opening
from gpu_ss.errors import RingMismatch
from gpu_ss.functions.activation import FRAC
from gpu_ss.party import Party, Round, Steps, protocol, together
from gpu_ss.protocols.arith import powers_opened
from gpu_ss.protocols.compare import at_least, effective, shape_for, tree_cost
from gpu_ss.protocols.io import Opened, add_public, open_masked
from gpu_ss.protocols.millionaire import times_bit
from gpu_ss.protocols.select import Chooser, Variable, chooser_cost
from gpu_ss.protocols.trunc import truncate, truncate_cost
from gpu_ss.provider.specs.bits import words_of
from gpu_ss.ring import RING64, WORD, Array, Ring, wire_bytes
from gpu_ss.values import AShare, BShare

VALUE_BITS = 57  # fractional bits of what the polynomials give: |value| < 2^5, coefficients of u^3 to 2^-22
CUBE, SQUARE = 3, 2


@dataclass(frozen=True, slots=True)
class Segments:
    """A function by segments: `pieces[k]` (coefficients of 1, x, ..., x^6) plus `slopes[k]` x from cuts[k - 1] to
    cuts[k]. The first and the last piece are constants, so that nothing overflows outside."""

    name: str
    cuts: tuple[float, ...]
    pieces: tuple[tuple[float, ...], ...]
    slopes: tuple[int, ...]

    def __post_init__(self) -> None:
        if not len(self.pieces) == len(self.slopes) == len(self.cuts) + 1:
            raise ValueError(f"{self.name}: {len(self.cuts)} cuts need one piece and one slope more")
        if len(self.pieces[0]) != 1 or len(self.pieces[-1]) != 1:
            raise ValueError(f"{self.name}: the outer pieces are constants (and a slope)")
        if any(len(piece) > 5 and piece[5] for piece in self.pieces):
            raise ValueError(f"{self.name}: a fifth power is not available")

    @property
    def thresholds(self) -> list[int]:
        """The cuts in units of x."""
        return [round(cut * 2**FRAC) for cut in self.cuts]

    def _integers(self, powers: tuple[int, ...], frac_bits: int) -> list[list[int]]:
        """Per piece, coefficients of v^0, v^1, ... where v^j is x^powers[j] and has j * frac_bits bits."""
        return [
            [
                round(piece[p] * 2.0 ** (VALUE_BITS - j * frac_bits)) if p < len(piece) else 0
                for j, p in enumerate(powers)
            ]
            for piece in self.pieces
        ]

    @property
    def in_x(self) -> list[list[int]]:
        """Of each piece, the part that is a cubic in x."""
        return self._integers((0, 1, 2, 3), FRAC)

    @property
    def in_u(self) -> list[list[int]]:
        """Of each piece, the part in the second and third power of u = x^2."""
        rows = self._integers((0, 2, 4, 6), FRAC)
        return [[0, 0, *row[2:]] for row in rows]

    @property
    def high(self) -> int:
        """Degree in u: 3 where there are sixth powers, 2 otherwise."""
        return CUBE if any(len(piece) > 6 for piece in self.pieces) else SQUARE

    def __call__(self, x: NDArray[np.float64]) -> NDArray[np.float64]:
        """The function in float64: what the protocol computes but for its rounding."""
        index = np.searchsorted(np.array(self.cuts), x, side="right")
        value = np.zeros_like(x)
        for k, (piece, slope) in enumerate(zip(self.pieces, self.slopes, strict=True)):
            part = np.polynomial.polynomial.polyval(x, piece) + slope * x
            value = np.where(index == k, part, value)
        return value


def _cost(
    x: AShare,
    segments: Segments,
    compare_bits: int | None = None,
    ring: Ring | None = None,
    frac_bits: int | None = None,
) -> Cost:
    n, count = x.size, len(segments.cuts)
    out_ring, out_frac = ring or x.ring, x.frac_bits if frac_bits is None else frac_bits
    nodes = tree_cost(n, shape_for(compare_bits or WORD, count), count)
    squared = truncate_cost(n, WORD, FRAC, WORD) + opening((n, WORD))
    variables = [(CUBE, False, True), (segments.high, False, True)]
    return (
        truncate_cost(n, x.ring.bits, x.frac_bits - FRAC, WORD)
        + opening((n, WORD))
        + Cost(offline=wire_bytes(n, WORD))
        + (nodes & squared)
        + chooser_cost(n, WORD, count, variables)
        + truncate_cost(n, WORD, VALUE_BITS - out_frac, out_ring.bits)
    )


@protocol(cost=_cost, paper="FASTLMPI")
def segmented(
    party: Party,
    x: AShare,
    segments: Segments,
    compare_bits: int | None = None,
    ring: Ring | None = None,
    frac_bits: int | None = None,
) -> Steps[AShare]:
    """The function at x, for |x| < 2^(bits - 2) units; outside the cuts exactly its constants and slopes.

    Result in `ring` with `frac_bits` (default: x's). With `compare_bits` the caller promises
    |x| < 2^(compare_bits - 2 - FRAC). Error: a unit of 2^-FRAC of x (times the slope), half of one of x^2 times the
    slope in x^2, and a unit of the result. Opened: x and round(x^2) under uniform masks of 64 bits, comparison
    nodes and selection bits under uniform bits; two parties alone select by oblivious transfer.
    """
    if x.frac_bits < FRAC:
        raise RingMismatch(f"segments read {FRAC} fractional bits, got {x!r}; lift it first")
    out_ring, out_frac = ring or x.ring, x.frac_bits if frac_bits is None else frac_bits
    x = yield from truncate.steps(party, x, x.frac_bits - FRAC, RING64)
    (opened,) = yield from open_masked.steps(party, x, tag="segments")
    number = effective(opened, compare_bits or WORD)
    bits, square = yield from together(
        at_least(party, number, segments.thresholds), _open_square(party, opened)
    )
    choose = _choose_alone if party.economy.alone else _choose
    value, line = yield from choose(party, segments, bits, opened, square)
    share = AShare(value.reshape(x.shape), RING64, VALUE_BITS)
    share = add_public(party, share, segments.in_x[0][0])
    result = yield from truncate.steps(party, share, VALUE_BITS - out_frac, out_ring)
    lifted = AShare(line.reshape(x.shape), RING64, FRAC).lifted(out_frac)
    return result + lifted.narrowed(out_ring)


def _open_square(party: Party, x: Opened) -> Steps[Opened]:
    """x^2 with FRAC fractional bits, opened."""
    squared = powers_opened(party, x, 2)[1]
    rounded = yield from truncate.steps(party, squared, FRAC)
    (opened,) = yield from open_masked.steps(party, rounded, tag="segments")
    return opened


def _choose(
    party: Party, segments: Segments, bits: BShare, x: Opened, u: Opened
) -> Steps[tuple[Array, Array]]:
    """The polynomial and the linear part: each bit, opened under a uniform one, times a public difference."""
    chooser = Chooser(party, bits, [Variable.of(x, CUBE), Variable.of(u, segments.high)], RING64)
    (d,) = yield Round("segments", (chooser.item,))
    words = [x.words, u.words]
    value = chooser.finish(party, d, words, [_rises(segments.in_x), _rises(_cut(segments))])
    line = chooser.finish(party, d, words[:1], [[[0, rise] for rise in _slopes(segments)]])
    return value, line


def _choose_alone(
    party: Party, segments: Segments, bits: BShare, x: Opened, u: Opened
) -> Steps[tuple[Array, Array]]:
    """The same on shares of the powers, each bit times the sum of its difference: one transfer a word."""
    n, filled = x.size, 64 * words_of(x.size)
    in_x, in_u = powers_opened(party, x, CUBE), powers_opened(party, u, segments.high)
    slopes = _slopes(segments)
    rows = [
        add_public(party, _sum([*in_x, *in_u], [*a[1:], *b[1:]]), a[0])
        for a, b in zip(_rises(segments.in_x), _rises(_cut(segments)), strict=True)
    ]
    rows += [in_x[0].times(rise) for rise in slopes if rise]
    planes = [*bits.planes, *(plane for plane, rise in zip(bits.planes, slopes, strict=True) if rise)]
    steps = party.backend.zeros((len(rows), filled))
    for k, row in enumerate(rows):
        steps[k, :n] = row.data.reshape(-1)
    chosen = yield from times_bit.steps(
        party,
        BShare(party.backend.xp.stack(planes).reshape(1, -1), (len(rows) * filled,)),
        AShare(steps.reshape(-1), RING64, VALUE_BITS),
    )
    found = chosen.data.reshape(len(rows), filled)[:, :n]
    count = len(segments.cuts)
    return found[:count].sum(axis=0), found[count:].sum(axis=0)


def _cut(segments: Segments) -> list[list[int]]:
    return [row[: segments.high + 1] for row in segments.in_u]


def _rises(pieces: list[list[int]]) -> list[list[int]]:
    """What each threshold adds to the polynomial before it."""
    return [[b - a for a, b in zip(low, high, strict=True)] for low, high in pairwise(pieces)]


def _slopes(segments: Segments) -> list[int]:
    return [b - a for a, b in pairwise(segments.slopes)]


def _sum(powers: list[AShare], coefficients: list[int]) -> AShare:
    """sum_j coefficients[j] powers[j] at scale VALUE_BITS, which the coefficients bring."""
    total = AShare(powers[0].data * np.uint64(0), RING64, VALUE_BITS)
    for power, c in zip(powers, coefficients, strict=True):
        if c:
            total = total + AShare(power.times(c).data, RING64, VALUE_BITS)
    return total
