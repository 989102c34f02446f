"""NumPy definitions of what look-ups are made of: exponentials, tables, lines, and what opened numbers pick."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from gpu_ss.backend.reference_steps import plane_bits, plane_words
from gpu_ss.ring import WORD, word_count

Words = NDArray[np.uint64]


def exp_lookup(
    x: Words, unit: Words, fractions: Words, frac: int, scale: int, low: int, lead: np.uint64
) -> Words:
    """Share of sigma * T(h', l): T = 2^(h' + l / 2^frac) with `scale` fractional bits, rounded.

    x: opened number; l its low `frac` bits, h the six bits above. `unit`: XOR share of the unit vector of
    rh, one 64-bit word per element; h' = h - rh is read as a number in [low, low + 64). `fractions`:
    round(2^(l / 2^frac) * 2^30). Rank 0 adds, rank 1 subtracts, so entries other than rh cancel.
    """
    fraction = fractions[(x & np.uint64((1 << frac) - 1)).astype(np.int64)]
    high = x >> np.uint64(frac)
    total = np.zeros_like(x)
    for exponent in range(low, low + 64):
        entry = (high - np.uint64(exponent % 2**64)) & np.uint64(63)
        total += ((unit >> entry) & np.uint64(1)) * _scaled_power(fraction, exponent + scale - 30)
    return total if lead else np.uint64(0) - total


def _scaled_power(fraction: Words, shift: int) -> Words:
    """round(fraction * 2^shift), half up."""
    if shift >= 0:
        return fraction << np.uint64(shift)
    if shift < -32:
        return np.zeros_like(fraction)
    return (fraction + np.uint64(1 << (-shift - 1))) >> np.uint64(-shift)


def exp_finish(opened: Words, d: Words, shares: Words, look_bits: int) -> Words:
    """The gated product of the exponential gadget: share of g * E, flat.

    opened [n]: sigma T + 2^(look_bits - 2) + mu mod 2^look_bits. d [1, W]: the gate g masked, d = g ^ rho.
    shares [6, n]: of K, -K mu, K 2^look_bits msb(mu), and of the same times rho (K = sigma * factor).
    E = K (opened - 2^(look_bits - 2)) - K mu, plus the third when the top bit of `opened` is 0 (the mask
    wrapped); g E = d E + (1 - 2 d) rho E.
    """
    plain, gated = (_times_opened(s[0], s[2], opened, look_bits) + s[1] for s in (shares[:3], shares[3:]))
    return _chosen(d, plain, gated)


def table_sums(x: Words, unit: Words, table: Words) -> Words:
    """See Operations.table_sums."""
    total = np.zeros_like(x)
    for j in range(table.size):
        bit = unit[j // 64] >> np.uint64(j % 64) & np.uint64(1)
        total += bit * table[((x - np.uint64(j)) & np.uint64(table.size - 1)).astype(np.int64)]
    return total


def line_values(
    x: Words, sums: Words, place_bits: int, looks: tuple[int, int], field: int, lead: np.uint64
) -> Words:
    """See Operations.line_values."""
    place, slope = x & np.uint64((1 << place_bits) - 1), sums >> np.uint64(field)
    value = (sums & np.uint64((1 << field) - 1)) + slope * place
    if lead:
        return np.stack([value + np.uint64(1 << (looks[0] - 2)), slope + np.uint64(1 << (looks[1] - 2))])
    return np.uint64(0) - np.stack([value, slope])


def gated_line(
    value: Words,
    slope: Words,
    words: Words,
    value_wraps: Words,
    slope_wraps: Words,
    looks: tuple[int, int],
    d: Words,
) -> Words:
    """See Operations.gated_line."""
    parts, opened, all_wraps = [], (value, slope), (value_wraps, slope_wraps)
    for k in range(2):
        total = words[k, 2]
        for found, factor, wraps, bits in zip(opened, words[k, :2], all_wraps, looks, strict=True):
            total = total + _times_opened(factor, wraps[k] << np.uint64(bits), found, bits)
        parts.append(total)
    return _chosen(d, *parts)


def gated_opened(c: Words, own: Words, tops: Words, bits: int, d: Words, lead: np.uint64) -> Words:
    """See Operations.gated_opened."""
    number, wrapped = c - np.uint64(1 << (bits - 2)), np.uint64(1) - (c >> np.uint64(bits - 1))
    plain = (number & lead) - own[0] + ((wrapped * tops[0]) << np.uint64(bits))
    gated = number * own[1] - own[2] + ((wrapped * tops[1]) << np.uint64(bits))
    return _chosen(d, plain, gated)


def _times_opened(factor: Words, wrap: Words, opened: Words, bits: int) -> Words:
    """factor times what was opened with a bias of 2^(bits - 2); and `wrap` where its mask wrapped."""
    wrapped = np.uint64(1) - (opened >> np.uint64(bits - 1))
    product: Words = factor * (opened - np.uint64(1 << (bits - 2))) + wrap * wrapped
    return product


def _chosen(d: Words, plain: Words, gated: Words) -> Words:
    """b E from shares of E and rho E, for planes of d = b ^ rho."""
    return np.where(plane_bits(d[0], plain.size) == np.uint64(1), plain - gated, gated)


def picked(index: Words, entries: Words) -> Words:
    """See Operations.picked."""
    count, _, n = entries.shape
    at = (index & np.uint64(count - 1)).astype(np.int64)
    return np.ascontiguousarray(entries[at, :, np.arange(n)].T)


def unit_entry(units: Words, index: Words, field: int) -> Words:
    """Entry `index` of unit vectors in fields of words, modulo 2^field."""
    place = index * np.uint64(field)
    words = units[(place // np.uint64(WORD)).astype(np.int64), np.arange(index.size)]
    return words >> (place % np.uint64(WORD)) & np.uint64((1 << field) - 1)


def near_counts(x: Words, units: Words, offset: int, start: int, widths: tuple[int, int]) -> Words:
    """See Operations.near_counts."""
    low, high = widths
    split = word_count(1 << low, 2)
    lower, upper, digits = [], [], []
    for less in (1, 2):
        above = ((x - np.uint64(offset % 2**WORD)) >> np.uint64(start)) - np.uint64(less)
        digits.append(above >> np.uint64(low) & np.uint64((1 << high) - 1))
        lower.append(unit_entry(units[:split], above & np.uint64((1 << low) - 1), 2))
        upper.append(unit_entry(units[split:], digits[-1], 2))
    first = upper[0] + np.uint64(2) * lower[0]
    other = np.uint64(2) * upper[1] + lower[1]
    total: Words = first + np.where(digits[0] == digits[1], np.uint64(2) * lower[1], other)
    return total & np.uint64(3)


def picked_product(opened: Words, counted: Words, words: Words, wanted: int, bits: int) -> Words:
    """See Operations.picked_product."""
    factor, constant, wrap = picked(counted - np.uint64(wanted), words)
    total: Words = _times_opened(factor, wrap, opened, bits) + constant
    return total


def window_counts(
    x: Words, units: Words, starts: tuple[int, ...], widths: tuple[int, ...], field: int, lead: np.uint64
) -> Words:
    """See Operations.window_counts."""
    counts = np.zeros((len(starts), x.size), np.uint64)
    firsts = np.cumsum([0, *(word_count(1 << width, field) for width in widths)])
    for w, (start, width) in enumerate(zip(starts, widths, strict=True)):
        unit, ones = units[firsts[w] : firsts[w + 1]], np.uint64((1 << width) - 1)
        for less in (0, 1):
            digit = (x >> np.uint64(start)) - np.uint64(less) & ones
            counts[w] -= unit_entry(unit, digit, field)
        counts[w] += lead & np.uint64(1)
    found: Words = np.cumsum(counts[::-1], axis=0, dtype=np.uint64)[::-1] & np.uint64((1 << field) - 1)
    return found


def window_lines(
    values: Words, slopes: Words, last: Words, gated: Words, counted: Words, looks: tuple[int, int]
) -> Words:
    """See Operations.window_lines."""
    total: Words = _line(last, values[-1], slopes[-1], looks)
    for w in range(len(values) - 1):
        words = picked(counted[w], gated[w])
        total = total + _line(words[:5], values[w], slopes[w], looks)
        total = total - _line(words[5:], values[w + 1], slopes[w + 1], looks)
    return total


def _line(words: Words, value: Words, slope: Words, looks: tuple[int, int]) -> Words:
    """A window's value from the words of its line and what was opened."""
    total: Words = words[2]
    for k, (opened, bits) in enumerate(zip((value, slope), looks, strict=True)):
        total = total + _times_opened(words[k], words[3 + k], opened, bits)
    return total


