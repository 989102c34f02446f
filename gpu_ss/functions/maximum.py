"""Maximum and argmax over the last axis, exact, by a tournament of groups.

One opening of a group's values gives all their pairwise differences under known masks, so every pair of a
group is compared at once; the winner is the value whose comparisons all hold (ties: the first). With a dealer,
results are numbers, and the winner is the value whose count is complete: three rounds a level.
Groups of 8 (16 in the last level) make two levels of rows of up to 128, three of up to 1024. Two parties alone AND
the results, and take groups of 4 (8), one level more and half the comparisons.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from math import prod

import numpy as np
from numpy.typing import NDArray

from gpu_ss.cost import FREE, Cost, opening
from gpu_ss.economy import DEALT, Economy
from gpu_ss.party import Party, Round, Steps, protocol
from gpu_ss.protocols.boolean import and_planes, inverted
from gpu_ss.protocols.compare import OpenedNumber, at_least
from gpu_ss.protocols.counting import choose_by_count, choose_cost, signs, signs_cost
from gpu_ss.protocols.io import Opened, add_public, open_masked
from gpu_ss.protocols.select import Chooser, Variable
from gpu_ss.provider.specs.bits import COLUMNS, PAIRS, MaskView, columns, pair_differences, pairs_of, words_of
from gpu_ss.ring import WORD, Array, Ring
from gpu_ss.values import AShare, BShare


def group_sizes(n: int, economy: Economy = DEALT) -> list[int]:
    """The group size of each level for rows of n."""
    sizes = []
    while n > economy.last_group:
        sizes.append(economy.group)
        n = -(-n // economy.group)
    return [*sizes, n] if n > 1 else sizes


def maximum_cost(rows: int, n: int, bits: int, drop: int = 0, opened: bool = False) -> Cost:
    """Cost of `maximum` on rows of n numbers of `bits` bits, of which the low `drop` are ignored."""
    cost = FREE
    for level, group in enumerate(group_sizes(n)):
        groups = rows * -(-n // group)
        width = bits if level == 0 else bits - drop
        if level or not opened:
            cost = cost + opening((groups * group, width))
        padded, field = 64 * words_of(groups), _count_bits(group)
        cost = cost + signs_cost(len(pairs_of(group)) * padded, bits - drop, field)
        cost = cost + choose_cost(group * padded, field, bits - drop)
        n = -(-n // group)
    return cost


@protocol(cost=lambda x: maximum_cost(prod(x.shape[:-1]), x.shape[-1], x.ring.bits), paper="tournament")
def maximum(party: Party, x: AShare) -> Steps[AShare]:
    """max over the last axis, exact. Needs |x| < 2^(bits-3) units. [..., n] -> [...].

    Opened: values under uniform masks of their ring; inputs of comparison nodes under uniform bits, counts
    of them under uniform masks modulo a power of two that holds them.
    """
    n = x.shape[-1]
    flat = padded_rows(party, x.reshape(-1, n))
    if n == 1:
        return x.reshape(*x.shape[:-1])
    (opened,) = yield from open_masked.steps(party, flat, tag="max")
    winner = yield from tournament(party, opened, n)
    return winner.reshape(*x.shape[:-1])


def tournament(party: Party, opened: Opened, n: int, drop: int = 0) -> Steps[AShare]:
    """Row maxima of an opened [rows, padded n] (see `padded_width`), read without its low `drop` bits.

    The result has ring and scale less by `drop` bits: floor(max / 2^drop) or one unit more.
    """
    rows = opened.shape[0]
    while True:
        group = group_sizes(n, party.economy)[0]
        best = yield from _level(party, opened, group, drop)
        n = -(-n // group)
        if n == 1:
            return best.reshape(rows)
        drop = 0
        (opened,) = yield from open_masked.steps(party, padded_rows(party, best.reshape(rows, n)), tag="max")


def padded_width(n: int, economy: Economy = DEALT) -> int:
    """Row length the first level works on: a multiple of its group size."""
    sizes = group_sizes(n, economy)
    return -(-n // sizes[0]) * sizes[0] if sizes else n


def padded_rows(party: Party, x: AShare) -> AShare:
    """Rows filled up with copies of their last value: they never win against it."""
    missing = padded_width(x.shape[1], party.economy) - x.shape[1]
    if not missing:
        return x
    return x.map(lambda data: party.backend.xp.concatenate([data, *[data[:, -1:]] * missing], axis=1))


@dataclass(frozen=True, slots=True)
class _Groups:
    """Opened values in groups: public words by column [group, padded groups], and views of the mask."""

    words: Array
    count: int
    group: int
    mask: int
    source: int
    drop: int

    def view(self, form: int, n: int) -> MaskView:
        bits = self.source - self.drop
        return MaskView(self.mask, n, self.source, bits, self.drop, form, self.group)


def _level(party: Party, opened: Opened, group: int, drop: int) -> Steps[AShare]:
    """The winner of each group: [groups]."""
    backend = party.backend
    words = (opened.ring.reduce(opened.words) >> Ring(64).constant(drop)).reshape(-1, group)
    groups = _Groups(words, words.shape[0], group, opened.mask.number, opened.ring.bits, drop)
    by_column = columns(backend, words).reshape(-1)
    ring = Ring(opened.ring.bits - drop)
    choose = _by_planes if party.economy.alone else _by_count
    chosen = yield from choose(party, groups, by_column, ring)
    best = chosen.reshape(group, -1)[:, : groups.count].sum(axis=0)
    return AShare(best, ring, opened.frac_bits - drop)


def _by_count(party: Party, groups: _Groups, by_column: Array, ring: Ring) -> Steps[Array]:
    """Each value if it is the first maximum of its group, else 0: [group * padded groups].

    That is if it is less than no later value, and all earlier ones are less than it: if there are as many of these,
    less those of the others, as stand before it.
    """
    group, field = groups.group, _count_bits(groups.group)
    differences = pair_differences(party.backend, groups.words).reshape(-1)
    number = OpenedNumber(differences, groups.view(PAIRS, differences.size))
    lost = (yield from signs(party, number, field)).reshape(len(pairs_of(group)), -1)
    backend = party.backend
    counts = backend.matmul(backend.table(_scores(group)).reshape(group, -1), lost, field).reshape(-1)
    view = groups.view(COLUMNS, by_column.size)
    before = np.repeat(np.arange(group, dtype=np.uint64), by_column.size // group)
    return (yield from choose_by_count(party, counts, field, backend.asarray(before), by_column, view, ring))


@cache
def _scores(group: int) -> tuple[int, ...]:
    """What [x_i < x_j] of all pairs i < j counts for each value, [group, pairs]: -1 for x_i, 1 for x_j."""
    return tuple((value == j) - (value == i) for value in range(group) for i, j in pairs_of(group))


def _count_bits(group: int) -> int:
    """Bits that tell the counts of a group's winner and losers apart."""
    return (group - 1).bit_length()


