"""A protocol's arithmetic on clear numbers, without a second party: what it computes, fast, for evaluation.

A `ClearParty` runs the same programs as two parties do. It is rank 0 with every mask 0 and a rank 1 that holds
nothing, so a share is the value itself and an opening gives what was put in: the rounding, the tables, the rings
are those of the protocol, and cannot drift from it. Correlations are what a dealer would deal for masks of 0.

Two things differ. Truncation rounds to the nearest unit; between parties it gives that unit or a neighbour, at
random (`protocols.trunc`), so a result differs by what its truncations' units can do, and no more. And protocols
that are not symmetric in the ranks, or dear on masks that are 0, run as their definition in NumPy (IDEALS).

There is nothing private about it: whoever runs it holds everything. It is not a party of any session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ss.backend.base import Backend
from gpu_ss.clear_noise import clear_gaussian, clear_laplace
from gpu_ss.economy import DEALT, Economy
from gpu_ss.errors import CorrelationError
from gpu_ss.field import Field
from gpu_ss.fixed import own_power
from gpu_ss.functions.activation import FRAC
from gpu_ss.functions.maximum import maximum
from gpu_ss.functions.noise import gaussian, laplace
from gpu_ss.functions.segmented import VALUE_BITS, Segments, segmented
from gpu_ss.functions.softmax import HALF, SHORT_RING, softmax_weights
from gpu_ss.party import Party, Protocol, Round, Steps
from gpu_ss.prg import Prg
from gpu_ss.protocols.arith import matmul
from gpu_ss.protocols.compare import effective, ge_public
from gpu_ss.protocols.curve import CELL, INDEX, START, VALUE, CurveTable, look_up_curve
from gpu_ss.protocols.fields import from_field, to_field
from gpu_ss.protocols.inverses import PLACE, Windows, inverses, line_tables
from gpu_ss.protocols.io import open_masked, reveal
from gpu_ss.protocols.lines import LineTable, evaluate_lines
from gpu_ss.protocols.lookup import SOFTMAX, exp2_opened
from gpu_ss.protocols.millionaire import negative, times_bit
from gpu_ss.protocols.periodic import WAVE_FRAC, WAVE_RING, sine_series
from gpu_ss.protocols.piecewise import Evaluated, PiecewiseTable, evaluate
from gpu_ss.protocols.power import BELOW, FACTOR, POWER_FRAC, UNITS, exp2
from gpu_ss.protocols.trunc import extend, truncate
from gpu_ss.provider.base import Provider
from gpu_ss.provider.correlation import Correlation, Dealing
from gpu_ss.provider.specs.arithmetic import (
    MatmulProduct,
    Powers,
    Product,
    RowProduct,
    RowSquareSum,
    WrapProduct,
)
from gpu_ss.provider.specs.extended import ExtendedMask, ExtendedProduct, ExtendedSquares
from gpu_ss.provider.specs.fields import FieldRowProduct, FieldRowSquareSum
from gpu_ss.provider.specs.inverse import fraction
from gpu_ss.provider.specs.tables import ExpLookup, NearLookup
from gpu_ss.ring import RING64, WORD, Array, Ring
from gpu_ss.values import AShare, BShare, FShare

#: Correlations whose derived values are products of masks: 0 for masks of 0.
VANISHING = (
    ExtendedMask,
    ExtendedProduct,
    ExtendedSquares,
    FieldRowProduct,
    FieldRowSquareSum,
    MatmulProduct,
    Powers,
    Product,
    RowProduct,
    RowSquareSum,
    WrapProduct,
)
SIGNED = (ExpLookup, NearLookup)
UNIT_MASK = np.uint64((1 << UNITS) - 1)


class ClearProvider(Provider):
    """Correlations for masks of 0, all of them at rank 0."""

    def __init__(self, backend: Backend, economy: Economy = DEALT) -> None:
        super().__init__()
        self.economy = economy
        self._backend = backend
        self._masks: dict[int, tuple[int, ...]] = {}

    def _expand(self, number: int, spec: Correlation) -> Sequence[Array]:
        outs = spec.outputs()
        arrays = [self._backend.zeros(out.shape) for out in outs]
        if spec.is_mask:
            self._masks[number] = outs[0].shape
        elif not isinstance(spec, VANISHING):
            arrays = self._dealt(spec, arrays)
            if isinstance(spec, SIGNED):  # by rank 0's share of the unit vector: all of it
                arrays = self._dealt(spec, arrays)
        return arrays

    def _dealt(self, spec: Correlation, mine: list[Array]) -> list[Array]:
        outs = spec.outputs()
        clear = [array if out.random else None for out, array in zip(outs, mine, strict=True)]
        values = iter(spec.deal(Dealing(self._backend, clear, mine, self._mask)))
        return [
            array if out.random else next(values).reshape(out.shape)
            for out, array in zip(outs, mine, strict=True)
        ]

    def _mask(self, number: int) -> Array:
        return self._backend.zeros(self._masks[number])


class ClearParty(Party):
    """Rank 0 of nobody: runs programs on clear numbers."""

    def __init__(self, backend: Backend, economy: Economy = DEALT) -> None:
        no_channel: Any = None
        super().__init__(0, backend, ClearProvider(backend, economy), no_channel, Prg(backend, bytes(32)))

    @property
    def ideals(self) -> Mapping[str, Callable[..., Steps[Any]]]:
        return IDEALS

    def exchange(self, request: Round) -> list[Array]:
        """What is opened is what this party puts in."""
        if any(item.data is None for item in request.items):
            raise CorrelationError(
                f"round {request.tag!r} depends on the ranks: its protocol needs a definition in gpu_ss/clear.py"
            )
        if self.watch is not None:
            self.watch(request.tag)
        return [item.data if item.xor else Ring(item.bits).reduce(item.data) for item in request.items]


# -- definitions ------------------------------------------------------------------------------------------------


def _now(compute: Callable[..., Any]) -> Callable[..., Steps[Any]]:
    """A local computation as a protocol of no rounds."""

    def steps(*args: Any, **kwargs: Any) -> Steps[Any]:
        return compute(*args, **kwargs)
        yield  # pragma: no cover - makes this a generator

    return steps


def _truncate(party: Party, x: AShare, shift: int, ring: Ring | None = None) -> AShare:
    """x / 2^shift to the nearest unit, half upwards."""
    rounded = _rounded(signed(x.ring, x.data), shift)
    return AShare(rounded.view(np.uint64), ring or x.ring, x.frac_bits - shift)


def _rounded(values: Array, shift: int) -> Array:
    """int64 values / 2^shift to the nearest integer, half upwards."""
    return (values + (np.int64(1) << np.int64(shift - 1)) if shift else values) >> np.int64(shift)


def _extend(party: Party, x: AShare, ring: Ring) -> AShare:
    return AShare(signed(x.ring, x.data).view(np.uint64), ring, x.frac_bits)


def signed(ring: Ring, words: Array) -> Array:
    """Centred representatives as int64."""
    room = WORD - ring.bits
    return (words << np.uint64(room)).view(np.int64) >> np.int64(room)


def _matmul(party: Party, x: AShare, y: AShare, transposed: bool = False) -> AShare:
    right = y.data
    if transposed:
        order = (*range(right.ndim - 2), right.ndim - 1, right.ndim - 2)
        right = party.backend.xp.ascontiguousarray(right.transpose(order))
    return AShare(party.backend.matmul(x.data, right), x.ring, x.frac_bits + y.frac_bits)


def _negative(party: Party, x: AShare) -> BShare:
    top = x.ring.bits - 1
    return BShare(party.backend.bit_plane(x.data.reshape(-1), top), x.shape)


def _ge_public(party: Party, x: AShare, threshold: int = 0, shape: object = None) -> BShare:
    below = _negative(party, AShare(x.data - RING64.constant(threshold), x.ring, x.frac_bits))
    return BShare(below.planes ^ party.lead, x.shape)


def _times_bit(party: Party, b: BShare, x: AShare) -> AShare:
    bits = party.backend.plane_words(b.planes, x.size)[0].reshape(x.shape)
    return AShare(bits * x.data, x.ring, x.frac_bits)


def _maximum(party: Party, x: AShare) -> AShare:
    best = signed(x.ring, x.data).max(axis=-1)
    return AShare(best.view(np.uint64), x.ring, x.frac_bits)


def _softmax_weights(party: Party, y: AShare) -> Steps[AShare]:
    """Everything but the tournament of the maximum."""
    top = (signed(y.ring, y.data) >> np.int64(HALF)).max(axis=-1, keepdims=True) << np.int64(HALF)
    below = AShare(y.data - top.view(np.uint64), y.ring, y.frac_bits)
    if party.economy.in_fields(y.size):
        return (yield from exp2.steps(party, below, SHORT_RING))
    (opened,) = yield from open_masked.steps(party, below, tag="scores")
    weights = yield from exp2_opened(party, effective(opened, y.ring.bits), SOFTMAX, RING64)
    return weights.reshape(*y.shape)


def _evaluate(
    party: Party,
    x: AShare,
    table: PiecewiseTable,
    compare_bits: int | None = None,
    ring: Ring | None = None,
) -> Evaluated:
    """The piece of each element, evaluated modulo 2^64 as the protocol does."""
    units, words, ring = signed(x.ring, x.data), x.ring.reduce(x.data), ring or x.ring
    value = np.full(x.shape, table.first % 2**WORD, np.uint64)
    linear = np.zeros(x.shape, np.uint64)
    for window in table.windows:
        starts = np.array(window.starts, np.int64)
        piece = np.searchsorted(starts, units >> np.int64(window.shift), side="right") - 1
        reached, piece = piece >= 0, np.maximum(piece, 0)
        total = np.zeros(x.shape, np.uint64)
        for i, coarser in enumerate(window.coarser):
            v = words >> np.uint64(window.shift + coarser)
            part = np.zeros(x.shape, np.uint64)
            for column in _columns([p[i] for p in window.pieces])[::-1]:
                part = part * v + column[piece]
            total = total + part
        value = np.where(reached, total, value)
        if any(window.linear):
            slopes = np.array([c % 2**WORD for c in window.linear], np.uint64)
            linear = np.where(reached, slopes[piece] * x.data, linear)
    line = AShare(linear, ring, x.frac_bits) if any(any(w.linear) for w in table.windows) else None
    return Evaluated(AShare(value, ring, table.value_bits), line)


def _inverses(party: Party, x: AShare, windows: Windows) -> AShare:
    """The line around floor(x / 2^s), of the highest window from whose start on a digit of x is above 1."""
    words = x.ring.reduce(x.data)
    lines, found = [], np.zeros(x.shape, np.int64)
    for w, shift in enumerate(windows.shifts):
        base, slope = line_tables(windows.roots, shift == 0)
        at = (words >> np.uint64(shift)) & np.uint64(base.size - 1)
        value = (base[at] << np.uint64(PLACE)) + slope[at] * fraction(words, shift, PLACE)
        lines.append(value << np.uint64(windows.scales[w]))
        digit = Ring(windows.widths[w]).reduce(words >> np.uint64(windows.starts[w]))
        found = np.where(digit > np.uint64(1), w, found)
    return AShare(np.take_along_axis(np.stack(lines), found[None], axis=0)[0], RING64, 0)


def _segmented(
    party: Party,
    x: AShare,
    segments: Segments,
    compare_bits: int | None = None,
    ring: Ring | None = None,
    frac_bits: int | None = None,
) -> AShare:
    """The segment of each element, with the rounding of x, of x^2 and of the result."""
    out_ring, out_frac = ring or x.ring, x.frac_bits if frac_bits is None else frac_bits
    read = _truncate(party, x, x.frac_bits - FRAC, RING64)
    square = _truncate(party, AShare(read.data * read.data, RING64, 2 * FRAC), FRAC, RING64)
    units = signed(RING64, read.data)
    piece = np.searchsorted(np.array(segments.thresholds, np.int64), units, side="right")
    value = np.zeros(x.shape, np.uint64)
    for rows, words in ((segments.in_x, read.data), (segments.in_u, square.data)):
        part = np.zeros(x.shape, np.uint64)
        for column in _columns(rows)[::-1]:
            part = part * words + column[piece]
        value = value + part
    slopes = np.array([slope % 2**WORD for slope in segments.slopes], np.uint64)
    line = AShare(slopes[piece] * read.data, RING64, FRAC).lifted(out_frac).narrowed(out_ring)
    return _truncate(party, AShare(value, RING64, VALUE_BITS), VALUE_BITS - out_frac, out_ring) + line


def _columns(pieces: Sequence[Sequence[int]]) -> NDArray[np.uint64]:
    """Coefficients of all pieces by power: [degree + 1, pieces], modulo 2^64."""
    width = max(len(piece) for piece in pieces)
    return np.array([[(*p, *[0] * width)[k] % 2**WORD for p in pieces] for k in range(width)], np.uint64)


def _evaluate_lines(party: Party, x: AShare, table: LineTable) -> AShare:
    """The line that x is on, with the rounding of its rise and of the result; or what is beyond."""
    units = signed(x.ring, x.data)
    own = units - table.start
    line, at = own >> np.int64(table.piece_bits), own & np.int64((1 << table.piece_bits) - 1)
    inside = (line >= 0) & (line < len(table.values))
    line = np.where(inside, line, 0)
    rise = np.array(table.slopes, np.int64)[line] * (at - (1 << (table.piece_bits - 1)))
    rise = _rounded(rise, table.slope_bits + table.frac_bits - table.value_bits)
    value = np.array(table.values, np.int64)[line] + rise + table.lean * units
    value = _rounded(value, table.value_bits - table.frac_bits) + table.low
    beyond = np.where(own < 0, table.low, table.high + table.slope * units)
    return AShare(np.where(inside, value, beyond).view(np.uint64), x.ring, x.frac_bits)


def _look_up_curve(
    party: Party, x: AShare, table: CurveTable, bits: int, ring: Ring, frac_bits: int
) -> AShare:
    """The line of x's cell, with the rounding of the result; 0 below all cells, x above them."""
    units = signed(x.ring, x.data)
    place = units + START
    cell = np.clip(place >> np.int64(CELL), 0, (1 << INDEX) - 1)
    rise = np.array(table.slopes, np.int64)[cell] * (place & np.int64((1 << CELL) - 1))
    value = _rounded(np.array(table.values, np.int64)[cell] + rise, VALUE - frac_bits)
    line = units << np.int64(frac_bits - FRAC)
    found = np.where(place < 0, 0, np.where(place >> np.int64(CELL + INDEX) > 0, line, value))
    return AShare(found.view(np.uint64), ring, frac_bits)


