"""Randomness: seeds from the operating system, everything else from ChaCha20 under such a seed.

The keystream and its word order are fixed by `Backend.keystream`, the same on CPU and GPU, so two parties
and a dealer expand one seed to the same words wherever they run. A stream is named by a 64-bit nonce; no
(key, nonce, block) is ever used twice.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import TYPE_CHECKING

from gpu_ss.ring import Array

if TYPE_CHECKING:
    from gpu_ss.backend.base import Backend

KEY_BYTES = 32
GROUP_WORDS = 128  # 16 blocks of 8 words: streams advance by whole groups
GROUP_BLOCKS = 16


def fresh_key() -> bytes:
    """A new 256-bit key from the operating system's generator."""
    return secrets.token_bytes(KEY_BYTES)


def derive_key(key: bytes, purpose: str) -> bytes:
    """An independent key for another purpose (HKDF-Expand with SHA-256, RFC 5869, one block)."""
    return hmac.digest(key, purpose.encode() + b"\x01", hashlib.sha256)


class Stream:
    """Words of one keystream in order; every take starts on a fresh group of 16 blocks."""

    def __init__(self, backend: Backend, key: bytes, nonce: int) -> None:
        self._backend = backend
        self._key = key
        self._nonce = nonce
        self._group = 0

    def __repr__(self) -> str:
        return f"Stream(nonce={self._nonce}, key=<hidden>)"

    def words(self, shape: tuple[int, ...]) -> Array:
        """The next words, as an array of that shape."""
        count = 1
        for side in shape:
            count *= side
        block = self._group * GROUP_BLOCKS
        self._group += -(-count // GROUP_WORDS)
        return self._backend.keystream(self._key, self._nonce, block, count).reshape(shape)


class Prg:
    """A party's private generator: each call to `words` uses a stream of its own."""

    def __init__(self, backend: Backend, key: bytes | None = None) -> None:
        self._backend = backend
        self._key = fresh_key() if key is None else key
        self._next = 0

    def __repr__(self) -> str:
        return "Prg(key=<hidden>)"

    def words(self, shape: tuple[int, ...]) -> Array:
        """Uniform words nobody else knows."""
        self._next += 1
        return Stream(self._backend, self._key, self._next).words(shape)
