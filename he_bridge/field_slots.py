"""Products in a field by encryption, slot by slot, in steps that both parties know beforehand.

The client (rank 0) has the secret key. A step says which of the client's vectors travel, and which products are
summed in each reply:

    client                                  server
      Enc(u) for each upload       ------>    sum Enc(u) v + R for each reply
      the sums + R, modulo p       <------    masked, re-randomised, switched (`Evaluator.release`)

Vectors are 8192 elements; u is the client's and v the server's of the names in the step. The client's share of a
reply is what it decrypts, the server's -R.

What is revealed. To the server: nothing beyond RLWE (128 bits). To the client: R is uniform modulo p, so what it
decrypts is uniform whatever the products are; and the noise of a reply, see `field_sets`. Both parties follow the
protocol (semi-honest), and the client's vectors must be uniform. The time taken tells if one of the server's is
zero throughout.

A round trip, then a stream: the next step's vectors are on their way before a reply is awaited.
Source: as `slots`.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from he_bridge.errors import CiphertextError
from he_bridge.field_sets import FieldParams
from he_bridge.pace import Progress, silent
from he_bridge.remainders import Generator, below, os_words
from he_bridge.tenseal_bfv import Bfv, Cipher, KeyHolder, Operand, receive_keys, send_keys
from he_bridge.tenseal_io import SEED_BYTES, Words
from net.channel import Channel

_KEY_TAG, _UP_TAG, _DOWN_TAG = "he.field.key", "he.field.up", "he.field.down"
_COUNTER = struct.Struct("<4Q")  # steps, this step, its uploads and replies

#: Names a vector that each party has: the client's is encrypted, the server's multiplies.
Name = tuple[str, int]
#: This party's vector of a name, of up to 8192 elements; the rest is filled up.
Vectors = Callable[[Name], Words]


@dataclass(frozen=True, slots=True)
class Step:
    """uploads: the client's vectors that travel. replies: of each the pairs (client's, server's) that are
    multiplied and summed. kept: uploads that later steps use too."""

    uploads: tuple[Name, ...]
    replies: tuple[tuple[tuple[Name, Name], ...], ...]
    kept: tuple[Name, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        return len(self.uploads), len(self.replies)


def step_bytes(params: FieldParams, step: Step) -> int:
    """Payload bytes of a step, both ways."""
    uploads, replies = step.size
    return _COUNTER.size + uploads * (params.up_bytes + SEED_BYTES) + replies * params.down_bytes


class _Party(ABC):
    """What both parties do alike."""

    def __init__(self, channel: Channel, params: FieldParams, generator: Generator = os_words) -> None:
        self._params = params
        self._channel = channel
        self._generator = generator
        self._bfv = Bfv(params.bfv, params.field.prime)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._params})"

    @abstractmethod
    def exchange(self, steps: Sequence[Step], vectors: Vectors, progress: Progress = silent) -> list[Words]:
        """This party's shares of all replies in order, [8192] each. ParameterError if too many for one call."""

    def _checked(self, steps: Sequence[Step]) -> None:
        self._params.check_call(Counter(len(reply) for step in steps for reply in step.replies))

    def _counter(self, steps: Sequence[Step], index: int) -> bytes:
        return _COUNTER.pack(len(steps), index, *steps[index].size)

    def _random(self, n: int) -> Words:
        return below(self._generator, self._params.field.prime, n)


class FieldClient(_Party):
    """Rank 0: draws the secret key and sends the public one when it is made."""

    def __init__(self, channel: Channel, params: FieldParams, generator: Generator = os_words) -> None:
        super().__init__(channel, params, generator)
        self._key = KeyHolder(self._bfv)
        send_keys(channel, _KEY_TAG, [self._key])

    def exchange(self, steps: Sequence[Step], vectors: Vectors, progress: Progress = silent) -> list[Words]:
        self._checked(steps)
        found: list[Words] = []
        self._offer(steps, 0, vectors)
        for index, step in enumerate(steps):
            if index + 1 < len(steps):
                self._offer(steps, index + 1, vectors)
            count = len(step.replies)
            (frame,) = self._channel.recv(_DOWN_TAG, [self._bfv.reply_bytes(count)], round=index == 0)
            found += list(self._key.decrypt(frame, count))
            progress(index + 1, len(steps))
        self._channel.flush()
        return found

    def _offer(self, steps: Sequence[Step], index: int, vectors: Vectors) -> None:
        """Unused places are filled with random elements: the bound on the noise wants uniform vectors."""
        values = []
        for name in steps[index].uploads:
            own = vectors(name)
            values.append(np.concatenate([own, self._random(self._bfv.degree - own.size)]))
        frames = [self._counter(steps, index), self._key.encrypt(values)]
        self._channel.send(_UP_TAG, frames, round=index == 0)


class FieldServer(_Party):
    """Rank 1: evaluates. Receives the public key when it is made."""

    def __init__(self, channel: Channel, params: FieldParams, generator: Generator = os_words) -> None:
        super().__init__(channel, params, generator)
        (self._evaluator,) = receive_keys(channel, _KEY_TAG, [self._bfv])

    def exchange(self, steps: Sequence[Step], vectors: Vectors, progress: Progress = silent) -> list[Words]:
        self._checked(steps)
        prime, found = np.uint64(self._params.field.prime), []
        ciphers: dict[Name, Cipher] = {}
        for index, step in enumerate(steps):
            ciphers |= self._received(steps, index)
            masks = self._random(len(step.replies) * self._bfv.degree).reshape(-1, self._bfv.degree)
            totals = self._totals(step, ciphers, vectors)
            self._channel.send(_DOWN_TAG, [self._evaluator.release(totals, masks)], round=index == 0)
            found += [(prime - mask) % prime for mask in masks]
            ciphers = {name: ciphers[name] for name in step.kept}
            progress(index + 1, len(steps))
        self._channel.flush()
        return found

    def _received(self, steps: Sequence[Step], index: int) -> dict[Name, Cipher]:
        """The client's vectors of a step."""
        uploads = steps[index].uploads
        sizes = [_COUNTER.size, self._bfv.fresh_bytes(len(uploads))]
        counter, frame = self._channel.recv(_UP_TAG, sizes, round=index == 0)
        if bytes(counter) != self._counter(steps, index):
            raise CiphertextError(f"the client is not at step {index} of {len(steps)}: both must ask alike")
        ciphers = self._evaluator.load(frame, len(uploads))
        return {name: self._evaluator.factor(cipher) for name, cipher in zip(uploads, ciphers, strict=True)}

    def _totals(self, step: Step, ciphers: dict[Name, Cipher], vectors: Vectors) -> list[Cipher | None]:
        """The sums of a step's replies."""
        operands: dict[Name, Operand | None] = {}
        for name in {theirs for reply in step.replies for _, theirs in reply}:
            own = vectors(name)
            zeros = np.zeros(self._bfv.degree - own.size, np.uint64)
            operands[name] = self._evaluator.operand(np.concatenate([own, zeros]))
        return [
            self._evaluator.dot([(ciphers[mine], operands[theirs]) for mine, theirs in reply])
            for reply in step.replies
        ]
