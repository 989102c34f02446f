"""Comparison and selection on the parties' own shares, by oblivious transfer: nothing is opened under a mask.

The sign of x = x_0 + x_1 is the XOR of the shares' top bits and the carry of their low bits, and that is the
millionaires' problem [~a < b] for rank 0's low bits a and rank 1's b. Both are split into digits of WIDTH bits:

1. Rank 1 chooses, for each digit, message b_k of a table that rank 0 makes for its a_k: [~a_k < j] and [~a_k = j],
   masked. So both hold XOR shares of "less" and "equal" of each digit.
2. A binary tree joins them, less = less_high + equal_high less_low, with AND triples.

Random transfers are made beforehand (`specs.transfers`); online each is shifted to the choice wanted. With less
correlations per comparison than `compare`, whose masks' bits have to be found first, but more rounds: the cheaper
way for many elements where two parties make the correlations, see `compare.ge_public`.

What is seen. Rank 0: choices masked by uniform bits. Rank 1: of each table one message it can open, masked in turn
by a random bit of rank 0's (its share). The tree's operands are opened under the uniform bits of fresh triples.
Source: Rathee et al., CrypTFlow2, CCS 2020; Huang et al., Cheetah, USENIX Security 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gpu_ss.cost import FREE, Cost, opening, telling
from gpu_ss.economy import OT_BITS
from gpu_ss.party import Item, Party, Round, Steps, protocol
from gpu_ss.protocols.digits import FULL, WIDTH, Ask, messages
from gpu_ss.provider.specs.bits import words_of
from gpu_ss.provider.specs.transfers import BitTriples, CrossProducts, DigitTransfers, pick
from gpu_ss.ring import WORD, Array, Ring, wire_bytes
from gpu_ss.values import AShare, BShare

MESSAGES = 1 << WIDTH
ONE = np.uint64(1)


def digits_of(bits: int) -> int:
    """Digits of a number with `bits` bits."""
    return -(-bits // WIDTH)


def sign_cost(n: int, bits: int) -> Cost:
    """Cost of `negative` for n elements of a ring of `bits` bits."""
    words, count = words_of(n), digits_of(bits - 1)
    if bits == 1:
        return FREE
    pads = 2 * count - 1  # the lowest digit's "equal" is not needed
    cost = telling(1, (WIDTH * count * words, WORD)) + telling(0, ((MESSAGES - 1) * pads * words, WORD))
    cost = cost + Cost(offline=8 * 2 * count * words)
    while count > 1:
        groups = [(count // 2 - 1, 2), (1, 1)]
        cost = cost + ands_cost(*((k * words, m) for k, m in groups if k))
        count = -(-count // 2)
    return cost


@protocol(cost=lambda x: sign_cost(x.size, x.ring.bits), paper="RRKC20")
def negative(party: Party, x: AShare) -> Steps[BShare]:
    """[x < 0], exact: the top bit of x in its ring, one bit per element."""
    bits, n = x.ring.bits, x.size
    planes = party.backend.to_planes(x.ring.reduce(x.data).reshape(-1), bits)
    top = planes[-1:]
    if bits > 1:
        top = top ^ (yield from carry(party, planes[:-1], n))
    return BShare(top, x.shape)


def carry(party: Party, own: Array, n: int) -> Steps[Array]:
    """The carry of rank 0's and rank 1's numbers with these bits [m, W]: a shared plane [1, W]."""
    less, equal = yield from _leaves(party, own, n)
    return (yield from joined(party, less, equal))


def _leaves(party: Party, own: Array, n: int) -> Steps[tuple[Array, Array]]:
    """Shares of [~a_k < b_k] and [~a_k = b_k] per digit, low digits first: [D, W] each."""
    xp, count, words = party.backend.xp, digits_of(len(own)), words_of(n)
    made: Sequence[Array] = party.provider.take(DigitTransfers(n, count, WIDTH)).arrays
    missing = WIDTH * count - len(own)
    bits = own ^ FULL if party.rank == 0 else own
    if missing:  # a digit's missing upper bits are 0 at both
        bits = xp.concatenate([bits, party.backend.zeros((missing, words))])
    digits = bits.reshape(count, WIDTH, words)
    shape = (WIDTH * count, words)
    shifted = None if party.rank == 0 else bits ^ made[0]
    (shift,) = yield Round("less", (Item(shifted, shape, WORD, xor=True, sender=1),))
    pads = (MESSAGES - 1) * (2 * count - 1)
    tables = None
    if party.rank == 0:
        sums = _tables(party, digits, shift.reshape(count, WIDTH, words), made)
        share = sums[:, 0]
        tables = xp.ascontiguousarray((sums ^ sums[:, :1])[:, 1:])
        tables = xp.concatenate([tables[1:].reshape(-1, words), tables[0, :, 0]])  # not "equal" of the lowest
    item = Item(tables, (pads, words), WORD, xor=True, sender=0)
    (told,) = yield Round("less", (item,))
    if party.rank == 1:
        share = _chosen(party, told, made[0].reshape(count, WIDTH, words), made[2].reshape(count, 2, words))
    return xp.ascontiguousarray(share[:, 0]), xp.ascontiguousarray(share[:, 1])


def _tables(party: Party, digits: Array, shift: Array, made: Sequence[Array]) -> Array:
    """Rank 0's masked messages [D, MESSAGES, 2, W]: entry j is for a digit b_k = j XOR shift."""
    xp, (count, _, words) = party.backend.xp, digits.shape
    pads, chosen = made[1].reshape(count, MESSAGES, 2, words), made[2].reshape(count, 1, 2, words)
    mine, told = (xp.ascontiguousarray(x.transpose(1, 0, 2)).reshape(WIDTH, -1) for x in (digits, shift))
    rows = messages(xp, told, ((Ask.LESS, mine), (Ask.EQUAL, mine)))
    return rows.reshape(MESSAGES, 2, count, words).transpose(2, 0, 1, 3) ^ pads ^ chosen


