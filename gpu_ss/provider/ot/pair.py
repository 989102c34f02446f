"""Computing on shares with oblivious transfer in both directions: what the recipes for correlations are made of.

Every operation takes this party's shares of its operands and gives its share of the result. Bits are XOR-shared
planes, numbers additive shares modulo a power of two. Nothing is opened but ANDs' operands, each masked by a
uniform bit of a fresh triple; all else that is sent is what `convert` sends. Both parties call the same
operations in the same order; in every operation each sends first what it can.

Bits for one element, both directions together, without the OTs themselves (0.49 bits each):

    and_vector   m ANDs that have one operand in common    2 OTs                2 m + 2
    add          b-bit numbers, to bits                    2 (b - 1) OTs        4 (b - 1), more for few (`adder`)
    mux          a bit by m words modulo 2^w               2 OTs                2 m w + 2
    value        a bit as a number modulo 2^w              1 OT                 w
    overlap      m bits of each party alone: XOR of ANDs   m OTs                2 m
    product      two numbers modulo 2^w, one of k bits     2 k OTs              k (2 w + 3 - k)
    square       a number modulo 2^w                       w - 1 OTs            (w - 1)(w + 2) / 2
    wrap_product a bit of each party alone modulo 2^w or p 1 OT                 w, or the bits of p
    joint        a number of each party alone, modulo 2^w  k OTs for k bits     k (2 w + 3 - k) / 2
    cross        random words, bits of the other party     2 k OTs for k bits   (k - 1) (2 w - k)
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.backend.oblivious import LEAST_WORDS
from gpu_ss.field import Field
from gpu_ss.provider.ot import adder, convert
from gpu_ss.provider.ot.convert import Steps, in_turn
from gpu_ss.provider.ot.cot import CotReceiver, CotSender, frame
from gpu_ss.provider.ot.messages import TAG_PRODUCTS, heard, send_planes, tell, told_planes
from gpu_ss.provider.ot.triples import AndTriples, and_triples, receive_random_planes, send_random_planes
from gpu_ss.provider.specs.transfers import pick
from gpu_ss.ring import WORD, Array, Ring, lead_of
from net.channel import Channel
from net.errors import ProtocolError

S = TypeVar("S")
R = TypeVar("R")

_WORDS_PER_OT = 16  # of correlations made side by side for each OT handled at a time: so memory stays small
MOST_PAYLOAD = WORD  # ANDs that can share an operand in one go
TAG_AND = "ot/and"
TAG_ROOM = "ot/room"
_ROOM = struct.Struct("<Q")
ONE = np.uint64(1)


class OtPair:
    """One party's ends of both directions of OT."""

    def __init__(
        self, rank: int, backend: Backend, channel: Channel, sender: CotSender, receiver: CotReceiver
    ) -> None:
        self.rank = rank
        self.backend = backend
        self._channel = channel
        self._sender = sender
        self._receiver = receiver
        self._words: int | None = None  # as agreed

    def agree(self) -> int:
        """Words of correlations made side by side: the lesser of what the parties have room for; asked once."""
        if self._words is None:
            mine = self.backend.words_at_once
            (received,) = self._channel.exchange(TAG_ROOM, [_ROOM.pack(mine)], [_ROOM.size])
            (theirs,) = _ROOM.unpack(received)
            if theirs < LEAST_WORDS:
                raise ProtocolError(f"{self._channel.peer} makes {theirs} words side by side: too few")
            self._words = min(mine, theirs)
            for source in (self._sender, self._receiver):
                source.slabs_together = self._words // LEAST_WORDS
        return self._words

    @property
    def _chunk(self) -> int:
        """OTs handled at a time."""
        return (self._words or LEAST_WORDS) // _WORDS_PER_OT

    def __repr__(self) -> str:
        return f"OtPair(rank={self.rank}, sent={self._sender.taken}, received={self._receiver.taken})"

    # Bits

    def and_vector(self, choice: Array, payload: Array) -> Array:
        """choice AND payload_j for planes choice [W] and payload [m, W], m up to 64: [m, W]."""
        return self._chunks(
            lambda part: self._and_vector(choice[part], payload[:, part]), choice.size, self._chunk // WORD
        )

    def _and_vector(self, choice: Array, payload: Array) -> Array:
        backend, triple = self.backend, self._triples(choice.size, len(payload))
        choice, payload = map(backend.xp.ascontiguousarray, (choice, payload))
        mine = backend.and_masked(choice, payload, triple.b, triple.a)
        (received,) = self._channel.exchange(TAG_AND, [frame(backend, mine)], [8 * int(mine.size)])
        other = backend.asarray(np.frombuffer(received, np.uint64)).reshape(mine.shape)
        return backend.and_opened(mine, other, triple.b, triple.a, triple.c, lead_of(self.rank))

    def add(self, own: Array, ends: Sequence[int]) -> Array:
        """The bits [b, W] of x_0 + x_1 from this party's own, of which the first ends[k] words have bit k."""
        return own ^ adder.carries(self.backend.xp, lead_of(self.rank), own, ends, self.and_vector)

    def overlap(self, planes: Array) -> Array:
        """XOR_j x_j AND y_j, for rank 0's own bits x and rank 1's y, planes [m, W] each: [W]."""
        return self._chunks(
            lambda part: self._overlap(planes[:, part]),
            planes.shape[1],
            max(1, self._chunk // WORD // len(planes)),
        )

    def _overlap(self, planes: Array) -> Array:
        backend = self.backend
        flat = backend.xp.ascontiguousarray(planes).reshape(1, -1)
        share = self._bit_products(flat, WORD * int(flat.size))
        return backend.xor_rows(share.reshape(1, *planes.shape))[0]

    def _bit_products(self, own: Array, n: int) -> Array:
        """Rank 0's n bits times rank 1's, both [1, W]: products modulo 2, with all sums as XOR of planes."""
        if self.rank == 0:
            zero, one = send_random_planes(self._sender, n, 1)
            flips = told_planes(self._sender, n)
            tell(self._sender, TAG_PRODUCTS, (own ^ zero ^ one)[0])
            return zero ^ (zero ^ one) & flips
        random, key = receive_random_planes(self._receiver, n, 1)
        send_planes(self._receiver, own ^ random, n)
        (correction,) = heard(self._receiver, TAG_PRODUCTS, [own.size]).reshape(1, -1)
        return key ^ correction & own

    def triples(self, words: int, payload: int) -> tuple[Array, Array, Array]:
        """Random b [1, words], a [payload, words] and shares of b AND a_j. Nothing is sent."""

        def part(some: slice) -> tuple[Array, Array, Array]:
            triple = self._triples(some.stop - some.start, payload)
            return triple.b, triple.a, triple.c

        return self._chunks(part, words, self._chunk // WORD)

    def _triples(self, words: int, payload: int) -> AndTriples:
        return and_triples(self.rank, self._sender, self._receiver, WORD * words, payload)

    def digit_pads(self, words: int, width: int, payload: int) -> tuple[Array, Array]:
        """Of 64 words transfers of 1 of 2^width messages from rank 0 to rank 1, the pads. Nothing is sent.

        Messages have `payload` bits, at most 64 / 2^width. Rank 0: (pads [2^width, payload, words], zeros
        [payload, words]). Rank 1: (choices [width, words], its pads). A pad is the XOR of the pads of the keys that
        the digit's bits name, one OT for each bit.
        """
        one_side = self._sent_pads if self.rank == 0 else self._received_pads
        return self._chunks(
            lambda some: one_side(some.stop - some.start, width, payload), words, self._chunk // WORD
        )

    def _sent_pads(self, words: int, width: int, payload: int) -> tuple[Array, Array]:
        """Bit by bit: keys of all bits at once would be far more than a cache holds."""
        pads = self.backend.zeros((1 << width, payload, words))
        for k in range(width):
            keys = send_random_planes(self._sender, WORD * words, payload << width)
            by_bit = pads.reshape(-1, 2, 1 << k, payload, words)
            for bit in (0, 1):  # of the values whose bit k that is
                chosen = by_bit[:, bit]
                chosen ^= keys[bit].reshape(by_bit.shape)[:, bit]
        return pads, self.backend.zeros((payload, words))

    def _received_pads(self, words: int, width: int, payload: int) -> tuple[Array, Array]:
        bits, total = [], self.backend.zeros((1 << width, payload, words))
        for _ in range(width):
            own, planes = receive_random_planes(self._receiver, WORD * words, payload << width)
            total ^= planes.reshape(total.shape)
            bits.append(own[0])
        choice = self.backend.xp.stack(bits)
        return choice, pick(total[None], choice[None])[0]

    # Bits and numbers

    def mux(self, bits: Array, x: Array, ring: Ring) -> Array:
        """b_i x_ji for a plane of n bits [W] and words x [m, n]: [m, n]."""
        m, n = x.shape
        step = max(WORD, self._chunk // m // WORD * WORD)
        return self._chunks(
            lambda part: self._mux(bits[part.start // WORD : -(-part.stop // WORD)], x[:, part], ring),
            n,
            step,
        )

    def _mux(self, bits: Array, x: Array, ring: Ring) -> Array:
        """b x = b_0 x_0 + b_1 x_1 + b_1 (1 - 2 b_0) x_0 + b_0 (1 - 2 b_1) x_1, the last two by OT."""
        m, n = x.shape
        plane = bits[None]
        base, (keys, corrections) = self._both(
            convert.send_mux.steps(self._sender, plane, x, ring.bits),
            convert.receive_mux.steps(self._receiver, plane, n, ring.bits, m),
        )
        return self.backend.mux_shares(base, keys, corrections, plane, ring.bits)

    def value(self, bits: Array, n: int, ring: Ring) -> Array:
        """n bits, a plane [W], as numbers 0 or 1: [n]."""
        return self._chunks(
            lambda part: self._value(
                bits[part.start // WORD : -(-part.stop // WORD)], part.stop - part.start, ring
            ),
            n,
            self._chunk,
        )

    def _value(self, bits: Array, n: int, ring: Ring) -> Array:
        """b_0 XOR b_1 = b_0 + b_1 - 2 b_0 b_1."""
        if ring.bits == 1:
            return self.backend.plane_words(bits[None], n)[0]
        if self.rank == 0:
            return convert.send_value(self._sender, bits[None], n, ring.bits)
        return convert.receive_value(self._receiver, bits[None], n, ring.bits)

    def wrap_product(self, a: Array, n: int, group: Ring | Field) -> tuple[Array, Array]:
        """a_i b_i for rank 0's bits a, a plane [1, W], and random bits b of rank 1: (b or a, share [n])."""
        return self._chunks(
            lambda some: self._wrap_product(a[:, some.start // WORD :], some.stop - some.start, group),
            n,
            self._chunk,
        )

    def _wrap_product(self, a: Array, n: int, group: Ring | Field) -> tuple[Array, Array]:
        if self.rank and isinstance(group, Field):
            return convert.receive_field_products(self._receiver, n, group)
        if self.rank:
            return convert.receive_products(self._receiver, n, group.bits)
        plane = self.backend.xp.ascontiguousarray(a[:, : -(-n // WORD)])
        words = self.backend.plane_words(plane, n)[0]
        if isinstance(group, Field):
            return plane, convert.send_field_products(self._sender, words, group)
        return plane, convert.send_products(self._sender, words, group.bits)

    def word_choices(self, n: int, ring: Ring) -> tuple[Array, Array]:
        """n transfers of 1 of 2 words to rank 0: choices [1, W], chosen pads [n]; rank 1: pads [2, n], zeros."""

        def part(some: slice) -> tuple[Array, Array]:
            count = some.stop - some.start
            if self.rank == 0:
                own, chosen = convert.receive_random(self._receiver, count)
                return own, ring.reduce(chosen[:, 0])
            pads = [key[:, 0] for key in convert.send_random(self._sender, count)]
            return ring.reduce(self.backend.xp.stack(pads)), self.backend.zeros(count)

        return self._chunks(part, n, self._chunk)

    def cross_products(self, n: int, ring: Ring, factor_bits: int) -> tuple[Array, Array, Array, Array]:
        """Own random words [n] and bits [factor_bits, W], and shares [factor_bits, n] of 2^k bit_k word.

        The first of rank 0's words and rank 1's bits, the second of rank 1's and rank 0's.
        """

        def part(some: slice) -> tuple[Array, Array, Array, Array]:
            count = some.stop - some.start
            (words, sent), (bits, received) = self._both(
                convert.send_bit_words.steps(self._sender, count, ring.bits, factor_bits),
                convert.receive_bit_words.steps(self._receiver, count, ring.bits, factor_bits),
            )
            pair = (sent, received) if self.rank == 0 else (received, sent)
            return words, bits, *pair

        return self._chunks(part, n, max(WORD, self._chunk // factor_bits // WORD * WORD))

    # Numbers

    def product(self, x: Array, y: Array, ring: Ring, factor_bits: int) -> Array:
        """x_i y_i modulo 2^w, where y is shared modulo 2^w, or as a sum of shares below 2^factor_bits: [n]."""

        def part(some: slice) -> Array:
            a, b = x[some], y[some]
            first, second = self._both(
                convert.send_word_products.steps(self._sender, a, ring.bits, factor_bits),
                convert.receive_word_products.steps(self._receiver, b, ring.bits, factor_bits),
            )
            return ring.reduce(a * b + first + second)

        return self._chunks(part, x.size, max(1, self._chunk // factor_bits))

    def square(self, x: Array, ring: Ring) -> Array:
        """x_i^2 modulo 2^w: [n]. Of 2 x_0 x_1 the product is needed modulo 2^(w - 1)."""
        if ring.bits == 1:
            return x
        return ring.reduce(x * x + (self.joint(x, Ring(ring.bits - 1), ring.bits - 1) << ONE))

    def joint(self, mine: Array, ring: Ring, factor_bits: int) -> Array:
        """x_i y_i modulo 2^w for rank 0's own x and rank 1's own y < 2^factor_bits: [n]."""

        def part(some: slice) -> Array:
            words = mine[some]
            if self.rank == 0:
                return convert.send_word_products(self._sender, words, ring.bits, factor_bits)
            return convert.receive_word_products(self._receiver, words, ring.bits, factor_bits)

        return self._chunks(part, mine.size, max(1, self._chunk // factor_bits))

    # Steps

    def _begin(self) -> None:
        convert.begin(self.rank, self._sender, self._receiver)

    def _both(self, send: Steps[S], receive: Steps[R]) -> tuple[S, R]:
        """One exchange in each direction, both at the same time."""
        self._begin()
        sent, received = in_turn(send, receive)
        return sent, received

    def _chunks(self, part: Callable[[slice], S], n: int, step: int) -> S:
        """`part` of consecutive pieces of the last dimension: an array, or several."""
        if n <= step:
            return part(slice(0, n))
        pieces: Any = [part(slice(start, min(n, start + step))) for start in range(0, n, step)]
        joined = partial(self.backend.xp.concatenate, axis=-1)
        whole: Any = (
            tuple(map(joined, zip(*pieces, strict=True))) if isinstance(pieces[0], tuple) else joined(pieces)
        )
        return whole  # type: ignore[no-any-return]
