"""Ciphertexts as messages: a header and bit-packed residues, every size known to the receiver beforehand.

A message is a header frame, a seed frame where seeds are due, and for each part one frame of `bit_length(p)` bits
per residue for each run of primes of one length; of replies, which are digits and no residues, a frame or two for
each part, of 64 bits and of what is left. The receiver knows the one header that is due (parameters, weights,
shape, counter), so it compares instead of parsing, and allocates nothing for a message that differs. Flipped bits
within a residue are not noticed here: integrity is the channel's.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import groupby
from typing import Any

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.ring import WORD, Array, wire_bytes
from he_bridge.errors import CiphertextError
from he_bridge.keyswitch import SwitchingKey
from he_bridge.params import A_DIGITS, B_DIGITS, ParameterSet
from he_bridge.ring import SEED_BYTES, PolyRing
from he_bridge.rlwe import PublicKey, Reply, received_reply
from net import Channel

MAGIC = b"FLHE"
VERSION = 3
INPUTS_TAG, REPLIES_TAG = "he/inputs", "he/replies"
DIGEST_BYTES = 16

_HEADER = struct.Struct("<4sHH16s16sQIIIII")
_WORD = np.dtype("<u8")


class Kind(IntEnum):
    """What a message carries."""

    PUBLIC_KEY = 1
    INPUTS = 2  # client to server: seed, b parts as values
    REPLIES = 3  # server to client: digits of coefficients, of b those that carry results
    SWITCHING_KEY = 4  # client to server: seed, b parts as values; `first` is the distance


@dataclass(frozen=True)
class Header:
    """Everything both sides must agree on. All numbers little-endian; 68 bytes.

    counter: batches of this session so far. rows, inputs, outputs: of the product. first, count: which
    ciphertexts of the batch these are.
    """

    kind: Kind
    params: bytes
    weights: bytes = bytes(DIGEST_BYTES)
    counter: int = 0
    rows: int = 0
    inputs: int = 0
    outputs: int = 0
    first: int = 0
    count: int = 1

    def encode(self) -> bytes:
        """The header frame."""
        shape = (self.counter, self.rows, self.inputs, self.outputs, self.first, self.count)
        return _HEADER.pack(MAGIC, VERSION, self.kind, self.params, self.weights, *shape)

    def expect(self, raw: memoryview) -> None:
        """Raises CiphertextError, naming what differs, unless `raw` is this header."""
        if raw.nbytes != _HEADER.size:
            raise CiphertextError(f"a header of {_HEADER.size} bytes was due, not of {raw.nbytes}")
        magic, version, kind, params, weights, *shape = _HEADER.unpack(raw)
        due = (self.counter, self.rows, self.inputs, self.outputs, self.first, self.count)
        names = (
            "batch counter",
            "number of rows",
            "number of inputs",
            "number of outputs",
            "block",
            "block length",
        )
        different = [
            *(["magic number"] if magic != MAGIC else []),
            *(["version"] if version != VERSION else []),
            *(["kind of message"] if kind != self.kind else []),
            *(["parameter set"] if params != self.params else []),
            *(["weights"] if weights != self.weights else []),
            *(name for name, got, wanted in zip(names, shape, due, strict=True) if got != wanted),
        ]
        if different:
            raise CiphertextError(
                f"a ciphertext message differs from the one that is due here in: {', '.join(different)}. "
                "Both sides must use the same parameters and layer, and take turns in the same order."
            )


HEADER_BYTES = _HEADER.size


def residue_sizes(ring: PolyRing, polys: int, primes: tuple[int, ...]) -> list[int]:
    """Bytes of each frame that `pack_residues` gives."""
    return [wire_bytes(len(run) * polys * ring.degree, bits) for bits, run in _runs(primes)]


def pack_residues(backend: Backend, x: Array, primes: tuple[int, ...]) -> Iterator[Any]:
    """One frame for each run of primes of one length, of residues [primes, polys, N]."""
    start = 0
    for bits, run in _runs(primes):
        stop = start + len(run)
        yield _packed(backend, x[start:stop].astype(np.uint64), bits)
        start = stop


def unpack_residues(
    ring: PolyRing, frames: Sequence[memoryview], polys: int, primes: tuple[int, ...]
) -> Array:
    """The residues [primes, polys, N], each below its prime. Raises CiphertextError."""
    backend, xp = ring.backend, ring.backend.xp
    sizes = residue_sizes(ring, polys, primes)
    if [frame.nbytes for frame in frames] != sizes:
        raise CiphertextError(f"frames of {sizes} bytes were due, not of {[f.nbytes for f in frames]}")
    parts = []
    for frame, (bits, run) in zip(frames, _runs(primes), strict=True):
        rows = _unpacked(backend, frame, bits, len(run) * polys * ring.degree).reshape(len(run), -1)
        if (backend.to_host(rows.max(axis=1)) >= np.array(run, np.uint64)).any():
            raise CiphertextError("a ciphertext holds a number that is no residue of its prime")
        parts.append(rows.astype(np.uint32).reshape(len(run), polys, ring.degree))
    return parts[0] if len(parts) == 1 else xp.concatenate(parts)


def _runs(primes: tuple[int, ...]) -> list[tuple[int, list[int]]]:
    """Primes of one length that follow each other: that length, and the primes."""
    return [(bits, list(run)) for bits, run in groupby(primes, int.bit_length)]


def send_public_key(channel: Channel, ring: PolyRing, key: PublicKey) -> None:
    """One message: header, seed, p0."""
    header = Header(Kind.PUBLIC_KEY, ring.params.digest)
    frames = pack_residues(ring.backend, key.p0, ring.primes)
    channel.send("he/key", [header.encode(), key.seed, *frames])


def recv_public_key(channel: Channel, ring: PolyRing) -> PublicKey:
    """The peer's public key. Raises as `_receive`."""
    seed, *frames = _receive(
        channel,
        "he/key",
        Header(Kind.PUBLIC_KEY, ring.params.digest),
        [SEED_BYTES, *residue_sizes(ring, 1, ring.primes)],
    )
    return PublicKey(bytes(seed), unpack_residues(ring, frames, 1, ring.primes))


