"""Attention kernels: from queries, keys and values of all heads to what each head makes of its values.

Every kernel is a protocol step of the same form: from `Vectors` to a result of v's shape, in the hidden ring at
scale ACTIVATION; `watch` is called where bounds were calibrated. A profile picks one (profiles.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from gpu_ss.functions.rows import NARROW, opened_rows, scaled_rows
from gpu_ss.functions.rows import Rows as OpenedRows
from gpu_ss.functions.softmax import (
    INVERSE_FRAC,
    INVERSE_RING,
    PROBABILITY_FRAC,
    WEIGHT_FRAC,
    inverse_sums,
    with_mask,
)
from gpu_ss.party import Party, Steps, together
from gpu_ss.protocols import arith
from gpu_ss.protocols.arith import matmul, matmul_opened
from gpu_ss.protocols.compare import effective
from gpu_ss.protocols.extended import open_extended, row_square_sums
from gpu_ss.protocols.io import open_masked
from gpu_ss.protocols.lookup import SOFTMAX, exp2_opened
from gpu_ss.protocols.trunc import extend, truncate
from gpu_ss.ring import RING64, WORD, Ring
from gpu_ss.values import AShare
from transformer.architecture import Numbers
from transformer.parameters import LOG2_E


@dataclass(frozen=True, slots=True)
class Vectors:
    """What attention reads: q, k, v [batch, heads, length, head size], q being scaled by log2(e) / sqrt(head size).

    keep [batch, length]: 1 for tokens, 0 for padding (0 fractional bits).
    """

    q: AShare
    k: AShare
    v: AShare
    keep: AShare


@dataclass(frozen=True, slots=True)
class Watched:
    """Squared norms of a layer's queries or keys, in the 64-bit ring, that must stay below 2^exponent."""

    name: str
    layer: int | None
    squares: AShare
    exponent: int


#: Called with shares of what a query is checked for, before the numbers it bounds are used in smaller rings.
Watch = Callable[[Watched], None]
#: See the module's text.
Kernel = Callable[[Party, Numbers, Vectors, Watch], Steps[AShare]]
#: From masked scores [batch, heads, length, length] to weights with WEIGHT_FRAC bits in 64, the largest about 1.
Weights = Callable[[Party, AShare], Steps[AShare]]
#: From scores, the keys' bits [batch, heads, length], and the exponent of the scores' range, to rows that sum to 1.
Rows = Callable[[Party, AShare, AShare, int], Steps[AShare]]


def ignore(watched: Watched) -> None:
    """Checks nothing: where nothing is calibrated, or for planning a part."""


CONSTANT_FRAC = 16  # fractional bits of public factors
#: Of the inverse sums' fractional bits, with a dealer: those that are left resolve 1 / 256 to 12 bits.
INVERSE_DROP = INVERSE_FRAC - 20
SHORT_INVERSE_RING = Ring(INVERSE_RING.bits - INVERSE_DROP)


def normalised_last(weights: Weights) -> Kernel:
    """Weights E of which the rows' sums are divided out after the product with the values: P is never formed."""

    def kernel(party: Party, numbers: Numbers, x: Vectors, watch: Watch) -> Steps[AShare]:
        scores = yield from _scores(party, numbers, x.q, x.k, watch)
        found = yield from weights(party, with_mask(party, scores, _of_keys(x.keep)))
        values, inverse = yield from together(
            _weighted_values(party, numbers, found, x.v), inverse_sums.steps(party, found)
        )
        if not party.economy.alone:
            inverse = yield from truncate.steps(party, inverse, INVERSE_DROP, SHORT_INVERSE_RING)
        hidden = Ring(numbers.hidden_bits)
        result = yield from scaled_rows(party, values, inverse.reshape(-1), 0, numbers.ACTIVATION, hidden)
        return result.reshape(*x.v.shape)

    return kernel


def normalised_first(rows: Rows, masked: bool) -> Kernel:
    """Rows P that sum to 1, then P V. `masked`: masked keys get scores far below all others, else their own."""

    def kernel(party: Party, numbers: Numbers, x: Vectors, watch: Watch) -> Steps[AShare]:
        scores = yield from _scores(party, numbers, x.q, x.k, watch)
        if masked:
            scores = with_mask(party, scores, _of_keys(x.keep))
        shape = (*scores.shape[:2], scores.shape[-1])
        keys = x.keep.reshape(x.keep.shape[0], 1, -1).map(lambda d: party.backend.xp.broadcast_to(d, shape))
        p = yield from rows(party, scores, keys, numbers.bounds.score + (3 if masked else 0))
        return (yield from _values(party, numbers, p, x.v))

    return kernel


