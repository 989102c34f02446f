"""Comparison and selection on the parties' own shares, by oblivious transfer: nothing is opened under a mask.

The sign of x = x_0 + x_1 is the XOR of the shares' top bits and the carry of their low bits, and that is the
millionaires' problem [~a < b] for rank 0's low bits a and rank 1's b. Both are split into digits of WIDTH bits:

1. Rank 1 chooses, for each digit, message b_k of a table that rank 0 makes for its a_k: [~a_k < j] and [~a_k = j],
   masked. So both hold XOR shares of "less" and "equal" of each digit.
2. Neighbouring digits become one, less = less_h + equal_h less_l and equal = equal_h equal_l, without any ANDs:
   rank 0 knows its own shares e of equal_h and l, e' of the lower digit's answers before it makes the tables, and
   equal_h less_l = equal_h l + e less_l + e l + the product of rank 1's shares. The first goes into the upper
   digit's "less", the second is one more answer of the lower's table; likewise with e', for "equal".
3. A binary tree joins these pairs, with AND triples.

Random transfers are made beforehand (`specs.transfers`); online each is shifted to the choice wanted. With less
correlations per comparison than `compare`, whose masks' bits have to be found first, but more rounds: the cheaper
way for many elements where two parties make the correlations, see `compare.ge_public`.

What is seen. Rank 0: choices masked by uniform bits. Rank 1: of each table one message it can open, of which every
bit is masked in turn by a random bit of rank 0's (its share). The tree's operands are opened under the uniform bits
of fresh triples.
Source: Rathee et al., CrypTFlow2, CCS 2020; Huang et al., Cheetah, USENIX Security 2022; step 2 is ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from gpu_ss.cost import FREE, Cost, opening, telling
from gpu_ss.economy import OT_BITS
from gpu_ss.party import Item, Party, Round, Steps, protocol
from gpu_ss.protocols.digits import FULL, Ask, messages
from gpu_ss.provider.specs.bits import words_of
from gpu_ss.provider.specs.transfers import BitTriples, CrossProducts, DigitTransfers, pick
from gpu_ss.ring import WORD, Array, Ring, wire_bytes
from gpu_ss.values import AShare, BShare

WIDTH = 2  # bits of a digit: with pairs made by tables alone, the width that takes the fewest bytes
MESSAGES = 1 << WIDTH
#: Answers that a table gives of an upper digit, of a lower one, and of one alone.
UPPER, LOWER, SINGLE = 3, 4, 2
ONE = np.uint64(1)


def digits_of(bits: int) -> int:
    """Digits of a number with `bits` bits."""
    return -(-bits // WIDTH)


def sign_cost(n: int, bits: int) -> Cost:
    """Cost of `negative` for n elements of a ring of `bits` bits."""
    words, count = words_of(n), digits_of(bits - 1)
    if bits == 1:
        return FREE
    pairs, alone = divmod(count, 2)
    answers = (UPPER + LOWER) * pairs + SINGLE * alone
    asked = answers - (3 if pairs else 1)  # what only "equal" of the lowest needs is not sent
    cost = telling(1, (WIDTH * count * words, WORD)) + telling(0, ((MESSAGES - 1) * asked * words, WORD))
    cost = cost + Cost(offline=8 * answers * words)
    count = pairs + alone
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
    """Shares of [~a < b] and [~a = b] for pairs of digits, low ones first, and a single one on top: [D, W] each."""
    xp, count, words = party.backend.xp, digits_of(len(own)), words_of(n)
    missing = WIDTH * count - len(own)
    bits = own ^ FULL if party.rank == 0 else own
    if missing:  # a digit's missing upper bits are 0 at both
        bits = xp.concatenate([bits, party.backend.zeros((missing, words))])
    digits, paired = bits.reshape(count, WIDTH, words), count // 2 * 2
    kinds = [
        (digits[1:paired:2], UPPER, (0, 1)),
        (digits[:paired:2], LOWER, (0, 2)),
        (digits[paired:], SINGLE, (0, 1) if paired else (0,)),
    ]
    groups = [_Digits(party, n, *kind) for kind in kinds if len(kind[0])]
    shifted = xp.concatenate([group.shifted for group in groups]) if party.rank == 1 else None
    (shift,) = yield Round("less", (Item(shifted, (WIDTH * count, words), WORD, xor=True, sender=1),))
    told = xp.concatenate(_told(groups, shift)) if party.rank == 0 else None
    planes = sum(group.planes for group in groups)
    (heard,) = yield Round("less", (Item(told, (planes, words), WORD, xor=True, sender=0),))
    if party.rank == 1:
        for group in groups:
            group.hear(heard[: group.planes])
            heard = heard[group.planes :]
    return _paired(xp, [group.shares for group in groups])


class _Digits:
    """Digits of which tables give the same number of answers: rank 0 tells them, rank 1 hears one row of each."""

    shares: Array  # of the answers, in the end: [D, answers, W]

    def __init__(self, party: Party, n: int, own: Array, answers: int, lowest: Sequence[int]) -> None:
        """Own digits [D, WIDTH, W]; of the lowest of them only the answers `lowest` are told."""
        self._backend, self._own, self._lowest = party.backend, own, list(lowest)
        self._xp = party.backend.xp
        count, _, words = own.shape
        made: Sequence[Array] = party.provider.take(DigitTransfers(n, count, WIDTH, answers)).arrays
        self._shape = (int(count), MESSAGES, answers, int(words))
        self._choices, self._pads = made[0], made[1]
        self._chosen = made[2].reshape(count, answers, words)

    @property
    def planes(self) -> int:
        """How many planes are told."""
        count, _, answers, _ = self._shape
        return (MESSAGES - 1) * (answers * (count - 1) + len(self._lowest))

    @property
    def shifts(self) -> int:
        """How many planes of choices are told."""
        return WIDTH * self._shape[0]

    @property
    def shifted(self) -> Array:
        """Rank 1's choices under random ones."""
        return self._own.reshape(-1, self._shape[-1]) ^ self._choices

    def compared(self, shift: Array) -> tuple[Array, Array]:
        """Rank 0's "less" and "equal" [D, MESSAGES, W]: row j is for a digit j XOR shift."""
        count, _, _, words = self._shape
        mine, told = (
            self._xp.ascontiguousarray(x.reshape(count, WIDTH, words).transpose(1, 0, 2)).reshape(WIDTH, -1)
            for x in (self._own, shift)
        )
        rows = messages(self._backend, told, ((Ask.LESS, mine), (Ask.EQUAL, mine)))
        less, equal = rows.reshape(MESSAGES, 2, count, words).transpose(1, 2, 0, 3)
        return less, equal

    def masked(self, answer: int, rows: Array) -> Array:
        """Rank 0's answers of one kind [D, MESSAGES, W] under their pads; row 0 is its share."""
        return rows ^ self._pads.reshape(self._shape)[:, :, answer] ^ self._chosen[:, None, answer]

    def tell(self, masked: Sequence[Array]) -> Array:
        """Keeps the first rows of all kinds of answers as shares; the others XOR these are what is told."""
        rows = self._xp.stack(masked, axis=2)  # [D, MESSAGES, answers, W]
        self.shares = rows[:, 0]
        told, words = (rows ^ rows[:, :1])[:, 1:], self._shape[-1]
        lowest = told[0][:, self._lowest]
        return self._xp.concatenate([told[1:].reshape(-1, words), lowest.reshape(-1, words)])

    def hear(self, told: Array) -> None:
        """Rank 1 opens the rows it chose; of row 0 nothing is sent."""
        count, _, answers, words = self._shape
        rows = self._backend.zeros(self._shape)
        upper = (MESSAGES - 1) * answers * (count - 1)
        rows[1:, 1:] = told[:upper].reshape(count - 1, MESSAGES - 1, answers, words)
        rows[0, 1:, self._lowest] = told[upper:].reshape(MESSAGES - 1, -1, words).transpose(1, 0, 2)
        self.shares = pick(rows, self._choices.reshape(count, WIDTH, words)) ^ self._chosen


