"""Boolean computations on shares, as recipes: addition of the parties' numbers, monomials, unit vectors.

A recipe is a generator that yields lists of requests (`requests`) or jobs (`provider.jobs`). Planes are XOR-shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from gpu_ss.provider.jobs import Work
from gpu_ss.provider.ot.pair import MOST_PAYLOAD
from gpu_ss.provider.ot.requests import And
from gpu_ss.ring import Array


def add(lead: np.uint64, planes: Array) -> Work[list[Array]]:
    """The bits of x_0 + x_1, modulo 2^b, from the bits [b, W] of this party's own number: full adders in a row."""
    carry = planes[0] & np.uint64(0)
    total = [planes[0]]
    for own, following in pairwise(planes):
        carry = yield from next_carry(lead, own, carry)
        total.append(following ^ carry)
    return total


def next_carry(lead: np.uint64, own: Array, carry: Array) -> Work[Array]:
    """The carry out of a bit, from this party's own bit and the carry into it. One AND:

    c' = a ^ (a ^ b) (a ^ c), where a is known to rank 0 alone, so that a ^ b is XOR-shared as it stands.
    """
    first = own & lead
    (joint,) = yield [And(own, (first ^ carry)[None])]
    return first ^ joint[0]


def digit_products(xp: Any, planes: Sequence[Array], widths: Sequence[int]) -> Work[list[Array]]:
    """All products of planes inside each digit: for b planes those of the subsets 1 .. 2^b - 1, digit by digit."""
    starts = np.cumsum([0, *widths[:-1]])
    products = [[planes[start]] for start in starts]
    for bit in range(1, max(widths)):
        chosen = [k for k, width in enumerate(widths) if width > bit]
        found = yield from _ands(xp, [(planes[starts[k] + bit], products[k]) for k in chosen])
        for k, new in zip(chosen, found, strict=True):
            products[k] = [*products[k], planes[starts[k] + bit], *new]
    return [plane for digit in products for plane in digit]


def subset_products(xp: Any, planes: Sequence[Array], subsets: Sequence[int]) -> Work[list[Array]]:
    """The AND of the planes that each subset (a bit set of two members or more) names.

    A product is that without its highest member, times that member: so one member serves many at once.
    """
    needed = with_parts(subsets)
    products = {1 << k: plane for k, plane in enumerate(planes)}
    for k in range(1, len(planes)):
        mine = sorted(s for s in needed if s.bit_length() == k + 1 and s != 1 << k)
        if mine:
            (found,) = yield from _ands(xp, [(planes[k], [products[s ^ (1 << k)] for s in mine])])
            products |= dict(zip(mine, found, strict=True))
    return [products[s] for s in subsets]


def unit_vector(xp: Any, lead: np.uint64, planes: Sequence[Array]) -> Work[list[Array]]:
    """The 2^b indicator planes of a b-bit number, entry j set where the number is j."""
    entries = [planes[0] ^ lead, planes[0]]
    for plane in planes[1:]:
        (upper,) = yield from _ands(xp, [(plane, entries)])
        entries = [*(e ^ u for e, u in zip(entries, upper, strict=True)), *upper]
    return entries


def with_parts(subsets: Iterable[int]) -> set[int]:
    """The subsets and what is left of them as their highest members are taken away, one by one."""
    found: set[int] = set()
    for subset in subsets:
        while subset & (subset - 1) and subset not in found:
            found.add(subset)
            subset ^= 1 << (subset.bit_length() - 1)
    return found


def _ands(xp: Any, asked: Sequence[tuple[Array, Sequence[Array]]]) -> Work[list[list[Array]]]:
    """choice AND each plane of a list, for several such pairs in one step."""
    requests, owners = [], []
    for which, (choice, payload) in enumerate(asked):
        for start in range(0, len(payload), MOST_PAYLOAD):
            requests.append(And(choice, xp.stack(payload[start : start + MOST_PAYLOAD])))
            owners.append(which)
    answers = yield requests
    found: list[list[Array]] = [[] for _ in asked]
    for which, planes in zip(owners, answers, strict=True):
        found[which] += list(planes)
    return found
