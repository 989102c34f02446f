"""One call of every kernel of look-ups, with operands of the sizes and widths that an encoder layer gives it."""

from __future__ import annotations

from bench.kernel_cases import LEAD, Call, Maker, Operands
from gpu_ss.protocols import inverses
from gpu_ss.protocols.curve import CELL, FIELD, INDEX
from gpu_ss.protocols.curve import LOOK as LOOKS
from gpu_ss.protocols.lookup import FRAC, GATE_BITS, SOFTMAX, fractions
from gpu_ss.provider.specs.counts import digit_words
from gpu_ss.ring import WORD

WIDTH = 40  # bits of an exponent, packed
SOURCE = 20  # bits of what a curve reads
UNITS = (1 << INDEX) // WORD  # words of its unit vectors
GATE_ENTRIES, GATE_DIGITS, GATE_START = 4, (4, 5), 17  # of the exponential's gate
WINDOWS, COUNT_BITS, STARTS, WIDTHS = 3, 2, (22, 25), (5, 5)  # of softmax's division


def _exp_lookup(draw: Operands, n: int) -> Call:
    operands = [draw.words(n, bits=WIDTH), draw.words(n), fractions()]
    scale, low = SOFTMAX.scale, SOFTMAX.table_low
    return Call((n,), operands, lambda backend, *given: backend.exp_lookup(*given, FRAC, scale, low, LEAD), n)


def _exp_finish(draw: Operands, n: int) -> Call:
    bits = SOFTMAX.look_bits
    operands = [draw.words(n, bits=bits), draw.planes(1, n), draw.words(6, n)]
    return Call((n,), operands, lambda backend, *given: backend.exp_finish(*given, bits), n, bits)


def _line_values(draw: Operands, n: int) -> Call:
    operands = [draw.words(n), draw.words(n)]
    return Call(
        (2, n), operands, lambda backend, *given: backend.line_values(*given, CELL, LOOKS, FIELD, LEAD), n
    )


def _gated_line(draw: Operands, n: int) -> Call:
    value, slope = (draw.words(n, bits=bits) for bits in LOOKS)
    operands = [value, slope, draw.words(2, 3, n), draw.words(2, n), draw.words(2, n), draw.planes(1, n)]
    return Call(
        (n,), operands, lambda backend, *given: backend.gated_line(*given[:5], LOOKS, given[5]), n, LOOKS[0]
    )


def _gated_opened(draw: Operands, n: int) -> Call:
    operands = [draw.words(n, bits=SOURCE), draw.words(3, n), draw.words(2, n), draw.planes(1, n)]
    return Call(
        (n,),
        operands,
        lambda backend, *given: backend.gated_opened(*given[:3], SOURCE, given[3], LEAD),
        n,
        SOURCE,
    )


def _table_sums(draw: Operands, n: int) -> Call:
    """Tables of 128 entries."""
    operands = [draw.words(n), draw.words(2, n), draw.words(128)]
    return Call((2, n), operands, lambda backend, *given: backend.table_sums(*given), n)


def _picked(draw: Operands, n: int) -> Call:
    """What a count chooses of two words."""
    operands = [draw.words(n), draw.words(16, 2, n)]
    return Call((2, n), operands, lambda backend, *given: backend.picked(*given), n)


def _near_counts(draw: Operands, n: int) -> Call:
    rows = sum(digit_words(width, GATE_BITS) for width in GATE_DIGITS)
    operands = [draw.words(n), draw.words(rows, n)]
    return Call(
        (n,), operands, lambda backend, *given: backend.near_counts(*given, 0, GATE_START, GATE_DIGITS), n
    )


def _picked_product(draw: Operands, n: int) -> Call:
    bits = SOFTMAX.look_bits
    operands = [draw.words(n, bits=bits), draw.words(n), draw.words(GATE_ENTRIES, 3, n)]
    return Call((n,), operands, lambda backend, *given: backend.picked_product(*given, 3, bits), n, bits)


def _window_counts(draw: Operands, n: int) -> Call:
    rows = sum(digit_words(width, COUNT_BITS) for width in WIDTHS)
    operands = [draw.words(n), draw.words(rows, n)]
    sizes = STARTS, WIDTHS, COUNT_BITS, LEAD
    return Call((WINDOWS - 1, n), operands, lambda backend, *given: backend.window_counts(*given, *sizes), n)


def _window_lines(draw: Operands, n: int) -> Call:
    values, slopes = (draw.words(WINDOWS, n, bits=bits) for bits in inverses.LOOK)
    gated, counted = draw.words(WINDOWS - 1, 1 << COUNT_BITS, 10, n), draw.words(WINDOWS - 1, n)
    operands = [values, slopes, draw.words(5, n), gated, counted]
    return Call((n,), operands, lambda backend, *given: backend.window_lines(*given, inverses.LOOK), n)


def _signed_units(draw: Operands, n: int) -> Call:
    operands = [draw.words(n), draw.words(UNITS, n)]
    return Call((UNITS, n), operands, lambda backend, *given: backend.signed_units(*given)[0], n)


def _spread(draw: Operands, n: int) -> Call:
    operands = [draw.words(n), draw.words(3, n)]
    return Call(
        (GATE_ENTRIES, 3, n), operands, lambda backend, *given: backend.spread(*given, GATE_ENTRIES), n
    )


def _curve_words(draw: Operands, n: int) -> Call:
    operands = [*(draw.words(n) for _ in range(4)), draw.planes(2, n)]
    sizes = CELL, SOURCE, LOOKS
    return Call((15, n), operands, lambda backend, *given: backend.curve_words(*given, *sizes), n)


LOOKUPS: dict[str, Maker] = {
    "exp_lookup": _exp_lookup,
    "exp_finish": _exp_finish,
    "table_sums": _table_sums,
    "line_values": _line_values,
    "gated_line": _gated_line,
    "gated_opened": _gated_opened,
    "picked": _picked,
    "near_counts": _near_counts,
    "picked_product": _picked_product,
    "window_counts": _window_counts,
    "window_lines": _window_lines,
    "signed_units": _signed_units,
    "spread": _spread,
    "curve_words": _curve_words,
}
