"""Beaver triples and inner products modulo 2^64 made by the two parties alone: BFV in SIMD slots (TenSEAL).

Each party holds vectors a_r, b_r; afterwards it also holds c_r with c0 + c1 = (a0 + a1)(b0 + b1) modulo 2^64,
element by element, without error. The local products are local; the cross term x = a0 b1 + a1 b0 is computed
over the integers, modulo T = t_0 t_1 t_2 t_3 > 2^183 (batching primes of 46 bits, one BFV instance each):

    client (rank 0, has the secret keys)              server (rank 1)
      Enc_i(a0 mod t_i), Enc_i(b0 mod t_i)  ------>     Enc_i(a0) b1 + Enc_i(b0) a1 + R mod t_i
      z = x + R by the remainder theorem    <------     masked, re-randomised, switched (`Evaluator.release`)
      c0 = a0 b0 + z mod 2^64                           c1 = a1 b1 - R mod 2^64

Inner products sum the cross terms of many pairs before the reply; of squares the client sends one half.

The mask. 0 <= x < 2^129 (times the number of pairs). R is drawn digit by digit,
R = v_0 + t_0 (v_1 + t_1 (v_2 + t_2 v_3)) with v_i uniform below t_i, but v_3 below t_3 - 1: so R is uniform below
T - t_0 t_1 t_2, and x + R < T always since x < t_0 t_1 t_2. The client knows z = x + R as an integer and never a
wrapped one; no triple is ever wrong for lack of room. (R uniform modulo T would hide x perfectly, and a triple
would be wrong with probability 2^-55.)

What is revealed. To the server: nothing beyond RLWE (128 bits). To the client: z, whose distribution is within
2^129 / (T - T / t_3) = 2^-55 of one that does not depend on x, per triple, and the noise of the reply, within
2^-60 per coefficient. Per block of 8192 triples: 2^-42 from the mask, 2^-45 from the noise; for more triples or
longer sums see `TripleParams.check` and `STRONG`. Both parties follow the protocol (semi-honest); a1, b1 need not
be uniform for this, the bounds hold for the worst operands. The time taken tells if an operand is zero throughout.

Cost per triple: 174 B up, 55 B down; about 10 us of CPU, both parties together. One round trip, then a stream of
blocks; a block is 8192 triples even if fewer are wanted. Keys: 1.6 MB up, once.
Source: Beaver, CRYPTO 1991; Fan and Vercauteren, 2012/144; Smart and Vercauteren, 2011/133 (slots);
noise: see `tenseal_bfv`.
"""

from __future__ import annotations

import math
import os
import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from he_bridge.errors import CiphertextError, ParameterError
from he_bridge.tenseal_bfv import MIN_BITS, Bfv, BfvParams, Cipher, KeyHolder, receive_keys, send_keys
from he_bridge.tenseal_io import Words, batching_primes
from net.channel import Channel

Generator: TypeAlias = Callable[[tuple[int, ...]], Words]
"""Uniform words nobody else knows, of a shape: `os_words`, or `Prg(...).words`."""

_CROSS_BITS = 129  # 2 (2^64 - 1)^2 < 2^129
_KEY_TAG, _UP_TAG, _DOWN_TAG = "he.slots.key", "he.slots.up", "he.slots.down"
_COUNTER = struct.Struct("<4Q")  # slots asked for, vectors, block, first vector of the message
_CHUNK = 8  # vectors in a message of a sum


def os_words(shape: tuple[int, ...]) -> Words:
    """Uniform words from the operating system."""
    return np.frombuffer(bytearray(os.urandom(8 * math.prod(shape))), np.uint64).reshape(shape)


