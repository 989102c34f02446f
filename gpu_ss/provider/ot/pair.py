"""Computing on shares with oblivious transfer in both directions: what the recipes for correlations are made of.

Every operation takes this party's shares of its operands and gives its share of the result. Bits are XOR-shared
planes, numbers additive shares modulo a power of two. Nothing is opened but ANDs' operands, each masked by a
uniform bit of a fresh triple; all else that is sent is what `convert` sends. Both parties call the same
operations in the same order; of every operation the direction where rank 0 is the sender comes first.

Bits for one element, both directions together, without the OTs themselves (0.47 bits each):

    and_vector   m ANDs that have one operand in common    2 OTs                2 m + 2
    mux          a bit by m words modulo 2^w               2 OTs                2 m w + 2
    value        a bit as a number modulo 2^w              1 OT                 w
    overlap      m bits of each party alone: XOR of ANDs   m OTs                2 m
    product      two numbers modulo 2^w, one of k bits     2 k OTs              k (2 w + 3 - k)
    square       a number modulo 2^w                       w - 1 OTs            (w - 1)(w + 2) / 2
    joint        a number of each party alone, modulo 2^w  k OTs for k bits     k (2 w + 3 - k) / 2
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.provider.ot import convert
from gpu_ss.provider.ot.cot import CotReceiver, CotSender, frame
from gpu_ss.ring import WORD, Array, Ring
from net.channel import Channel

S = TypeVar("S")
R = TypeVar("R")

CHUNK = 1 << 20  # OTs handled at a time, so that memory stays small
MOST_PAYLOAD = WORD  # ANDs that can share an operand in one go
TAG_AND = "ot/and"
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

    def __repr__(self) -> str:
        return f"OtPair(rank={self.rank}, sent={self._sender.taken}, received={self._receiver.taken})"

    @property
    def lead(self) -> np.uint64:
        """All ones at rank 0: its share of public bits."""
        return np.uint64(0) if self.rank else ~np.uint64(0)

    # Bits

    def and_vector(self, choice: Array, payload: Array) -> Array:
        """choice AND payload_j for planes choice [W] and payload [m, W], m up to 64: [m, W]."""
        return self._chunks(
            lambda part: self._and_vector(choice[part], payload[:, part]), choice.size, CHUNK // WORD
        )

    def _and_vector(self, choice: Array, payload: Array) -> Array:
        backend, xp, m = self.backend, self.backend.xp, len(payload)
        n = WORD * choice.size
        (zero, one), (own, chosen) = self._both(
            lambda source: convert.send_random(source, n), lambda source: convert.receive_random(source, n)
        )
        zero, one, chosen = (backend.to_planes(words[:, 0], m) for words in (zero, one, chosen))
        b, a = own[0], zero ^ one
        c = a & b ^ zero ^ chosen
        mine = xp.concatenate([(choice ^ b)[None], payload ^ a])
        (received,) = self._channel.exchange(TAG_AND, [frame(backend, mine)], [8 * int(mine.size)])
        opened = mine ^ backend.asarray(np.frombuffer(received, np.uint64)).reshape(mine.shape)
        d, e = opened[:1], opened[1:]
        return c ^ (d & a) ^ (e & b) ^ (d & e & self.lead)

    def overlap(self, planes: Array) -> Array:
        """XOR_j x_j AND y_j, for rank 0's own bits x and rank 1's y, planes [m, W] each: [W]."""
        return self._chunks(
            lambda part: self._overlap(planes[:, part]), planes.shape[1], max(1, CHUNK // WORD // len(planes))
        )

    def _overlap(self, planes: Array) -> Array:
        backend, n = self.backend, WORD * planes.size
        flat = backend.xp.ascontiguousarray(planes).reshape(1, -1)
        if self.rank == 0:
            share = convert.send_products(self._sender, backend.plane_words(flat, n)[0], 1, chosen=True)
        else:
            _, share = convert.receive_products(self._receiver, n, 1, choice=flat)
        each = backend.bit_plane(share, 0).reshape(planes.shape)
        return backend.xor_rows(backend.xp.ascontiguousarray(each)[None])[0]

    def triples(self, words: int, payload: int) -> tuple[Array, Array, Array]:
        """Random b [1, words], a [payload, words] and shares of b AND a_j. Nothing is sent."""
        n = WORD * words
        (zero, one), (own, chosen) = self._both(
            lambda source: convert.send_random(source, n), lambda source: convert.receive_random(source, n)
        )
        zero, one, chosen = (self.backend.to_planes(found[:, 0], payload) for found in (zero, one, chosen))
        a = zero ^ one
        return own, a, a & own ^ zero ^ chosen

    def digit_pads(self, words: int, width: int) -> tuple[Array, Array]:
        """Of 64 words transfers of 1 of 2^width two-bit messages from rank 0 to rank 1, the pads. Nothing is sent.

        Rank 0: (pads [2^width, 2, words], zeros [2, words]). Rank 1: (choices [width, words], its pads).
        A pad is the XOR of the pads of the keys that the digit's bits name, one OT for each bit.
        """
        n, planes = WORD * words, 2 << width
        if self.rank == 0:
            pads = self.backend.zeros((1 << width, 2, words))
            for k in range(width):
                keys = convert.send_random(self._sender, n)
                both = [self.backend.to_planes(key[:, 0], planes).reshape(pads.shape) for key in keys]
                for j in range(1 << width):
                    pads[j] ^= both[j >> k & 1][j]
            return pads, self.backend.zeros((2, words))
        bits, total = [], self.backend.zeros((1 << width, 2, words))
        for _ in range(width):
            own, key = convert.receive_random(self._receiver, n)
            total = total ^ self.backend.to_planes(key[:, 0], planes).reshape(total.shape)
            bits.append(own[0])
        for bit in reversed(bits):
            half = len(total) // 2
            total = total[:half] ^ ((total[:half] ^ total[half:]) & bit)
        return self.backend.xp.stack(bits), total[0]

    # Bits and numbers

    def mux(self, bits: Array, x: Array, ring: Ring) -> Array:
        """b_i x_ji for a plane of n bits [W] and words x [m, n]: [m, n]."""
        m, n = x.shape
        step = max(WORD, CHUNK // m // WORD * WORD)
        return self._chunks(
            lambda part: self._mux(bits[part.start // WORD : -(-part.stop // WORD)], x[:, part], ring),
            n,
            step,
        )

    def _mux(self, bits: Array, x: Array, ring: Ring) -> Array:
        """b x = b_0 x_0 + b_1 x_1 + b_1 (1 - 2 b_0) x_0 + b_0 (1 - 2 b_1) x_1, the last two by OT."""
        m, n = x.shape
        b = self.backend.plane_words(self.backend.xp.ascontiguousarray(bits)[None], n)[0]
        turned = x - ((x * b) << ONE)
        mine, (_, other) = self._both(
            lambda source: convert.send_products(source, turned, ring.bits, chosen=True),
            lambda source: convert.receive_products(source, n, ring.bits, choice=bits[None], rows=m),
        )
        return ring.reduce(x * b + mine + other)

    def value(self, bits: Array, n: int, ring: Ring) -> Array:
        """n bits, a plane [W], as numbers 0 or 1: [n]."""
        return self._chunks(
            lambda part: self._value(
                bits[part.start // WORD : -(-part.stop // WORD)], part.stop - part.start, ring
            ),
            n,
            CHUNK,
        )

    def _value(self, bits: Array, n: int, ring: Ring) -> Array:
        """b_0 XOR b_1 = b_0 + b_1 - 2 b_0 b_1, so the product is needed modulo 2^(w - 1) only."""
        b = self.backend.plane_words(self.backend.xp.ascontiguousarray(bits)[None], n)[0]
        if ring.bits == 1:
            return b
        if self.rank == 0:
            both = convert.send_products(self._sender, b, ring.bits - 1, chosen=True)
        else:
            _, both = convert.receive_products(self._receiver, n, ring.bits - 1, choice=bits[None])
        return ring.reduce(b - (both << ONE))

    def wrap_product(self, a: Array, n: int, ring: Ring) -> tuple[Array, Array]:
        """a_i b_i for rank 0's bits a, a plane [1, W], and random bits b of rank 1: (b or a, share [n])."""
        parts = [
            self._wrap_product(a[:, start // WORD :], min(CHUNK, n - start), ring)
            for start in range(0, n, CHUNK)
        ]
        planes, shares = zip(*parts, strict=True)
        concatenate = self.backend.xp.concatenate
        return concatenate(planes, axis=1), concatenate(shares)

    def _wrap_product(self, a: Array, n: int, ring: Ring) -> tuple[Array, Array]:
        if self.rank:
            return convert.receive_products(self._receiver, n, ring.bits)
        plane = self.backend.xp.ascontiguousarray(a[:, : -(-n // WORD)])
        words = self.backend.plane_words(plane, n)[0]
        return plane, convert.send_products(self._sender, words, ring.bits)

    def word_pads(self, n: int, ring: Ring) -> tuple[Array, Array, Array]:
        """n transfers of 1 of 2 words in each direction: own choices [1, W], own pads [2, n], chosen pads [n]."""
        (zero, one), (own, chosen) = self._both(
            lambda source: convert.send_random(source, n), lambda source: convert.receive_random(source, n)
        )
        pads = self.backend.xp.stack([zero[:, 0], one[:, 0]])
        return own, ring.reduce(pads), ring.reduce(chosen[:, 0])

    # Numbers

    def product(self, x: Array, y: Array, ring: Ring, factor_bits: int) -> Array:
        """x_i y_i modulo 2^w, where y is shared modulo 2^w, or as a sum of shares below 2^factor_bits: [n]."""

        def part(some: slice) -> Array:
            a, b = x[some], y[some]
            first, second = self._both(
                lambda source: convert.send_word_products(source, a, ring.bits, factor_bits),
                lambda source: convert.receive_word_products(source, b, ring.bits, factor_bits),
            )
            return ring.reduce(a * b + first + second)

        return self._chunks(part, x.size, max(1, CHUNK // factor_bits))

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

        return self._chunks(part, mine.size, max(1, CHUNK // factor_bits))

    # Steps

    def _both(self, send: Callable[[CotSender], S], receive: Callable[[CotReceiver], R]) -> tuple[S, R]:
        """One exchange in each direction, rank 0's sending first at both ends."""
        if self.rank == 0:
            return send(self._sender), receive(self._receiver)
        received = receive(self._receiver)
        return send(self._sender), received

    def _chunks(self, part: Callable[[slice], Array], n: int, step: int) -> Array:
        """`part` of consecutive pieces of the last dimension."""
        if n <= step:
            return part(slice(0, n))
        pieces = [part(slice(start, min(n, start + step))) for start in range(0, n, step)]
        return self.backend.xp.concatenate(pieces, axis=-1)
