"""The wire format, without any input or output.

A message is a header and zero or more payload frames. The header is fixed little-endian fields, one
size per payload frame, and the tag:

    offset  size  field
    0       4     magic "FLMP"
    4       1     format version
    5       1     kind (see `Kind`)
    6       1     length of the tag in bytes, 1..64
    7       1     number of payload frames n, 0..65
    8       8     sequence number of the message in its direction
    16      8n    size of each payload frame in bytes
    16+8n   ...   tag, printable ASCII

The header announces all sizes, so a receiver refuses a message before it touches the payload.

A message travels as one or more groups of parts, each group of at most 512 KiB (`cut`, `Assembler`):
encryption, transmission and decryption of different parts overlap, and each side buffers a few groups instead
of a whole message. The first group of a DATA message begins with the header, its later groups hold payload
only. Any other message is one group that begins with an empty part (`urgent`), so it is recognised even in
the middle of a payload that its sender gave up.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

from net.errors import FrameTooLarge, ProtocolError

MAGIC = b"FLMP"
VERSION = 1
MAX_TAG = 64
MAX_FRAMES = 64
"""Payload frames of one message; on the wire one more is accepted, for a wrapper that adds its own."""
PART_BYTES = 1 << 19
"""Largest part of a payload frame: where encryption, transmission and decryption of messages of 0.5 or 1.5 MB
overlap best (CURVE over loopback: 1.5 times as fast as in parts of 1 MiB; a long stream is 0.9 times as fast)."""

Group = list[memoryview]
"""Parts that travel together."""

_FIXED = struct.Struct("<4sBBBBQ")
_SIZE_BYTES = 8
_HUGE_PAGE = 2 << 20


class Kind(IntEnum):
    """What a message is for. Only DATA takes part in the sequence; the others may come at any time."""

    DATA = 1
    ERROR = 2  # one frame: why the sender stops
    BYE = 3  # the sender closed its channel
    HELLO = 4  # a connector asks for a session; frame: random session id
    WELCOME = 5  # the listener opens it; frame: the same id
    BUSY = 6  # the listener serves somebody else; frame: the same id


_KINDS = {int(kind): kind for kind in Kind}
_FOREIGN = "Check that the peer is a fastlmpi program of the same version."


@dataclass(frozen=True)
class Limits:
    """Bounds on what is accepted from a peer and on what is sent.

    max_frames: payload frames of one message as received. max_message_bytes: their bytes together.
    """

    max_frames: int = MAX_FRAMES + 1
    max_message_bytes: int = 4 << 30


class Header(NamedTuple):
    """What announces a message: kind, sequence number, tag, and the size in bytes of each payload frame."""

    kind: Kind
    seq: int
    tag: str
    sizes: tuple[int, ...]

    @property
    def payload_bytes(self) -> int:
        return sum(self.sizes)


def header_size(tag: str, n_frames: int) -> int:
    """Bytes of the header of a message with this tag and number of payload frames."""
    return _FIXED.size + _SIZE_BYTES * n_frames + len(tag)


def check(header: Header, limits: Limits) -> None:
    """Refuses to send what no peer accepts.

    Raises ValueError for a bad tag or too many frames, FrameTooLarge for too many bytes.
    """
    if not _is_tag(header.tag):
        raise ValueError(f"tag {header.tag!r} must be 1 to {MAX_TAG} printable ASCII characters")
    if len(header.sizes) > MAX_FRAMES:
        raise ValueError(f"message {header.tag!r} has {len(header.sizes)} frames, at most {MAX_FRAMES} fit")
    _check_total(header.tag, header.payload_bytes, limits)


def encode(header: Header) -> bytes:
    """Header bytes of a message that passed `check`."""
    sizes = header.sizes
    fixed = _FIXED.pack(MAGIC, VERSION, header.kind, len(header.tag), len(sizes), header.seq)
    return fixed + struct.pack(f"<{len(sizes)}Q", *sizes) + header.tag.encode("ascii")


def decode(raw: bytes | memoryview, limits: Limits) -> Header:
    """The checked header. Raises ProtocolError or FrameTooLarge, whatever the bytes are."""
    if len(raw) < _FIXED.size:
        raise ProtocolError(f"header of {len(raw)} bytes is shorter than {_FIXED.size}. {_FOREIGN}")
    magic, version, kind, tag_length, n_frames, seq = _FIXED.unpack_from(raw)
    if magic != MAGIC:
        raise ProtocolError(f"header does not begin with {MAGIC.decode()}. {_FOREIGN}")
    if version != VERSION:
        raise ProtocolError(
            f"wire format {VERSION} expected, got {version}. Run the same fastlmpi version on both sides."
        )
    if kind not in _KINDS:
        raise ProtocolError(f"unknown message kind {kind}. {_FOREIGN}")
    if n_frames > limits.max_frames:
        raise FrameTooLarge(f"peer announces {n_frames} frames, at most {limits.max_frames} are accepted.")
    tag_start = _FIXED.size + _SIZE_BYTES * n_frames
    if len(raw) != tag_start + tag_length:
        raise ProtocolError(f"header of {tag_start + tag_length} bytes expected, got {len(raw)}. {_FOREIGN}")
    tag = str(raw[tag_start:], "latin-1")
    if not _is_tag(tag):
        raise ProtocolError(f"tag is not 1 to {MAX_TAG} printable ASCII characters. {_FOREIGN}")
    sizes = struct.unpack_from(f"<{n_frames}Q", raw, _FIXED.size)
    _check_total(tag, sum(sizes), limits)
    return Header(_KINDS[kind], seq, tag, sizes)


def urgent(header: Header, frames: Sequence[memoryview]) -> Group:
    """The one group of a short message of any kind but DATA."""
    return [memoryview(b""), memoryview(encode(header)), *frames]


def is_urgent(group: Group) -> bool:
    """Whether a group was made by `urgent`."""
    return len(group) > 1 and group[0].nbytes == 0


def as_bytes(frame: object) -> memoryview:
    """A flat byte view of any contiguous buffer. Raises ValueError if it is not contiguous."""
    view = memoryview(frame)  # type: ignore[arg-type]  # Buffer has no name before Python 3.12
    if view.nbytes == 0:
        return memoryview(b"")
    if not view.c_contiguous:
        raise ValueError("a frame must be contiguous in memory; make a contiguous copy first")
    return view.cast("B")


def cut(buffers: Sequence[memoryview], part_bytes: int = PART_BYTES) -> Iterator[Group]:
    """Groups of parts, each group at most `part_bytes` long, that carry the buffers in order.

    A buffer that fits one group stays whole (its receiver need not copy it); a larger one is cut. A part
    never spans two buffers, an empty buffer is one empty part, and no group but perhaps the first begins
    with an empty part.
    """
    group: Group = []
    room = part_bytes
    for buffer in buffers:
        if buffer.nbytes > room and group:
            yield group
            group, room = [], part_bytes
        start = 0
        while buffer.nbytes - start > part_bytes:
            yield [buffer[start : start + part_bytes]]
            start += part_bytes
        group.append(buffer[start:])
        room -= buffer.nbytes - start
    if group:
        yield group


class Assembler:
    """Puts parts back together into frames of announced sizes.

    A frame that came in one part is passed on as it is; a frame in several parts is gathered in one piece
    of memory. `missing` counts the frames not complete yet.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self._sizes = sizes
        self._frames: list[memoryview] = []
        self._open: memoryview | None = None
        self._filled = 0

    @property
    def missing(self) -> int:
        return len(self._sizes) - len(self._frames)

    def feed(self, part: memoryview) -> None:
        """Takes the next part. Raises ProtocolError if it does not fit the announced sizes."""
        if not self.missing:
            raise ProtocolError(f"a part of {part.nbytes} bytes follows the last announced frame. {_FOREIGN}")
        size = self._sizes[len(self._frames)]
        if self._filled + part.nbytes > size or (part.nbytes == 0 and size):
            raise ProtocolError(
                f"frame {len(self._frames)} of {size} bytes expected, "
                f"got a part up to byte {self._filled + part.nbytes}. {_FOREIGN}"
            )
        if part.nbytes == size:
            self._frames.append(part.toreadonly())
            return
        if self._open is None:
            self._open = _allocate(size)
        self._open[self._filled : self._filled + part.nbytes] = part
        self._filled += part.nbytes
        if self._filled == size:
            self._frames.append(self._open.toreadonly())
            self._open, self._filled = None, 0

    def frames(self) -> list[memoryview]:
        """The finished frames, read-only. Raises ProtocolError if one is incomplete."""
        if self.missing:
            raise ProtocolError(f"{len(self._sizes)} frames expected, got {len(self._frames)}. {_FOREIGN}")
        return self._frames


def _is_tag(text: str) -> bool:
    return 1 <= len(text) <= MAX_TAG and text.isascii() and text.isprintable()


def _check_total(tag: str, total: int, limits: Limits) -> None:
    if total > limits.max_message_bytes:
        raise FrameTooLarge(
            f"message {tag!r} has {total} bytes, max_message_bytes is {limits.max_message_bytes}. "
            "Send it in several messages, or raise the setting on both sides."
        )


def _allocate(size: int) -> memoryview:
    """Fresh memory. In huge pages where there are any: page faults, not the copy, dominate otherwise."""
    if size < _HUGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return memoryview(bytearray(size))
    pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel built without them
        pages.madvise(mmap.MADV_HUGEPAGE)
    return memoryview(pages)
