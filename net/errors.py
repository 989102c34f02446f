"""What can go wrong between two programs. Every message ends with what the reader can do about it.

    NetError
    ├── AddressError        an address is malformed, in use, or cannot be resolved
    ├── KeyFileError        a key file is missing, malformed, or readable by others
    ├── AuthError           one side does not accept the other's key
    ├── Busy                the listener serves another peer at the moment
    ├── HandshakeError      the two programs were set up differently
    ├── Timeout             a named timeout setting ran out
    ├── PeerGone            the peer closed the session, crashed, or cannot be reached any more
    ├── RemoteError         the peer stopped on purpose and said why
    ├── ProtocolError       the peer sent something malformed, out of order, or of the wrong size
    ├── FrameTooLarge       a message exceeds a limit
    ├── SessionOver         a channel was used after it was closed or had failed
    └── LaunchError         a program started by the launcher failed

No message holds payload bytes: they may be shares.
After any of these a channel is finished; open a new session.
"""

from __future__ import annotations

REMOTE_TEXT_LIMIT = 500
"""Characters of an error text that travel to the peer."""


class NetError(Exception):
    """Base of everything that `net` raises on its own account."""


class AddressError(NetError):
    """An address is malformed, already in use, or cannot be resolved."""


class KeyFileError(NetError):
    """A key file is missing, malformed, or readable by others."""


class AuthError(NetError):
    """One side does not accept the key of the other."""


class Busy(NetError):
    """The listener serves another peer; it takes one session at a time."""


class HandshakeError(NetError):
    """The two programs were set up differently; the message names each differing field and both values."""


class Timeout(NetError):
    """A timeout ran out. `setting` names it, `seconds` is its value, `awaited` what did not come."""

    def __init__(self, awaited: str, setting: str, seconds: float, advice: str) -> None:
        super().__init__(f"gave up on {awaited} after {setting} = {seconds:g} s. {advice}")
        self.awaited = awaited
        self.setting = setting
        self.seconds = seconds


class PeerGone(NetError):
    """The peer closed the session, crashed, or cannot be reached any more."""


class RemoteError(NetError):
    """The peer stopped on purpose; `text` is what it said (printable, at most 500 characters)."""

    def __init__(self, peer: str, text: str) -> None:
        super().__init__(f"{peer} stopped: {text.rstrip('.')}. Its own log has the details.")
        self.peer = peer
        self.text = text


class ProtocolError(NetError):
    """The peer sent something malformed, out of order, or of the wrong size."""


class FrameTooLarge(NetError):
    """A message exceeds a limit, on its way out or as announced by the peer."""


class SessionOver(NetError):
    """A channel was used after it was closed or had failed."""


class LaunchError(NetError):
    """A program started by the launcher failed; the message holds the end of its error output."""


def printable(text: str, limit: int = REMOTE_TEXT_LIMIT) -> str:
    """`text` made safe to show: control characters become spaces (a peer must not drive our terminal)."""
    return "".join(c if c.isprintable() else " " for c in text[:limit])
