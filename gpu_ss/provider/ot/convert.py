"""What is built on correlated OT: random, chosen and 1-of-N OT, products of a bit and a word.

Every function uses up one correlated OT per OT (1-of-N: log2 N), and is secure in the semi-honest model if the hash
of `cot` breaks correlations: H(i, q_i) and H(i, q_i XOR delta) look independent and random, and the receiver can
compute only the one of its bit b_i. The sender sees nothing but d = choice XOR b, masked by a bit it does not know.

Words are uint64 arrays of the backend; bits of n OTs travel and are returned as a plane [1, ceil(n / 64)].
Rounds and bits (n OTs of w-bit words): random 0 and 0; chosen 2 and n (1 + 2 w); 1-of-N 2 and n (log2 N + N w);
products 1 and n w with random bits, 2 and n (1 + w) with chosen ones; words by k-bit words 2 and
n (k + k w - k (k - 1) / 2); random words by k random bits 1 and n (k - 1) (w - k / 2). AND triples: see `triples`.

Where the same is done in both directions, each party sends all it can before it waits, so that both work at the
same time: `in_turn` runs two `Exchange`s step by step. Before that, `begin`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, Generic, ParamSpec, TypeVar

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.backend.transfers import row_sizes
from gpu_ss.field import WORDS, Field
from gpu_ss.provider.ot.cot import (
    NOTHING,
    CotReceiver,
    CotSender,
    CotSource,
    Domain,
    hashed,
    hashed_both,
)
from gpu_ss.provider.ot.messages import (
    TAG_MESSAGES,
    TAG_PRODUCTS,
    heard,
    send_planes,
    tell,
    told_planes,
)
from gpu_ss.ring import WORD, Array, word_count

P = ParamSpec("P")
T = TypeVar("T")
#: Yields before it waits for a message of the other party.
Steps = Generator[None, None, T]

MOST_MESSAGES = 256
ZERO, ONE = np.uint64(0), np.uint64(1)


class Exchange(Generic[P, T]):
    """One end of a conversion: a call goes through with it, `steps` stops before each wait."""

    def __init__(self, steps: Callable[P, Steps[T]]) -> None:
        self.steps = steps
        self.__doc__ = steps.__doc__

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        (result,) = in_turn(self.steps(*args, **kwargs))
        return result  # type: ignore[no-any-return]


def in_turn(*ends: Steps[Any]) -> list[Any]:
    """The results of several ends, each run up to its next wait in turn; both parties name their sender first."""
    results: dict[int, Any] = {}
    while len(results) < len(ends):
        for k, end in enumerate(ends):
            if k in results:
                continue
            try:
                next(end)
            except StopIteration as finished:
                results[k] = finished.value
    return [results[k] for k in range(len(ends))]


def begin(rank: int, sender: CotSender, receiver: CotReceiver) -> None:
    """The start of both directions, where the parties do answer each other: that in which rank 0 sends is first."""
    for source in (sender, receiver) if rank == 0 else (receiver, sender):
        source.begin()


# Random OT: Ishai, Kilian, Nissim, Petrank, CRYPTO 2003


def send_random(source: CotSender, n: int, words: int = 1) -> tuple[Array, Array]:
    """Two random messages for each OT, [n, words] each. Nothing is sent."""
    cots = source.take(n)
    blocks = cots.use()
    both = hashed_both(source.backend, blocks, source.delta, cots.first, Domain.OUTPUT, words)
    return both[0], both[1]


def receive_random(source: CotReceiver, n: int, words: int = 1, rows: int = 1) -> tuple[Array, Array]:
    """Random choice bits of `rows` n OTs, as planes [rows, W], and the messages [rows n, words] they choose."""
    cots = source.take(rows * n)
    blocks = cots.use()
    messages = hashed(source.backend, blocks, NOTHING, cots.first, Domain.OUTPUT, words)
    return source.backend.choice_planes(blocks, rows), messages


# Chosen messages: Beaver, CRYPTO 1995


def send_chosen(source: CotSender, zero: Array, one: Array, bits: int) -> None:
    """Offers the low `bits` bits of zero_i and one_i, arrays [n]: one message of 2 n bits-bit words."""
    n = len(zero)
    keys = send_random(source, n)
    flip = _words(source.backend, told_planes(source, n), n)
    first, second = _swapped(keys[0][:, 0], keys[1][:, 0], flip)
    tell(source, TAG_MESSAGES, _packed(source.backend, [zero ^ first, one ^ second], bits))


def receive_chosen(source: CotReceiver, choice: Array, n: int, bits: int) -> Array:
    """The messages [n] that a plane of choice bits names."""
    backend = source.backend
    own, key = receive_random(source, n)
    send_planes(source, choice ^ own, n)
    zero, one = _hear(source, TAG_MESSAGES, n, bits, 2)
    return (zero ^ (zero ^ one) & (ZERO - _words(backend, choice, n)) ^ key[:, 0]) & _ones(bits)


# 1 of N: Naor and Pinkas, STOC 1999


def send_one_of(source: CotSender, messages: Array, bits: int) -> None:
    """Offers the low `bits` bits of messages [N, n], 2 <= N <= 256: one message of N n bits-bit words.

    OT k of log2 N serves digit k of the index: its keys stretch to a pad for each message, and message j is
    masked by the XOR of the pads that its digits name. Who lacks one key lacks a pad that nothing else masks.
    """
    backend, (count, n) = source.backend, messages.shape
    digits, slot = _index_bits(count), _slot(bits)
    keys = send_random(source, digits * n, word_count(count, slot))
    flips = told_planes(source, n, digits)
    pads = []  # [digit][value]: words [n, L]
    for k in range(digits):
        zero, one = (key[k * n : (k + 1) * n] for key in keys)
        pads.append(_swapped(zero, one, _words(backend, flips[k : k + 1], n)[:, None]))
    masked = []
    for j in range(count):
        message = messages[j]
        for k in range(digits):
            message = message ^ _pad(pads[k][j >> k & 1], j, slot)
        masked.append(message)
    tell(source, TAG_MESSAGES, _packed(backend, masked, bits))


def receive_one_of(source: CotReceiver, index: Array, count: int, bits: int) -> Array:
    """Message index_i of OT i: [n] from words [n] below `count`.

    Goes through all messages with masks, so which one it wants does not show in time or addresses.
    """
    backend, n = source.backend, len(index)
    digits, slot = _index_bits(count), _slot(bits)
    own, keys = receive_random(source, n, word_count(count, slot), digits)
    planes = backend.to_planes(backend.xp.ascontiguousarray(index), digits)
    send_planes(source, planes ^ own, n)
    key = backend.xor_rows(keys.reshape(1, digits, -1)).reshape(n, -1)
    chosen = backend.zeros(n)
    for j, message in enumerate(_hear(source, TAG_MESSAGES, n, bits, count)):
        wanted = (index ^ np.uint64(j)) - ONE >> np.uint64(63)  # 1 where index = j
        chosen = chosen | (message ^ _pad(key, j, slot)) & (ZERO - wanted)
    return chosen & _ones(bits)


# Products: Gilboa, CRYPTO 1999, on correlated OT (Asharov, Lindell, Schneider, Zohner, CCS 2013)


@Exchange
def send_products(source: CotSender, x: Array, bits: int, chosen: bool = False) -> Steps[Array]:
    """Share of b_i x_i modulo 2^bits for words x [n], or [m, n]: m words for each bit; b_i are the receiver's.

    One message of m n words.
    """
    n = x.shape[-1]
    rows = source.backend.xp.ascontiguousarray(x).reshape(-1, n)
    zero, one = send_random(source, n, len(rows))
    if chosen:
        yield
    flips = told_planes(source, n) if chosen else None
    messages, share = source.backend.product_corrections(rows, zero, one, flips, bits)
    tell(source, TAG_PRODUCTS, messages)
    return share.reshape(x.shape)


@Exchange
def receive_products(
    source: CotReceiver, n: int, bits: int, choice: Array | None = None, rows: int | None = None
) -> Steps[tuple[Array, Array]]:
    """The bits b as a plane [1, W], random or as given, and this party's share [n] (or [rows, n]) of b_i x_i."""
    plane, keys, corrections = yield from _corrected(source, n, bits, choice, rows or 1)
    share = source.backend.product_shares(keys, corrections, plane, bits)
    return plane, share if rows else share[0]


