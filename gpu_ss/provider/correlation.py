"""Correlated randomness as data: what a correlation is, and how its parts come from two seeds.

A correlation lists its arrays (`outputs`): random ones, which both parties (or one of them) expand from
their own seed and which nobody sends, and derived ones, which are functions of random ones. Of a derived
array rank 0 expands its share from its seed as well; rank 1 gets the correction `value - share0`. So a
dealer sends corrections to rank 1 only and the client stays thin.

A new correlation is one frozen dataclass: its fields are its shape (public), `outputs()` its arrays,
`deal()` the clear derived values. Every dealer, store and planner then knows it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from math import prod
from typing import ClassVar

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.backend.fields import check_prime
from gpu_ss.errors import CorrelationError
from gpu_ss.field import field_of
from gpu_ss.prg import GROUP_WORDS, Stream
from gpu_ss.ring import WORD, Array, word_count

MAX_ELEMENTS = 1 << 33  # refuses absurd requests before anything is allocated
#: The same for what a correlation's size grows with as a power.
_MOST = dict.fromkeys(
    ("bits", "widths", "width", "factor_bits", "frac", "look_bits", "scale", "degree", "source"),
    WORD,
)
_MOST |= dict.fromkeys(("looks", "line_bits", "starts", "shifts", "scales", "cell"), WORD)
_MOST |= dict.fromkeys(("field", "index"), 16)
_MOST |= dict.fromkeys(("arity", "fan_in"), 8)


@dataclass(frozen=True, slots=True)
class Out:
    """One array of a correlation: shape in words, meaningful bits per word, and how it is shared.

    `xor`: shares combine by XOR instead of addition. `prime`: they add modulo it, not modulo 2^bits. `random`:
    uniform, from the seeds alone. `owner`: for random arrays, the one party that knows it whole (the other has
    nothing); None: additively shared.
    """

    shape: tuple[int, ...]
    bits: int = WORD
    xor: bool = False
    random: bool = False
    owner: int | None = None
    prime: int = 0

    @staticmethod
    def element(shape: tuple[int, ...], prime: int, random: bool = False, owner: int | None = None) -> Out:
        """An array of field elements."""
        return Out(shape, prime.bit_length(), random=random, owner=owner, prime=prime)

    @property
    def size(self) -> int:
        return prod(self.shape)

    @property
    def correction_words(self) -> int:
        """Words the dealer sends to rank 1 for this array."""
        return 0 if self.random else word_count(self.size, self.bits)


@dataclass(frozen=True, slots=True, repr=False)
class Dealing:
    """What `deal` may look at: the backend, its own random arrays in clear, and rank 0's shares."""

    backend: Backend
    clear: Sequence[Array | None]
    share0: Sequence[Array | None]
    mask: Callable[[int], Array]


@dataclass(frozen=True)
class Correlation(ABC):
    """Base of all correlations. Fields are public integers (or tuples and views of such)."""

    registry: ClassVar[dict[str, type[Correlation]]] = {}
    #: Fields that hold the number of an earlier mask (or a view of one).
    refs: ClassVar[tuple[str, ...]] = ()
    #: Read by the validation of requests (provider/wire.py): no unknown fields.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __init_subclass__(cls) -> None:
        Correlation.registry[cls.__name__] = cls

    def __post_init__(self) -> None:
        for name in _names(type(self)):
            value = getattr(self, name)
            if name == "prime":
                check_prime(value)
            elif not _in_bounds(name, value):
                raise CorrelationError(f"{type(self).__name__}.{name} = {value} is out of bounds")
        if sum(out.size for out in self.outputs()) > MAX_ELEMENTS:
            raise CorrelationError(f"{type(self).__name__} asks for more than {MAX_ELEMENTS} words")

    @abstractmethod
    def outputs(self) -> tuple[Out, ...]:
        """The arrays of the correlation, in wire order."""

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        """The clear values of the derived arrays, in order (canonical or not: only low bits count)."""
        return ()

    @property
    def correction_bytes(self) -> int:
        """Bytes the dealer sends to rank 1."""
        return 8 * sum(out.correction_words for out in self.outputs())

    @property
    def is_mask(self) -> bool:
        """Whether nothing is sent for it and later correlations may refer to it."""
        return all(out.random for out in self.outputs())

    def moved(self, offset: int, base: int) -> Correlation:
        """The same correlation in a later run: references to numbers from `base` on move by `offset`."""
        changes = {}
        for name in self.refs:
            value = getattr(self, name)
            changes[name] = (
                value.moved(offset, base) if hasattr(value, "moved") else _moved(value, offset, base)
            )
        return replace(self, **changes)


@cache
def _names(kind: type[Correlation]) -> tuple[str, ...]:
    """The fields of a correlation."""
    return tuple(field.name for field in fields(kind))


def _in_bounds(name: str, value: object) -> bool:
    """Whether a field's numbers are in range; those of a view are its own care."""
    if isinstance(value, tuple):
        return all(_in_bounds(name, entry) for entry in value)
    most = _MOST.get(name, MAX_ELEMENTS)
    return not isinstance(value, int) or 0 <= value <= most


def _moved(number: int, offset: int, base: int) -> int:
    return number + offset if number >= base else number


