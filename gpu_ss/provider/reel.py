"""A reel: the correlations of one whole plan, made ahead of time, as one party keeps them.

As a file, numbers little-endian:

    header     160 bytes: magic, version, rank, number of correlations, words, id, plan, context, label
    seed       32 bytes, from which this party's masks are expanded, each at its place in the plan
    words      of 64 bits: of each correlation that is not a mask this party's arrays in order, each packed to
               the bits of its ring (`Backend.pack`)
    checksum   BLAKE2b-256 of all before it

The plan is a digest of the correlations, the context one of whatever else they depend on: both parties must state
the same. Correlations are numbered from 0, so that references among them are places in the reel.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gpu_ss.backend.base import Backend
from gpu_ss.errors import CorrelationError
from gpu_ss.prg import KEY_BYTES
from gpu_ss.provider.correlation import Correlation, Out, check_planned, expand_share
from gpu_ss.provider.wire import encode_specs
from gpu_ss.ring import Array, word_count

VERSION = 1
ID_BYTES = 16
DIGEST_BYTES = 32
LABEL_BYTES = 48
_MAGIC = b"FLMPreel"
_HEADER = struct.Struct(f"<8sIIQQ{ID_BYTES}s{DIGEST_BYTES}s{DIGEST_BYTES}s{LABEL_BYTES}s")
HEADER_BYTES = _HEADER.size
_BYTES_WITHOUT_WORDS = HEADER_BYTES + KEY_BYTES + DIGEST_BYTES

Words = NDArray[np.uint64]


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a reel can be used for. Public; both parties work it out, and a reel serves the same one only.

    plan: digest of the correlations, see `plan_digest`. context: digest of what the plan does not say: model,
    terms, version. label: a few printable ASCII characters for people.
    """

    plan: bytes
    context: bytes
    label: str = ""

    def same(self, other: Purpose) -> bool:
        """Whether the digests agree; a label is for people only."""
        return (self.plan, self.context) == (other.plan, other.context)


@dataclass(frozen=True, slots=True)
class Head:
    """What the header of a file says; nothing of it is secret."""

    id: bytes
    rank: int
    purpose: Purpose
    count: int
    words: int

    @property
    def file_bytes(self) -> int:
        """The exact size of the file."""
        return _BYTES_WITHOUT_WORDS + 8 * self.words

    def encode(self) -> bytes:
        """The header."""
        label = self.purpose.label.encode("ascii", "replace")[:LABEL_BYTES]
        purpose = self.purpose
        return _HEADER.pack(
            _MAGIC, VERSION, self.rank, self.count, self.words, self.id, purpose.plan, purpose.context, label
        )

    @staticmethod
    def decode(data: bytes) -> Head:
        """The inverse. Raises CorrelationError for anything that is not a header of this version."""
        if len(data) != HEADER_BYTES:
            raise CorrelationError("the header of stored correlations is cut off")
        magic, version, rank, count, words, id_, plan, context, label = _HEADER.unpack(data)
        if magic != _MAGIC or version != VERSION or rank > 1:
            raise CorrelationError("this is no file of stored correlations of this version")
        text = label.rstrip(b"\0").decode("ascii", "replace")
        return Head(id_, rank, Purpose(plan, context, text), count, words)


class Reel:
    """A reel in memory. Whoever has it in the store's name (`Shelf.take`) is the only one, and uses it once."""

    def __init__(self, head: Head, seed: bytes, words: Words) -> None:
        self.head = head
        self.seed = seed
        self.words = words

    def __repr__(self) -> str:
        return f"Reel({self.head.id.hex()}, rank={self.head.rank}, seed=<hidden>, words=<hidden>)"


def from_zero(specs: Sequence[Correlation], first: int) -> list[Correlation]:
    """Correlations numbered from `first` on, the same numbered from 0.

    Raises CorrelationError if one refers to a mask before `first`: then other sessions cannot make or use it.
    """
    for spec in specs:
        if spec.moved(1, first) != spec.moved(1, 0):
            raise CorrelationError(f"a {type(spec).__name__} refers to a mask of the session's set-up")
    return [spec.moved(-first, first) for spec in specs]


def plan_digest(specs: Sequence[Correlation]) -> bytes:
    """Digest of correlations numbered from 0."""
    return hashlib.blake2b(encode_specs(0, specs), digest_size=DIGEST_BYTES).digest()


