"""Arithmetic to boolean shares. (The other way is `select.b2a`.)

x = C - r with C open: bit i of x is C_i + r_i + borrow_i modulo 2, and borrow_i is a comparison of the bits
below, public against known to the dealer. Digits of up to 8 bits give the borrow inside a digit without
communication; one node over all digits gives the borrow into each digit, all prefixes from one opening; one
AND joins the two.
"""

from __future__ import annotations

from gpu_ss.backend.reference_circuits import node_slots, node_subsets
from gpu_ss.cost import Cost, opening
from gpu_ss.party import Item, Party, Round, Steps, protocol
from gpu_ss.protocols.boolean import and_planes, and_planes_cost
from gpu_ss.protocols.compare import effective, tree
from gpu_ss.protocols.io import open_masked
from gpu_ss.provider.correlation import BitMask
from gpu_ss.provider.specs.bits import DigitMonomials, NodeMonomials, words_of
from gpu_ss.ring import Array
from gpu_ss.values import AShare, BShare

DIGIT = 8


def _digits(bits: int) -> tuple[int, ...]:
    return tree(bits, DIGIT, (8,)).digits


def _a2b_cost(x: AShare) -> Cost:
    bits, words = x.ring.bits, words_of(x.size)
    digits = _digits(bits)
    basis = sum((1 << b) - 1 for b in digits) + 1
    cost = opening((x.size, bits)) + Cost(offline=8 * words * basis)
    if len(digits) > 1:
        inputs, products = 2 * len(digits) - 1, len(node_subsets(len(digits), False))
        cost = cost + opening((inputs * words, 64)) + Cost(offline=8 * words * products)
        cost = cost + and_planes_cost(2, (sum(digits[1:]) - len(digits) + 1) * words)
    return cost


@protocol(cost=_a2b_cost, paper="EGKRS20")
def a2b(party: Party, x: AShare) -> Steps[BShare]:
    """The bits of x (two's complement, lowest first) as XOR shares: exact for every x (rings of 2 bits and more).

    Opened: x under a uniform mask of its ring; digit comparisons and borrows under uniform bits.
    """
    (opened,) = yield from open_masked.steps(party, x, tag="a2b")
    number = effective(opened, x.ring.bits)
    digits = _digits(x.ring.bits)
    basis = party.provider.take(DigitMonomials(number.view, digits)).only
    public = party.backend.to_planes(number.words, x.ring.bits)
    into = yield from _borrow_into_digits(party, public, basis, digits)
    borrows = yield from _borrows(party, public, basis, digits, into)
    masks = party.backend.xp.concatenate([_single_bits(party, basis, digits), basis[-1:]])
    planes = (public & party.lead) ^ masks ^ borrows
    return BShare(planes, x.shape)


def _single_bits(party: Party, basis: Array, digits: tuple[int, ...]) -> Array:
    """The planes of r's bits themselves: the one-bit subsets of each digit."""
    rows, start = [], 0
    for width in digits:
        rows += [start + (1 << bit) - 1 for bit in range(width)]
        start += (1 << width) - 1
    return party.backend.xp.stack([basis[row] for row in rows])


def _borrow_into_digits(
    party: Party, public: Array, basis: Array, digits: tuple[int, ...]
) -> Steps[list[Array]]:
    """Borrow into digit 1, 2, ... and into the top bit: one plane [W] each."""
    backend, xp, count = party.backend, party.backend.xp, len(digits)
    planes = backend.digit_compare(public[:-1], basis[:-1], digits, party.lead)
    if count == 1:
        return [planes[0]]
    inputs, words = planes.shape
    mask = party.provider.take(BitMask(inputs, words))
    products = party.provider.take(NodeMonomials(mask.number, words, count, 0)).only
    (opened,) = yield Round("a2b", (Item(planes ^ mask.only, (inputs, words), 64, xor=True),))
    known = xp.concatenate([mask.only, products])
    borrows = [planes[0]]
    for prefix in range(2, count + 1):
        rows = [*range(prefix), *range(count, count + prefix - 1)]
        part = xp.stack([known[slot] for slot in _prefix_slots(prefix, count)])
        opened_part = xp.stack([opened[row] for row in rows])
        borrows.append(backend.node(opened_part, part, prefix, False, party.lead)[0])
    return borrows


def _prefix_slots(prefix: int, count: int) -> list[int]:
    """Rows of a node over `count` digits that a node over the first `prefix` of them needs, in its order."""
    slots = node_slots(count, False)
    inputs = [*range(prefix), *(count + j for j in range(prefix - 1))]
    subsets = [1 << k for k in range(2 * prefix - 1)] + list(node_subsets(prefix, False))
    return [slots[sum(1 << inputs[k] for k in range(2 * prefix - 1) if s >> k & 1)] for s in subsets]


def _borrows(
    party: Party, public: Array, basis: Array, digits: tuple[int, ...], into: list[Array]
) -> Steps[Array]:
    """The borrow into every bit: [bits, W]."""
    xp = party.backend.xp
    inner, equal, carried, plane, bit = [], [], [], 0, 0
    for digit, width in enumerate(digits):
        for below in range(1, width):
            lt, eq = _inside(party, public, basis, plane, bit, below)
            inner.append(lt)
            if digit:
                equal.append(eq)
                carried.append(into[digit - 1])
        plane, bit = plane + (1 << width) - 1, bit + width
    rippled: list[Array] = []
    if equal:
        pairs = xp.stack([xp.concatenate(equal), xp.concatenate(carried)])
        joint = yield from and_planes(party, pairs)
        rippled = list(joint.reshape(len(equal), -1))
    zero = into[0] ^ into[0]
    rows = []
    for digit, width in enumerate(digits):
        rows.append(into[digit - 1] if digit else zero)
        for _ in range(1, width):
            lt = inner.pop(0)
            rows.append(lt ^ rippled.pop(0) if digit else lt)
    return xp.stack([*rows, into[-1]])


def _inside(
    party: Party, public: Array, basis: Array, plane: int, bit: int, below: int
) -> tuple[Array, Array]:
    """[c < r] and [c == r] on the lowest `below` bits of the digit that starts at `plane` and `bit`."""
    xp = party.backend.xp
    any_bit, any_mask = (
        public[bit : bit + 1],
        basis[plane : plane + 1],
    )  # a first digit whose equality is not asked
    c = xp.concatenate([any_bit, public[bit : bit + below]])
    known = xp.concatenate([any_mask, basis[plane : plane + (1 << below) - 1]])
    found = party.backend.digit_compare(c, known, (1, below), party.lead)
    return found[1], found[2]