def send_switching_key(channel: Channel, ring: PolyRing, key: SwitchingKey) -> None:
    """One message: header, seed, b parts modulo the primes of switching keys."""
    header = _switching_header(ring, key.shift)
    frames = pack_residues(ring.backend, key.b, ring.params.switching)
    channel.send("he/switching", [header.encode(), key.seed, *frames], round=False)


def recv_switching_key(channel: Channel, ring: PolyRing, shift: int) -> SwitchingKey:
    """The key for that distance. Raises as `_receive`."""
    header, primes = _switching_header(ring, shift), ring.params.switching
    sizes = residue_sizes(ring, header.count, primes)
    seed, *frames = _receive(channel, "he/switching", header, [SEED_BYTES, *sizes])
    return SwitchingKey(shift, bytes(seed), unpack_residues(ring, frames, header.count, primes))


def _switching_header(ring: PolyRing, shift: int) -> Header:
    params = ring.params
    return Header(Kind.SWITCHING_KEY, params.digest, first=shift, count=len(params.level))


def send_inputs(
    channel: Channel, ring: PolyRing, header: Header, seed: bytes, b: Array, *, round: bool = False
) -> None:
    """Fresh ciphertexts of which the receiver expands the a parts: header, seed, b."""
    frames = pack_residues(ring.backend, b, ring.primes)
    channel.send(INPUTS_TAG, [header.encode(), seed, *frames], round=round)


def recv_inputs(
    channel: Channel, ring: PolyRing, header: Header, *, round: bool = False
) -> tuple[Array, Array]:
    """(b, a) as values, [primes, header.count, N] each. Raises as `_receive`."""
    sizes = residue_sizes(ring, header.count, ring.primes)
    seed, *frames = _receive(channel, INPUTS_TAG, header, [SEED_BYTES, *sizes], round)
    b = unpack_residues(ring, frames, header.count, ring.primes)
    return b, ring.public_uniform(bytes(seed), header.count)


def reply_sizes(params: ParameterSet, bits: int, polys: int, places: int) -> list[int]:
    """Bytes of each frame of replies in a ring, after the header."""
    parts = ((places, bits + B_DIGITS), (params.degree, bits + A_DIGITS))
    return [wire_bytes(polys * size, width) for size, digits in parts for width in _widths(digits)]


