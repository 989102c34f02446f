"""Products of shares, elementwise and summed, made by the two parties alone: BFV in SIMD slots (TenSEAL).

Each party holds vectors a_r, b_r; afterwards it also holds c_r with c0 + c1 = (a0 + a1)(b0 + b1) modulo 2^bits,
element by element, without error. The local products are local; the cross term x = a0 b1 + a1 b0 is computed
over the integers, modulo T, the product of some primes t_i that give slots (one BFV instance each):

    client (rank 0, has the secret keys)              server (rank 1)
      Enc_i(a0 mod t_i), Enc_i(b0 mod t_i)  ------>     Enc_i(a0) b1 + Enc_i(b0) a1 + R mod t_i
      z = x + R by the remainder theorem    <------     masked, re-randomised, switched (`Evaluator.release`)
      c0 = a0 b0 + z mod 2^64                           c1 = a1 b1 - R mod 2^64

Inner products sum the cross terms of many pairs before the reply. The client sends one operand instead of two of a
square, whose cross term is a0 times 2 a1, and where a factor belongs to one party alone: then there is one cross
term (`crossed`), and only the client's part of it travels.

The mask. 0 <= x < 2^(2 bits + 1) (times the number of pairs) < T / t_last. R is drawn digit by digit,
R = v_0 + t_0 (v_1 + t_1 (v_2 + ..)) with v_i uniform below t_i, but the last one below t_last - 1: so R is uniform
below T - T / t_last, and x + R < T always. The client knows z = x + R as an integer and never a wrapped one; no
product is ever wrong for lack of room. (R uniform modulo T would hide x perfectly, and a product would be wrong
with probability x / T.)

What is revealed. To the server: nothing beyond RLWE (128 bits). To the client: z, whose distribution is within
x / (T - T / t_last) of one that does not depend on x, and the noise of the reply. Together at most 2^-40 for all
elements of a call, or the call is refused (`slot_sets`, which has sizes and times). Both parties follow the
protocol (semi-honest); a1, b1 need not be uniform for this, the bounds hold for the worst operands. The time
taken tells if an operand is zero throughout.

One round trip, then a stream of blocks; a block is 8192 elements even if fewer are wanted. Keys: 1.2 to 2.0 MB up,
once for each set.
Source: Beaver, CRYPTO 1991; Fan and Vercauteren, 2012/144; Smart and Vercauteren, 2011/133 (slots);
noise: see `tenseal_bfv`.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod

import numpy as np

from he_bridge.errors import CiphertextError
from he_bridge.pace import Progress, silent
from he_bridge.remainders import Generator, Remainders, os_words
from he_bridge.slot_sets import TRIPLES, TripleParams
from he_bridge.tenseal_bfv import Bfv, Cipher, KeyHolder, receive_keys, send_keys
from he_bridge.tenseal_io import Words, batching_primes
from net.channel import Channel

_KEY_TAG, _UP_TAG, _DOWN_TAG = "he.slots.key", "he.slots.up", "he.slots.down"
_COUNTER = struct.Struct("<5Q")  # slots asked for, vectors, bits, block, first vector of the message
_CHUNK = 8  # vectors in a message of a sum


class _Party(ABC):
    """What both parties do alike."""

    def __init__(self, channel: Channel, params: TripleParams, generator: Generator) -> None:
        params.check(bits=1)  # what depends on the ring is checked for every call
        self._params = params
        self._channel = channel
        self._generator = generator
        self._remainders = Remainders(batching_primes(params.bfv.degree, params.bfv.plain_bits, params.count))
        self._instances = [Bfv(params.bfv, prime) for prime in self._remainders.primes]
        self._block = params.bfv.degree

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._params})"

    def triples(self, n: int, a: Words | None = None, b: Words | None = None) -> tuple[Words, Words, Words]:
        """This party's shares (a, b, c) of n triples, uint64 arrays [n] modulo 2^64.

        a, b: this party's own shares if they are given, otherwise drawn. Both parties call this with the
        same n. Raises CiphertextError for malformed messages, NetError if the channel fails.
        """
        if n < 0:
            raise ValueError(f"{n} triples cannot be made")
        a, b = (self._generator((n,)) if given is None else given for given in (a, b))
        if a.shape != (n,):
            raise ValueError(f"shares must be of shape ({n},), not {a.shape}")
        return a, b, self.inner_products(a[None], b[None])

    def inner_products(
        self, a: Words, b: Words | None = None, bits: int = 64, progress: Progress = silent
    ) -> Words:
        """Shares [n] modulo 2^bits of sum_j a[j] b[j] for shared a, b [pairs, n]; of squares without b.

        Raises as `triples`; ParameterError if the parameters do not hide so many (`TripleParams.check_call`).
        """
        other = a if b is None else b
        for given in (a, other):
            if given.dtype != np.uint64 or given.ndim != 2 or given.shape != a.shape:
                raise ValueError(
                    f"shares must be uint64 matrices of one shape, not {given.dtype} {given.shape}"
                )
        c: Words = (a * other).sum(axis=0, dtype=np.uint64)
        if a.size:
            self._params.check_call(a.shape[1], len(a), bits)
            c += self._cross([a] if b is None else self._order(a, b), bits, b is None, progress)
        return _reduced(c, bits)

    def crossed(self, own: Words, bits: int = 64, progress: Progress = silent) -> Words:
        """Shares [n] modulo 2^bits of u v for u [n] at the client and v [n] at the server (`own` of each)."""
        if own.dtype != np.uint64 or own.ndim != 1:
            raise ValueError(f"a factor must be a uint64 vector, not {own.dtype} {own.shape}")
        if not own.size:
            return own.copy()
        self._params.check_call(own.size, 1, bits)
        return _reduced(self._cross([own[None]], bits, False, progress), bits)

    def _blocks(self, n: int) -> list[slice]:
        return [slice(i, min(i + self._block, n)) for i in range(0, n, self._block)]

    def _padded(self, words: Words, bits: int) -> Words:
        """Residues [primes, block] of up to a block of words modulo 2^bits."""
        block = np.zeros(self._block, np.uint64)
        block[: words.size] = _reduced(words, bits)
        return self._remainders.reduce(block)

    def _messages(self, vectors: int, n: int, bits: int, block: int) -> list[tuple[range, bytes]]:
        """The messages of a block: which vectors, and the counter that goes first."""
        return [
            (range(j, min(j + _CHUNK, vectors)), _COUNTER.pack(n, vectors, bits, block, j))
            for j in range(0, vectors, _CHUNK)
        ]

    @staticmethod
    @abstractmethod
    def _order(a: Words, b: Words) -> list[Words]:
        """This party's operands [pairs, n] so that those at the same place of both parties meet."""

    @abstractmethod
    def _cross(self, operands: list[Words], bits: int, doubled: bool, progress: Progress) -> Words:
        """This party's share of the sum of the products of operands of both, twice that if `doubled`."""


