"""Greetings: round trip, and any bytes give a greeting, None or a refusal."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from net import FrameTooLarge, ProtocolError, greeting
from net.frame import Header, Kind, encode
from net.greeting import Greeting


@pytest.mark.parametrize("kind", [Kind.HELLO, Kind.WELCOME, Kind.BUSY])
def test_round_trip(kind: Kind) -> None:
    said = Greeting(kind, "client", bytes(range(16)))
    assert greeting.decode(greeting.group(said)[1:]) == said


def test_an_error_carries_a_printable_text() -> None:
    said = Greeting(Kind.ERROR, "server", greeting.NO_ID, "bad\x1b" + "x" * 1000)
    heard = greeting.decode(greeting.group(said)[1:])
    assert heard is not None
    assert heard.text == "bad " + "x" * 496


def test_each_hello_is_its_own() -> None:
    assert greeting.hello("a").session_id != greeting.hello("a").session_id


@pytest.mark.parametrize("kind", [Kind.DATA, Kind.BYE])
def test_other_messages_are_no_greeting(kind: Kind) -> None:
    assert greeting.decode([memoryview(encode(Header(kind, 0, "x", ())))]) is None


@pytest.mark.parametrize("sizes", [(), (15,), (16, 1), (16, 1, 1), (1 << 20,)])
def test_malformed(sizes: tuple[int, ...]) -> None:
    parts = [encode(Header(Kind.HELLO, 0, "x", sizes)), *map(bytes, sizes)]
    with pytest.raises((ProtocolError, FrameTooLarge)):
        greeting.decode([memoryview(part) for part in parts])


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=4))
def test_garbage(parts: list[bytes]) -> None:
    with pytest.raises((ProtocolError, FrameTooLarge)):
        greeting.decode([memoryview(part) for part in parts])
