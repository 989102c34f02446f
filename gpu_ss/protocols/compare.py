"""Comparison with public thresholds, from one masked opening and a shallow tree.

With C = x + r open, x - t = (C - t) - r, so the sign of x - t is the top bit of C - t, XOR the top bit of
r, XOR the borrow [low bits of C - t < low bits of r]. C - t is public and r is the dealer's: split the low
bits into digits of a few bits; the digits' "less" and "equal" are linear in the XOR shares of the products
of r's bits, with public coefficients, so they cost nothing. A tree of nodes of fan-in 2 to 8 joins them;
each node opens its masked inputs and evaluates its formula on shares of the products of the masks.

Several thresholds share the opening and the products of r's bits; only the nodes are per threshold.
R4 is the shape (digits of 4 bits, nodes of 4), R8 is (8, 8); `shape_for` picks by width.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from math import prod

from gpu_ss.backend.reference_circuits import node_inputs, node_subsets
from gpu_ss.cost import Cost, opening
from gpu_ss.economy import DEALT, Economy
from gpu_ss.party import Item, Party, Round, Steps, protocol
from gpu_ss.protocols import millionaire
from gpu_ss.protocols.io import Opened, add_public, open_masked
from gpu_ss.provider.correlation import BitMask
from gpu_ss.provider.specs.bits import DigitMonomials, MaskView, NodeMonomials, words_of
from gpu_ss.ring import Array
from gpu_ss.values import AShare, BShare


@dataclass(frozen=True, slots=True)
class TreeShape:
    """Digit widths from the low end, and the fan-ins of each level of nodes, from the low end."""

    digits: tuple[int, ...]
    levels: tuple[tuple[int, ...], ...]

    @property
    def rounds(self) -> int:
        """Rounds after the opening."""
        return len(self.levels)

    def nodes(self) -> list[list[tuple[int, bool]]]:
        """Per level, the (fan-in, computes equality) of each node; fan-in 1 passes through."""
        return [[(arity, k > 0) for k, arity in enumerate(level)] for level in self.levels]

    @property
    def node_bits(self) -> int:
        """Bits opened by the nodes, per comparison."""
        return sum(node_inputs(a, eq) for level in self.nodes() for a, eq in level if a > 1)

    @property
    def node_corrections(self) -> int:
        return sum(len(node_subsets(a, eq)) for level in self.nodes() for a, eq in level if a > 1)

    @property
    def digit_corrections(self) -> int:
        """Bits of dealer material of the digits, shared by all thresholds."""
        return sum((1 << b) - 1 for b in self.digits) + 1


def tree(bits: int, digit: int, fan_ins: Sequence[int]) -> TreeShape:
    """Split bits - 1 low bits into digits of at most `digit` bits, joined by levels of these fan-ins."""
    count = max(1, -(-(bits - 1) // digit))
    digits = tuple(_split(bits - 1, count))
    levels, width = [], count
    for fan_in in fan_ins:
        if width == 1:
            break
        groups = -(-width // fan_in)
        levels.append(tuple(_split(width, groups)))
        width = groups
    if width != 1:
        raise ValueError(f"fan-ins {tuple(fan_ins)} do not join {count} digits")
    return TreeShape(digits, tuple(levels))


def _split(total: int, parts: int) -> list[int]:
    """`total` as `parts` nearly equal numbers, larger ones first."""
    return [total // parts + (k < total % parts) for k in range(parts)]


def r4(bits: int) -> TreeShape:
    """Digits of 4 bits, nodes of 4: two rounds of nodes for 64 bits, about 51 B of dealer material."""
    return tree(bits, 4, (4, 4))


def r8(bits: int) -> TreeShape:
    """Digits of 8 bits, one node of up to 8: a single round of nodes, about 300 B of dealer material."""
    return tree(bits, 8, (8,))


ONE_LEVEL_BITS = 40


@lru_cache(maxsize=1024)
def shape_for(bits: int, thresholds: int = 1, few: bool = False, economy: Economy = DEALT) -> TreeShape:
    """The shape with the least traffic, dealer material counted a quarter, among those with one level of nodes.

    Above ONE_LEVEL_BITS one level costs hundreds of bytes of dealer material per element: then R4's two
    levels, unless there are `few` elements. Two parties alone: see `frugal_shape`.
    """
    if economy.alone and not few:
        return frugal_shape(bits, thresholds, economy)
    if bits > ONE_LEVEL_BITS and not few:
        return r4(bits)
    shapes = [tree(bits, d, (8,)) for d in range(2, 9) if -(-(bits - 1) // d) <= 8]
    return min(
        shapes, key=lambda s: s.digit_corrections + thresholds * (s.node_corrections + 4 * s.node_bits)
    )


LEVEL_WORTH = 0.85  # a level more must save so much of the traffic


def frugal_shape(bits: int, thresholds: int, economy: Economy) -> TreeShape:
    """The shape with the least traffic, online and offline together, with one or two levels of nodes.

    The digits' and nodes' products are made by the two parties, so none is cheap; two levels are taken where one
    would cost clearly more.
    """
    best: list[tuple[float, TreeShape]] = []
    for levels in (1, 2):
        shapes = list(_shapes(bits, levels))
        if shapes:
            found = min(shapes, key=lambda s: _made_bits(s, thresholds, economy))
            best.append((_made_bits(found, thresholds, economy), found))
    if len(best) > 1 and best[1][0] < LEVEL_WORTH * best[0][0]:
        return best[1][1]
    return best[0][1]


def _shapes(bits: int, levels: int) -> Iterator[TreeShape]:
    """All shapes with digits of up to 6 bits and that many levels of nodes of up to 8."""
    for digit in range(1, 7):
        count = max(1, -(-(bits - 1) // digit))
        for fan_ins in product(range(2, 9), repeat=levels):
            if prod(fan_ins) >= count:
                yield tree(bits, digit, fan_ins)


def _made_bits(shape: TreeShape, thresholds: int, economy: Economy) -> float:
    """Bits of traffic per comparison that depend on the shape: products of masks and what is opened."""
    total = sum(economy.and_bits(b - 1, (1 << b) - 1 - b) for b in shape.digits)
    for level in shape.nodes():
        for arity, with_eq in level:
            if arity > 1:
                made = len(node_subsets(arity, with_eq)), node_inputs(arity, with_eq)
                total += thresholds * (economy.and_bits(made[1] - 1, made[0]) + 2 * made[1])
    return total


def tree_cost(n: int, shape: TreeShape, thresholds: int) -> Cost:
    """The nodes and the dealer material of comparing n opened numbers with each threshold."""
    words = words_of(n)
    cost = Cost(offline=8 * words * shape.digit_corrections)
    for level in shape.nodes():
        inputs = [node_inputs(a, eq) for a, eq in level if a > 1]
        corrections = sum(len(node_subsets(a, eq)) for a, eq in level if a > 1)
        planes = sum(inputs) * thresholds * words
        cost = cost + opening((planes, 64)) + Cost(offline=8 * words * thresholds * corrections)
    return cost


@dataclass(frozen=True, slots=True)
class OpenedNumber:
    """Public words C and the view of the mask r, with value = C - r modulo 2^view.bits: flat, n elements."""

    words: Array
    view: MaskView


def effective(x: Opened, bits: int) -> OpenedNumber:
    """An opened value's low `bits` bits, read as a number of its own.

    They may be less than the ring has when |x| is known to be small: the sign of |x| < 2^k needs k + 1 bits.
    """
    words = x.ring.reduce(x.words).reshape(-1)
    return OpenedNumber(words, MaskView(x.mask.number, x.size, x.ring.bits, bits))


def at_least(
    party: Party, number: OpenedNumber, thresholds: Sequence[int], shape: TreeShape | None = None
) -> Steps[BShare]:
    """Bits [x >= t] for each threshold t in units of x: planes [len(thresholds), words].

    Exact while x - t fits the view's bits (signed). The nodes open "less" and "equal" bits of digits, each
    masked by a uniform bit.
    """
    view = number.view
    public = party.backend.difference_planes(number.words, thresholds, view.bits)
    shape = shape or shape_for(view.bits, len(thresholds), economy=party.economy)
    borrow, top_of_mask = yield from _borrows(party, view, public, shape)
    if party.rank == 0:  # NOT the sign, the public part
        borrow = borrow ^ ~public[-1]
    bits = borrow.reshape(len(thresholds), words_of(view.n)) ^ top_of_mask
    return BShare(bits, (view.n,))


COIN_BITS = 64  # of a mask whose low 63 bits decide coins


def coins(party: Party, view: MaskView, limits: Sequence[Array]) -> Steps[BShare]:
    """Bits [c < low bits of the mask r] for public words c of each array of `limits`: planes [len(limits), words].

    r is uniform and known to neither party, so for one c this is a coin that falls 1 for (2^(bits-1) - 1 - c) of
    2^(bits-1) values; coins of one element share r. Opened: what `at_least` opens, without any opening of r.
    """
    planes = [party.backend.to_planes(party.backend.asarray(c), view.bits) for c in limits]
    public = party.backend.xp.concatenate(planes, axis=1)
    borrow, _ = yield from _borrows(
        party, view, public, shape_for(view.bits, len(limits), economy=party.economy)
    )
    return BShare(borrow.reshape(len(limits), words_of(view.n)), (view.n,))


def _borrows(party: Party, view: MaskView, public: Array, shape: TreeShape) -> Steps[tuple[Array, Array]]:
    """[low bits of c < low bits of r] for public numbers c, as planes: a plane [1, V]; and the top bits of r."""
    basis = party.provider.take(DigitMonomials(view, shape.digits)).only
    borrow = yield from _tree(party, public, basis, shape)
    return borrow, basis[-1:]


def _tree(party: Party, public: Array, basis: Array, shape: TreeShape) -> Steps[Array]:
    """[c < r] for planes of public c, as one plane [1, V]."""
    less, equal = digits_below(party, public, basis, shape)
    for level in shape.nodes():
        less, equal = yield from level_of_nodes(party, level, less, equal)
    return less[0][None]


def digits_below(
    party: Party, public: Array, basis: Array, shape: TreeShape
) -> tuple[list[Array], list[Array | None]]:
    """Of each digit of public planes c and the mask r, the planes [c < r] and [c = r] (None for the first)."""
    digits = len(shape.digits)
    planes = party.backend.digit_compare(public[:-1], basis[:-1], shape.digits, party.lead)
    return [planes[k] for k in range(digits)], [None, *(planes[digits + k] for k in range(digits - 1))]


def level_of_nodes(
    party: Party, level: list[tuple[int, bool]], less: list[Array], equal: list[Array | None]
) -> Steps[tuple[list[Array], list[Array | None]]]:
    """One level of nodes: all their inputs are opened in one round."""
    groups, start = [], 0
    for arity, with_eq in level:
        groups.append((arity, with_eq, less[start : start + arity], equal[start : start + arity]))
        start += arity
    asked = [_node_input(party, *group) for group in groups if group[0] > 1]
    opened = iter((yield Round("compare", tuple(item for item, _ in asked))))
    bases = iter(basis for _, basis in asked)
    next_less, next_equal = [], []
    for arity, with_eq, lts, eqs in groups:
        if arity == 1:
            lt, eq = lts[0], eqs[0]
        else:
            out = party.backend.node(next(opened), next(bases), arity, with_eq, party.lead)
            lt, eq = out[0], out[1] if with_eq else None
        next_less.append(lt)
        next_equal.append(eq)
    return next_less, next_equal


def _node_input(
    party: Party, arity: int, with_eq: bool, less: list[Array], equal: list[Array | None]
) -> tuple[Item, Array]:
    """What a node opens, and the shares of the masks and their products it will need."""
    xp = party.backend.xp
    inputs = xp.stack([*less, *equal[1:], *([equal[0]] if with_eq else [])])
    count, words = inputs.shape
    mask = party.provider.take(BitMask(count, words))
    products = party.provider.take(NodeMonomials(mask.number, words, arity, int(with_eq)))
    item = Item(inputs ^ mask.only, tuple(inputs.shape), 64, xor=True)
    return item, xp.concatenate([mask.only, products.only])


def alone_is_cheaper(party: Party, n: int, bits: int) -> bool:
    """Whether n comparisons are cheaper on the parties' own shares than on an opened value."""
    shape = shape_for(bits, economy=party.economy)
    opened = 2 * bits + (bits - 1) * party.economy.and_bits(1, 1) + _made_bits(shape, 1, party.economy)
    rounds = millionaire.sign_rounds(bits), 1 + shape.rounds
    return millionaire.cheaper(party, n, rounds, (millionaire.sign_bits(bits), opened))