def _exp2(party: Party, z: AShare, ring: Ring) -> AShare:
    """2^z with rank 0's factor rounded, rank 1's being 1; exactly 0 below."""
    w = signed(z.ring, z.data) + (BELOW << FRAC)
    factor = own_power(w.view(np.uint64), FRAC, FACTOR) << (w.view(np.uint64) >> np.uint64(FRAC) & UNIT_MASK)
    power = _rounded(factor.view(np.int64), FACTOR + BELOW - POWER_FRAC)
    return AShare(np.where(w < 0, 0, power).view(np.uint64), ring, POWER_FRAC)


def _to_field(party: Party, x: AShare, shift: int, field: Field) -> FShare:
    rounded = _rounded(signed(x.ring, x.data), shift)
    return FShare((rounded % np.int64(field.prime)).view(np.uint64), field, x.frac_bits - shift)


def _from_field(party: Party, x: FShare, shift: int, ring: Ring, signed: bool = True) -> AShare:
    values = x.data.view(np.int64)
    centred = np.where(values > x.field.prime // 2, values - np.int64(x.field.prime), values)
    return AShare(_rounded(centred, shift).view(np.uint64), ring, x.frac_bits - shift)


def _sine_series(party: Party, angle: AShare, factors: Sequence[float]) -> AShare:
    turn = angle.ring.reduce(angle.data).astype(np.float64) * (2 * np.pi / 2.0**angle.ring.bits)
    total = sum(factor * party.backend.xp.sin((k + 1) * turn) for k, factor in enumerate(factors))
    words = party.backend.xp.rint(total * 4.0**WAVE_FRAC).astype(np.int64).astype(np.uint64)
    return AShare(words, WAVE_RING, 2 * WAVE_FRAC)


def _reveal(party: Party, x: AShare, to: int | None = None) -> Array:
    return x.ring.reduce(x.data)


#: Protocols that run by definition here, those of no rounds.
DEFINED: dict[Protocol[Any, Any], Callable[..., Any]] = {
    truncate: _truncate,
    extend: _extend,
    matmul: _matmul,
    negative: _negative,
    ge_public: _ge_public,
    times_bit: _times_bit,
    sine_series: _sine_series,
    maximum: _maximum,
    evaluate: _evaluate,
    evaluate_lines: _evaluate_lines,
    look_up_curve: _look_up_curve,
    exp2: _exp2,
    to_field: _to_field,
    from_field: _from_field,
    inverses: _inverses,
    segmented: _segmented,
    laplace: clear_laplace,
    gaussian: clear_gaussian,
    reveal: _reveal,
}
#: All of them, by name.
IDEALS: dict[str, Callable[..., Steps[Any]]] = {
    protocol.name: _now(compute) for protocol, compute in DEFINED.items()
} | {softmax_weights.name: _softmax_weights}
