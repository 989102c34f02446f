"""What is built on correlated OT: corrections of a sender's keys, shares of products, ANDs under triples.

A part of `Backend`, split off because nothing in share arithmetic uses it. Same rules: exact, the same words on
every backend, arguments unchanged, C-contiguous. Bit planes are [planes, W]. Keys are a sender's hashes (`zero` and
`one`, of either value of the choice bit) or those that a receiver's bits choose. Where a receiver wants other bits
than its OTs have, it tells by `flips` for which OTs the sender exchanges its keys: `first` and `second` are they
in the order of the bits wanted. Nothing here branches or addresses memory by the value of a bit, a key or a word.

Rows of words of different widths travel as strings of `pack`, one after the other: each begins with a word of its
own, and `row_sizes` says how many words each has.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from gpu_ss.backend.checks import check_shapes, require, width
from gpu_ss.ring import WORD, Array, word_count


def row_sizes(n: int, bits: int, rows: int) -> list[int]:
    """Words of each of `rows` packed rows of n elements, of `bits`, bits - 1, ... bits."""
    return [word_count(n, bits - k) for k in range(rows)]


class Transfers(ABC):
    """Operations on keys and triples; defined by `reference_transfers`."""

    # Bits

    @abstractmethod
    def choice_planes(self, blocks: Array, rows: int) -> Array:
        """The lowest bits of blocks [rows n, 2] as planes [rows, ceil(n / 64)]; zero past the end of each."""

    @abstractmethod
    def and_masked(self, choice: Array, payload: Array, b: Array, a: Array) -> Array:
        """choice [W] XOR b [1, W], then payload [m, W] XOR a [m, W]: [1 + m, W]."""

    @abstractmethod
    def and_opened(self, mine: Array, other: Array, b: Array, a: Array, c: Array, lead: np.uint64) -> Array:
        """Share of choice AND payload_j: [m, W], from both parties' `and_masked` and the triples (b, a, c).

        With d, e_j = mine XOR other it is c_j + d a_j + e_j b, and d e_j at the party whose `lead` is all ones.
        """

    # A word by the bits of another one

    @abstractmethod
    def word_corrections(
        self, x: Array, zero: Array, one: Array, flips: Array, bits: int
    ) -> tuple[Array, Array]:
        """What a sender of words x [n] says of them for K <= bits bits of the receiver's, and its share.

        zero, one [K, n]; flips [K, W]. Row k of the messages is x + first_k - second_k modulo 2^(bits - k), packed
        (`row_sizes`); the share [n] is -sum_k 2^k first_k modulo 2^bits.
        """

    @abstractmethod
    def word_shares(self, keys: Array, corrections: Array, planes: Array, bits: int) -> Array:
        """The receiver's share [n]: sum_k 2^k (key_k + b_k correction_k) modulo 2^bits.

        keys [K, n]; corrections as `word_corrections` packs them; planes [K, W] hold the bits b_k.
        """

    @abstractmethod
    def bit_word_corrections(self, zero: Array, one: Array, bits: int) -> tuple[Array, Array, Array]:
        """As `word_corrections` for the words x that the keys of bit 0 differ by: (messages, x [n], shares).

        zero, one [K, n]; x = one_0 - zero_0 modulo 2^bits. The messages are rows 1 and following: x + zero_k -
        one_k modulo 2^(bits - k). The shares [K, n] are -2^k zero_k modulo 2^bits.
        """

    @abstractmethod
    def bit_word_shares(self, keys: Array, corrections: Array, planes: Array, bits: int) -> Array:
        """The receiver's shares 2^k (key_k + b_k correction_k) modulo 2^bits: [K, n]. Row 0 has no correction."""

    # A bit by words: m words for each of n bits

    @abstractmethod
    def product_corrections(
        self, x: Array, zero: Array, one: Array, flips: Array | None, bits: int
    ) -> tuple[Array, Array]:
        """What a sender of words x [m, n] says of them, and its share [m, n] of the products with n bits.

        zero, one [n, m]; flips [1, W], or None where the bits are those of the OTs. The messages are x + first -
        second modulo 2^bits, one packed string row by row; the share is -first modulo 2^bits.
        """

    @abstractmethod
    def product_shares(self, keys: Array, corrections: Array, plane: Array, bits: int) -> Array:
        """The receiver's share key + b correction modulo 2^bits: [m, n]. keys [n, m]; plane [1, W] holds b."""

    @abstractmethod
    def mux_corrections(
        self, x: Array, own: Array, zero: Array, one: Array, flips: Array, bits: int
    ) -> tuple[Array, Array]:
        """`product_corrections` of x - 2 b x for own bits b [1, W], with b x added to the share."""

    @abstractmethod
    def mux_shares(self, base: Array, keys: Array, corrections: Array, plane: Array, bits: int) -> Array:
        """base [m, n] plus `product_shares`, modulo 2^bits."""

    @abstractmethod
    def value_corrections(
        self, own: Array, zero: Array, one: Array, flips: Array, bits: int
    ) -> tuple[Array, Array]:
        """`product_corrections` of own bits b [1, W] themselves modulo 2^(bits - 1), 2 <= bits; (messages, share).

        The share [n] is b minus twice that of the product, modulo 2^bits: that of the sum of both bits modulo 2.
        zero, one [n, 1].
        """

    @abstractmethod
    def value_shares(self, keys: Array, corrections: Array, own: Array, bits: int) -> Array:
        """The receiver's: b minus twice `product_shares` of its own bits b [1, W], modulo 2^bits: [n]."""


