"""Comparisons that are counted: signs as numbers, and a choice by how many there are.

A comparison's last node is evaluated on shares of products of masks modulo 2^field instead of XOR shares of them:
of the terms lt_j eq_(j+1) .. eq_(m-1) at most one is 1, so their sum over the integers is the joint result, and
results add up without another round. `compare.at_least` XORs the top bits in afterwards; here they go into the top
digit's "less" before the node. For |x| < 2^(bits-2) that is the same: where the top digits' low bits are equal, so
are the top bits, and the sign is that of what is below.

A count W of them is opened as W + s modulo 2^field. Then [W = t] is entry W + s - t of the dealer's unit vector of
s, and the same entry times a mask r makes it a product with any value that is open under r.
"""

from __future__ import annotations

from functools import lru_cache

from gpu_ss.backend.reference_circuits import number_fields, number_subsets
from gpu_ss.cost import Cost, opening
from gpu_ss.party import Item, Party, Round, Steps
from gpu_ss.protocols.compare import (
    OpenedNumber,
    TreeShape,
    digits_below,
    level_of_nodes,
    r4,
    tree,
    tree_cost,
)
from gpu_ss.provider.correlation import BitMask, Mask
from gpu_ss.provider.specs.bits import DigitMonomials, MaskView, words_of
from gpu_ss.provider.specs.counts import CountChoices, NodeNumbers
from gpu_ss.ring import WORD, Array, Ring, wire_bytes

LAST = 4  # digits that the last node joins at most
DIGIT = 8
ONLINE_WORTH = 4  # bits of the dealer's for a bit that both send


@lru_cache(maxsize=256)
def counting_shape(bits: int, field: int) -> TreeShape:
    """The shape with the least traffic for signs of `bits` bits as numbers; R4 where one level is too few."""
    if bits - 1 > LAST * DIGIT:
        return r4(bits)
    counts = [k for k in range(1, LAST + 1) if k <= bits - 1 <= k * DIGIT]
    shapes = [tree(bits, -(-(bits - 1) // k), (LAST,)) for k in counts]
    return min(shapes, key=lambda shape: _traffic(shape, field))


def _traffic(shape: TreeShape, field: int) -> int:
    arity = len(shape.digits)
    return shape.digit_corrections + field * len(number_subsets(arity)) + ONLINE_WORTH * (2 * arity - 1)


def signs_cost(n: int, bits: int, field: int) -> Cost:
    """Cost of `signs` for n numbers."""
    shape = counting_shape(bits, field)
    words, arity = words_of(n), _last(shape)
    rows, per = number_fields(arity, field)
    before = TreeShape(shape.digits, shape.levels[:-1])
    last = opening(((2 * arity - 1) * words, WORD))
    return tree_cost(n, before, 1) + last + Cost(offline=wire_bytes(rows * WORD * words, per * field))


def _last(shape: TreeShape) -> int:
    """Digits that the last node joins."""
    return shape.levels[-1][0] if shape.levels else 1


def signs(party: Party, number: OpenedNumber, field: int) -> Steps[Array]:
    """[x < 0] modulo 2^field of an opened number |x| < 2^(bits-2): words, [n] and what fills up planes.

    Opened: inputs of nodes, each masked by a uniform bit.
    """
    view, backend = number.view, party.backend
    shape = counting_shape(view.bits, field)
    basis = party.provider.take(DigitMonomials(view, shape.digits)).only
    public = backend.to_planes(number.words, view.bits)
    less, equal = digits_below(party, public, basis, shape)
    less[-1] = less[-1] ^ basis[-1] ^ (public[-1] & party.lead)
    for level in shape.nodes()[:-1]:
        less, equal = yield from level_of_nodes(party, level, less, equal)
    inputs = backend.xp.stack([*less, *equal[1:]])
    count, words = inputs.shape
    mask = party.provider.take(BitMask(count, words))
    products = party.provider.take(NodeNumbers(mask.number, words, len(less), field)).only
    (opened,) = yield Round("compare", (Item(inputs ^ mask.only, (count, words), WORD, xor=True),))
    return backend.node_numbers(opened, products, len(less), field, party.lead)


def choose_cost(n: int, field: int, bits: int) -> Cost:
    """Cost of `choose_by_count` for n counts and results of `bits` bits."""
    return opening((n, field)) + Cost(offline=wire_bytes(2 * n << field, bits))


def choose_by_count(
    party: Party, counts: Array, field: int, wanted: Array, words: Array, view: MaskView, ring: Ring
) -> Steps[Array]:
    """[count = wanted] v for n counts modulo 2^field, public `wanted`, v = words - (viewed mask): [n] in `ring`.

    Opened: the counts under uniform masks modulo 2^field.
    """
    n = view.n
    mask = party.provider.take(Mask((n,), field))
    choices = party.provider.take(CountChoices(mask.number, field, view, ring.bits)).only
    (opened,) = yield Round("count", (Item(counts, (n,), field, mask=mask.only),))
    unit, masked = party.backend.picked(opened - wanted, choices)
    return unit * words - masked
