"""The first words on a connection, before there is a session.

The connector says HELLO with a random session id. The listener answers WELCOME, or BUSY, or ERROR with a
text, always with that id, so that no answer to an earlier attempt can be taken for one to this. The tag of a
greeting is the speaker's name (only a claim: with CURVE the key decides who somebody is).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from net import frame
from net.errors import REMOTE_TEXT_LIMIT, ProtocolError, printable
from net.frame import Group, Header, Kind, Limits, urgent

_ID_BYTES = 16
NO_ID = bytes(_ID_BYTES)
"""Stands for the session id where the hello could not be read."""

_MAX_GREETING = Limits(max_frames=2, max_message_bytes=_ID_BYTES + 4 * REMOTE_TEXT_LIMIT)


@dataclass(frozen=True)
class Greeting:
    """kind: HELLO, WELCOME, BUSY or ERROR. text: for ERROR, what is wrong."""

    kind: Kind
    name: str
    session_id: bytes
    text: str = ""


def hello(name: str) -> Greeting:
    """A request for a new session."""
    return Greeting(Kind.HELLO, name, secrets.token_bytes(_ID_BYTES))


def group(greeting: Greeting) -> Group:
    """The greeting as an urgent group for a line."""
    frames = [greeting.session_id]
    if greeting.kind is Kind.ERROR:
        frames.append(printable(greeting.text).encode())
    header = Header(greeting.kind, 0, greeting.name, tuple(map(len, frames)))
    return urgent(header, [memoryview(f) for f in frames])


def decode(parts: Sequence[memoryview]) -> Greeting | None:
    """The greeting in header and frames, or None for another message (a farewell that comes late).

    Raises ProtocolError or FrameTooLarge if the bytes are no message at all.
    """
    header = frame.decode(parts[0], _MAX_GREETING)
    if header.kind in (Kind.DATA, Kind.BYE):
        return None
    assembler = frame.Assembler(header.sizes)
    for part in parts[1:]:
        assembler.feed(part)
    frames = [bytes(f) for f in assembler.frames()]
    if len(frames) != (2 if header.kind is Kind.ERROR else 1) or len(frames[0]) != _ID_BYTES:
        raise ProtocolError("the greeting is malformed. Run the same fastlmpi version on both sides.")
    text = printable(frames[1].decode(errors="replace")) if header.kind is Kind.ERROR else ""
    return Greeting(header.kind, header.tag, frames[0], text)
