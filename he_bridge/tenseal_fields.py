"""Products in a field through TenSEAL: the protocol of `field_slots` with SEAL's BFV, on the CPU.

For comparison, and as an oracle. `Evaluator.release` masks, re-randomises and switches replies; the mask is uniform
modulo the prime, the client's vectors are uniform (unused places are filled with random elements), so
`BfvParams.check` may count with the mean of the noise. -log2 of the statistical distance for each reply of 8192
places, at most 2^-40 for a whole call:

    field      kept + dropped    up, down        one product   two products   sixteen
    FIELD53    62 + 124 bits     190, 127 KB     50.8          50.3           48.8
    FIELD60    69 + 132 bits     206, 141 KB     51.8          51.3           49.8

With the special prime, which SEAL sets aside, the moduli have 203 and 218 bits. The time taken tells if one of the
server's vectors is zero throughout.
Source: as `slots`.
"""

from __future__ import annotations

import math
import struct
from abc import abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.field import FIELD53, FIELD60, Field
from gpu_ss.ring import Array
from he_bridge.errors import CiphertextError, ParameterError
from he_bridge.field_steps import FieldEngine, Name, Step, Vectors
from he_bridge.margins import Margins, call_privacy
from he_bridge.pace import Progress, silent
from he_bridge.remainders import Generator, below, os_words
from he_bridge.tenseal_bfv import (
    Bfv,
    BfvParams,
    Cipher,
    KeyHolder,
    Operand,
    receive_keys,
    send_keys,
)
from he_bridge.tenseal_io import SEED_BYTES, Words
from he_bridge.turns import Product, whole
from net.channel import Channel

_KEY_TAG, _UP_TAG, _DOWN_TAG = "he.field.key", "he.field.up", "he.field.down"
_COUNTER = struct.Struct("<4Q")  # steps, this step, its uploads and replies


@dataclass(frozen=True)
class SealFieldParams:
    """A field with SEAL's encryption for it."""

    field: Field
    bfv: BfvParams

    def check(self, products: int) -> Margins:
        """The margins of a reply that is a sum of so many products, slot by slot. ParameterError if too small."""
        if (self.field.prime - 1) % (2 * self.bfv.degree) or self.bfv.plain_bits != self.field.bits:
            raise ParameterError(f"{self.field} has no {self.bfv.degree} slots")
        numbers, half = float(self.bfv.degree * products), 2.0 ** (self.field.bits - 1)
        norms = numbers * half, math.sqrt(numbers) * half
        return self.bfv.check(*norms, coefficients=self.bfv.degree, uniform=True)

    def check_call(self, replies: dict[int, int]) -> float:
        """-log2 of the statistical distance of a call: how many replies of how many products. See `check`."""
        return call_privacy(self.check, replies)

    @property
    def up_bytes(self) -> int:
        """Bytes of an operand."""
        return self.bfv.degree * self.bfv.fresh_bits // 8 + SEED_BYTES

    @property
    def down_bytes(self) -> int:
        """Bytes of a reply."""
        return 2 * self.bfv.degree * sum(self.bfv.kept) // 8


SETS = {
    FIELD53: SealFieldParams(FIELD53, BfvParams(8192, (31, 31), (42, 41, 41), 17, 53)),
    FIELD60: SealFieldParams(FIELD60, BfvParams(8192, (35, 34), (44, 44, 44), 17, 60)),
}


def params_of(field: Field) -> SealFieldParams:
    """The set of a field; ParameterError if there is none."""
    if field not in SETS:
        raise ParameterError(f"no parameters for products in {field}")
    return SETS[field]


def step_bytes(params: SealFieldParams, step: Step) -> int:
    """Payload bytes of a step, both ways."""
    uploads, replies = step.size
    return _COUNTER.size + uploads * params.up_bytes + replies * params.down_bytes