class TripleClient(_Party):
    """Rank 0: draws the secret keys and sends the public ones when it is made."""

    def __init__(
        self, channel: Channel, params: TripleParams = TRIPLES, generator: Generator = os_words
    ) -> None:
        super().__init__(channel, params, generator)
        self._keys = [KeyHolder(bfv) for bfv in self._instances]
        send_keys(channel, _KEY_TAG, self._keys)

    @staticmethod
    def _order(a: Words, b: Words) -> list[Words]:
        return [a, b]

    def _cross(self, operands: list[Words], bits: int, doubled: bool, progress: Progress) -> Words:
        """z modulo 2^64. The next block is on its way before the answer to one is awaited."""
        n = operands[0].shape[1]
        vectors = np.stack(operands, axis=1).reshape(-1, n)
        blocks = self._blocks(n)
        sizes = [bfv.reply_bytes(1) for bfv in self._instances]
        z = np.empty(n, np.uint64)
        self._offer(vectors, bits, blocks, 0)
        for index, block in enumerate(blocks):
            if index + 1 < len(blocks):
                self._offer(vectors, bits, blocks, index + 1)
            frames = self._channel.recv(_DOWN_TAG, sizes, round=index == 0)
            found = [key.decrypt(frame, 1)[0] for key, frame in zip(self._keys, frames, strict=True)]
            digits = self._remainders.digits(np.stack(found))
            z[block] = self._remainders.words(digits)[: block.stop - block.start]
            progress(index + 1, len(blocks))
        self._channel.flush()
        return z

    def _offer(self, vectors: Words, bits: int, blocks: list[slice], index: int) -> None:
        """Sends the ciphertexts of a block."""
        for chosen, counter in self._messages(len(vectors), vectors.shape[1], bits, index):
            values = [self._padded(vectors[j, blocks[index]], bits) for j in chosen]
            frames = [key.encrypt([value[i] for value in values]) for i, key in enumerate(self._keys)]
            first = index == 0 and chosen.start == 0
            self._channel.send(_UP_TAG, [counter, *frames], round=first)