def signed_units(at: Words, share: Words) -> tuple[Words, Words]:
    """See Operations.signed_units."""
    if not len(share):
        raise ValueError("unit vectors have a word at least")
    entries = np.arange(WORD * len(share)).reshape(-1, WORD, 1) == at % np.uint64(WORD * len(share))
    unit = (entries * (np.uint64(1) << np.arange(WORD, dtype=np.uint64))[:, None]).sum(
        axis=1, dtype=np.uint64
    )
    return unit, np.where((share & unit).any(axis=0), np.uint64(1), np.uint64(2**64 - 1))


def spread(index: Words, rows: Words, count: int) -> Words:
    """See Operations.spread."""
    places = np.arange(count, dtype=np.uint64)[:, None, None]
    return np.where(index & np.uint64(count - 1) == places, rows, np.uint64(0))


def curve_words(
    r: Words,
    sign: Words,
    value: Words,
    slope: Words,
    gates: Words,
    cell: int,
    source: int,
    looks: tuple[int, int],
) -> Words:
    """See Operations.curve_words."""
    ones = (np.uint64((1 << bits) - 1) for bits in (source, *looks))
    r, mu, nu = (mask & kept for mask, kept in zip((r, value, slope), ones, strict=True))
    inside, outside = plane_words(gates, r.size)
    steep = np.uint64(0) - sign * (r & np.uint64((1 << cell) - 1))
    line = np.stack([sign, steep, np.uint64(0) - sign * mu - steep * nu])
    tops = (mask >> np.uint64(bits - 1) for mask, bits in zip((mu, nu), looks, strict=True))
    wraps = [factor * top for factor, top in zip(line[:2], tops, strict=True)]
    top = r >> np.uint64(source - 1)
    both = [word for wrap in wraps for word in (wrap, wrap * inside)]
    return np.stack([*line, *(line * inside), *both, r, outside, r * outside, top, top * outside])
