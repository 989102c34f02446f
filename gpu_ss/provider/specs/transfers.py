"""Correlations of oblivious transfer: random transfers that later carry chosen messages, and AND triples.

Of a transfer the sender knows all pads, the receiver its choice and the pad it names. Pads that only the receiver
should know are written as a sharing: the receiver's pad is its own share, and the sender takes its pads less (XOR
for bits) its share. So a dealer can deal them too; two parties alone make them with a share of zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_ss.provider.correlation import Correlation, Dealing, Out
from gpu_ss.provider.specs.bits import words_of
from gpu_ss.ring import Array


@dataclass(frozen=True)
class DigitTransfers(Correlation):
    """For each of n elements `digits` transfers of 1 of 2^width messages of `payload` bits, from rank 0 to rank 1.

    Choices [width digits, W], lowest bit of the lowest digit first; pads [digits 2^width payload, W], bit fastest,
    then message; the chosen pads [digits payload, W].
    """

    n: int
    digits: int
    width: int
    payload: int = 2

    def outputs(self) -> tuple[Out, ...]:
        words = words_of(self.n)
        return (
            Out((self.width * self.digits, words), xor=True, random=True, owner=1),
            Out((self.payload * self.digits << self.width, words), xor=True, random=True, owner=0),
            Out((self.payload * self.digits, words), xor=True),
        )

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        xp, words = dealing.backend.xp, words_of(self.n)
        choices, pads = dealing.clear[0], dealing.clear[1]
        bits = choices.reshape(self.digits, self.width, words)  # type: ignore[union-attr]
        shape = (self.digits, 1 << self.width, self.payload, words)
        found = pick(pads.reshape(shape), bits)  # type: ignore[union-attr]
        return (xp.ascontiguousarray(found).reshape(self.payload * self.digits, words),)


def pick(messages: Array, choice: Array) -> Array:
    """The messages [digits, 2^width, m, W] that the bits [digits, width, W], lowest first, name: [digits, m, W].

    Halves at a time, by masks: which it is shows nowhere.
    """
    for k in range(choice.shape[1] - 1, -1, -1):
        half, bit = messages.shape[1] // 2, choice[:, k][:, None, None]
        messages = messages[:, :half] ^ ((messages[:, :half] ^ messages[:, half:]) & bit)
    return messages[:, 0]


@dataclass(frozen=True)
class BitTriples(Correlation):
    """XOR shares of random bits b [1, words] and a [payload, words], and of b AND a_j."""

    words: int
    payload: int

    def outputs(self) -> tuple[Out, ...]:
        many = (self.payload, self.words)
        return (
            Out((1, self.words), xor=True, random=True),
            Out(many, xor=True, random=True),
            Out(many, xor=True),
        )

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        b, a = dealing.clear[0], dealing.clear[1]
        return (b & a,)  # type: ignore[operator]


@dataclass(frozen=True)
class WordChoices(Correlation):
    """n transfers of 1 of 2 words of `bits` bits from rank 1 to rank 0.

    The choices of rank 0 as a plane, the pads [2, n] of rank 1, the chosen pads (XOR-shared).
    """

    n: int
    bits: int

    def outputs(self) -> tuple[Out, ...]:
        return (
            Out((1, words_of(self.n)), xor=True, random=True, owner=0),
            Out((2, self.n), self.bits, xor=True, random=True, owner=1),
            Out((self.n,), self.bits, xor=True),
        )

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        choice, (zero, one) = dealing.clear[0], dealing.clear[1]  # type: ignore[misc]
        chosen = np.uint64(0) - dealing.backend.plane_words(choice, self.n)[0]
        return (zero ^ ((zero ^ one) & chosen),)


@dataclass(frozen=True)
class CrossProducts(Correlation):
    """n random words of `bits` bits of each party, times `factor_bits` random bits of the other one.

    The words of rank 0 and of rank 1 [n]; the bits of rank 0 and of rank 1 as planes [factor_bits, W]; then shares
    [factor_bits, n] of 2^k bit_k word modulo 2^bits: of rank 0's words, and of rank 1's.
    """

    n: int
    bits: int
    factor_bits: int

    def outputs(self) -> tuple[Out, ...]:
        planes, products = (self.factor_bits, words_of(self.n)), (self.factor_bits, self.n)
        return (
            *(Out((self.n,), self.bits, random=True, owner=rank) for rank in (0, 1)),
            *(Out(planes, xor=True, random=True, owner=rank) for rank in (0, 1)),
            Out(products, self.bits),
            Out(products, self.bits),
        )

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        words, planes = dealing.clear[:2], dealing.clear[2:4]
        products = []
        for owner in (0, 1):
            bits = dealing.backend.plane_words(planes[1 - owner], self.n)
            products.append(_doubled(dealing.backend.xp, bits * words[owner][None]))  # type: ignore[index]
        return products


def _doubled(xp: Any, rows: Array) -> Array:
    """Row k times 2^k."""
    return rows << xp.arange(len(rows), dtype=np.uint64)[:, None]