def gaussian(party: Party, numbers: Numbers, x: Vectors, watch: Watch) -> Steps[AShare]:
    """E V with E = exp(-|q - k|^2 / (2 sqrt(head size))), not divided by anything, and no row maximum.

    With c = log2(e) / sqrt(head size) and q' = c q at hand, the exponent of 2 is q' k - |q'|^2 / 2c - c |k|^2 / 2.
    """
    c = LOG2_E / math.sqrt(numbers.arch.head_size)
    ring = Ring(numbers.kernel_bits)
    q, k = x.q.narrowed(ring), x.k.narrowed(ring)
    scores, of_q, of_k = yield from together(
        matmul.steps(party, q, k, transposed=True), _squares(party, q, 0.5 / c), _squares(party, k, 0.5 * c)
    )
    xp, shape = party.backend.xp, scores.shape
    for part in (of_q.reshape(*of_q.shape, 1), of_k.reshape(*of_k.shape[:-1], 1, of_k.shape[-1])):
        scores = scores - part.map(lambda d: xp.broadcast_to(d, shape))
    scores = yield from truncate.steps(
        party, scores, numbers.ACTIVATION, Ring(ring.bits - numbers.ACTIVATION)
    )
    scores = with_mask(party, scores, _of_keys(x.keep))
    (opened,) = yield from open_masked.steps(party, scores, tag="scores")
    found = yield from exp2_opened(party, effective(opened, scores.ring.bits), SOFTMAX, RING64)
    short = yield from truncate.steps(
        party, found.reshape(*shape), WEIGHT_FRAC - PROBABILITY_FRAC, INVERSE_RING
    )
    return (yield from _values(party, numbers, short, x.v))


def _squares(party: Party, x: AShare, factor: float) -> Steps[AShare]:
    """factor times the squared norm of each vector, at twice x's scale, in x's ring: [batch, heads, length]."""
    (opened,) = yield from open_masked.steps(party, x.reshape(-1, x.shape[-1]), tag="squares")
    wide = yield from extend.steps(party, arith.row_square_sums(party, opened), RING64)
    scaled = yield from truncate.steps(party, wide.scaled(factor, CONSTANT_FRAC), CONSTANT_FRAC, x.ring)
    return scaled.reshape(*x.shape[:-1])


def _scores(party: Party, numbers: Numbers, q: AShare, k: AShare, watch: Watch) -> Steps[AShare]:
    """Q K^T at scale ACTIVATION. Calibrated bounds are checked on the same openings of Q and K."""
    ring, bounds = Ring(numbers.score_bits), numbers.bounds
    q, k = q.narrowed(ring), k.narrowed(ring)
    if bounds.query is None or bounds.key is None:
        scores = yield from matmul.steps(party, q, k, transposed=True)
    else:
        rows = (x.reshape(-1, x.shape[-1]) for x in (q, k))
        opened = yield from together(*(open_extended.steps(party, x, RING64, "matmul") for x in rows))
        for name, exponent, x in zip(("queries", "keys"), (bounds.query, bounds.key), opened, strict=True):
            watch(Watched(name, numbers.layer, row_square_sums(party, x), exponent))
        left, right = (x.own.reshape(*whole.shape) for x, whole in zip(opened, (q, k), strict=True))
        scores = matmul_opened(party, left, right, transposed=True)
    read = Ring(numbers.score_bits - numbers.ACTIVATION)
    return (yield from truncate.steps(party, scores, numbers.ACTIVATION, read))


def _of_keys(keep: AShare) -> AShare:
    """[batch, length] as [batch, 1, 1, length]."""
    return keep.reshape(keep.shape[0], 1, 1, keep.shape[1])


def _weighted_values(party: Party, numbers: Numbers, weights: AShare, v: AShare) -> Steps[OpenedRows]:
    """E V at scale ACTIVATION, opened as rows of one head's values: in the smallest rings that hold it.

    With a dealer they are extended to the ring from which dividing by the sums is a free truncation.
    """
    ring = Ring(min(INVERSE_RING.bits, numbers.sums_bits(v.shape[-2])))
    short = yield from truncate.steps(party, weights, weights.frac_bits - PROBABILITY_FRAC, INVERSE_RING)
    sums = yield from matmul.steps(party, short.narrowed(ring), v.narrowed(ring))
    rows, wide = sums.reshape(-1, v.shape[-1]), INVERSE_RING
    if not party.economy.alone:
        wide = Ring(min(WORD, numbers.hidden_bits + INVERSE_FRAC - INVERSE_DROP))
    return (yield from opened_rows(party, rows, PROBABILITY_FRAC, wide, NARROW, "values"))


def _values(party: Party, numbers: Numbers, p: AShare, v: AShare) -> Steps[AShare]:
    """P V for P with PROBABILITY_FRAC bits in INVERSE_RING."""
    product = yield from matmul.steps(party, p, v.narrowed(INVERSE_RING))
    return (yield from truncate.steps(party, product, PROBABILITY_FRAC, Ring(numbers.hidden_bits)))