class PackedReplies:
    """What `rlwe.reply` made, as messages take it: some polynomials each."""

    def __init__(self, ring: PolyRing, replies: Reply) -> None:
        self._backend = ring.backend
        parts = ((replies.b, ring.ring_bits + B_DIGITS), (replies.a, ring.ring_bits + A_DIGITS))
        #: Numbers of one width each: [polys, size].
        self._words = [
            (words, width)
            for part, digits in parts
            for words, width in zip(part, _widths(digits), strict=True)
        ]
        # What can be cut at messages is packed, and leaves the device, together.
        self._packed = [
            _packed(self._backend, words, width) if _fills_words(words.shape[1]) else None
            for words, width in self._words
        ]

    def __repr__(self) -> str:
        return f"PackedReplies({len(self._words[0][0])} polynomials)"

    def frames(self, polys: slice) -> list[Any]:
        """Those of b, then those of a."""
        found = []
        for (words, width), packed in zip(self._words, self._packed, strict=True):
            if packed is None:
                found.append(_packed(self._backend, words[polys], width))
            else:
                each = words.shape[1] // WORD * width
                found.append(packed[polys.start * each : polys.stop * each])
        return found


def send_replies(
    channel: Channel, header: Header, replies: PackedReplies, first: int = 0, *, round: bool = False
) -> None:
    """`header.count` of the replies from number `first` on: header, b, a."""
    frames = replies.frames(slice(first, first + header.count))
    channel.send(REPLIES_TAG, [header.encode(), *frames], round=round)


def recv_replies(
    channel: Channel, ring: PolyRing, header: Header, places: int, *, round: bool = False
) -> list[memoryview]:
    """The evaluator's answer for `unpack_replies`, with so many coefficients of b. Raises as `_receive`."""
    sizes = reply_sizes(ring.params, ring.ring_bits, header.count, places)
    return _receive(channel, REPLIES_TAG, header, sizes, round)


def unpack_replies(
    ring: PolyRing, messages: Sequence[Sequence[memoryview]], counts: Sequence[int], places: int
) -> Reply:
    """The replies of several messages, so many in each."""
    by_frame = zip(*messages, strict=True)

    def part(size: int, digits: int) -> Array:
        words = [_numbers(ring.backend, next(by_frame), counts, size, width) for width in _widths(digits)]
        whole = words[0] if len(words) == 1 else ring.backend.xp.stack(words)
        return whole.reshape(-1, sum(counts), size)

    b = part(places, ring.ring_bits + B_DIGITS)
    return received_reply(b, part(ring.degree, ring.ring_bits + A_DIGITS))


def _numbers(
    backend: Backend, frames: Sequence[memoryview], counts: Sequence[int], size: int, width: int
) -> Array:
    """`size` numbers for each polynomial of frames that hold so many: all at once, if these end at whole words."""
    if len(frames) == 1 or _fills_words(size):
        whole = frames[0] if len(frames) == 1 else memoryview(b"".join(frames))
        return _unpacked(backend, whole, width, sum(counts) * size)
    each = [_unpacked(backend, f, width, count * size) for f, count in zip(frames, counts, strict=True)]
    return backend.xp.concatenate(each)


def _fills_words(size: int) -> bool:
    """Whether so many numbers of any width end at a whole word, so that packed ones can be cut and joined there."""
    return size % WORD == 0


def _widths(bits: int) -> list[int]:
    """The words that numbers of that many bits are made of."""
    return [bits] if bits <= WORD else [WORD, bits - WORD]


def _packed(backend: Backend, words: Array, bits: int) -> Any:
    return backend.to_host(backend.pack(words, bits)).astype(_WORD, copy=False)


def _unpacked(backend: Backend, frame: memoryview, bits: int, count: int) -> Array:
    words = backend.asarray(np.frombuffer(frame, _WORD).astype(np.uint64, copy=False))
    return backend.unpack(words, bits, count)


def _receive(
    channel: Channel, tag: str, header: Header, sizes: Sequence[int], round: bool = False
) -> list[memoryview]:
    """The frames after the header. Raises CiphertextError or whatever the channel raises (NetError)."""
    first, *frames = channel.recv(tag, [HEADER_BYTES, *sizes], round=round)
    header.expect(first)
    return frames
