"""Digits of rank 1's own numbers compared with rank 0's, by 1-of-N oblivious transfer.

Rank 1 chooses, for each of its digits, one message of a table that rank 0 makes: the answers to some questions, "is
this number of mine less than your digit", "is it equal", masked by random bits that are its shares. However many
questions there are, the choice is sent once and takes the same OTs.

What is seen. Rank 0: choices masked by uniform bits. Rank 1: of each table one message it can open, masked in turn
by random bits of rank 0's. Source: Rathee et al., CrypTFlow2, CCS 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from functools import reduce
from operator import and_

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.cost import Cost, telling
from gpu_ss.party import Item, Party, Round, Steps
from gpu_ss.provider.specs.transfers import DigitTransfers, pick
from gpu_ss.ring import WORD, Array

WIDTH = 3
FULL = ~np.uint64(0)


class Ask(Enum):
    """What is asked about rank 0's number a and rank 1's digit b: [a < b] or [a = b]."""

    LESS = 0
    EQUAL = 1


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Digit:
    """One digit of all elements: its bits at rank 1 [width, W], lowest first, and what rank 0 compares with it."""

    own: Array
    questions: tuple[tuple[Ask, Array], ...]

    @property
    def width(self) -> int:
        return int(self.own.shape[0])


def widths_of(bits: int) -> list[int]:
    """Digits of at most WIDTH bits that make up a number, as equal as can be: small tables."""
    count = -(-bits // WIDTH)
    return [bits // count + (k < bits % count) for k in range(count)]


def answers_cost(words: int, digits: Sequence[tuple[int, int]]) -> Cost:
    """Cost of `answers` for digits of (width, number of questions)."""
    asked = telling(1, (sum(width for width, _ in digits) * words, WORD))
    told = telling(0, (sum(((1 << width) - 1) * count for width, count in digits) * words, WORD))
    return asked + told + Cost(offline=8 * sum(count for _, count in digits) * words)


def answers(party: Party, n: int, digits: Sequence[Digit]) -> Steps[list[Array]]:
    """Shares of the answers to each digit's questions: [questions, W] for each digit. Two rounds for all."""
    xp, words = party.backend.xp, int(digits[0].own.shape[1])
    made: list[Sequence[Array]] = [
        party.provider.take(DigitTransfers(n, 1, digit.width, len(digit.questions))).arrays
        for digit in digits
    ]
    shifted = None
    if party.rank == 1:
        shifted = xp.concatenate([digit.own ^ m[0] for digit, m in zip(digits, made, strict=True)])
    total = sum(digit.width for digit in digits)
    (shift,) = yield Round("less", (Item(shifted, (total, words), WORD, xor=True, sender=1),))
    shares, tables, start = [], [], 0
    if party.rank == 0:
        for digit, (_, pads, chosen) in zip(digits, made, strict=True):
            rows = messages(party.backend, shift[start : start + digit.width], digit.questions)
            rows = rows ^ pads.reshape(rows.shape) ^ chosen
            shares.append(rows[0])
            tables.append((rows ^ rows[:1])[1:].reshape(-1, words))
            start += digit.width
    sizes = [((1 << digit.width) - 1) * len(digit.questions) for digit in digits]
    mine = xp.concatenate(tables) if tables else None
    (told,) = yield Round("less", (Item(mine, (sum(sizes), words), WORD, xor=True, sender=0),))
    if party.rank == 1:
        start = 0
        for digit, (choice, _, pad), size in zip(digits, made, sizes, strict=True):
            table = party.backend.zeros((1 << digit.width, len(digit.questions), words))
            table[1:] = told[start : start + size].reshape(-1, len(digit.questions), words)
            shares.append(pick(table[None], choice[None])[0] ^ pad)
            start += size
    return shares


def messages(backend: Backend, shift: Array, questions: Sequence[tuple[Ask, Array]]) -> Array:
    """Rank 0's answers [2^width, questions, W]: row j is for a digit b = j XOR shift [width, W]."""
    width, rows = len(shift), range(1 << len(shift))
    ones = backend.table(tuple(int(FULL) * (j >> k & 1) for k in range(width) for j in rows))
    bits = shift[:, None] ^ ones.reshape(width, -1, 1)
    return backend.xp.stack([_answer(ask, number, bits) for ask, number in questions], axis=1)


def _answer(ask: Ask, number: Array, bits: Array) -> Array:
    """Whether numbers [width, W] are less than bits [width, rows, W], or equal: [rows, W]."""
    above = (number ^ FULL)[:, None]
    same = bits ^ above
    if ask is Ask.EQUAL:
        return reduce(and_, same)
    greater = bits & above
    found = greater[0]
    for more, equal in zip(greater[1:], same[1:], strict=True):  # from the lowest bit up
        found = more | equal & found
    return found