@dataclass(frozen=True)
class Mask(Correlation):
    """A uniform array of `shape` in Z_2^bits, additively shared (or known to `owner` 0 or 1 alone).

    `owner` 2 means: shared by both. Nothing is sent for it. Other correlations refer to it by its number.
    """

    shape: tuple[int, ...]
    bits: int
    owner: int = 2

    def outputs(self) -> tuple[Out, ...]:
        return (Out(self.shape, self.bits, random=True, owner=None if self.owner == 2 else self.owner),)


@dataclass(frozen=True)
class FieldMask(Correlation):
    """A uniform array of `shape` modulo a prime, shared as `Mask`. Nothing is sent for it."""

    shape: tuple[int, ...]
    prime: int
    owner: int = 2

    def outputs(self) -> tuple[Out, ...]:
        owner = None if self.owner == 2 else self.owner
        return (Out.element(self.shape, self.prime, random=True, owner=owner),)


@dataclass(frozen=True)
class BitMask(Correlation):
    """Uniform bit planes [planes, words], XOR-shared. Nothing is sent for it."""

    planes: int
    words: int

    def outputs(self) -> tuple[Out, ...]:
        return (Out((self.planes, self.words), xor=True, random=True),)


def check_planned(number: int, planned: Correlation, taken: Correlation) -> None:
    """Raises CorrelationError unless a run takes what was made for it."""
    if planned != taken:
        raise CorrelationError(
            f"correlation {number} was planned as {planned} and taken as {taken}: "
            "the plan does not belong to this run"
        )


def expand_share(
    rank: int, spec: Correlation, number: int, backend: Backend, key: bytes
) -> list[Array | None]:
    """What one party expands from its own seed: rank 0 everything it has, rank 1 the random arrays.

    Derived arrays of rank 1 are None here; its corrections fill them.
    """
    stream = Stream(backend, key, number)
    arrays: list[Array | None] = []
    for out in spec.outputs():
        arrays.append(_expanded(stream, out, backend) if is_expanded(rank, out) else None)
    return arrays


class Shares:
    """What one party expands from its seed: small ones of a plan all at once and ahead, the others when taken.

    A layer takes hundreds of small correlations, and asking a GPU for one takes longer than expanding it.
    """

    SMALL_WORDS = 1 << 14
    MOST_WORDS = 1 << 24  # 128 MiB of them

    def __init__(self, rank: int, backend: Backend, key: bytes) -> None:
        self._rank = rank
        self._backend = backend
        self._key = key
        self._ready: dict[int, tuple[Correlation, list[Array | None]]] = {}

    def __repr__(self) -> str:
        return f"Shares(ready={len(self._ready)}, key=<hidden>)"

    def ahead(self, first: int, specs: Sequence[Correlation]) -> None:
        """Expand the small ones of correlations that are numbered from `first` on."""
        chosen: list[tuple[int, Correlation, int]] = []
        room = self.MOST_WORDS
        for number, spec in enumerate(specs, first):
            mine = [out for out in spec.outputs() if is_expanded(self._rank, out)]
            groups = sum(-(-out.size // GROUP_WORDS) for out in mine)
            if 0 < groups * GROUP_WORDS <= min(self.SMALL_WORDS, room) and not any(out.prime for out in mine):
                chosen.append((number, spec, groups))
                room -= groups * GROUP_WORDS
        words = self._backend.keystreams(self._key, [c[0] for c in chosen], [c[2] for c in chosen])
        start = 0
        for number, spec, groups in chosen:
            self._ready[number] = spec, self._cut(words[start : start + groups * GROUP_WORDS], spec)
            start += groups * GROUP_WORDS

    def take(self, number: int, spec: Correlation) -> list[Array | None]:
        """As `expand_share`."""
        planned, arrays = self._ready.pop(number, (None, []))
        return arrays if planned == spec else expand_share(self._rank, spec, number, self._backend, self._key)

    def _cut(self, words: Array, spec: Correlation) -> list[Array | None]:
        """A stream's words as the arrays of its correlation."""
        arrays: list[Array | None] = []
        for out in spec.outputs():
            mine = is_expanded(self._rank, out)
            arrays.append(words[: out.size].reshape(out.shape) if mine else None)
            words = words[-(-out.size // GROUP_WORDS) * GROUP_WORDS :] if mine else words
        return arrays


def is_expanded(rank: int, out: Out) -> bool:
    """Whether this party has an array from its own seed."""
    return (out.owner is None or out.owner == rank) and (rank == 0 or out.random)


def _expanded(stream: Stream, out: Out, backend: Backend) -> Array:
    if out.prime:
        return field_of(out.prime).draw(stream, out.shape, backend)
    return stream.words(out.shape)


def combine(backend: Backend, out: Out, share0: Array | None, share1: Array | None) -> Array:
    """The clear value of a random array from the parties' parts, in [0, 2^bits)."""
    if share0 is None or share1 is None:
        words: Array = share1 if share0 is None else share0
    elif out.prime:
        return field_of(out.prime).add(share0, share1)
    else:
        words = share0 ^ share1 if out.xor else share0 + share1
    return words if out.bits == WORD else words & np.uint64((1 << out.bits) - 1)
