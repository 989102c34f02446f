"""The context every protocol step receives, and the one primitive by which parties talk.

A protocol is a generator. Each `yield Round(tag, items)` asks for one round of communication and gets the
opened values back; `return` gives the result. Rounds of independent protocols are merged into one message
by `together`, so latency is a property of the data flow and not of the order of the program text. Called
like a function, a protocol runs to its end; called through `.steps`, it becomes part of another one:

    z = mul(party, x, y)                                          # two lines of user code
    z = yield from mul.steps(party, x, y)                         # inside a protocol
    u, v = yield from together(f.steps(party, x), g.steps(party, y))   # same rounds, one message each

What an item opens must be uniform in the group it is opened in, given everything seen before; each
protocol's docstring says why. Nothing else ever leaves a party.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.cost import Cost
from gpu_ss.economy import Economy
from gpu_ss.field import Field
from gpu_ss.prg import Prg
from gpu_ss.provider.base import Provider
from gpu_ss.ring import WORD, Array, Ring, lead_of, wire_bytes
from gpu_ss.values import AShare, FShare
from net.channel import Channel

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Item:
    """One array of a round: this party's summand (or the sender's value) of `bits` bits per word.

    `mask`: this party's share of a uniform mask, added to its summand on the way to the wire (not for `xor`).
    `sender` None: both send their summand and both learn the sum (XOR for `xor`, modulo a prime in a `field`).
    `sender` 0 or 1: only that party sends `data`, and only the other one learns it; the other one passes None.
    """

    data: Array | None = dataclasses.field(repr=False)
    shape: tuple[int, ...]
    bits: int
    xor: bool = False
    sender: int | None = None
    mask: Array | None = dataclasses.field(default=None, repr=False)
    field: Field | None = None

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def bytes(self) -> int:
        return wire_bytes(self.size, self.bits)


@dataclass(frozen=True, slots=True)
class Round:
    """Everything that is sent in one exchange, under one readable tag."""

    tag: str
    items: tuple[Item, ...]


#: A protocol in execution: yields rounds, receives the list of opened arrays, returns its result.
Steps = Generator[Round, list[Array], T]


def shared(x: AShare) -> Item:
    """Open an arithmetic share to both (the caller has masked it)."""
    return Item(x.data, x.shape, x.ring.bits)


def masked(x: AShare, mask: Array) -> Item:
    """Open x + mask to both, in x's own ring."""
    return Item(x.data, x.shape, x.ring.bits, mask=mask.reshape(x.shape))


def masked_element(x: FShare, mask: Array) -> Item:
    """Open x + mask to both, in x's field."""
    field = x.field
    return Item(field.add(x.data, mask.reshape(x.shape)), x.shape, field.bits, field=field)


def told(sender: int, data: Array | None, shape: tuple[int, ...], ring: Ring) -> Item:
    """One-way: `sender` tells the other party `data` (None at the receiver)."""
    return Item(data, shape, ring.bits, sender=sender)


class Protocol(Generic[P, T]):
    """A generator function made callable; see the module docstring."""

    def __init__(
        self, steps: Callable[Concatenate[Party, P], Steps[T]], cost: CostFormula, paper: str
    ) -> None:
        self._steps = steps
        self.cost = cost
        self.paper = paper
        self.name = steps.__name__
        self.__doc__ = steps.__doc__
        self.__name__ = steps.__name__
        self.__module__ = steps.__module__
        self.__signature__ = inspect.signature(steps)

    def steps(self, party: Party, *args: P.args, **kwargs: P.kwargs) -> Steps[T]:
        """The protocol as part of another one."""
        return party.ideals.get(self.name, self._steps)(party, *args, **kwargs)

    def __call__(self, party: Party, *args: P.args, **kwargs: P.kwargs) -> T:
        return party.run(self.steps(party, *args, **kwargs))


#: From the protocol's own arguments (without the party) to its declared cost.
CostFormula = Callable[..., Cost]


def protocol(
    *, cost: CostFormula, paper: str = ""
) -> Callable[[Callable[Concatenate[Party, P], Steps[T]]], Protocol[P, T]]:
    """Declare a protocol: its cost formula (see `gpu_ss.cost`) and the paper it is from (docs/papers.md)."""

    def wrap(steps: Callable[Concatenate[Party, P], Steps[T]]) -> Protocol[P, T]:
        return Protocol(steps, cost, paper)

    return wrap


