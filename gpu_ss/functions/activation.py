"""Activations as piecewise cubics with exact tails: GeLU, tanh, and ReLU.

With a dealer, GeLU of numbers that are known to be small is a look-up of lines (`protocols.curve`). Two parties
alone take lines for many elements of GeLU (`protocols.lines`), else quadratics.

x is read with FRAC = 12 fractional bits. Where a function behaves like x, that part is kept apart at x's own
scale, so large inputs pass exactly; the fitted remainder is small, scaled high, and truncated at the end.
"""

from __future__ import annotations

from gpu_ss.cost import FREE, Cost, opening
from gpu_ss.economy import DEALT, Economy
from gpu_ss.errors import RingMismatch
from gpu_ss.functions.tables import CURVES, LINES, QUADRATIC, curve_table, line_table, table
from gpu_ss.party import Party, Round, Steps, protocol, together
from gpu_ss.protocols.compare import alone_is_cheaper, at_least, effective, shape_for, tree_cost
from gpu_ss.protocols.curve import curve_holds, look_up_curve
from gpu_ss.protocols.io import open_masked
from gpu_ss.protocols.lines import evaluate_lines, lines_are_cheaper, lines_cost
from gpu_ss.protocols.millionaire import relu_alone
from gpu_ss.protocols.piecewise import PiecewiseTable, evaluate
from gpu_ss.protocols.select import Chooser, Variable, chooser_cost
from gpu_ss.protocols.trunc import extend, truncate, truncate_cost
from gpu_ss.ring import WORD, Ring
from gpu_ss.values import AShare

FRAC = 12


def activation_table(name: str | PiecewiseTable, economy: Economy = DEALT) -> PiecewiseTable:
    """The table of a function: of cubics, or of quadratics where the parties make the products of powers.

    A table that is given (`tables.read` of what `fastlmpi fit` wrote) is taken as it is.
    """
    if isinstance(name, PiecewiseTable):
        return name
    return table(name + QUADRATIC if economy.alone else name)


def _value_bits(chosen: PiecewiseTable) -> int:
    """Ring bits that a table's values need."""
    return chosen.value_bits + chosen.whole_bits + 2


def _activation_cost(
    x: AShare,
    name: str | PiecewiseTable = "gelu",
    compare_bits: int | None = None,
    ring: Ring | None = None,
    frac_bits: int | None = None,
) -> Cost:
    read, out_ring, out_frac = _plan(x, ring, frac_bits)
    bits = min(read.bits, compare_bits or read.bits)
    if name in CURVES and curve_holds(bits, out_ring, out_frac):
        cells: Cost = look_up_curve.cost(x, curve_table(name), bits, out_ring, out_frac)
        return cells
    chosen, cost = activation_table(name), FREE
    width = _value_bits(chosen)
    if read.bits < width:
        cost = truncate_cost(x.size, read.bits, 0, width)
        read = Ring(width)
    shape_only = AShare(x.data, read, FRAC)
    cost = cost + evaluate.cost(shape_only, chosen, compare_bits or read.bits)
    rounding = truncate_cost(x.size, read.bits, chosen.value_bits - out_frac, out_ring.bits)
    if not any(any(w.linear) for w in chosen.windows):
        return cost + rounding
    free = min(WORD, read.bits + out_frac - FRAC)
    return cost + (rounding & truncate_cost(x.size, free, 0, max(free, out_ring.bits)))


def _plan(x: AShare, ring: Ring | None, frac_bits: int | None) -> tuple[Ring, Ring, int]:
    """Ring after reading x with FRAC bits, and ring and scale of the result."""
    if x.frac_bits < FRAC:
        raise RingMismatch(f"activations read {FRAC} fractional bits, got {x!r}; lift it first")
    return (
        Ring(x.ring.bits - (x.frac_bits - FRAC)),
        ring or x.ring,
        x.frac_bits if frac_bits is None else frac_bits,
    )


@protocol(cost=_activation_cost, paper="FASTLMPI")
def activation(
    party: Party,
    x: AShare,
    name: str | PiecewiseTable = "gelu",
    compare_bits: int | None = None,
    ring: Ring | None = None,
    frac_bits: int | None = None,
) -> Steps[AShare]:
    """The function of that table (or of its name) at x, right for all |x| < 2^(bits-2) units, saturating exactly.

    Result in `ring` with `frac_bits` (default: x's), both at least FRAC and at most what x had. With
    `compare_bits` the caller promises |x| < 2^(compare_bits - 2 - FRAC). Error: table's fit (see
    docs/protocols.md) and one unit of 2^-12. Opens what `piecewise.evaluate` opens, and wrap bits; or what
    `curve.look_up_curve` opens.
    """
    read, out_ring, out_frac = _plan(x, ring, frac_bits)
    x = yield from truncate.steps(party, x, x.frac_bits - FRAC, read)
    bits = min(read.bits, compare_bits or read.bits)
    if isinstance(name, str) and name in LINES and lines_are_cheaper(party, x.size, line_table(name), bits):
        return (yield from by_lines.steps(party, x, name, bits, out_ring, out_frac))
    if name in CURVES and curve_holds(bits, out_ring, out_frac) and not party.economy.alone:
        return (yield from look_up_curve.steps(party, x, curve_table(name), bits, out_ring, out_frac))
    chosen = activation_table(name, party.economy)
    width = _value_bits(chosen)
    if read.bits < width:
        x = yield from extend.steps(party, x, Ring(width))
    elif party.economy.alone:  # a product's price grows with the square of its ring
        x = x.narrowed(Ring(min(read.bits, max(width, compare_bits or read.bits))))
    parts = yield from evaluate.steps(party, x, chosen, compare_bits or x.ring.bits)
    rounding = truncate.steps(party, parts.value, chosen.value_bits - out_frac, out_ring)
    if parts.linear is None:
        plain: AShare = yield from rounding
        return plain
    pair: list[AShare] = yield from together(rounding, _widened(party, parts.linear, out_ring, out_frac))
    return pair[0] + pair[1]


