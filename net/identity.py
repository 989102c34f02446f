"""Who a party is: a name and a CURVE key pair (Curve25519, in ZeroMQ's Z85 spelling)."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)
_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_Z85_VALUE = {character: value for value, character in enumerate(_Z85)}


@dataclass(frozen=True)
class PublicKey:
    """The public key `z85` of the party called `name`. Raises ValueError if either is malformed."""

    name: str
    z85: str

    def __post_init__(self) -> None:
        check_name(self.name)
        check_key(self.z85)


@dataclass(frozen=True)
class KeyPair:
    """A party's own keys. The secret one never shows in `repr`."""

    public: PublicKey
    secret: str = field(repr=False)

    def __post_init__(self) -> None:
        check_key(self.secret)

    @property
    def name(self) -> str:
        return self.public.name


def check_name(name: str) -> None:
    """Raises ValueError unless `name` is usable as a party's name and in a file name."""
    if not _NAME.fullmatch(name):
        raise ValueError(f"name {name!r} must be 1 to 64 letters, digits or any of _.- (not first . or -)")


def check_key(z85: str) -> None:
    """Raises ValueError unless `z85` spells 32 bytes. The message does not show it: it may be a secret."""
    if len(z85) != 40 or not all(_group_fits(z85[i : i + 5]) for i in range(0, 40, 5)):
        raise ValueError("a key must be 40 characters of Z85")


def _group_fits(group: str) -> bool:
    """Whether five characters spell a number of 32 bits."""
    value = 0
    for character in group:
        if character not in _Z85_VALUE:
            return False
        value = value * 85 + _Z85_VALUE[character]
    return value < 1 << 32