def together(*runs: Steps[Any]) -> Steps[list[Any]]:
    """Run independent protocols side by side; their n-th rounds share one message."""
    results: list[Any] = [None] * len(runs)
    waiting: dict[int, Round] = {}
    for index, run in enumerate(runs):
        _advance(index, run, None, waiting, results)
    while waiting:
        order = sorted(waiting)
        tag = "|".join(dict.fromkeys(waiting[i].tag for i in order))
        opened = yield Round(tag[:64], tuple(item for i in order for item in waiting[i].items))
        rounds, waiting = waiting, {}
        for index in order:
            count = len(rounds[index].items)
            _advance(index, runs[index], opened[:count], waiting, results)
            opened = opened[count:]
    return results


def _advance(
    index: int,
    run: Steps[Any],
    opened: list[Array] | None,
    waiting: dict[int, Round],
    results: list[Any],
) -> None:
    try:
        waiting[index] = run.send(opened) if opened is not None else next(run)
    except StopIteration as stop:
        results[index] = stop.value


NO_IDEALS: Mapping[str, Callable[..., Steps[Any]]] = {}


def local(value: T) -> Steps[T]:
    """A protocol of zero rounds, for use in `together`."""
    return value
    yield  # pragma: no cover - makes this a generator


@dataclass
class Party:
    """One of the two parties: rank 0 is the client, rank 1 the server."""

    rank: int
    backend: Backend
    provider: Provider
    channel: Channel
    prg: Prg
    #: Called after every round with its tag, for progress displays.
    watch: Callable[[str], None] | None = None

    @property
    def lead(self) -> np.uint64:
        """All ones at rank 0, zero at rank 1: the party that adds public terms."""
        return lead_of(self.rank)

    @property
    def economy(self) -> Economy:
        """What this session's correlations cost: protocols shape themselves by it."""
        return self.provider.economy

    @property
    def ideals(self) -> Mapping[str, Callable[..., Steps[Any]]]:
        """Protocols, by name, that run by their definition instead: none, but on clear numbers (`gpu_ss.clear`)."""
        return NO_IDEALS

    def run(self, steps: Steps[T]) -> T:
        """Execute a protocol to its end, one exchange per round."""
        try:
            request = next(steps)
            while True:
                request = steps.send(self.exchange(request))
        except StopIteration as stop:
            result: T = stop.value
            return result

    def exchange(self, request: Round) -> list[Array]:
        """The one round primitive: send what is ours, receive what is theirs, combine."""
        backend, items = self.backend, request.items
        sends = [i for i in items if i.sender in (None, self.rank)]
        receives = [i for i in items if i.sender != self.rank]
        packed = [self._packed(i) for i in sends]
        frames, ready = backend.to_hosts(packed)
        try:
            got = self._transfer(request.tag, frames, [i.bytes for i in receives], ready)
        finally:
            ready(sum(i.bytes for i in sends))  # nothing is on its way into memory that is given up
        if self.watch is not None:
            self.watch(request.tag)
        theirs = iter(backend.asarrays([np.frombuffer(frame, np.uint64) for frame in got]))
        return [self._combine(i, None if i.sender == self.rank else next(theirs)) for i in items]

    def _packed(self, item: Item) -> Array:
        """What we send of an item."""
        if item.data is None:
            raise ValueError("the sender of a one-way item must give its data")
        whole = self._whole(item.data)
        if item.mask is not None:
            return self.backend.pack_sum(whole, item.mask, item.bits)
        return whole.reshape(-1) if item.bits == WORD else self.backend.pack(whole, item.bits)

    def _whole(self, data: Array) -> Array:
        """The same in one piece: shares may be views."""
        whole: Array = self.backend.xp.ascontiguousarray(data)
        return whole

    def _transfer(
        self, tag: str, frames: Sequence[Any], sizes: Sequence[int], ready: Callable[[int], None]
    ) -> Sequence[Any]:
        if frames and sizes:
            return self.channel.exchange(tag, frames, sizes, ready)
        if frames:
            self.channel.send(tag, frames, ready=ready)
            return ()
        return self.channel.recv(tag, sizes)

    def _combine(self, item: Item, packed: Array | None) -> Array:
        if packed is None:  # we told the other party; we know the value ourselves
            return item.data
        if item.sender is None and item.mask is not None:
            return self.backend.unpack_sum(packed, item.bits, self._whole(item.data), item.mask)
        if item.sender is None and not item.xor and item.field is None:
            return self.backend.unpack_add(packed, item.bits, item.data)
        words = packed if item.bits == WORD else self.backend.unpack(packed, item.bits, item.size)
        words = words.reshape(item.shape)
        if item.field is not None:
            words = item.field.canonical(words)
            return item.field.add(item.data, words) if item.sender is None else words
        return item.data ^ words if item.sender is None else words