class _Party(FieldEngine):
    """What both parties do alike. SEAL computes on the host."""

    def __init__(
        self, backend: Backend, channel: Channel, params: SealFieldParams, generator: Generator = os_words
    ) -> None:
        self._backend = backend
        self._params = params
        self._channel = channel
        self._generator = generator
        self._bfv = Bfv(params.bfv, params.field.prime)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._params})"

    def product(
        self, steps: Sequence[Step], vectors: Vectors, progress: Progress = silent
    ) -> Product[list[Array]]:
        self._params.check_call(Counter(len(reply) for step in steps for reply in step.replies))
        return whole(lambda: self._made(steps, vectors, progress))

    @abstractmethod
    def _made(self, steps: Sequence[Step], vectors: Vectors, progress: Progress) -> list[Array]:
        """This party's shares of the replies of each step."""

    def _counter(self, steps: Sequence[Step], index: int) -> bytes:
        return _COUNTER.pack(len(steps), index, *steps[index].size)

    def _random(self, n: int) -> Words:
        """Uniform vectors [n, N]."""
        return below(self._generator, self._params.field.prime, n * self._bfv.degree).reshape(n, -1)

    def _vectors(self, vectors: Vectors, names: Sequence[Name], spare: Words) -> Words:
        """This party's vectors of these names on the host."""
        return self._backend.to_host(vectors(names, lambda n: self._backend.asarray(spare[:n])))


class SealFieldClient(_Party):
    """Rank 0: draws the secret key and sends the public one when it is made."""

    def __init__(
        self, backend: Backend, channel: Channel, params: SealFieldParams, generator: Generator = os_words
    ) -> None:
        super().__init__(backend, channel, params, generator)
        self._key = KeyHolder(self._bfv)
        send_keys(channel, _KEY_TAG, [self._key])

    def _made(self, steps: Sequence[Step], vectors: Vectors, progress: Progress) -> list[Array]:
        found: list[Array] = []
        self._offer(steps, 0, vectors)
        for index, step in enumerate(steps):
            if index + 1 < len(steps):
                self._offer(steps, index + 1, vectors)
            count = len(step.replies)
            (frame,) = self._channel.recv(_DOWN_TAG, [self._bfv.reply_bytes(count)], round=index == 0)
            found.append(self._backend.asarray(self._key.decrypt(frame, count)))
            progress(index + 1, len(steps))
        self._channel.flush()
        return found

    def _offer(self, steps: Sequence[Step], index: int, vectors: Vectors) -> None:
        """Unused places are filled with random elements: the bound on the noise wants uniform vectors."""
        names = steps[index].uploads
        values = list(self._vectors(vectors, names, self._random(len(names))))
        frames = [self._counter(steps, index), self._key.encrypt(values)]
        self._channel.send(_UP_TAG, frames, round=index == 0)


class SealFieldServer(_Party):
    """Rank 1: evaluates. Receives the public key when it is made."""

    def __init__(
        self, backend: Backend, channel: Channel, params: SealFieldParams, generator: Generator = os_words
    ) -> None:
        super().__init__(backend, channel, params, generator)
        (self._evaluator,) = receive_keys(channel, _KEY_TAG, [self._bfv])

    def _made(self, steps: Sequence[Step], vectors: Vectors, progress: Progress) -> list[Array]:
        prime, found = np.uint64(self._params.field.prime), []
        ciphers: dict[Name, Cipher] = {}
        for index, step in enumerate(steps):
            ciphers |= self._received(steps, index)
            masks = self._random(len(step.replies))
            totals = self._totals(step, ciphers, vectors)
            self._channel.send(_DOWN_TAG, [self._evaluator.release(totals, masks)], round=index == 0)
            found.append(self._backend.asarray((prime - masks) % prime))
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
        names = step.operands
        own = self._vectors(vectors, names, np.zeros((len(names), self._bfv.degree), np.uint64))
        operands: dict[Name, Operand | None] = {
            name: self._evaluator.operand(values) for name, values in zip(names, own, strict=True)
        }
        return [
            self._evaluator.dot([(ciphers[mine], operands[theirs]) for mine, theirs in reply])
            for reply in step.replies
        ]
