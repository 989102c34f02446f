"""1/x and 1/sqrt(x) of a few positive numbers of any size in two rounds, by lines in tables.

x is opened once, C = x + r. A window w reads it from bit s_w up: h' = (C >> s_w) - (r >> s_w) is floor(x / 2^s_w)
or one more, and x = 2^s_w (h' + l - rl) exactly, |l - rl| < 1. So the value is A[h'] (l - rl) + B[h'], the line
around h'; a window's table holds a range of some octaves. Look-ups are those of lookup.py: XOR shares of the
unit vector of r >> s_w give shares of sigma (A l + B) and of sigma A without communication; both are opened under
masks, and the dealer's sigma, sigma rl, and these times masks and wraps, give shares of the line's value.

Which window holds: t_v asks whether the digit of x from bit e_v up is beyond 1, as far as C's and r's digits tell.
It is 0 for x < 2^e_v and 1 from 2^(e_v + 1) to the digit's end, where the next digit's ones have begun; in between,
either. So the count T_w = sum of t_v, v >= w, is 0 below 2^e_w and above 0 from 2^(e_w + 1) on, and

    f(x) = P_last + sum_w [T_w = 0] (P_(w-1) - P_w)

is the value of the highest window whose count is not 0, right whichever way a count in between fell. Counts are
opened under uniform masks as in counting.py, beside the look-ups; all the words above come times the unit vectors
of those masks. Everything opened is uniform in its ring: x + r, look-ups and counts plus a mask.

For a dealer's correlations: some ten kilobytes for each number and 20 octaves.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import isqrt

import numpy as np
from numpy.typing import NDArray

from gpu_ss.backend.base import Backend
from gpu_ss.cost import Cost, opening
from gpu_ss.party import Item, Party, Round, Steps, protocol
from gpu_ss.protocols.io import open_masked
from gpu_ss.provider.correlation import Mask
from gpu_ss.provider.specs.bits import MaskView
from gpu_ss.provider.specs.counts import DigitUnits, digit_words
from gpu_ss.provider.specs.inverse import FACTORS, InverseLookup
from gpu_ss.ring import RING64, WORD, Array, wire_bytes
from gpu_ss.values import AShare

INDEX = 12  # bits of a table's index
VALUE = 20  # fractional bits of a table's values, of the largest in the window
PLACE = 12  # fractional bits of a place on a line
RESULT = 61  # f(x) 2^61 is what comes out
LOOK = VALUE + PLACE + 3, 16  # rings of the two look-ups: values below 2^(bits - 2)
_GUARD = 80  # fractional bits in making tables


@dataclass(frozen=True, slots=True)
class Windows:
    """e_w, s_w, and the exponent of two that a table's unit counts, by window; and the roots: 2 of a square root.

    `exact`: the first window reads x itself, from 1 on.
    """

    roots: int
    starts: tuple[int, ...]
    shifts: tuple[int, ...]
    scales: tuple[int, ...]
    widths: tuple[int, ...]

    @property
    def exact(self) -> bool:
        return self.shifts[0] == 0

    @property
    def field(self) -> int:
        """Bits that hold a count of digits."""
        return 2 if len(self.starts) <= 4 else 4


@cache
def windows_for(name: str, low: int, high: int, bits: int) -> Windows | None:
    """Those that hold x from `low` to `high` in a ring of so many bits; None if none do."""
    roots, step = (2, 4) if name == "rsqrt" else (1, 3)
    resolution = INDEX - 1 - step
    top = (RESULT - VALUE - PLACE) * roots
    starts = [0] if low < 1 << resolution else [(low.bit_length() - 1) // roots * roots]
    while len(starts) < 2 or 1 << (starts[-1] + step + 1) <= high:
        following = min(starts[-1] + step if starts[-1] else (INDEX - 1) // roots * roots, top)
        if following == starts[-1]:
            return None
        starts.append(following)
    shifts = [max(0, start - resolution) for start in starts]
    if bits - shifts[-1] < INDEX or len(starts) > 16 or (roots == 1 and shifts[0] == 0):
        return None
    scales = [RESULT - VALUE - PLACE - start // roots for start in starts]
    widths = [min(step + 2, bits - start) for start in starts]
    return Windows(roots, tuple(starts), tuple(shifts), tuple(scales), tuple(widths))


@cache
def line_tables(roots: int, exact: bool) -> NDArray[np.uint64]:
    """B and A [2, 2^INDEX] of the lines around h, in units of the window's largest value; exact values if `exact`.

    Around h the line is half-way between the chord from h - 1 to h + 1 and the tangent. Made of integers, which are
    the same everywhere.
    """
    first = 1 if exact else 1 << (INDEX - 1 - (4 if roots == 2 else 3))

    def f(h: int) -> int:
        ratio = (first << (2 * _GUARD)) // h
        return isqrt(ratio) if roots == 2 else ratio >> _GUARD

    value, slope = np.zeros((2, 1 << INDEX), np.int64)
    for k in range(1 << INDEX):
        h = max(k or (1 if exact else 1 << INDEX), first)  # a window's last h' is 2^INDEX
        rise = 0 if exact else f(h + 1) - f(h - 1)
        middle = f(h) if exact else (2 * f(h) + f(h + 1) + f(h - 1)) // 4
        value[k] = (middle + (1 << (_GUARD - VALUE - 1))) >> (_GUARD - VALUE)
        slope[k] = (rise + (1 << (_GUARD - VALUE))) >> (_GUARD - VALUE + 1)
    return np.stack([value, slope]).view(np.uint64)


def _cost(x: AShare, windows: Windows) -> Cost:
    n, count, gates = x.size, len(windows.starts), len(windows.starts) - 1
    words = (count << INDEX) // WORD + FACTORS + (gates << windows.field) * 2 * FACTORS
    words += sum(digit_words(width, windows.field) for width in windows.widths[1:])
    looked = opening((count * n, LOOK[0]), (count * n, LOOK[1]), (gates * n, windows.field))
    return opening((n, x.ring.bits)) + looked + Cost(offline=wire_bytes(words * n, WORD))


@protocol(cost=_cost, paper="gadget")
def inverses(party: Party, x: AShare, windows: Windows) -> Steps[AShare]:
    """2^61 / x or 2^61 / sqrt(x) of raw integers x, as raw integers modulo 2^64. Of 0 the value at 1, if `exact`.

    x in the range that `windows_for` was asked for, of its ring. Error: relative 2e-5, and a unit of 2^-VALUE of
    the window's largest value. Opened: x, look-ups and counts under uniform masks of their rings.
    """
    n, count = x.size, len(windows.starts)
    gates, take = count - 1, party.provider.take
    (opened,) = yield from open_masked.steps(party, x, tag="inverse")
    c = x.ring.reduce(opened.words).reshape(-1)
    looks = [take(Mask((count, n), bits)) for bits in LOOK]
    tally = take(Mask((gates, n), windows.field))
    view = MaskView(opened.mask.number, n, x.ring.bits, x.ring.bits)
    digits = take(DigitUnits(view, windows.starts[1:], windows.widths[1:], windows.field)).only
    masks = opened.mask.number, looks[0].number, looks[1].number, tally.number
    spec = InverseLookup(
        *masks, n, x.ring.bits, windows.shifts, windows.scales, INDEX, PLACE, LOOK, windows.field
    )
    unit, last, gated = take(spec).arrays
    items = [
        Item(value, (count, n), bits, mask=look.only)
        for value, look, bits in zip(_looked_up(party, c, unit, windows), looks, LOOK, strict=True)
    ]
    sizes = windows.starts[1:], windows.widths[1:], windows.field
    counts = party.backend.window_counts(c, digits, *sizes, party.lead)
    values, slopes, counted = yield Round(
        "inverse", (*items, Item(counts, (gates, n), windows.field, mask=tally.only))
    )
    total = party.backend.window_lines(values, slopes, last, gated, counted, LOOK)
    return AShare(total.reshape(x.shape), RING64, 0)


def _looked_up(party: Party, c: Array, unit: Array, windows: Windows) -> tuple[Array, Array]:
    """Shares of sigma (A l + B) and of sigma A, biased so that their wraps can be told: [windows, n] each."""
    backend, xp = party.backend, party.backend.xp
    at, place = c >> backend.table(windows.shifts).reshape(-1, 1), _places(backend, c, windows.shifts)
    found = []
    for exact in (True, False) if windows.exact else (False,):
        chosen = slice(0, 1) if exact else slice(int(windows.exact), None)
        rows = xp.ascontiguousarray(unit[chosen].transpose(1, 0, 2)).reshape(unit.shape[1], -1)
        index = xp.ascontiguousarray(at[chosen]).reshape(-1)
        tables = backend.constant(line_tables, windows.roots, exact)
        found.append([backend.table_sums(index, rows, table) for table in tables])
    base, slope = (xp.concatenate(parts).reshape(at.shape) for parts in zip(*found, strict=True))
    biased = []
    for total, bits in zip(((base << np.uint64(PLACE)) + slope * place, slope), LOOK, strict=True):
        signed = (total ^ ~party.lead) - ~party.lead  # rank 1 subtracts
        biased.append(signed + (np.uint64(1 << (bits - 2)) & party.lead))
    return biased[0], biased[1]


def _places(backend: Backend, c: Array, shifts: tuple[int, ...]) -> Array:
    """`fraction` of c with PLACE bits for each shift: [shifts, n]."""
    masks, ups, downs = (
        backend.table(tuple(numbers)).reshape(-1, 1)
        for numbers in zip(
            *(((1 << s) - 1, max(0, PLACE - s), max(0, s - PLACE)) for s in shifts), strict=True
        )
    )
    return ((c & masks) << ups) >> downs