def _told(groups: Sequence[_Digits], shift: Array) -> list[Array]:
    """What rank 0 tells of each group: of pairs also products with its own shares of the other digit's answers."""
    rows = []
    for group in groups:
        rows.append(group.compared(shift[: group.shifts]))
        shift = shift[group.shifts :]
    alone = 2 if len(groups) > 1 else 0
    told = [
        group.tell([group.masked(k, answer) for k, answer in enumerate(pair)])
        for group, pair in zip(groups[alone:], rows[alone:], strict=True)
    ]
    if not alone:
        return told
    (upper, lower), ((less_u, equal_u), (less_l, equal_l)) = groups[:2], rows[:2]
    first = [lower.masked(0, less_l), lower.masked(1, equal_l)]
    second = upper.masked(1, equal_u)
    own_less, own_equal, own = (masked[:, :1] for masked in (*first, second))
    of_less, of_equal = upper.masked(0, less_u ^ equal_u & own_less), upper.masked(2, equal_u & own_equal)
    products = [lower.masked(2, less_l & own), lower.masked(3, equal_l & own)]
    return [upper.tell([of_less, second, of_equal]), lower.tell([*first, *products]), *told]


def _paired(xp: Any, shares: Sequence[Array]) -> tuple[Array, Array]:
    """Shares [D, W] of "less" and "equal" of pairs, then of a digit alone, from those of the digits' answers."""
    found = [(single[:, 0], single[:, 1]) for single in shares[2 if len(shares) > 1 else 0 :]]
    if len(shares) > 1:
        upper, lower = shares[:2]
        less = upper[:, 0] ^ lower[:, 2] ^ upper[:, 1] & lower[:, 0]
        found.insert(0, (less, upper[:, 2] ^ lower[:, 3] ^ upper[:, 1] & lower[:, 1]))
    less, equal = (xp.concatenate(planes) for planes in zip(*found, strict=True))
    return less, equal


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
    ots = WIDTH * count + 2 * (-(-count // 2) - 1)
    return 8 * (cost.sent0 + cost.sent1) / WORD + OT_BITS * ots


def sign_rounds(bits: int) -> int:
    """Rounds of `negative`."""
    return sign_cost(WORD, bits).rounds
