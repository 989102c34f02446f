"""The two ends of a packed product under encryption, whatever its operands: `packed` and `matmul` use them.

    Owner      holds the keys: sends switching keys and encrypted operands, decrypts replies
    Evaluator  multiplies with operands in clear, merges, masks; answers through `rlwe.reply` only

Both follow one `Layout`, so every message is known beforehand: key, switching keys when a spread is new (`ready`,
or when they are needed), blocks of inputs, blocks of replies. A counter of products is part of every header; a
message of an earlier one is refused. The client may offer several products before it takes the replies to one.

Memory of the evaluator: the shorter side is kept whole, that is all fresh ciphertexts of a product (N residues of
4 bytes for two parts and each prime, 328 KB under LIN64P) while results are made a group at a time, or all sums
while ciphertexts are added up a block at a time; besides, a group's results twice, times `blocks_at_once` of the
backend, and `operands_at_once` weight polynomials.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.prg import Prg, fresh_key
from gpu_ss.ring import Array, Ring
from he_bridge import keyswitch, rlwe, wire
from he_bridge.packing import Layout, message_bytes
from he_bridge.params import ParameterSet, check
from he_bridge.ring import PolyRing
from he_bridge.turns import Finish, Turn
from he_bridge.wire import Header, Kind
from net import Channel

#: Ciphertexts of one message of inputs: up to 3.5 MB.
BLOCK = 16
#: Results that are merged at once, or one reply's if these are more; and replies of one message: 2.5 MB.
_RESULTS, _REPLIES = 16, 16

#: (product, groups, tiles) -> words of the weights there (`Layout.weights`).
Operand = Callable[[int, slice, slice], Array]
#: (first, end) -> results of these replies, values [primes, 2, results, N].
Results = Callable[[int, int], Array]
#: Called after every message of replies.
Step = Callable[[], None]


@dataclass(frozen=True)
class Task:
    """One product as both ends know it: its layout, what names the matrix in clear, and the ring, modulo 2^bits."""

    layout: Layout
    tag: bytes
    bits: int | None = None

    @property
    def digest(self) -> bytes:
        """Names it in the headers of messages."""
        return self.layout.digest(self.tag + b"modulo 2^%d" % (self.bits or 0))


class _End(ABC):
    """What both ends know: rings, the number of products so far, which switching keys are there."""

    def __init__(self, backend: Backend, channel: Channel, params: ParameterSet) -> None:
        check(params)
        self.ring = PolyRing(backend, params)
        self.level = self.ring.at(params.level)
        self.prg = Prg(backend)
        self._channel = channel
        self._counter = 0
        self._sent: set[int] = set()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.ring.params.name}, <hidden>)"

    def ready(self, layout: Layout) -> None:
        """Sees to it that the switching keys of a layout are there: each is sent once in a session."""
        for shift in keyswitch.shifts(layout.merged_spread):
            if shift not in self._sent:
                self._sent.add(shift)
                self._pass_key(shift)

    @abstractmethod
    def _pass_key(self, shift: int) -> None:
        """Sends or receives the switching key for a distance."""

    def _reply_groups(self, layout: Layout) -> Iterator[list[tuple[int, int]]]:
        """The replies of each message, for as many messages as are worked on at once."""
        messages = list(reply_spans(layout))
        for start, stop in spans(len(messages), self.ring.backend.blocks_at_once):
            yield messages[start:stop]

    def _size(self, task: Task) -> int:
        """Bytes of the messages of a product."""
        return sum(message_bytes(self.ring.params, task.layout, task.bits))

    def _header(self, task: Task, turn: int, kind: Kind, first: int, count: int) -> Header:
        shape = task.layout.shape
        sizes = (shape.rows, shape.inputs, shape.outputs)
        return Header(kind, self.ring.params.digest, task.digest, turn, *sizes, first, count)


class Owner(_End):
    """The client's end."""

    def __init__(self, backend: Backend, channel: Channel, params: ParameterSet) -> None:
        super().__init__(backend, channel, params)
        self._secret = rlwe.SecretKey(self.ring, self.prg)
        wire.send_public_key(channel, self.level, rlwe.public_key(self._secret, self.level, self.prg))

    def turn(self, task: Task, x: Array, step: Step, lead: bool = True) -> Turn[Array]:
        """A product among others: see `offer` and `finish`."""

        def offer() -> Finish[Array]:
            number = self.offer(task, x, lead)
            return lambda: self.finish(task, number, step, lead)

        return Turn(self._size(task), offer)

    def offer(self, task: Task, x: Array, lead: bool = True) -> int:
        """Begins a product: sends x [batch, rows, K] encrypted, after switching keys that are new. Its number.

        lead: False if it follows another one without waiting, so that it costs no round of its own.
        """
        self._counter += 1
        layout, ring = task.layout, self.ring.of(task.bits)
        self.ready(layout)
        for first, end in spans(layout.ciphertexts, BLOCK):
            words = layout.inputs(self.ring.backend, x, first, end - first)
            seed = fresh_key()
            b = rlwe.encrypt(ring, self._secret, words, seed, self.prg)
            header = self._header(task, self._counter, Kind.INPUTS, first, end - first)
            wire.send_inputs(self._channel, self.ring, header, seed, b, round=lead and first == 0)
        return self._counter

    def finish(self, task: Task, turn: int, step: Step, lead: bool = True) -> Array:
        """Decrypts the replies to product `turn`: results plus masks [batch, rows, n]."""
        layout, ring = task.layout, self.ring.of(task.bits)
        words = ring.backend.empty((layout.replies, layout.wanted))
        for messages in self._reply_groups(layout):
            received = []
            for first, end in messages:
                header = self._header(task, turn, Kind.REPLIES, first, end - first)
                leads = lead and first == 0
                received.append(wire.recv_replies(self._channel, ring, header, layout.wanted, round=leads))
                step()
            counts = [end - first for first, end in messages]
            replies = wire.unpack_replies(ring, received, counts, layout.wanted)
            words[messages[0][0] : messages[-1][1]] = rlwe.decrypt(ring, self._secret, replies, layout.places)
        return layout.extract(words)

    def _pass_key(self, shift: int) -> None:
        key = keyswitch.switching_key(self._secret, shift, self.prg)
        wire.send_switching_key(self._channel, self.ring, key)


