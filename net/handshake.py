"""Both programs make sure that they were set up alike, before anything secret is computed on.

Only public values belong in an agreement (versions, ring sizes, profile, digest of the model): the peer and
the error message see them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import NoReturn

from net.channel import Channel, Wait
from net.errors import HandshakeError, ProtocolError, printable

Scalar = str | int | float | bool | None

_MAX_FIELDS = 64
_MAX_TEXT = 256  # characters of a name or a value
_MAX_INTEGER = 1 << 64
_MAX_BYTES = 1 << 18  # of a statement; the bounds above keep it below
_DIGEST_BYTES = hashlib.sha256().digest_size
_DIGEST_TAG = "handshake/digest"
_FIELDS_TAG = "handshake/fields"


@dataclass(frozen=True)
class Agreement:
    """What both sides must have in common: field name -> text, number, boolean or None.

    The order of the fields has no meaning. Raises ValueError for more than 64 fields, a text over 256
    characters, a number that is not finite or exceeds 64 bits, or any other type.
    """

    fields: Mapping[str, Scalar]

    def __post_init__(self) -> None:
        if len(self.fields) > _MAX_FIELDS:
            raise ValueError(f"an agreement has at most {_MAX_FIELDS} fields, got {len(self.fields)}")
        for name, value in self.fields.items():
            if not (isinstance(name, str) and len(name) <= _MAX_TEXT and _is_scalar(value)):
                raise ValueError(
                    f"field {name!r:.80} must be a short text, a finite number, a boolean or None"
                )
        object.__setattr__(self, "fields", MappingProxyType(dict(self.fields)))


def handshake(channel: Channel, agreement: Agreement, *, timeout_s: float = 30.0) -> None:
    """Returns if the peer holds the same agreement and plays the role we expect; one round.

    Otherwise raises HandshakeError on both sides, naming each differing field and both values. timeout_s:
    how long to wait for each message of the peer. Booked under the traffic phase "handshake".
    """
    wait = Wait("timeout_s of the handshake", timeout_s)
    ours = _statement(agreement, channel.local, channel.peer)
    expected = _statement(agreement, channel.peer, channel.local)
    with channel.traffic.phase("handshake"):
        channel.send(_DIGEST_TAG, [_digest(ours)])
        (digest,) = channel.recv(_DIGEST_TAG, [_DIGEST_BYTES], round=False, wait=wait)
        if digest != _digest(expected):
            channel.send(_FIELDS_TAG, [ours])
            frames = channel.recv_any(_FIELDS_TAG, _MAX_BYTES, round=False, wait=wait)
            _refuse(channel.peer, _parse(expected), _parse(b"".join(frames)))


def _statement(agreement: Agreement, speaker: str, hearer: str) -> bytes:
    """The one spelling of what `speaker` tells `hearer`."""
    content = {"role": f"{speaker} facing {hearer}", "fields": dict(agreement.fields)}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _digest(statement: bytes) -> bytes:
    return hashlib.sha256(statement).digest()


def _parse(statement: bytes) -> dict[str, Scalar]:
    """Role and fields of a statement. Raises ProtocolError unless it is well formed and within the bounds."""
    try:
        content = json.loads(statement)
        role, fields = content["role"], Agreement(content["fields"]).fields
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise ProtocolError(
            "the peer's agreement is malformed. Run the same version on both sides."
        ) from None
    return {"role": printable(str(role), _MAX_TEXT), **{f"field {name!r}": fields[name] for name in fields}}


def _refuse(peer: str, expected: dict[str, Scalar], got: dict[str, Scalar]) -> NoReturn:
    """Raises HandshakeError with every difference."""
    names = dict.fromkeys([*expected, *got])
    different = [name for name in names if _show(expected, name) != _show(got, name)]
    listed = "; ".join(
        f"{name}: expected {_show(expected, name)}, got {_show(got, name)}" for name in different
    )
    raise HandshakeError(
        f"{peer} is set up differently: {listed or 'only the digest differs'}. "
        "Start both sides with the same version and settings."
    )


def _show(statement: dict[str, Scalar], name: str) -> str:
    """A value as JSON spells it: so 1, 1.0, true and "1" are told apart."""
    return json.dumps(statement[name]) if name in statement else "nothing"


def _is_scalar(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= _MAX_TEXT
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and abs(value) < _MAX_INTEGER)
