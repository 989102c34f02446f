"""The codec: what it writes it reads, and hostile bytes get a clear refusal and nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from net import frame
from net.errors import FrameTooLarge, ProtocolError
from net.frame import Assembler, Header, Kind, Limits

LIMITS = Limits()
tags = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=frame.MAX_TAG)
headers = st.builds(
    Header,
    kind=st.sampled_from(Kind),
    seq=st.integers(0, 2**64 - 1),
    tag=tags,
    sizes=st.lists(st.integers(0, 1 << 20), max_size=frame.MAX_FRAMES).map(tuple),
)


def test_one_header_spelled_out() -> None:
    raw = frame.encode(Header(Kind.DATA, 7, "open", (3, 256)))
    assert raw == b"FLMP\x01\x01\x04\x02" + struct.pack("<QQQ", 7, 3, 256) + b"open"


@given(headers)
def test_round_trip(header: Header) -> None:
    raw = frame.encode(header)
    assert frame.decode(raw, LIMITS) == header
    assert len(raw) == frame.header_size(header.tag, len(header.sizes))


@given(st.binary(max_size=700))
@example(b"")
@example(b"FLMP")
def test_garbage_is_refused(raw: bytes) -> None:
    with pytest.raises((ProtocolError, FrameTooLarge)):
        frame.decode(raw, LIMITS)


@given(headers, st.data())
def test_one_wrong_byte_gives_a_header_or_a_refusal(header: Header, data: st.DataObject) -> None:
    raw = bytearray(frame.encode(header))
    raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = frame.decode(bytes(raw), LIMITS)
    except (ProtocolError, FrameTooLarge):
        return
    assert frame.encode(decoded) == bytes(raw)


@given(headers, st.integers(1, 20))
def test_truncated_or_extended_is_refused(header: Header, n: int) -> None:
    raw = frame.encode(header)
    for wrong in (raw[:-n], raw + bytes(n)):
        with pytest.raises((ProtocolError, FrameTooLarge)):
            frame.decode(wrong, LIMITS)


def test_version_names_both() -> None:
    raw = bytearray(frame.encode(Header(Kind.DATA, 0, "t", ())))
    raw[4] = 9
    with pytest.raises(ProtocolError, match=r"wire format 1 expected, got 9.*same fastlmpi version"):
        frame.decode(bytes(raw), LIMITS)


def test_huge_is_refused_before_any_payload() -> None:
    huge = frame.encode(Header(Kind.DATA, 0, "t", (2**63, 2**63)))
    with pytest.raises(FrameTooLarge, match="max_message_bytes"):
        frame.decode(huge, LIMITS)


@pytest.mark.parametrize("tag", ["", "x" * 65, "tab\t", "naïve", "\x7f"])
def test_bad_tags_are_not_sent(tag: str) -> None:
    with pytest.raises(ValueError, match="printable ASCII"):
        frame.check(Header(Kind.DATA, 0, tag, ()), LIMITS)


def test_limits_hold_for_the_sender_too() -> None:
    frame.check(Header(Kind.DATA, 0, "t", (1,) * 64), LIMITS)
    with pytest.raises(ValueError, match="65 frames"):
        frame.check(Header(Kind.DATA, 0, "t", (1,) * 65), LIMITS)
    with pytest.raises(FrameTooLarge):
        frame.check(Header(Kind.DATA, 0, "t", (10,)), Limits(max_message_bytes=9))


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 16))
def test_cut_and_assemble(contents: list[bytes], part_bytes: int) -> None:
    groups = list(frame.cut([memoryview(c) for c in contents], part_bytes))
    assembler = Assembler([len(c) for c in contents])
    for group in groups:
        assert sum(part.nbytes for part in group) <= part_bytes
        for part in group:
            assembler.feed(part)
    assert [bytes(f) for f in assembler.frames()] == contents
    assert all(group[0].nbytes for group in groups[1:]), "an empty part in front marks an urgent message"


@given(st.lists(st.integers(0, 30), max_size=5), st.lists(st.integers(0, 30), max_size=8))
def test_assembler_takes_exactly_what_was_announced(sizes: list[int], parts: list[int]) -> None:
    assembler = Assembler(sizes)
    try:
        for n in parts:
            assembler.feed(memoryview(bytes(n)))
        frames = assembler.frames()
    except ProtocolError:
        return
    assert [f.nbytes for f in frames] == sizes


def test_a_whole_part_is_passed_on_without_a_copy_and_read_only() -> None:
    content = bytearray(b"abc")
    assembler = Assembler([3])
    assembler.feed(memoryview(content))
    (view,) = assembler.frames()
    content[0] = ord("x")
    assert bytes(view) == b"xbc"
    assert view.readonly


def test_large_frames_are_gathered() -> None:
    part = memoryview(bytes(range(256)) * 4096)
    assembler = Assembler([3 * part.nbytes])
    for _ in range(3):
        assembler.feed(part)
    (view,) = assembler.frames()
    assert view == bytes(part) * 3
    assert view.readonly


def test_frames_must_be_contiguous() -> None:
    assert frame.as_bytes(memoryview(bytes(8)).cast("I")).nbytes == 8
    assert frame.as_bytes(b"").nbytes == 0
    with pytest.raises(ValueError, match="contiguous"):
        frame.as_bytes(memoryview(bytes(8))[::2])
