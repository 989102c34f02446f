"""The kernels of look-ups give the very bytes of the reference: more rows for test_conformance.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.gpu_ss.backend.test_conformance import SIZES, Words, check_rows, drawn
from tests.gpu_ss.backend.test_conformance_steps import EVERY_SIZE, LEADS, plane
from tests.support.backends import COMPILED_BACKENDS, open_backend


def _exp_lookup(words: Words, n: int, frac: int, scale: int, low: int, lead: np.uint64) -> tuple[Any, ...]:
    fractions = words(1 << frac) >> np.uint64(34) | np.uint64(1 << 30)  # in [1, 2) with 30 fractional bits
    return words(n), words(n), fractions, frac, scale, low, lead


def _exp_finish(words: Words, n: int, bits: int) -> tuple[Any, ...]:
    return words(n) >> np.uint64(64 - bits), plane(words, n), words(6, n), bits


def _gated_line(words: Words, n: int, looks: tuple[int, int]) -> tuple[Any, ...]:
    value, slope = (words(n) >> np.uint64(64 - bits) for bits in looks)
    return value, slope, words(2, 3, n), words(2, n), words(2, n), looks, plane(words, n)


def _gated_opened(words: Words, n: int, bits: int, lead: np.uint64) -> tuple[Any, ...]:
    return words(n) >> np.uint64(64 - bits), words(3, n), words(2, n), bits, plane(words, n), lead


def _near_counts(words: Words, n: int, widths: tuple[int, int]) -> tuple[Any, ...]:
    rows = sum(-(-(2 << width) // 64) for width in widths)
    return words(n), words(rows, n), -(59 << 12), 17, widths


def _window_counts(words: Words, n: int, field: int, lead: np.uint64) -> tuple[Any, ...]:
    starts, widths = (10, 14, 18, 60), (6, 6, 5, 4)
    rows = sum(-(-(field << width) // 64) for width in widths)
    return words(n), words(rows, n), starts, widths, field, lead


def _window_lines(words: Words, n: int, windows: int, entries: int) -> tuple[Any, ...]:
    looks = (35, 16)
    values, slopes = (words(windows, n) >> np.uint64(64 - bits) for bits in looks)
    gated, counted = words(windows - 1, entries, 10, n), words(windows - 1, n)
    return values, slopes, words(5, n), gated, counted, looks


def _curve_words(words: Words, n: int, bits: tuple[int, int, int]) -> tuple[Any, ...]:
    r, sign = words(n), words(n) | np.uint64(1)
    return r, sign, words(n), words(n), plane(words, n, 2), 7, bits[0], bits[1:]


ROWS: list[tuple[str, str, Callable[[Words], tuple[Any, ...]]]] = [
    *(
        ("exp_lookup", f"{n} {lead}", lambda words, n=n, lead=lead: _exp_lookup(words, n, 12, 18, -60, lead))
        for n in [*SIZES[:-1], 9001]
        for lead in LEADS
    ),
    *(
        ("exp_lookup", f"{frac} {scale} {low}",
         lambda words, f=frac, scale=scale, low=low: _exp_lookup(words, 300, f, scale, low, LEADS[1]))
        for frac in (0, 1, 12)
        for scale in (0, 18, 30, 40)
        for low in (-300, -128, -63, -32, 0, 31, 63, 64, 300)
    ),
    *(
        ("exp_finish", f"{n}", lambda words, n=n: _exp_finish(words, n, 23))
        for n in EVERY_SIZE
    ),
    *(
        ("exp_finish", f"{bits} bits", lambda words, bits=bits: _exp_finish(words, 137, bits))
        for bits in (2, 3, 32, 51, 63, 64)
    ),
    *(
        ("table_sums", f"{n} {k}", lambda words, n=n, k=k: (words(n), words(k, n), words(64 * k)))
        for n in [*SIZES[:-1], 9001]
        for k in ((1, 2, 4, 8, 64) if n < 1000 else (1, 2, 4, 8))
    ),
    *(
        ("line_values", f"{n} {lead}", lambda words, n=n, lead=lead: (words(n), words(n), 7, (27, 12), 36, lead))
        for n in EVERY_SIZE
        for lead in LEADS
    ),
    ("line_values", "small", lambda words: (words(99), words(99), 0, (2, 63), 1, LEADS[1])),
    *(("gated_line", f"{n}", lambda words, n=n: _gated_line(words, n, (27, 12))) for n in EVERY_SIZE),
    *(
        ("gated_line", f"{looks}", lambda words, looks=looks: _gated_line(words, 137, looks))
        for looks in ((2, 63), (63, 2), (32, 33))
    ),
    *(
        ("gated_opened", f"{n} {lead}", lambda words, n=n, lead=lead: _gated_opened(words, n, 20, lead))
        for n in EVERY_SIZE
        for lead in LEADS
    ),
    *(
        ("gated_opened", f"{bits} bits", lambda words, bits=bits: _gated_opened(words, 137, bits, LEADS[1]))
        for bits in (2, 31, 63)
    ),
    *(
        ("picked", f"{count} {rows} {n}", lambda words, c=count, k=rows, n=n: (words(n), words(c, k, n)))
        for n in SIZES
        for count, rows in ((1, 1), (4, 3), (16, 2))
    ),
    *(
        ("near_counts", f"{n} {widths}", lambda words, n=n, widths=widths: _near_counts(words, n, widths))
        for n in EVERY_SIZE
        for widths in ((4, 5), (5, 6), (1, 1))
    ),
    *(
        ("picked_product", f"{n} {count}", lambda words, n=n, count=count: (
            words(n) >> np.uint64(41), words(n), words(count, 3, n), 3, 23))
        for n in EVERY_SIZE
        for count in (4, 16)
    ),
    *(
        ("window_counts", f"{n} {field} {lead}",
         lambda words, n=n, field=field, lead=lead: _window_counts(words, n, field, lead))
        for n in SIZES
        for field in (2, 4)
        for lead in LEADS
    ),
    *(
        ("window_lines", f"{n} {windows}",
         lambda words, n=n, windows=windows, entries=entries: _window_lines(words, n, windows, entries))
        for n in SIZES
        for windows, entries in ((1, 1), (3, 4), (14, 16))
    ),
    *(
        ("signed_units", f"{n} {k}", lambda words, n=n, k=k: (words(n), words(k, n)))
        for n in SIZES
        for k in (1, 8, 64)
    ),
    *(
        ("spread", f"{n} {count}", lambda words, n=n, count=count: (words(n), words(3, n), count))
        for n in EVERY_SIZE
        for count in (1, 4, 16)
    ),
    *(
        ("curve_words", f"{n} {bits}", lambda words, n=n, bits=bits: _curve_words(words, n, bits))
        for n in EVERY_SIZE
        for bits in ((20, 27, 12), (63, 2, 63))
    ),
]  # fmt: skip


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
@pytest.mark.parametrize("operation", sorted({row[0] for row in ROWS}))
def test_same_words_as_the_reference(name: str, operation: str) -> None:
    check_rows(ROWS, name, operation, drawn(7))


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
def test_wrong_arguments_are_refused(name: str) -> None:
    backend = open_backend(name)
    lead = LEADS[1]
    x, short, plane, planes = (backend.zeros(shape) for shape in (70, 69, (1, 2), (6, 2)))
    words, pair = backend.zeros((2, 3, 70)), backend.zeros((2, 70))
    units, last, gated = (backend.zeros(shape) for shape in ((4, 70), (5, 70), (1, 4, 10, 70)))
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (ValueError, lambda: backend.exp_lookup(x, short, backend.zeros(8), 3, 18, -60, lead)),
        (ValueError, lambda: backend.exp_lookup(x, x, backend.zeros(7), 3, 18, -60, lead)),
        (ValueError, lambda: backend.exp_finish(x, plane, backend.zeros((5, 70)), 23)),
        (ValueError, lambda: backend.exp_finish(x, plane, backend.zeros((6, 70)), 1)),
        (ValueError, lambda: backend.table_sums(x, backend.zeros((3, 70)), backend.zeros(192))),
        (ValueError, lambda: backend.table_sums(x, backend.zeros((2, 70)), backend.zeros(64))),
        (ValueError, lambda: backend.table_sums(x, backend.zeros((2, 69)), backend.zeros(128))),
        (ValueError, lambda: backend.line_values(x, short, 7, (27, 12), 36, lead)),
        (ValueError, lambda: backend.line_values(x, x, 7, (27, 64), 36, lead)),
        (ValueError, lambda: backend.line_values(x, x, 64, (27, 12), 36, lead)),
        (ValueError, lambda: backend.gated_line(x, x, words, pair, pair, (27, 64), plane)),
        (ValueError, lambda: backend.gated_line(x, short, words, pair, pair, (27, 12), plane)),
        (ValueError, lambda: backend.gated_line(x, x, words[:1], pair, pair, (27, 12), plane)),
        (ValueError, lambda: backend.gated_line(x, x, words, pair, pair, (27, 12), planes)),
        (ValueError, lambda: backend.gated_opened(x, words[0], pair, 64, plane, lead)),
        (ValueError, lambda: backend.gated_opened(x, pair, pair, 20, plane, lead)),
        (ValueError, lambda: backend.signed_units(x, backend.zeros((3, 70)))),
        (ValueError, lambda: backend.signed_units(short, pair)),
        (ValueError, lambda: backend.spread(x, pair, 3)),
        (ValueError, lambda: backend.spread(short, pair, 4)),
        (ValueError, lambda: backend.curve_words(x, x, x, short, pair[:, :2].copy(), 7, 20, (27, 12))),
        (ValueError, lambda: backend.curve_words(x, x, x, x, pair[:, :2].copy(), 7, 64, (27, 12))),
        (ValueError, lambda: backend.curve_words(x, x, x, x, plane, 7, 20, (27, 12))),
        (ValueError, lambda: backend.picked(x, backend.zeros((3, 2, 70)))),
        (ValueError, lambda: backend.picked(short, words)),
        (ValueError, lambda: backend.picked(x, pair)),
        (ValueError, lambda: backend.near_counts(x, units, 0, 17, (5, 6))),
        (ValueError, lambda: backend.near_counts(x, units, 0, 64, (5, 5))),
        (ValueError, lambda: backend.near_counts(x, units, 0, 17, (0, 7))),
        (ValueError, lambda: backend.picked_product(x, short, words, 3, 23)),
        (ValueError, lambda: backend.picked_product(x, x, words, 3, 1)),
        (ValueError, lambda: backend.picked_product(x, x, backend.zeros((4, 2, 70)), 3, 23)),
        (ValueError, lambda: backend.window_counts(x, units, (10,), (6, 6), 2, lead)),
        (ValueError, lambda: backend.window_counts(x, units, (10,), (6,), 2, lead)),
        (ValueError, lambda: backend.window_counts(x, units, (10, 64), (6, 6), 2, lead)),
        (ValueError, lambda: backend.window_counts(x, units, (10, 14), (6, 6), 3, lead)),
        (ValueError, lambda: backend.window_lines(pair, pair, last, gated, x, (35, 16))),
        (ValueError, lambda: backend.window_lines(pair, pair, last, gated, x.reshape(1, 70), (35, 64))),
        (ValueError, lambda: backend.window_lines(pair, pair, pair, gated, x.reshape(1, 70), (35, 16))),
    ]
    for error, attempt in refused:
        with pytest.raises(error):
            attempt()
