"""What correlated OT is made of: the sender's secret offset, and batches that can be used once.

The sender holds delta and blocks q_i, the receiver bits b_i and blocks t_i = q_i XOR b_i delta. The lowest bit of
delta is 1 and that of every q_i is 0, so b_i is the lowest bit of t_i and needs no place of its own.

Correlations are broken by the hash H(i, x) = ChaCha8 with x as its 128-bit key, block i, and a nonce that says
for what (`Domain`). Assumption: tweakable circular correlation robustness (Guo, Katz, Wang, Yu, IEEE S&P 2020) of
this function, which holds if ChaCha8's permutation is modelled as a random one: of its 512 bits the input sets
no more than 256 and the output shows at most the sum with an input of which 128 are secret. 127 bits of delta
are unknown. The number i of a correlation is never used twice, so no tweak is, and guesses for many OTs at once
gain nothing, as they would against one fixed-key permutation.

Eight rounds: the best published attacks on ChaCha, distinguishers and key recovery from chosen nonces, reach seven
to seven and a half, at far more than 2^128 work, and with 128-bit keys six (Aumasson et al., FSE 2008, to Beierle,
Leander, Todo, CRYPTO 2020, and after). Aumasson, Too Much Crypto (ePrint 2019/1492), advises eight; Go's generator
has them. Masks of shares come from twenty (`prg`).
"""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterator
from enum import IntEnum
from typing import Any

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.errors import CorrelationError
from gpu_ss.ring import Array
from net.channel import Channel

BLOCK_BYTES = 16
NOTHING = (0, 0)
PART_BITS = 56


class Domain(IntEnum):
    """What a hash is for: the upper byte of its nonce."""

    CHECK = 2
    OUTPUT = 3
    LEAVES = 4


class Delta:
    """The sender's offset: 127 random bits, and 1 as the lowest."""

    def __init__(self) -> None:
        self.words = (secrets.randbits(64) | 1, secrets.randbits(64))

    def __repr__(self) -> str:
        return "Delta(<hidden>)"

    @property
    def bits(self) -> list[int]:
        """Its 128 bits, lowest first."""
        return [self.words[k // 64] >> k % 64 & 1 for k in range(8 * BLOCK_BYTES)]


class Cots:
    """One party's half of correlated OTs number `first` and following; to be used once."""

    def __init__(self, first: int, blocks: Array) -> None:
        self.first = first
        self._blocks = blocks
        self.count = len(blocks)

    def __repr__(self) -> str:
        used = ", used" if self._blocks is None else ""
        return f"Cots(first={self.first}, count={self.count}{used}, blocks=<hidden>)"

    def __len__(self) -> int:
        return self.count

    def use(self) -> Array:
        """The blocks [n, 2]. Raises CorrelationError the second time."""
        if self._blocks is None:
            raise CorrelationError(f"the OTs {self.first} to {self.first + self.count - 1} are used already")
        blocks, self._blocks = self._blocks, None
        return blocks


class CotSource(ABC):
    """One party's end of one direction of correlated OT. Both parties take the same numbers in the same order."""

    def __init__(self, backend: Backend, channel: Channel) -> None:
        self.backend = backend
        self.channel = channel
        self._ready: deque[Array] = deque()
        self._next = 0
        #: Slabs (see `silent`) that are made, and told of, together; the same at both ends.
        self.slabs_together = 1

    @property
    def taken(self) -> int:
        """How many have been taken: the number of the next one."""
        return self._next

    @property
    def ready(self) -> int:
        """How many are there without talking to the other party."""
        return sum(map(len, self._ready))

    def take(self, n: int) -> Cots:
        """The next `n`, made now if need be. Raises as the channel, and CorrelationError."""
        first, parts = self._next, [part.use() for part in self.stream(n)]
        if len(parts) == 1:
            return Cots(first, parts[0])
        return Cots(first, self.backend.xp.concatenate(parts) if parts else self.backend.zeros((0, 2)))

    def stream(self, n: int) -> Iterator[Cots]:
        """The next `n` in pieces, as they are made: to be gone through to the end, as the other party does."""
        if n < 0:
            raise ValueError("n must not be negative")
        while n:
            if not self._ready:
                self._ready.append(self._make(n))
            blocks = self._ready.popleft()
            if len(blocks) > n:
                self._ready.appendleft(blocks[n:])
                blocks = blocks[:n]
            first, self._next, n = self._next, self._next + len(blocks), n - len(blocks)
            yield Cots(first, blocks)

    @abstractmethod
    def begin(self) -> None:
        """What is made once, before the first OT, if not yet done. The parties answer each other here."""

    @abstractmethod
    def _make(self, needed: int) -> Array:
        """More blocks [n, 2], n > 0, of which `needed` are waited for; here the parties talk."""


class CotSender(CotSource):
    """Holds delta; what it takes are the q_i."""

    delta: Delta


class CotReceiver(CotSource):
    """What it takes are the t_i, with b_i as lowest bits."""


def frame(backend: Backend, array: Array) -> Any:
    """An array as a frame to send."""
    return backend.to_host(array)


def low_bits(blocks: Array) -> Array:
    """The lowest bit of each block, as words 0 or 1."""
    return blocks[..., 0] & np.uint64(1)


def hashed(
    backend: Backend, blocks: Array, offset: tuple[int, int], first: int, domain: Domain, words: int
) -> Array:
    """H(first + i, block_i XOR offset): [n, words], eight words per call of ChaCha8."""
    return backend.hash_blocks(blocks, [offset], first, domain << PART_BITS, words)[0]


def hashed_both(
    backend: Backend, blocks: Array, delta: Delta, first: int, domain: Domain, words: int
) -> Array:
    """H(first + i, block_i) and H(first + i, block_i XOR delta): [2, n, words]."""
    return backend.hash_blocks(blocks, [NOTHING, delta.words], first, domain << PART_BITS, words)