def _chosen(party: Party, told: Array, choice: Array, pad: Array) -> Array:
    """Rank 1's shares [D, 2, W] of the messages it chose; of message 0 nothing is sent."""
    xp, (count, _, words) = party.backend.xp, choice.shape
    tables = party.backend.zeros((count, MESSAGES, 2, words))
    upper = (MESSAGES - 1) * 2 * (count - 1)
    tables[1:, 1:] = told[:upper].reshape(count - 1, MESSAGES - 1, 2, words)
    tables[0, 1:, 0] = told[upper:]
    return xp.ascontiguousarray(pick(tables, choice)) ^ pad


def joined(party: Party, less: Array, equal: Array) -> Steps[Array]:
    """The carry [1, W] of numbers from their digits' "less" and "equal" [D, W], low ones first: a binary tree.

    The lowest digit's "equal" is not looked at.
    """
    while len(less) > 1:
        less, equal = yield from _join(party, less, equal)
    return less


def _join(party: Party, less: Array, equal: Array) -> Steps[tuple[Array, Array]]:
    """Neighbouring digits become one: [ceil(D / 2), W] each. An odd one at the top goes up as it is."""
    xp, (count, words) = party.backend.xp, less.shape
    pairs = count // 2
    high, low = slice(1, 2 * pairs, 2), slice(0, 2 * pairs, 2)
    choice, lows = equal[high], xp.stack([less[low], equal[low]])
    groups = [(choice[1:].reshape(-1), lows[:, 1:].reshape(2, -1))] if pairs > 1 else []
    groups.append((choice[0], lows[:1, 0]))  # the lowest pair's "equal" is not needed
    found = yield from ands(party, groups)
    first = found[-1]
    both = less[high] ^ (xp.concatenate([first, found[0][0].reshape(-1, words)]) if pairs > 1 else first)
    same = first & np.uint64(0)
    if pairs > 1:
        same = xp.concatenate([same, found[0][1].reshape(-1, words)])
    if count % 2:
        both, same = xp.concatenate([both, less[-1:]]), xp.concatenate([same, equal[-1:]])
    return both, same


def ands(party: Party, groups: Sequence[tuple[Array, Array]]) -> Steps[list[Array]]:
    """choice AND payload_j of shared planes [V] and [m, V], for each pair of these: [m, V]. One round.

    Opened: the operands under the uniform bits of fresh triples.
    """
    steps = [_And(party, *group) for group in groups]
    opened = yield Round("less", tuple(step.item for step in steps))
    return [step.finish(words) for step, words in zip(steps, opened, strict=True)]


def ands_cost(*groups: tuple[int, int]) -> Cost:
    """Cost of `ands` for groups of (words, payload)."""
    cost = opening(*((words * (1 + m), WORD) for words, m in groups))
    return cost + Cost(offline=sum(8 * words * m for words, m in groups))