# Argument checks shared by the implementations


def check_choices(blocks: Array, rows: int) -> int:
    """OTs of each row."""
    shape = blocks.shape
    require(
        rows > 0 and len(shape) == 2 and shape[1] == 2 and shape[0] % rows == 0,
        f"{shape} are not the blocks of {rows} rows of OTs",
    )
    return int(shape[0]) // rows


def check_and(choice: Array, payload: Array, b: Array, a: Array) -> None:
    require(payload.ndim == 2, f"payload must be planes [m, W], not {payload.shape}")
    words = payload.shape[1]
    check_shapes(choice=(choice, (words,)), b=(b, (1, words)), a=(a, payload.shape))


def check_opened(mine: Array, other: Array, b: Array, a: Array, c: Array) -> None:
    require(a.ndim == 2, f"a must be planes [m, W], not {a.shape}")
    count, words = a.shape
    check_shapes(
        mine=(mine, (1 + count, words)),
        other=(other, (1 + count, words)),
        b=(b, (1, words)),
        c=(c, (count, words)),
    )


def check_rows(keys: Array, bits: int, **planes: Array) -> tuple[int, int]:
    """Rows and elements of the keys of a word's bits, to which planes belong."""
    require(keys.ndim == 2 and 1 <= len(keys) <= width(bits), f"{keys.shape} are not keys of {bits} bits")
    rows, n = keys.shape
    check_shapes(**{name: (plane, (rows, word_count(n, 1))) for name, plane in planes.items()})
    return int(rows), int(n)


def check_row_words(corrections: Array, n: int, bits: int, rows: int) -> None:
    check_shapes(corrections=(corrections, (sum(row_sizes(n, bits, rows)),)))


def check_products(keys: Array, bits: int, **planes: Array) -> tuple[int, int]:
    """Rows and elements of products of n bits and m words each, from keys [n, m]."""
    require(keys.ndim == 2, f"keys must be [n, m], not {keys.shape}")
    n, rows = keys.shape
    width(bits)
    check_shapes(**{name: (plane, (1, word_count(n, 1))) for name, plane in planes.items()})
    return int(rows), int(n)


def check_product_words(corrections: Array, n: int, bits: int) -> None:
    check_shapes(corrections=(corrections, (word_count(n, bits),)))


def check_value(keys: Array, bits: int, **planes: Array) -> int:
    """Bits of a plane that becomes numbers."""
    require(2 <= bits <= WORD, f"numbers must have 2 to {WORD} bits, not {bits}")
    rows, n = check_products(keys, bits - 1, **planes)
    require(rows == 1, f"there is one key for each bit, not {rows}")
    return n


class NoTransfers(Transfers):
    """For backends that compute nothing: correlations are not made in a plan."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError("this backend has no keys")

    choice_planes = and_masked = and_opened = _refuse
    word_corrections = word_shares = bit_word_corrections = bit_word_shares = _refuse
    product_corrections = product_shares = mux_corrections = mux_shares = _refuse
    value_corrections = value_shares = _refuse