def stored_outputs(rank: int, spec: Correlation) -> list[Out | None]:
    """The arrays of a correlation in order, None for those that are not in the file of this rank."""
    return [None if spec.is_mask or out.owner == 1 - rank else out for out in spec.outputs()]


def stored_words(rank: int, specs: Sequence[Correlation]) -> int:
    """Words that the correlations take in the file of this rank."""
    found = (out for spec in specs for out in stored_outputs(rank, spec) if out is not None)
    return sum(word_count(out.size, out.bits) for out in found)


def stored_bytes(rank: int, specs: Sequence[Correlation]) -> int:
    """The size of the file of this rank."""
    return _BYTES_WITHOUT_WORDS + 8 * stored_words(rank, specs)


#: Of each correlation that a file holds something of, by number: the place of its first word, and its arrays.
Layout = dict[int, tuple[int, Correlation, list[Out | None]]]


def layout(rank: int, specs: Sequence[Correlation]) -> Layout:
    """Where the correlations of a plan, numbered from 0, are in the file of this rank."""
    found: Layout = {}
    place = 0
    for number, spec in enumerate(specs):
        outs = stored_outputs(rank, spec)
        if any(outs):
            found[number] = place, spec, outs
        place += sum(word_count(out.size, out.bits) for out in outs if out is not None)
    return found


#: Called with the place of the first of some words among those of a reel, and the words.
Put = Callable[[int, Words], None]


class ReelWriter:
    """Puts the correlations of a plan where they belong among the words of a reel, in any order.

    where: their `layout`.
    """

    def __init__(self, backend: Backend, where: Layout, put: Put) -> None:
        self._backend = backend
        self._where = where
        self._put = put
        self._due = set(where)

    def __repr__(self) -> str:
        return f"ReelWriter(due={len(self._due)})"

    def keep(self, number: int, arrays: Sequence[Array | None]) -> None:
        """Put one. Raises CorrelationError unless it is due and has the shape that was planned."""
        if number not in self._due:
            raise CorrelationError(f"correlation {number} is not due to be stored")
        self._due.remove(number)
        place, spec, outs = self._where[number]
        for out, array in zip(outs, arrays, strict=True):
            if (out is None) != (array is None) or (out and tuple(array.shape) != out.shape):  # type: ignore[union-attr]
                raise CorrelationError(
                    f"correlation {number} ({type(spec).__name__}) was made in another shape"
                )
            if out is not None:
                words = self._backend.to_host(self._backend.pack(array, out.bits))
                self._put(place, words)
                place += int(words.size)

    def finish(self) -> None:
        """Raises CorrelationError unless everything has been put."""
        if self._due:
            raise CorrelationError(f"{len(self._due)} correlations that are to be stored were not made")


class ReelReader:
    """Hands out the correlations of a reel, each once. `specs`: its plan, numbered from 0.

    Raises CorrelationError if the reel is another rank's or belongs to another plan.
    """

    def __init__(self, reel: Reel, rank: int, backend: Backend, specs: Sequence[Correlation]) -> None:
        head = reel.head
        if head.rank != rank:
            raise CorrelationError("stored correlations of the other party cannot be used")
        if head.count != len(specs) or head.purpose.plan != plan_digest(specs):
            raise CorrelationError("stored correlations belong to another plan")
        if not head.words == reel.words.size == stored_words(rank, specs):
            raise CorrelationError("stored correlations are incomplete")
        self._reel = reel
        self._rank = rank
        self._backend = backend
        self._specs = specs
        self._place = 0
        self._position = 0

    def __repr__(self) -> str:
        return f"ReelReader({self._reel!r}, place={self._place})"

    @property
    def left(self) -> int:
        """How many correlations have not been read."""
        return len(self._specs) - self._place

    def next(self, spec: Correlation) -> list[Array | None]:
        """This party's arrays of the next correlation, which must be `spec` (numbered from 0)."""
        place = self._place
        if not self.left:
            raise CorrelationError("the stored correlations are used up")
        check_planned(place, self._specs[place], spec)
        self._place += 1
        if spec.is_mask:
            return expand_share(self._rank, spec, place, self._backend, self._reel.seed)
        return [None if out is None else self._array(out) for out in stored_outputs(self._rank, spec)]

    def _array(self, out: Out) -> Array:
        start, count = self._position, word_count(out.size, out.bits)
        self._position += count
        words = self._backend.asarray(self._reel.words[start : start + count])
        return self._backend.unpack(words, out.bits, out.size).reshape(out.shape)