class TripleServer(_Party):
    """Rank 1: evaluates. Receives the public keys when it is made."""

    def __init__(
        self, channel: Channel, params: TripleParams = TRIPLES, generator: Generator = os_words
    ) -> None:
        super().__init__(channel, params, generator)
        self._evaluators = receive_keys(channel, _KEY_TAG, self._instances)

    @staticmethod
    def _order(a: Words, b: Words) -> list[Words]:
        return [b, a]

    def _cross(self, operands: list[Words], bits: int, doubled: bool, progress: Progress) -> Words:
        """-R modulo 2^64."""
        n = operands[0].shape[1]
        vectors, blocks = np.stack(operands, axis=1).reshape(-1, n), self._blocks(n)
        r = np.empty(n, np.uint64)
        for index, block in enumerate(blocks):
            totals = self._totals(vectors, bits, doubled, block, index)
            digits = self._remainders.draw(self._generator, self._block)
            masks = self._remainders.residues(digits)
            replies = [
                evaluator.release([total], mask[None])
                for evaluator, total, mask in zip(self._evaluators, totals, masks, strict=True)
            ]
            self._channel.send(_DOWN_TAG, replies, round=index == 0)
            r[block] = self._remainders.words(digits)[: block.stop - block.start]
            progress(index + 1, len(blocks))
        self._channel.flush()
        return np.uint64(0) - r

    def _totals(
        self, vectors: Words, bits: int, doubled: bool, block: slice, index: int
    ) -> list[Cipher | None]:
        """The sum of the cross terms of a block, in each instance."""
        totals: list[Cipher | None] = [None] * len(self._instances)
        for chosen, counter in self._messages(len(vectors), vectors.shape[1], bits, index):
            sizes = [_COUNTER.size, *(bfv.fresh_bytes(len(chosen)) for bfv in self._instances)]
            first = index == 0 and chosen.start == 0
            found, *frames = self._channel.recv(_UP_TAG, sizes, round=first)
            if bytes(found) != counter:
                raise CiphertextError(
                    f"the client is not at block {index} of {vectors.shape[1]}: both must ask alike"
                )
            own = [self._padded(vectors[j, block], bits) for j in chosen]
            if doubled:
                own = [self._doubled(operand) for operand in own]
            for i, (evaluator, frame) in enumerate(zip(self._evaluators, frames, strict=True)):
                ciphers = evaluator.load(frame, len(chosen))
                part = evaluator.product_sum(ciphers, [operand[i] for operand in own])
                totals[i] = evaluator.add(totals[i], part)
        return totals

    def _doubled(self, residues: Words) -> Words:
        primes = np.array(self._remainders.primes, np.uint64)[:, None]
        return np.asarray(residues * np.uint64(2) % primes)


def _reduced(words: Words, bits: int) -> Words:
    return words if bits == 64 else words & np.uint64((1 << bits) - 1)
