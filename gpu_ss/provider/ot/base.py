"""Base OT: both parties' first common secrets, from public-key operations on Curve25519.

The sender ends with two keys per OT, the receiver with the one of its choice bit c. Construction: Masny and Rindal,
Endemic Oblivious Transfer (CCS 2019), with Diffie-Hellman key agreement in the prime-order subgroup of Ed25519
(libsodium through PyNaCl). With H_b hashing to the group:

    receiver   draws x and z;  r_(1-c) = z G,  r_c = x G - H_c(r_(1-c));  sends (r_0, r_1)
    sender     draws y, sends Y = y G;  m_b = r_b + H_b(r_(1-b));  key_b = KDF(y m_b)
    receiver   m_c = x G, so key_c = KDF(x Y)

Why it leaks nothing. z G and x G are uniform in the group, so (r_0, r_1) is uniform whatever c is: the choices are
hidden perfectly. m_(1-c) = r_(1-c) + H_(1-c)(r_c) is a group element whose logarithm the receiver does not know,
so the other key is y times a random point given y G: computational Diffie-Hellman, hashed (random oracle). Hashing
to the group is the sum of two Elligator images of SHA-512's halves, which is indifferentiable from a random point.
The paper proves more than we need, security against parties that deviate.

One round: 64 bytes per OT from the receiver, 32 bytes in all from the sender. Scalar multiplications are
libsodium's, in constant time. That two points are put in the order that c says is a Python-level choice: who can
time single bytecodes of this process is outside the model.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any

import numpy as np
from nacl import bindings as sodium
from nacl.exceptions import CryptoError

from net.channel import Channel
from net.errors import ProtocolError

Blocks = np.ndarray[Any, np.dtype[np.uint64]]

TAG = "ot/base"
POINT_BYTES = 32
_DOMAIN = b"fastlmpi base OT 1"


def offer(channel: Channel, count: int) -> tuple[Blocks, Blocks, bytes]:
    """As sender of `count` OTs: both keys of each as blocks [count, 2], and a digest of what was sent."""
    secret = _scalar()
    public = sodium.crypto_scalarmult_ed25519_base_noclamp(secret)
    (frame,) = channel.exchange(TAG, [public], [2 * POINT_BYTES * count])
    sent = bytes(frame)
    pairs = _points(channel, sent)
    keys = [
        [_key(index, pair, public, _times(channel, secret, _meet(index, choice, pair))) for choice in (0, 1)]
        for index, pair in enumerate(zip(pairs[::2], pairs[1::2], strict=True))
    ]
    zero, one = (_blocks([key[choice] for key in keys]) for choice in (0, 1))
    return zero, one, _digest(public, sent)


def choose(channel: Channel, choices: Sequence[int]) -> tuple[Blocks, bytes]:
    """As receiver with these choice bits: the chosen keys as blocks [len(choices), 2], and the same digest."""
    secrets_, pairs = [], []
    for index, choice in enumerate(choices):
        secret = _scalar()
        other = sodium.crypto_scalarmult_ed25519_base_noclamp(_scalar())
        mine = sodium.crypto_core_ed25519_sub(
            sodium.crypto_scalarmult_ed25519_base_noclamp(secret), _to_point(index, choice, other)
        )
        secrets_.append(secret)
        pairs.append((other, mine) if choice else (mine, other))
    sent = b"".join(first + second for first, second in pairs)
    (frame,) = channel.exchange(TAG, [sent], [POINT_BYTES])
    public = bytes(frame)
    _points(channel, public)
    keys = [
        _key(index, pair, public, _times(channel, secret, public))
        for index, (secret, pair) in enumerate(zip(secrets_, pairs, strict=True))
    ]
    return _blocks(keys), _digest(public, sent)


def _scalar() -> bytes:
    return sodium.crypto_core_ed25519_scalar_reduce(secrets.token_bytes(64))


def _meet(index: int, choice: int, pair: tuple[bytes, bytes]) -> bytes:
    """m_b = r_b + H_b(r_(1-b))."""
    return sodium.crypto_core_ed25519_add(pair[choice], _to_point(index, choice, pair[1 - choice]))


def _to_point(index: int, choice: int, point: bytes) -> bytes:
    """H_choice(point), for OT `index`."""
    wide = hashlib.sha512(
        _DOMAIN + b" point" + index.to_bytes(4, "little") + bytes([choice]) + point
    ).digest()
    halves = (sodium.crypto_core_ed25519_from_uniform(wide[at : at + 32]) for at in (0, 32))
    return sodium.crypto_core_ed25519_add(*halves)


def _times(channel: Channel, scalar: bytes, point: bytes) -> bytes:
    try:
        return sodium.crypto_scalarmult_ed25519_noclamp(scalar, point)
    except CryptoError:  # the neutral element, which nobody sends by chance
        raise _not_a_point(channel) from None


def _points(channel: Channel, sent: bytes) -> list[bytes]:
    """The points of a message, checked."""
    points = [sent[at : at + POINT_BYTES] for at in range(0, len(sent), POINT_BYTES)]
    if not all(map(sodium.crypto_core_ed25519_is_valid_point, points)):
        raise _not_a_point(channel)
    return points


def _not_a_point(channel: Channel) -> ProtocolError:
    return ProtocolError(
        f"{channel.peer} sent something that is no point of the curve. Run the same version."
    )


def _key(index: int, pair: tuple[bytes, bytes], public: bytes, common: bytes) -> bytes:
    parts = (_DOMAIN, b" key", index.to_bytes(4, "little"), *pair, public, common)
    return hashlib.sha256(b"".join(parts)).digest()[:16]


def _digest(public: bytes, sent: bytes) -> bytes:
    return hashlib.sha256(_DOMAIN + b" session" + public + sent).digest()


def _blocks(keys: Sequence[bytes]) -> Blocks:
    return np.frombuffer(b"".join(keys), "<u8").astype(np.uint64).reshape(-1, 2)
