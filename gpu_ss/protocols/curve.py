"""A curve between 0 and x, in two rounds: lines in a table near 0, exactly 0 below and exactly x above.

x, |x| < 2^(bits-2) in units of 2^-12, is opened once as C = x + 2^(bits-2) + r in a ring of `bits` bits. Everything
reads it from a place that is 0 at the start of the table: w = x + START.

1. The table has 512 cells of 2^7 units. h' = (C >> 7) - (r >> 7) is w's cell or the next one, and
   w = 2^7 h' + l - rl exactly. As in lookup.py, XOR shares of the unit vector of r >> 7 modulo 512 give shares of
   sigma (A l + B) and of sigma A, which are opened under masks of small rings; with the dealer's sigma, sigma rl,
   and these times masks and wraps, A (l - rl) + B, the line around h', comes out in any ring.
2. Where the table holds: G = (C >> 14) - (r >> 14) is w's upper part, or one more, and |h' - 128 G| < 128. So for G
   in {1, 2, 3} h' is inside of the table, and any w in cells 128 to 383, the curve's, has such a G. Below and above
   those the table goes on with 0 and with x. So f(x) = [1 <= G < 4] T + [G >= 4] x. G is a single digit, and
   comparisons of it are local: XOR shares of the products of the bits of r >> 14.
3. Both bits are opened under uniform bits beside the look-ups, and the dealer's words come times these as well.

Everything opened is uniform in its group: x + r, look-ups plus a mask, bits XOR a bit. For a dealer's correlations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from gpu_ss.cost import Cost, opening
from gpu_ss.party import Item, Party, Round, Steps, protocol
from gpu_ss.protocols.compare import OpenedNumber, TreeShape, at_least
from gpu_ss.protocols.io import add_public, open_masked
from gpu_ss.protocols.trunc import truncate
from gpu_ss.provider.correlation import BitMask, Mask
from gpu_ss.provider.specs.bits import MaskView, words_of
from gpu_ss.provider.specs.curve import CurveLookup
from gpu_ss.ring import WORD, Array, Ring, wire_bytes
from gpu_ss.values import AShare

FRAC = 12
CELL = 7  # bits of a cell
INDEX = 9  # bits of the table's index
PART = CELL + INDEX - 2  # bits below G: a quarter of the table
START = 1 << (CELL + INDEX - 1)  # where x = 0 is in the table
FIRST, BEYOND = 1, 4  # G inside, and past it
VALUE = 21  # fractional bits of values; slopes have VALUE - FRAC
LOOK = VALUE + 6, VALUE - FRAC + 3  # rings of the look-ups: |T| < 2^3 + 1, slopes below 2, two bits of room
FIELD = LOOK[0] + INDEX  # of a packed table word: above are WORD - FIELD >= LOOK[0] bits
DIGIT = 9  # bits of G below its sign, at most


@dataclass(frozen=True, slots=True)
class CurveTable:
    """Of each cell the value at its start, with VALUE bits, and the slope, of the line around there."""

    name: str
    values: tuple[int, ...]
    slopes: tuple[int, ...]


@cache
def packed(table: CurveTable) -> tuple[int, ...]:
    """Words of a value in FIELD bits, which hold the sum of all, and above a slope in as many as a value's ring."""
    ring, rest = 1 << LOOK[0], 1 << (WORD - FIELD)
    return tuple(v % ring | a % rest << FIELD for v, a in zip(table.values, table.slopes, strict=True))


def curve_holds(bits: int, ring: Ring, frac_bits: int) -> bool:
    """Whether numbers of `bits` bits can be looked up, for a result in `ring` with so many fractional bits."""
    return (
        4 <= bits - PART <= DIGIT + 1
        and bits <= ring.bits <= WORD - (VALUE - frac_bits)
        and frac_bits >= FRAC
    )


def _cost(x: AShare, table: CurveTable, bits: int, ring: Ring, frac_bits: int) -> Cost:
    n, planes = x.size, words_of(x.size)
    wide = ring.bits + VALUE - frac_bits
    dealt = 8 * ((n << INDEX) // WORD + planes * (1 << (bits - PART - 1)))
    dealt += wire_bytes(6 * n, wide) + sum(wire_bytes(2 * n, wide - look) for look in LOOK)
    dealt += wire_bytes(3 * n, ring.bits) + wire_bytes(2 * n, max(1, ring.bits - bits))
    looked = opening((n, LOOK[0]), (n, LOOK[1]), (2 * planes, WORD))
    return opening((n, bits)) + looked + Cost(offline=dealt)


@protocol(cost=_cost, paper="gadget")
def look_up_curve(
    party: Party, x: AShare, table: CurveTable, bits: int, ring: Ring, frac_bits: int
) -> Steps[AShare]:
    """The curve at x, with `frac_bits` in `ring` (see `curve_holds`), for |x| < 2^(bits-2) units of 2^-FRAC.

    Error: the lines' own and a unit of the result; below and above the table that unit only. Opened: x, biased, and
    look-ups under uniform masks of their rings, and two bits under uniform ones.
    """
    n, take = x.size, party.provider.take
    bias = 1 << (bits - 2)
    (opened,) = yield from open_masked.steps(
        party, add_public(party, x.narrowed(Ring(bits)), bias), tag="curve"
    )
    c = opened.ring.reduce(opened.words).reshape(-1)
    looks = [take(Mask((n,), look)) for look in LOOK]
    gates = take(BitMask(2, words_of(n)))
    wide = Ring(ring.bits + VALUE - frac_bits)
    masks = opened.mask.number, looks[0].number, looks[1].number, gates.number
    spec = CurveLookup(*masks, n, bits, CELL, INDEX, LOOK, wide.bits, ring.bits)
    unit, lines, value_wraps, slope_wraps, own, tops = take(spec).arrays
    w = opened.ring.reduce(c + np.uint64((START - bias) % 2**64))
    view = MaskView(opened.mask.number, n, bits, bits - PART, PART)
    shape = TreeShape((bits - PART - 1,), ())  # one digit: nothing is opened
    reached = yield from at_least(party, OpenedNumber(w >> np.uint64(PART), view), [FIRST, BEYOND], shape)
    inside = party.backend.xp.stack([reached.planes[0] ^ reached.planes[1], reached.planes[1]])
    items = [
        Item(found, (n,), width, mask=look.only)
        for found, look, width in zip(_looked_up(party, w, unit, table), looks, LOOK, strict=True)
    ]
    value, slope, d = yield Round("curve", (*items, Item(inside ^ gates.only, inside.shape, WORD, xor=True)))
    backend = party.backend
    curve = backend.gated_line(value, slope, lines, value_wraps, slope_wraps, LOOK, d[:1])
    result = yield from truncate.steps(
        party, AShare(curve.reshape(x.shape), wide, VALUE), VALUE - frac_bits, ring
    )
    beyond = backend.gated_opened(c, own, tops, bits, d[1:], party.lead)
    return result + AShare(beyond.reshape(x.shape), ring, FRAC).lifted(frac_bits)


def _looked_up(party: Party, w: Array, unit: Array, table: CurveTable) -> Array:
    """Shares of sigma (A l + B) and of sigma A, biased so that their wraps can be told: [2, n]."""
    sums = party.backend.table_sums(w >> np.uint64(CELL), unit, party.backend.table(packed(table)))
    return party.backend.line_values(w, sums, CELL, LOOK, FIELD, party.lead)
