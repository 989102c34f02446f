"""Boolean computations on shares, as recipes: addition of the parties' numbers, monomials, unit vectors.

A recipe is a generator that yields lists of requests (`requests`) or jobs (`provider.jobs`). Planes are XOR-shared.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from gpu_ss.provider.jobs import Work
from gpu_ss.provider.ot.pair import MOST_PAYLOAD
from gpu_ss.provider.ot.requests import And, Sum
from gpu_ss.ring import Array


def add(planes: Array) -> Work[Array]:
    """The bits [b, W] of x_0 + x_1, modulo 2^b, from the bits [b, W] of this party's own number."""
    (total,) = yield [Sum(planes)]
    return total


def next_carry(lead: np.uint64, own: Array, carry: Array) -> Work[Array]:
    """The carry out of a bit, from this party's own bit and the carry into it. One AND:

    c' = a ^ (a ^ b) (a ^ c), where a is known to rank 0 alone, so that a ^ b is XOR-shared as it stands.
    """
    first = own & lead
    (joint,) = yield [And(own, (first ^ carry)[None])]
    return first ^ joint[0]


def digit_products(xp: Any, planes: Array, widths: Sequence[int]) -> Work[Array]:
    """All products of planes [sum of widths, W] inside each digit: for b planes those of the subsets 1 .. 2^b - 1,
    digit by digit.

    Digits side by side grow bit by bit, the widest first, so that those with another bit are the beginning.
    """
    words = planes.shape[1]
    starts = [end - width for end, width in zip(accumulate(widths), widths, strict=True)]
    order = sorted(range(len(widths)), key=lambda digit: -widths[digit])
    products = xp.stack([planes[starts[digit]] for digit in order])[None]  # [subsets, digits, W]
    done: dict[int, Array] = {}
    for bit in range(1, max(widths) + 1):
        more = sum(width > bit for width in widths)
        done |= {order[place]: products[:, place] for place in range(more, products.shape[1])}
        if more:
            products = products[:, :more]
            plane = xp.stack([planes[starts[digit] + bit] for digit in order[:more]])
            found = yield from _ands(xp, plane.reshape(-1), products.reshape(len(products), -1))
            products = xp.concatenate([products, plane[None], found.reshape(-1, more, words)])
    return xp.concatenate([done[digit] for digit in range(len(widths))])


def subset_products(xp: Any, planes: Array, subsets: Sequence[int]) -> Work[Array]:
    """The AND of the planes that each subset (a bit set of two members or more) names.

    A product is that without its highest member, times that member: so one member serves many at once.
    """
    needed = with_parts(subsets)
    products = {1 << k: plane for k, plane in enumerate(planes)}
    for k in range(1, len(planes)):
        mine = sorted(s for s in needed if s.bit_length() == k + 1 and s != 1 << k)
        if mine:
            found = yield from _ands(xp, planes[k], xp.stack([products[s ^ (1 << k)] for s in mine]))
            products |= dict(zip(mine, found, strict=True))
    return xp.stack([products[s] for s in subsets])


def unit_vector(xp: Any, lead: np.uint64, planes: Sequence[Array]) -> Work[Array]:
    """The indicator planes [2^b, W] of a b-bit number, entry j set where the number is j."""
    entries = xp.stack([planes[0] ^ lead, planes[0]])
    for plane in planes[1:]:
        upper = yield from _ands(xp, plane, entries)
        entries = xp.concatenate([entries ^ upper, upper])
    return entries


def with_parts(subsets: Iterable[int]) -> set[int]:
    """The subsets and what is left of them as their highest members are taken away, one by one."""
    found: set[int] = set()
    for subset in subsets:
        while subset & (subset - 1) and subset not in found:
            found.add(subset)
            subset ^= 1 << (subset.bit_length() - 1)
    return found


def _ands(xp: Any, choice: Array, payload: Array) -> Work[Array]:
    """choice [W] AND each plane of payload [m, W]: [m, W]."""
    answers = yield [
        And(choice, payload[start : start + MOST_PAYLOAD]) for start in range(0, len(payload), MOST_PAYLOAD)
    ]
    return answers[0] if len(answers) == 1 else xp.concatenate(answers)