class _And:
    """choice AND payload_j of shared planes [V] and [m, V]: `item` is opened, `finish` gives [m, V]."""

    def __init__(self, party: Party, choice: Array, payload: Array) -> None:
        m, words = payload.shape
        self._party = party
        self._b, self._a, self._c = party.provider.take(BitTriples(words, m)).arrays
        mine = party.backend.xp.concatenate([choice[None] ^ self._b, payload ^ self._a])
        self.item = Item(mine, (m + 1, words), WORD, xor=True)

    def finish(self, opened: Array) -> Array:
        d, e = opened[:1], opened[1:]
        return self._c ^ (d & self._a) ^ (e & self._b) ^ (d & e & self._party.lead)


# -- selection ------------------------------------------------------------------------------------------


def times_bit_cost(n: int, bits: int) -> Cost:
    """Cost of `times_bit`."""
    return opening((n, bits), (words_of(n), WORD)) + Cost(offline=2 * wire_bytes(n, bits))


@protocol(cost=lambda b, x: times_bit_cost(x.size, x.ring.bits), paper="GIL99")
def times_bit(party: Party, b: BShare, x: AShare) -> Steps[AShare]:
    """b * x for single bits b, exact: b_0 x_0 + b_1 x_1, and each party's x_i (1 - 2 b_i) times the other's bit.

    Seen: the other's bit under a uniform bit, and its word less a uniform word (`cross_sum`).
    """
    n, ring = x.size, x.ring
    made: Sequence[Array] = party.provider.take(CrossProducts(n, ring.bits, 1)).arrays
    own, words = x.data.reshape(-1), words_of(n)
    bit = party.backend.plane_words(b.planes, n)[0]
    hidden = own - ((own * bit) << ONE) - made[party.rank]
    asked = b.planes ^ made[2 + party.rank]
    if n % WORD:  # what a plane holds past its last bit is not masked, so it stays here
        asked[:, -1] &= np.uint64((1 << n % WORD) - 1)
    total, both = yield Round(
        "choose", (Item(hidden, (n,), ring.bits), Item(asked, (1, words), WORD, xor=True))
    )
    data = own * bit + cross_sum(party, made, bit, total - hidden, asked, both ^ asked)
    return AShare(data.reshape(x.shape), ring, x.frac_bits)


def cross_sum(
    party: Party, made: Sequence[Array], number: Array, told: Array, asked: Array, theirs: Array
) -> Array:
    """Share of this party's own number times the other one's word, plus the same the other way round.

    `made` are `CrossProducts` of k bits: words A and bits beta of each party. `told` is the other's word less
    its A, `asked` and `theirs` are the bits d of the own number and of the other's, each XOR its beta. A bit of a
    number times A is d A + (1 - 2 d) beta A, where who owns A knows d A.
    """
    rank, backend, n = party.rank, party.backend, int(number.size)
    share = number * told + made[rank] * backend.from_planes(theirs, n)
    for flips, products in ((asked, made[5 - rank]), (theirs, made[4 + rank])):
        for flip, product in zip(backend.plane_words(flips, n), products, strict=True):
            share = share + product - ((product * flip) << ONE)
    return share


def relu_alone(party: Party, x: AShare, compare_bits: int | None = None) -> Steps[AShare]:
    """max(x, 0), exact for |x| < 2^(compare_bits - 2) units (default: those of the ring)."""
    narrow = x.narrowed(Ring(min(compare_bits or WORD, x.ring.bits)))
    below = yield from negative.steps(party, narrow)
    positive = BShare(below.planes ^ party.lead, below.shape)
    return (yield from times_bit.steps(party, positive, x))


def cheaper(party: Party, n: int, rounds: tuple[int, int], bits: tuple[float, float]) -> bool:
    """Whether the first of two ways is: (rounds, bits per element of both directions and phases) of each."""
    first, second = (party.economy.nanoseconds(r, n * b / 8) for r, b in zip(rounds, bits, strict=True))
    return party.economy.alone and first < second


def sign_bits(bits: int) -> float:
    """Bits of traffic per element that `negative` takes in both phases where two parties make the transfers."""
    cost, count = sign_cost(WORD, bits), digits_of(bits - 1)
    ots = WIDTH * count + 2 * (count - 1)
    return 8 * (cost.sent0 + cost.sent1) / WORD + OT_BITS * ots


def sign_rounds(bits: int) -> int:
    """Rounds of `negative`."""
    return sign_cost(WORD, bits).rounds