@dataclass(frozen=True)
class TripleMargins:
    """-log2 of what a block of `block` triples leaks: through the mask, through the noise."""

    block: int
    mask_bits: float
    noise_bits: float
    decryption_bits: float

    def bits(self, n: int) -> float:
        """-log2 of the statistical distance for n triples, everything included."""
        blocks = max(1, -(-n // self.block))
        return -math.log2(blocks * (2.0**-self.mask_bits + 2.0**-self.noise_bits))


_BFV = BfvParams(degree=8192, kept=(55,), dropped=(60, 59), special=17, plain_bits=46)


@dataclass(frozen=True)
class TripleParams:
    """`count` instances of one BFV parameter choice, with different plaintext primes."""

    bfv: BfvParams = _BFV
    count: int = 4

    def check(self, pairs: int = 1) -> TripleMargins:
        """The margins per block of sums of so many products; ParameterError if any is below `MIN_BITS`."""
        degree, bits = self.bfv.degree, self.bfv.plain_bits
        cross = _CROSS_BITS + math.log2(max(1, pairs))
        if not 30 <= bits <= 47:
            raise ParameterError(f"plaintext primes of {bits} bits: 30 to 47 can be handled")
        if (self.count - 1) * bits < cross + 1:
            raise ParameterError(
                f"{self.count} primes of {bits} bits leave no room for {pairs} products of shares"
            )
        mask = self.count * bits - 0.01 - cross - math.log2(degree)
        if mask < MIN_BITS:
            raise ParameterError(f"parameters too weak: mask 2^-{mask:.1f}, 2^-{MIN_BITS} is required")
        # Two operands per product, each with `degree` coefficients of at most half the prime.
        size, half = 2.0 * degree * max(1, pairs), 2.0 ** (bits - 1)
        noise = self.bfv.check(size * half, math.sqrt(size) * half, self.count * degree)
        return TripleMargins(degree, mask, noise.privacy_bits, noise.decryption_bits)


TRIPLES = TripleParams()
"""Mask 42 bits and noise 45 bits per block of 8192 triples; 2^20 triples together 35 bits."""

STRONG = TripleParams(BfvParams(8192, kept=(55,), dropped=(60, 60, 26), special=17, plain_bits=46), 5)
"""Mask 88 bits and noise 72 bits per block; 65 for 2^20 triples. For long sums. 320 B and 15 us per triple."""


class Remainders:
    """Numbers below a product of primes of 30 to 47 bits, as residues [primes, n] and as mixed-radix digits."""

    def __init__(self, primes: Sequence[int]) -> None:
        self.primes = list(primes)
        self._weights = [math.prod(self.primes[:i]) for i in range(len(self.primes))]
        self._inverses = [pow(w, -1, p) for w, p in zip(self._weights, self.primes, strict=True)]

    def reduce(self, words: Words) -> Words:
        """Words [n] modulo each prime."""
        return np.stack([words % np.uint64(p) for p in self.primes])

    def draw(self, generator: Generator, n: int) -> Words:
        """Digits of n numbers, uniform below the product less the product of all primes but the last."""
        bounds = [*self.primes[:-1], self.primes[-1] - 1]
        return np.stack([_below(generator, bound, n) for bound in bounds])

    def residues(self, digits: Words) -> Words:
        """Digits to residues."""
        return np.stack([self._partial(digits, i, i + 1) for i in range(len(self.primes))])

    def digits(self, residues: Words) -> Words:
        """Residues to digits (Garner)."""
        digits = residues.copy()
        for i, p in enumerate(self.primes[1:], 1):
            prime = np.uint64(p)
            rest = residues[i] + prime - self._partial(digits, i, i)
            digits[i] = _times(rest, self._inverses[i], p)
        return digits

    def words(self, digits: Words) -> Words:
        """The numbers modulo 2^64."""
        total = np.zeros(digits.shape[1], np.uint64)
        for digit, weight in zip(digits, self._weights, strict=True):
            total += digit * np.uint64(weight % 2**64)
        return total

    def _partial(self, digits: Words, i: int, upto: int) -> Words:
        """The numbers made of the first `upto` digits, modulo prime i."""
        p = self.primes[i]
        total = np.zeros(digits.shape[1], np.uint64)
        for digit, weight in zip(digits[:upto], self._weights[:upto], strict=True):
            total += _times(digit, weight % p, p)
        return np.asarray(total % np.uint64(p))


def _times(x: Words, factor: int, prime: int) -> Words:
    """x * factor modulo prime, for x < 2^48 and factor < prime < 2^47.

    The quotient in floating point is off by at most one, so the remainder is exact after one correction.
    """
    quotient = (x.astype(np.float64) * (factor / prime)).astype(np.uint64)
    rest = (x * np.uint64(factor) - quotient * np.uint64(prime)).view(np.int64)
    rest += np.int64(prime) * (rest < 0)
    rest -= np.int64(prime) * (rest >= prime)
    return rest.view(np.uint64)


def _below(generator: Generator, bound: int, n: int) -> Words:
    """n uniform numbers below `bound`, by rejection."""
    shift = np.uint64(64 - bound.bit_length())
    found = generator((n,)) >> shift
    while (bad := np.flatnonzero(found >= bound)).size:
        found[bad] = generator((bad.size,)) >> shift
    return found


class _Party(ABC):
    """What both parties do alike."""

    def __init__(self, channel: Channel, params: TripleParams, generator: Generator) -> None:
        params.check()
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

    def inner_products(self, a: Words, b: Words | None = None) -> Words:
        """This party's shares [n] of sum_j a[j] b[j] for shared a, b [pairs, n]; of squares without b.

        174 B (squares: 87 B) up for each product, 55 B down for each sum. Raises as `triples`; ParameterError if
        the parameters do not hide sums of so many products (`TripleParams.check`).
        """
        other = a if b is None else b
        for given in (a, other):
            if given.dtype != np.uint64 or given.ndim != 2 or given.shape != a.shape:
                raise ValueError(
                    f"shares must be uint64 matrices of one shape, not {given.dtype} {given.shape}"
                )
        self._params.check(len(a))
        c: Words = (a * other).sum(axis=0, dtype=np.uint64)
        if a.size:
            c += self._cross(a, b)
        return c

    def _blocks(self, n: int) -> list[slice]:
        return [slice(i, min(i + self._block, n)) for i in range(0, n, self._block)]

    def _padded(self, words: Words) -> Words:
        """Residues [primes, block] of up to a block of words."""
        block = np.zeros(self._block, np.uint64)
        block[: words.size] = words
        return self._remainders.reduce(block)

    def _messages(self, vectors: int, n: int, block: int) -> list[tuple[range, bytes]]:
        """The messages of a block: which vectors, and the counter that goes first."""
        return [
            (range(j, min(j + _CHUNK, vectors)), _COUNTER.pack(n, vectors, block, j))
            for j in range(0, vectors, _CHUNK)
        ]

    @abstractmethod
    def _cross(self, a: Words, b: Words | None) -> Words:
        """This party's share of sum_j a[j] b[j] less what its own shares make: the cross terms."""


class TripleClient(_Party):
    """Rank 0: draws the secret keys and sends the public ones (1.6 MB) when it is made."""

    def __init__(
        self, channel: Channel, params: TripleParams = TRIPLES, generator: Generator = os_words
    ) -> None:
        super().__init__(channel, params, generator)
        self._keys = [KeyHolder(bfv) for bfv in self._instances]
        send_keys(channel, _KEY_TAG, self._keys)

    def _cross(self, a: Words, b: Words | None) -> Words:
        """z modulo 2^64. The next block is on its way before the answer to one is awaited."""
        vectors = a if b is None else np.stack([a, b], axis=1).reshape(-1, a.shape[1])
        blocks = self._blocks(a.shape[1])
        sizes = [bfv.reply_bytes(1) for bfv in self._instances]
        z = np.empty(a.shape[1], np.uint64)
        self._offer(vectors, blocks, 0)
        for index, block in enumerate(blocks):
            if index + 1 < len(blocks):
                self._offer(vectors, blocks, index + 1)
            frames = self._channel.recv(_DOWN_TAG, sizes, round=index == 0)
            found = [key.decrypt(frame, 1)[0] for key, frame in zip(self._keys, frames, strict=True)]
            digits = self._remainders.digits(np.stack(found))
            z[block] = self._remainders.words(digits)[: block.stop - block.start]
        self._channel.flush()
        return z

    def _offer(self, vectors: Words, blocks: list[slice], index: int) -> None:
        """Sends the ciphertexts of a block."""
        for chosen, counter in self._messages(len(vectors), vectors.shape[1], index):
            values = [self._padded(vectors[j, blocks[index]]) for j in chosen]
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

    def _cross(self, a: Words, b: Words | None) -> Words:
        """-R modulo 2^64."""
        r = np.empty(a.shape[1], np.uint64)
        for index, block in enumerate(self._blocks(a.shape[1])):
            totals = self._totals(a, b, block, index)
            digits = self._remainders.draw(self._generator, self._block)
            masks = self._remainders.residues(digits)
            replies = [
                evaluator.release([total], mask[None])
                for evaluator, total, mask in zip(self._evaluators, totals, masks, strict=True)
            ]
            self._channel.send(_DOWN_TAG, replies, round=index == 0)
            r[block] = self._remainders.words(digits)[: block.stop - block.start]
        self._channel.flush()
        return np.uint64(0) - r

    def _totals(self, a: Words, b: Words | None, block: slice, index: int) -> list[Cipher | None]:
        """The sum of the cross terms of a block, in each instance."""
        # The client's a meets our b, its b our a; a square's cross term is a0 times 2 a1.
        own = a if b is None else np.stack([b, a], axis=1).reshape(-1, a.shape[1])
        totals: list[Cipher | None] = [None] * len(self._instances)
        for chosen, counter in self._messages(len(own), a.shape[1], index):
            sizes = [_COUNTER.size, *(bfv.fresh_bytes(len(chosen)) for bfv in self._instances)]
            first = index == 0 and chosen.start == 0
            found, *frames = self._channel.recv(_UP_TAG, sizes, round=first)
            if bytes(found) != counter:
                raise CiphertextError(
                    f"the client is not at block {index} of {a.shape[1]}: both must ask alike"
                )
            operands = [self._padded(own[j, block]) for j in chosen]
            if b is None:
                operands = [self._doubled(operand) for operand in operands]
            for i, (evaluator, frame) in enumerate(zip(self._evaluators, frames, strict=True)):
                ciphers = evaluator.load(frame, len(chosen))
                part = evaluator.product_sum(ciphers, [operand[i] for operand in operands])
                totals[i] = evaluator.add(totals[i], part)
        return totals

    def _doubled(self, residues: Words) -> Words:
        primes = np.array(self._remainders.primes, np.uint64)[:, None]
        return np.asarray(residues * np.uint64(2) % primes)