def _lines_cost(
    x: AShare,
    name: str = "gelu",
    compare_bits: int | None = None,
    ring: Ring | None = None,
    frac_bits: int | None = None,
) -> Cost:
    read, out_ring, out_frac = _plan(x, ring, frac_bits)
    n, bits = x.size, max(min(read.bits, compare_bits or read.bits), line_table(name).least_bits)
    cost = truncate_cost(n, read.bits, 0, bits) + lines_cost(n, line_table(name), bits)
    free = min(WORD, bits + out_frac - FRAC)
    return cost + truncate_cost(n, free, 0, max(free, out_ring.bits))


@protocol(cost=_lines_cost, paper="RRKC20")
def by_lines(
    party: Party,
    x: AShare,
    name: str = "gelu",
    compare_bits: int | None = None,
    ring: Ring | None = None,
    frac_bits: int | None = None,
) -> Steps[AShare]:
    """`activation` of a function in LINES by its lines: for many elements where the parties make the correlations.

    Error: the lines' 2.4e-4 and a unit and a half of 2^-12; exact beyond them. Opens what
    `lines.evaluate_lines` opens, and wrap bits.
    """
    read, out_ring, out_frac = _plan(x, ring, frac_bits)
    x = yield from truncate.steps(party, x, x.frac_bits - FRAC, read)
    lines = line_table(name)
    bits = max(min(read.bits, compare_bits or read.bits), lines.least_bits)
    if x.ring.bits < bits:
        x = yield from extend.steps(party, x, Ring(bits))
    value = yield from evaluate_lines.steps(party, x.narrowed(Ring(bits)), lines)
    return (yield from _widened(party, value, out_ring, out_frac))


def _widened(party: Party, line: AShare, ring: Ring, frac_bits: int) -> Steps[AShare]:
    """The linear part at the result's scale: multiplying by 2^k adds k bits to the ring for free."""
    lifted = line.lifted(frac_bits)
    free = Ring(min(WORD, line.ring.bits + frac_bits - line.frac_bits))
    widened = AShare(lifted.data, free, frac_bits)
    return (
        widened.narrowed(ring) if ring.bits <= free.bits else (yield from extend.steps(party, widened, ring))
    )


def gelu(party: Party, x: AShare) -> AShare:
    """x * Phi(x) with the exact normal distribution (erf form). Max error 3.1e-4 (alone up to 4.2e-4) and 2^-12."""
    return activation(party, x, "gelu")


def gelu_tanh(party: Party, x: AShare) -> AShare:
    """GeLU in its tanh form (gelu_new, gelu_pytorch_tanh). Max error 3.4e-4 (alone up to 4.3e-4) + 2^-12."""
    return activation(party, x, "gelu_tanh")


def tanh(party: Party, x: AShare) -> AShare:
    """Hyperbolic tangent. Max error 1.2e-4 (alone 4.2e-4) + 2^-12."""
    return activation(party, x, "tanh")


def _relu_cost(x: AShare, compare_bits: int | None = None) -> Cost:
    n, bits = x.size, compare_bits or x.ring.bits
    return (
        opening((n, x.ring.bits))
        + tree_cost(n, shape_for(bits), 1)
        + chooser_cost(n, x.ring.bits, 1, [(1, False, True)])
    )


@protocol(cost=_relu_cost, paper="EGKRS20")
def relu(party: Party, x: AShare, compare_bits: int | None = None) -> Steps[AShare]:
    """max(x, 0), exact for |x| < 2^(bits-2) units: one opening serves the comparison and the product.

    Two parties alone compare and choose on their own shares where that is cheaper (`millionaire`).
    """
    if alone_is_cheaper(party, x.size, compare_bits or x.ring.bits):
        return (yield from relu_alone(party, x, compare_bits))
    (opened,) = yield from open_masked.steps(party, x, tag="relu")
    positive = yield from at_least(party, effective(opened, compare_bits or x.ring.bits), [0])
    chooser = Chooser(party, positive, [Variable.of(opened)], x.ring)
    (d,) = yield Round("relu", (chooser.item,))
    data = chooser.finish(party, d, [opened.words], [[[0, 1]]])
    return AShare(data.reshape(x.shape), x.ring, x.frac_bits)