@Exchange
def send_mux(source: CotSender, own: Array, x: Array, bits: int) -> Steps[Array]:
    """As `send_products` of x (1 - 2 a), and a x added to the share, for words x [m, n] and own bits a [1, W]."""
    m, n = x.shape
    zero, one = send_random(source, n, m)
    yield
    x = source.backend.xp.ascontiguousarray(x)
    messages, share = source.backend.mux_corrections(x, own, zero, one, told_planes(source, n), bits)
    tell(source, TAG_PRODUCTS, messages)
    return share


@Exchange
def receive_mux(
    source: CotReceiver, choice: Array, n: int, bits: int, rows: int
) -> Steps[tuple[Array, Array]]:
    """What `Backend.mux_shares` makes this party's share of: its keys [n, rows] and the other one's corrections."""
    _, keys, corrections = yield from _corrected(source, n, bits, choice, rows)
    return keys, corrections


@Exchange
def send_value(source: CotSender, own: Array, n: int, bits: int) -> Steps[Array]:
    """Share [n] of a XOR b = a + b - 2 a b modulo 2^bits, of bits a [1, W] of this party and b of the other one.

    The product is needed modulo 2^(bits - 1) only: one message of n such words.
    """
    zero, one = send_random(source, n)
    yield
    messages, share = source.backend.value_corrections(own, zero, one, told_planes(source, n), bits)
    tell(source, TAG_PRODUCTS, messages)
    return share


