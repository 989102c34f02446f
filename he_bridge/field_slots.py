"""Products in a field by encryption, slot by slot, in steps that both parties know beforehand.

The client (rank 0) has the secret key. A step says which of the client's vectors travel, and which products are
summed in each reply:

    client                                  server
      Enc(u) for each upload       ------>    sum Enc(u) v + R for each reply
      the sums + R, modulo t       <------    masked, re-randomised, shortened (`rlwe.reply`)

Vectors are 8192 elements modulo a prime t; u is the client's and v the server's of the names in the step. Enc(u)
is (b, a), b + a s = round(q m / t) + e for the plaintext m with u in its slots, and a from a seed. The client's
share of a reply is what it decrypts, the server's -R.

What is revealed. To the server: nothing beyond RLWE (128 bits). To the client: R is uniform modulo t, so what it
decrypts is uniform whatever the products are; and the noise of a reply, see `field_sets`. Both parties follow the
protocol (semi-honest), and the client's vectors must be uniform.

A step is a turn (`turns`): the next steps' vectors are on their way before a reply is awaited. All vectors of a
step are one array, and never leave the backend but packed.
Source: Brakerski, Fan and Vercauteren, 2012/144; Smart and Vercauteren, 2011/133 (slots).
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from gpu_ss.backend.base import Backend
from gpu_ss.prg import Prg, fresh_key
from gpu_ss.ring import Array
from he_bridge import rlwe, wire
from he_bridge.field_sets import FieldParams
from he_bridge.field_steps import FieldEngine, Name, Step, Vectors
from he_bridge.pace import Progress, counter, silent
from he_bridge.ring import SEED_BYTES
from he_bridge.turns import Finish, Product, Turn
from he_bridge.wire import HEADER_BYTES, Header, Kind
from net import Channel


def step_bytes(params: FieldParams, step: Step) -> int:
    """Payload bytes of a step, both ways."""
    uploads, replies = step.size
    return 2 * HEADER_BYTES + SEED_BYTES + uploads * params.up_bytes + replies * params.down_bytes


@dataclass(frozen=True, slots=True, repr=False)
class _Call:
    """Steps that are asked for together. step: to be called after each."""

    number: int
    steps: Sequence[Step]
    vectors: Vectors
    step: Callable[[], None]


class _Party(FieldEngine):
    """What both parties do alike."""

    def __init__(self, backend: Backend, channel: Channel, params: FieldParams) -> None:
        params.check(1)  # what depends on the sums is checked for every call
        self._params = params
        self._channel = channel
        self._ring = params.ring(backend)
        self._prg = Prg(backend)
        self._calls = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._params.encryption.name}, <hidden>)"

    def product(
        self, steps: Sequence[Step], vectors: Vectors, progress: Progress = silent
    ) -> Product[list[Array]]:
        self._params.check_call(Counter(len(reply) for step in steps for reply in step.replies))
        call = _Call(self._calls, steps, vectors, counter(progress, len(steps)))
        self._calls += 1
        return Product([self._turn(call, index) for index in range(len(steps))], list)

    def _turn(self, call: _Call, index: int) -> Turn[Array]:
        """This party's share of a step's replies."""
        return Turn(step_bytes(self._params, call.steps[index]), partial(self._offer, call, index))

    @abstractmethod
    def _offer(self, call: _Call, index: int) -> Finish[Array]:
        """What comes before the reply to a step; returns what comes after."""

    def _header(self, kind: Kind, call: _Call, index: int) -> Header:
        """Says where in which call a message belongs."""
        uploads, replies = call.steps[index].size
        count = uploads if kind is Kind.INPUTS else replies
        place = (call.number, len(call.steps), uploads, replies, index, count)
        return Header(kind, self._ring.params.digest, bytes(wire.DIGEST_BYTES), *place)

    def _random(self, n: int) -> Array:
        """Uniform vectors [n, N]."""
        return self._ring.field.draw(self._prg, (n, self._ring.degree), self._ring.backend)


class FieldClient(_Party):
    """Rank 0: draws the secret key and sends the public one when it is made."""

    def __init__(self, backend: Backend, channel: Channel, params: FieldParams) -> None:
        super().__init__(backend, channel, params)
        self._secret, public = rlwe.keygen(self._ring, self._prg)
        wire.send_public_key(channel, self._ring, public)

    def _offer(self, call: _Call, index: int) -> Finish[Array]:
        """Unused places are filled with random elements: the bound on the noise wants uniform vectors."""
        ring, seed = self._ring, fresh_key()
        plaintexts = ring.plaintexts(call.vectors(call.steps[index].uploads, self._random))
        b = rlwe.encrypt(ring, self._secret, plaintexts, seed, self._prg)
        header = self._header(Kind.INPUTS, call, index)
        wire.send_inputs(self._channel, ring, header, seed, b, round=index == 0)
        return partial(self._finish, call, index)

    def _finish(self, call: _Call, index: int) -> Array:
        """Decrypts the reply."""
        ring, header = self._ring, self._header(Kind.REPLIES, call, index)
        message = wire.recv_replies(self._channel, ring, header, ring.degree, round=index == 0)
        reply = wire.unpack_replies(ring, [message], [header.count], ring.degree)
        found = ring.slots(rlwe.decrypt(ring, self._secret, reply))
        call.step()
        return found


class FieldServer(_Party):
    """Rank 1: evaluates. Receives the public key when it is made."""

    def __init__(self, backend: Backend, channel: Channel, params: FieldParams) -> None:
        super().__init__(backend, channel, params)
        self._public = wire.recv_public_key(channel, self._ring)
        self._held: _Held | None = None

    def _offer(self, call: _Call, index: int) -> Finish[Array]:
        return partial(self._answer, call, index)

    def _answer(self, call: _Call, index: int) -> Array:
        ring, step, backend = self._ring, call.steps[index], self._ring.backend
        held = self._received(call, index)
        factors = ring.factors(call.vectors(step.operands, lambda n: backend.zeros((n, ring.degree))))
        b, a = backend.product_sums(held.b, held.a, factors, held.sums(step), ring.primes)
        mask = self._random(len(step.replies))
        reply = rlwe.reply(ring, self._public, b, a, mask, self._prg)
        header = self._header(Kind.REPLIES, call, index)
        wire.send_replies(self._channel, header, wire.PackedReplies(ring, reply), round=index == 0)
        last = index + 1 == len(call.steps)
        self._held = held.only(backend, step.kept) if step.kept and not last else None
        call.step()
        return ring.field.subtract(backend.zeros(mask.shape), ring.slots(mask))

    def _received(self, call: _Call, index: int) -> _Held:
        """The client's vectors of a step, after those that were kept."""
        header = self._header(Kind.INPUTS, call, index)
        b, a = wire.recv_inputs(self._channel, self._ring, header, round=index == 0)
        fresh = _Held(call.steps[index].uploads, b, a)
        return fresh if self._held is None else self._held.with_more(self._ring.backend, fresh)


class _Held:
    """The client's vectors at the server: ciphertexts (b, a) as values, with their names."""

    def __init__(self, names: tuple[Name, ...], b: Array, a: Array) -> None:
        self.names = names
        self.b = b
        self.a = a

    def with_more(self, backend: Backend, other: _Held) -> _Held:
        """These, then others."""
        join = backend.xp.concatenate
        return _Held(
            self.names + other.names, join([self.b, other.b], axis=1), join([self.a, other.a], axis=1)
        )

    def only(self, backend: Backend, names: tuple[Name, ...]) -> _Held:
        """Some of these."""
        places = [self.names.index(name) for name in names]
        parts = ([x[:, place : place + 1] for place in places] for x in (self.b, self.a))
        return _Held(names, *(backend.xp.concatenate(part, axis=1) for part in parts))

    def sums(self, step: Step) -> list[list[tuple[int, int]]]:
        """A step's replies, by the places of what they multiply."""
        mine = {name: place for place, name in enumerate(self.names)}
        theirs = {name: place for place, name in enumerate(step.operands)}
        return [[(mine[u], theirs[v]) for u, v in reply] for reply in step.replies]