class Evaluator(_End):
    """The server's end."""

    def __init__(self, backend: Backend, channel: Channel, params: ParameterSet) -> None:
        super().__init__(backend, channel, params)
        self._public = wire.recv_public_key(channel, self.level)
        self._keys: dict[int, Array] = {}

    def turn(self, task: Task, operand: Operand, step: Step, lead: bool = True) -> Turn[Array]:
        """A product among others: see `answer`."""
        return Turn(self._size(task), lambda: partial(self.answer, task, operand, step, lead))

    def answer(self, task: Task, operand: Operand, step: Step, lead: bool = True) -> Array:
        """Receives encrypted operands, multiplies, replies; the masks [batch, rows, n]. lead: as at the client."""
        self._counter += 1
        layout = task.layout
        self.ready(layout)
        shape = layout.shape
        kept = shape.batch > 1 or shape.diagonals > 0 or layout.tiles <= layout.results
        sums = self._kept_inputs if kept else self._kept_results
        results = sums(task, operand, lead)
        masks = self.ring.backend.empty((layout.replies, layout.wanted))
        for messages in self._reply_groups(layout):
            start, stop = messages[0][0], messages[-1][1]
            replies, masks[start:stop] = self._replies(task, results(start, stop), stop - start)
            packed = wire.PackedReplies(self.level.of(task.bits), replies)
            for first, end in messages:
                header = self._header(task, self._counter, Kind.REPLIES, first, end - first)
                wire.send_replies(self._channel, header, packed, first - start, round=lead and first == 0)
                step()
        return layout.extract(masks)

    def _pass_key(self, shift: int) -> None:
        self._keys[shift] = wire.recv_switching_key(self._channel, self.ring, shift).both(self.ring)

    def _kept_inputs(self, task: Task, operand: Operand, lead: bool) -> Results:
        """Receives all ciphertexts; results are made when replies need them."""
        layout = task.layout
        packs = [self._empty(2 * layout.tiles) for _ in range(layout.packs)]
        for first, b, a in self._inputs(task, lead):
            for place in range(b.shape[1]):
                pack, t = divmod(first + place, layout.tiles)
                packs[pack][:, t], packs[pack][:, layout.tiles + t] = b[:, place], a[:, place]

        def results(first: int, end: int) -> Array:
            out = self._zeros(layout, end - first)
            for product, groups, at in _runs(layout, first * layout.members, end * layout.members):
                x = packs[product // layout.heads]
                for some, tiles in _supports(layout, groups):
                    where = slice(at.start + some.start - groups.start, at.start + some.stop - groups.start)
                    part = self._tiles_of(x, layout, tiles)
                    out[:, :, where] = self._products(layout, operand, product, some, tiles, part, None)
            return out

        return results

    def _kept_results(self, task: Task, operand: Operand, lead: bool) -> Results:
        """Adds products up as ciphertexts of the one matrix come in."""
        layout = task.layout
        total, groups = None, slice(0, layout.groups)
        for first, b, a in self._inputs(task, lead):
            x = self.ring.backend.xp.concatenate([b, a], axis=1)
            tiles = slice(first, first + b.shape[1])
            total = self._products(layout, operand, 0, groups, tiles, x, total)

        def results(first: int, end: int) -> Array:
            start, stop = first * layout.members, min(end * layout.members, layout.results)
            out = self._zeros(layout, end - first)
            out[:, :, : stop - start] = total[:, :, start:stop]  # type: ignore[index]
            return out

        return results

    def _inputs(self, task: Task, lead: bool) -> Iterator[tuple[int, Array, Array]]:
        """Blocks of ciphertexts: first number, b and a parts as values, divided by the spread of merging."""
        ring, layout = self.ring, task.layout
        inverse = ring.constants(np.array([pow(layout.merged_spread, -1, p) for p in ring.primes], np.uint32))
        for first, end in spans(layout.ciphertexts, BLOCK):
            header = self._header(task, self._counter, Kind.INPUTS, first, end - first)
            b, a = wire.recv_inputs(self._channel, ring, header, round=lead and first == 0)
            if layout.merged_spread > 1:
                b, a = ring.multiply_add(b, inverse), ring.multiply_add(a, inverse)
            yield first, b, a

    def _products(
        self,
        layout: Layout,
        operand: Operand,
        product: int,
        groups: slice,
        tiles: slice,
        x: Array,
        add: Array | None,
    ) -> Array:
        """sum_t x_t w_gt, plus `add`, for groups g of one product: values [primes, 2, groups, N].

        x [primes, 2 tiles, N]; a few weight polynomials at a time.
        """
        ring, backend = self.ring, self.ring.backend
        count, contiguous = groups.stop - groups.start, backend.xp.ascontiguousarray
        out = backend.xp.empty((len(ring.primes), 2, count, ring.degree), np.uint32)
        for first, end in spans(count, max(1, backend.operands_at_once // (tiles.stop - tiles.start))):
            words = operand(product, slice(groups.start + first, groups.start + end), tiles)
            w = backend.ntt_of_words(contiguous(words), ring.degree, ring.primes)
            more = None
            if add is not None:
                more = contiguous(add[:, :, first:end]).reshape(len(ring.primes), -1, ring.degree)
            sums = backend.inner_products(x, w, more, ring.primes)
            out[:, :, first:end] = sums.reshape(len(ring.primes), 2, -1, ring.degree)
        return out

    def _replies(self, task: Task, results: Array, count: int) -> tuple[rlwe.Reply, Array]:
        """Merges results, values [primes, 2, count * members, N], to replies; and their masks [count, wanted]."""
        ring, level, backend, layout = self.ring, self.level.of(task.bits), self.ring.backend, task.layout
        contiguous = backend.xp.ascontiguousarray
        cut = results.reshape(len(ring.primes), 2, count, layout.members, ring.degree)
        by_member = contiguous(cut.transpose(0, 1, 3, 2, 4)).reshape(len(ring.primes), -1, ring.degree)
        c = ring.coefficients(by_member)
        for dropped in range(len(ring.primes), len(level.primes), -1):
            c = backend.drop_prime(c, ring.primes[:dropped])
        c = keyswitch.merge(ring, self._keys, c, count, layout.merged_spread)
        c = level.values(c)
        mask = Ring(level.ring_bits).reduce(self.prg.words((count, ring.degree)))
        parts = contiguous(c[:, :count]), contiguous(c[:, count:])
        replies = rlwe.reply(level, self._public, *parts, mask, self.prg, layout.places)
        return replies, mask[:, layout.places]

    def _tiles_of(self, x: Array, layout: Layout, tiles: slice) -> Array:
        """Some tiles of x [primes, 2 tiles, N], both parts."""
        if tiles == slice(0, layout.tiles):
            return x
        both = self.ring.backend.xp.ascontiguousarray(x.reshape(len(x), 2, layout.tiles, -1)[:, :, tiles])
        return both.reshape(len(x), -1, self.ring.degree)

    def _empty(self, polys: int) -> Array:
        return self.ring.backend.xp.empty((len(self.ring.primes), polys, self.ring.degree), np.uint32)

    def _zeros(self, layout: Layout, replies: int) -> Array:
        shape = (len(self.ring.primes), 2, replies * layout.members, self.ring.degree)
        return self.ring.backend.xp.zeros(shape, np.uint32)


def spans(total: int, step: int) -> Iterator[tuple[int, int]]:
    """0 .. total in pieces of at most `step`."""
    for start in range(0, total, step):
        yield start, min(start + step, total)


def reply_spans(layout: Layout) -> Iterator[tuple[int, int]]:
    """The replies of each message."""
    return spans(layout.replies, min(_REPLIES, max(1, _RESULTS // layout.members)))


def _supports(layout: Layout, groups: slice) -> Iterator[tuple[slice, slice]]:
    """Groups side by side that have weights in the same tiles, and these tiles."""
    start = groups.start
    while start < groups.stop:
        tiles, stop = layout.support(start), start + 1
        while stop < groups.stop and layout.support(stop) == tiles:
            stop += 1
        yield slice(start, stop), tiles
        start = stop


def _runs(layout: Layout, start: int, stop: int) -> Iterator[tuple[int, slice, slice]]:
    """Results start .. stop - 1 by product: its number, its groups, and their places counted from `start`."""
    at = start
    while at < min(stop, layout.results):
        product, group = divmod(at, layout.groups)
        count = min(layout.groups - group, min(stop, layout.results) - at)
        yield product, slice(group, group + count), slice(at - start, at - start + count)
        at += count