def _by_planes(party: Party, groups: _Groups, by_column: Array, ring: Ring) -> Steps[Array]:
    """The same from bits, for two parties alone: an AND more, and fewer products of numbers."""
    wins = yield from _winners(party, groups)
    variable = Variable(groups.view(COLUMNS, by_column.size), 1)
    chooser = Chooser(party, BShare(wins.reshape(1, -1), (by_column.size,)), [variable], ring)
    (d,) = yield Round("max", (chooser.item,))
    return chooser.finish(party, d, [by_column], [[[0, 1]]])


def _winners(party: Party, groups: _Groups) -> Steps[Array]:
    """Planes [group, words]: bit i says that value i is the first maximum of its group."""
    backend, group = party.backend, groups.group
    differences = pair_differences(backend, groups.words).reshape(-1)
    number = OpenedNumber(differences, groups.view(PAIRS, differences.size))
    wins = yield from at_least(party, number, [0])
    pairs = pairs_of(group)
    planes = wins.planes.reshape(len(pairs), -1)
    index = {pair: k for k, pair in enumerate(pairs)}
    flipped = inverted(party, planes)
    against = []
    for other in range(group - 1):  # the other-th opponent of every value, side by side
        rows = []
        for i in range(group):
            j = other if other < i else other + 1
            rows.append(planes[index[(i, j)]] if i < j else flipped[index[(j, i)]])
        against.append(backend.xp.concatenate(rows))
    winners = yield from and_planes(party, backend.xp.stack(against))
    return winners.reshape(group, -1)


def _indexed(party: Party, x: AShare) -> AShare:
    """x * 2^k + (n - 1 - index): distinct values whose maximum tells where it stands."""
    n = x.shape[-1]
    bits = max(1, (n - 1).bit_length())
    ring = Ring(min(WORD, x.ring.bits + bits))
    return add_public(
        party, AShare(x.data << np.uint64(bits), ring, 0), party.backend.constant(_descending, n)
    )


def _descending(n: int) -> NDArray[np.uint64]:
    """n - 1, .., 1, 0."""
    return np.arange(n - 1, -1, -1, dtype=np.uint64)


def _argmax_cost(x: AShare) -> Cost:
    n = x.shape[-1]
    bits = min(WORD, x.ring.bits + max(1, (n - 1).bit_length()))
    return maximum_cost(prod(x.shape[:-1]), n, bits)


@protocol(cost=_argmax_cost, paper="tournament")
def argmax(party: Party, x: AShare) -> Steps[AShare]:
    """Index of the first maximum over the last axis, exact: [...] integers in the smallest ring that holds n.

    Needs |x| < 2^(min(bits, 64 - log2 n) - 3) units. Opens what `maximum` opens.
    """
    n = x.shape[-1]
    best = yield from maximum.steps(party, _indexed(party, x))
    index = best.narrowed(Ring(max(1, (n - 1).bit_length())))
    return add_public(party, -index, n - 1)