@Exchange
def receive_value(source: CotReceiver, own: Array, n: int, bits: int) -> Steps[Array]:
    """The other one's share [n]."""
    _, keys, corrections = yield from _corrected(source, n, bits - 1, own, 1)
    return source.backend.value_shares(keys, corrections, own, bits)


def _corrected(
    source: CotReceiver, n: int, bits: int, choice: Array | None, rows: int
) -> Steps[tuple[Array, Array, Array]]:
    """The bits of n OTs as a plane [1, W], random or as given, its keys [n, rows], the packed corrections."""
    own, keys = receive_random(source, n, rows)
    if choice is None:
        choice = own
    else:
        send_planes(source, choice ^ own, n)
    yield
    return choice, keys, heard(source, TAG_PRODUCTS, [word_count(rows * n, bits)])


def send_field_products(source: CotSender, x: Array, field: Field) -> Array:
    """As `send_products` with random bits, modulo a prime, for elements x [n]."""
    first, second = (_elements(source, key, field) for key in send_random(source, len(x), WORDS))
    correction = field.subtract(field.add(x, first), second)
    tell(source, TAG_PRODUCTS, source.backend.pack(correction, field.bits))
    return field.subtract(first ^ first, first)


def receive_field_products(source: CotReceiver, n: int, field: Field) -> tuple[Array, Array]:
    """The random bits b as a plane [1, W], and this party's share [n] of b_i x_i."""
    own, key = receive_random(source, n, WORDS)
    (correction,) = _hear(source, TAG_PRODUCTS, n, field.bits, 1)
    taken = field.canonical(correction) & (ZERO - _words(source.backend, own, n))
    return own, field.add(_elements(source, key, field), taken)


@Exchange
def send_word_products(source: CotSender, x: Array, bits: int, factor_bits: int) -> Steps[Array]:
    """Share of x_i y_i modulo 2^bits for words x [n]; y_i < 2^factor_bits are the receiver's.

    One OT for each bit of y: bit k needs x modulo 2^(bits - k) only.
    """
    backend, n = source.backend, len(x)
    zero, one = (key.reshape(factor_bits, n) for key in send_random(source, factor_bits * n))
    yield
    flips = told_planes(source, n, factor_bits)
    x = backend.xp.ascontiguousarray(x)
    messages, share = backend.word_corrections(x, zero, one, flips, bits)
    tell(source, TAG_PRODUCTS, messages, row_sizes(n, bits, factor_bits))
    return share