def _ge_cost(x: AShare, threshold: int = 0, shape: TreeShape | None = None) -> Cost:
    shape = shape or shape_for(x.ring.bits)
    return opening((x.size, x.ring.bits)) + tree_cost(x.size, shape, 1)


@protocol(cost=_ge_cost, paper="EGKRS20")
def ge_public(party: Party, x: AShare, threshold: int = 0, shape: TreeShape | None = None) -> Steps[BShare]:
    """[x >= threshold] for a public threshold in units of x (so 0 asks for the sign), one bit per element.

    Exact for |x|, |threshold| < 2^(bits-2) units. Opened: x under a uniform mask of its ring, then the node
    inputs under uniform bits. Two parties alone compare their shares instead (`millionaire`) where that is cheaper.
    """
    if shape is None and alone_is_cheaper(party, x.size, x.ring.bits):
        below = yield from millionaire.negative.steps(party, add_public(party, x, -threshold))
        return BShare(below.planes ^ party.lead, x.shape)
    (opened,) = yield from open_masked.steps(party, x, tag="compare")
    bits = yield from at_least(party, effective(opened, x.ring.bits), [threshold], shape)
    return bits.reshape(*x.shape)


@protocol(cost=lambda x, y, shape=None: _ge_cost(x, 0, shape), paper="EGKRS20")
def ge(party: Party, x: AShare, y: AShare, shape: TreeShape | None = None) -> Steps[BShare]:
    """[x >= y] elementwise. Exact while |x - y| < 2^(bits-2) units."""
    return (yield from ge_public.steps(party, x - y, 0, shape))
