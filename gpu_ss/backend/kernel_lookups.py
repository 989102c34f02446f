"""The host side of the kernels that look-ups are made of: check, allocate, launch (see kernel.py)."""

from __future__ import annotations

import numpy as np

from gpu_ss.backend.checks import check_shapes, require
from gpu_ss.backend.launcher import Launcher
from gpu_ss.ring import WORD, Array, word_count

MOST_IN_REGISTERS = 8  # words of a unit vector


class LookupKernels(Launcher):
    """Exponentials, tables, lines, and what opened numbers pick: see `Operations`."""

    def exp_lookup(
        self, x: Array, unit: Array, fractions: Array, frac: int, scale: int, low: int, lead: np.uint64
    ) -> Array:
        self._check_operands(x=x, unit=unit, fractions=fractions)
        require(0 <= frac < WORD, f"frac must be 0 to {WORD - 1}, not {frac}")
        check_shapes(x=(x, (x.size,)), unit=(unit, (x.size,)), fractions=(fractions, (1 << frac,)))
        out = self.empty(x.size)
        if x.size:
            self._launch("exp_lookup", x.size, x, unit, fractions, out, frac, scale, low, int(lead))
        return out

    def exp_finish(self, opened: Array, d: Array, shares: Array, look_bits: int) -> Array:
        self._check_operands(opened=opened, d=d, shares=shares)
        require(2 <= look_bits <= WORD, f"look_bits must be 2 to {WORD}, not {look_bits}")
        n = opened.size
        check_shapes(opened=(opened, (n,)), d=(d, (1, word_count(n, 1))), shares=(shares, (6, n)))
        out = self.empty(n)
        if n:
            self._launch("exp_finish", n, opened, d, shares, out, look_bits)
        return out

    def table_sums(self, x: Array, unit: Array, table: Array) -> Array:
        self._check_operands(x=x, unit=unit, table=table)
        count = table.size // WORD
        require(count in (1, 2, 4, 8, 16, 32, 64), f"tables have no {table.size} entries")
        check_shapes(x=(x, (x.size,)), unit=(unit, (count, x.size)), table=(table, (count * WORD,)))
        out = self.empty(x.size)
        if x.size:
            kernel = "table_sums" if count <= MOST_IN_REGISTERS else "large_table_sums"
            self._launch(kernel, x.size, x, unit, table, out, count)
        return out

    def line_values(
        self, x: Array, sums: Array, place_bits: int, looks: tuple[int, int], field: int, lead: np.uint64
    ) -> Array:
        self._check_same_shape(x=x, sums=sums)
        require(0 <= place_bits < WORD and 0 < field < WORD, f"no place of {place_bits} in {field} bits")
        biases = [1 << (_look(bits) - 2) for bits in looks]
        out = self.empty((2, x.size))
        if x.size:
            self._launch("line_values", x.size, x, sums, out, place_bits, field, *biases, int(lead))
        return out

    def gated_line(
        self,
        value: Array,
        slope: Array,
        words: Array,
        value_wraps: Array,
        slope_wraps: Array,
        looks: tuple[int, int],
        d: Array,
    ) -> Array:
        self._check_operands(
            value=value, slope=slope, words=words, value_wraps=value_wraps, slope_wraps=slope_wraps, d=d
        )
        n, bits = value.size, [_look(look) for look in looks]
        check_shapes(
            value=(value, (n,)),
            slope=(slope, (n,)),
            words=(words, (2, 3, n)),
            value_wraps=(value_wraps, (2, n)),
            slope_wraps=(slope_wraps, (2, n)),
            d=(d, (1, word_count(n, 1))),
        )
        out = self.empty(n)
        if n:
            self._launch("gated_line", n, value, slope, words, value_wraps, slope_wraps, d, out, *bits)
        return out

    def gated_opened(self, c: Array, own: Array, tops: Array, bits: int, d: Array, lead: np.uint64) -> Array:
        self._check_operands(c=c, own=own, tops=tops, d=d)
        n = c.size
        check_shapes(c=(c, (n,)), own=(own, (3, n)), tops=(tops, (2, n)), d=(d, (1, word_count(n, 1))))
        out = self.empty(n)
        if n:
            self._launch("gated_opened", n, c, own, tops, d, out, _look(bits), int(lead))
        return out

    def picked(self, index: Array, entries: Array) -> Array:
        self._check_operands(index=index, entries=entries)
        require(entries.ndim == 3, "entries must be [count, rows, n]")
        count, rows, n = entries.shape
        _power_of_two(count)
        check_shapes(index=(index, (n,)))
        out = self.empty((rows, n))
        if out.size:
            self._launch("picked", n, index, entries, out, count, rows)
        return out

    def near_counts(self, x: Array, units: Array, offset: int, start: int, widths: tuple[int, int]) -> Array:
        self._check_operands(x=x, units=units)
        require(all(0 < width < 16 for width in widths) and 0 <= start < WORD, "no such digits")
        check_shapes(units=(units, (_unit_words(widths, 2)[-1], x.size)), x=(x, (x.size,)))
        out = self.empty(x.size)
        if x.size:
            self._launch("near_counts", x.size, x, units, out, offset % (1 << WORD), start, *widths)
        return out

    def picked_product(self, opened: Array, counted: Array, words: Array, wanted: int, bits: int) -> Array:
        self._check_operands(opened=opened, counted=counted, words=words)
        count, n = _power_of_two(words.shape[0]), opened.size
        check_shapes(opened=(opened, (n,)), counted=(counted, (n,)), words=(words, (count, 3, n)))
        out = self.empty(n)
        if n:
            sizes = wanted % (1 << WORD), count, _look(bits)
            self._launch("picked_product", n, opened, counted, words, out, *sizes)
        return out

    def window_counts(
        self,
        x: Array,
        units: Array,
        starts: tuple[int, ...],
        widths: tuple[int, ...],
        field: int,
        lead: np.uint64,
    ) -> Array:
        self._check_operands(x=x, units=units)
        require(0 < field < WORD and WORD % field == 0, f"unit vectors have no fields of {field} bits")
        require(
            len(starts) == len(widths)
            and all(0 <= s < WORD for s in starts)
            and all(0 < width < 16 for width in widths),
            "no such digits",
        )
        *firsts, total = _unit_words(widths, field)
        check_shapes(units=(units, (total, x.size)), x=(x, (x.size,)))
        out = self.empty((len(starts), x.size))
        if out.size:
            tables = [self.table(numbers) for numbers in (starts, widths, tuple(firsts))]
            self._launch("window_counts", x.size, x, units, *tables, out, len(starts), field, int(lead))
        return out

    def window_lines(
        self,
        values: Array,
        slopes: Array,
        last: Array,
        gated: Array,
        counted: Array,
        looks: tuple[int, int],
    ) -> Array:
        self._check_operands(values=values, slopes=slopes, last=last, gated=gated, counted=counted)
        require(values.ndim == 2 and values.shape[0] > 0 and gated.ndim == 4, "no windows")
        (windows, n), entries = values.shape, _power_of_two(gated.shape[1])
        check_shapes(
            slopes=(slopes, (windows, n)),
            last=(last, (5, n)),
            gated=(gated, (windows - 1, entries, 10, n)),
            counted=(counted, (windows - 1, n)),
        )
        out = self.empty(n)
        if n:
            sizes = windows, entries, *(_look(bits) for bits in looks)
            self._launch("window_lines", n, values, slopes, last, gated, counted, out, *sizes)
        return out

    def signed_units(self, at: Array, share: Array) -> tuple[Array, Array]:
        self._check_operands(at=at, share=share)
        require(share.ndim == 2, "a share of unit vectors must be [count, n]")
        count, n = _power_of_two(share.shape[0]), at.size
        check_shapes(at=(at, (n,)), share=(share, (count, n)))
        out = self.empty((count + 1, n))
        if n:
            self._launch("signed_units", n, at, share, out, count)
        return out[:count], out[count]

    def spread(self, index: Array, rows: Array, count: int) -> Array:
        self._check_operands(index=index, rows=rows)
        require(rows.ndim == 2, "rows must be [k, n]")
        (height, n), out = rows.shape, self.empty((_power_of_two(count), *rows.shape))
        check_shapes(index=(index, (n,)))
        if out.size:
            self._launch("spread", n, index, rows, out, count, height)
        return out

    def curve_words(
        self,
        r: Array,
        sign: Array,
        value: Array,
        slope: Array,
        gates: Array,
        cell: int,
        source: int,
        looks: tuple[int, int],
    ) -> Array:
        self._check_operands(r=r, sign=sign, value=value, slope=slope, gates=gates)
        n, bits = r.size, [_look(width) for width in (source, *looks)]
        require(0 <= cell < WORD, f"cells have no {cell} bits")
        one = {"r": r, "sign": sign, "value": value, "slope": slope}
        check_shapes(
            gates=(gates, (2, word_count(n, 1))), **{name: (array, (n,)) for name, array in one.items()}
        )
        out = self.empty((15, n))
        if n:
            self._launch("curve_words", n, r, sign, value, slope, gates, out, cell, *bits)
        return out


def _unit_words(widths: tuple[int, ...], field: int) -> list[int]:
    """Where the unit vectors of digits of these widths begin, and how many words they have in all."""
    firsts = [0]
    for width in widths:
        firsts.append(firsts[-1] + word_count(1 << width, field))
    return firsts


def _power_of_two(count: int) -> int:
    require(count > 0 and count & (count - 1) == 0, f"{count} entries are no power of two")
    return count


def _look(bits: int) -> int:
    """A ring that words of more bits are shifted by."""
    require(2 <= bits < WORD, f"rings of opened numbers must have 2 to {WORD - 1} bits, not {bits}")
    return bits