@Exchange
def receive_word_products(source: CotReceiver, y: Array, bits: int, factor_bits: int) -> Steps[Array]:
    """This party's share [n] of x_i y_i modulo 2^bits for its words y [n], of which the low `factor_bits` count."""
    backend, n = source.backend, len(y)
    own, keys = receive_random(source, n, rows=factor_bits)
    planes = backend.to_planes(backend.xp.ascontiguousarray(y), factor_bits)
    send_planes(source, planes ^ own, n)
    yield
    corrections = heard(source, TAG_PRODUCTS, row_sizes(n, bits, factor_bits))
    return backend.word_shares(keys.reshape(factor_bits, n), corrections, planes, bits)


@Exchange
def send_bit_words(source: CotSender, n: int, bits: int, factor_bits: int) -> Steps[tuple[Array, Array]]:
    """Random words x [n] and shares [factor_bits, n] of 2^k b_k x modulo 2^bits for random bits of the receiver's.

    x is what the keys of bit 0 differ by, so for that bit nothing is sent; bit k needs x modulo 2^(bits - k) only.
    """
    zero, one = (key.reshape(factor_bits, n) for key in send_random(source, factor_bits * n))
    messages, x, shares = source.backend.bit_word_corrections(zero, one, bits)
    if factor_bits > 1:
        tell(source, TAG_PRODUCTS, messages, row_sizes(n, bits - 1, factor_bits - 1))
    yield
    return x, shares


@Exchange
def receive_bit_words(source: CotReceiver, n: int, bits: int, factor_bits: int) -> Steps[tuple[Array, Array]]:
    """Random bits b as planes [factor_bits, W], and shares [factor_bits, n] of 2^k b_k x of the sender's words."""
    backend, sizes = source.backend, row_sizes(n, bits - 1, factor_bits - 1)
    own, keys = receive_random(source, n, rows=factor_bits)
    yield
    corrections = heard(source, TAG_PRODUCTS, sizes) if sizes else backend.empty(0)
    return own, backend.bit_word_shares(keys.reshape(factor_bits, n), corrections, own, bits)


# Steps


def _swapped(first: Array, second: Array, flip: Array) -> tuple[Array, Array]:
    """The sender's keys in the order of the receiver's choices: exchanged where the word `flip` is 1, not 0."""
    exchanged = (first ^ second) & (ZERO - flip)
    return first ^ exchanged, second ^ exchanged


def _packed(backend: Backend, arrays: list[Array], bits: int) -> Array:
    return backend.pack(backend.xp.stack(arrays), bits)


def _hear(source: CotSource, tag: str, n: int, bits: int, count: int) -> Array:
    """`count` arrays [n] of `bits`-bit words."""
    words = heard(source, tag, [word_count(count * n, bits)])
    return source.backend.unpack(words, bits, count * n).reshape(count, n)


def _elements(source: CotSource, keys: Array, field: Field) -> Array:
    """Uniform elements from two words of pad each."""
    high, low = (column(source.backend, keys, at) for at in range(WORDS))
    return source.backend.field_reduce(high, low, field.prime)


def _words(backend: Backend, plane: Array, n: int) -> Array:
    """A plane [1, W] as n words 0 or 1."""
    return backend.plane_words(backend.xp.ascontiguousarray(plane), n)[0]


def column(backend: Backend, rows: Array, at: int) -> Array:
    return backend.xp.ascontiguousarray(rows[:, at])


def _ones(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def _index_bits(count: int) -> int:
    if not 2 <= count <= MOST_MESSAGES:
        raise ValueError(f"1 of N takes N from 2 to {MOST_MESSAGES}, not {count}")
    return (count - 1).bit_length()


def _slot(bits: int) -> int:
    """Bits of pad per message: the least power of two that is enough, so that no pad crosses words."""
    if not 1 <= bits <= WORD:
        raise ValueError(f"messages have 1 to {WORD} bits, not {bits}")
    return 1 << (bits - 1).bit_length()


def _pad(words: Array, j: int, slot: int) -> Array:
    """Pad number j of rows of words: [n]. The bits above the slot are to be ignored."""
    word, at = divmod(j * slot, WORD)
    return words[:, word] >> np.uint64(at)
