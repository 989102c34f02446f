"""Argument checks and shape arithmetic that need no array library."""

from __future__ import annotations

from collections.abc import Sequence

from gpu_ss.ring import WORD, Array, word_count

KEY_BYTES = 32
GROUP_BLOCKS = 16  # keystream blocks that are stored interleaved
GROUP_WORDS = 8 * GROUP_BLOCKS


def width(bits: int) -> int:
    """`bits` if it is the width of a ring element."""
    if not 1 <= bits <= WORD:
        raise ValueError(f"bits must be 1 to {WORD}, not {bits}")
    return bits


def keystream_groups(key: bytes, nonce: int, first_block: int, n_words: int) -> int:
    """Groups of blocks that hold `n_words` words of a valid stream."""
    if len(key) != KEY_BYTES:
        raise ValueError(f"key must be {KEY_BYTES} bytes, not {len(key)}")
    if not 0 <= nonce < 1 << 64:
        raise ValueError("nonce must be an unsigned 64-bit number")
    if n_words < 0:
        raise ValueError("n_words must not be negative")
    groups = -(-n_words // GROUP_WORDS)
    if first_block % GROUP_BLOCKS or not 0 <= first_block <= (1 << 64) - GROUP_BLOCKS * groups:
        raise ValueError(f"first_block must be a multiple of {GROUP_BLOCKS} and leave room for the stream")
    return groups


def streams(nonces: Sequence[int], groups: Sequence[int]) -> int:
    """Groups of all of these streams."""
    if len(nonces) != len(groups) or not all(0 <= nonce < 1 << 64 for nonce in nonces):
        raise ValueError("every stream has a nonce, an unsigned 64-bit number, and a number of groups")
    if any(count < 0 for count in groups):
        raise ValueError("a stream cannot have fewer groups than none")
    return sum(groups)


def unpacked(words: int, bits: int, n: int) -> None:
    """`words` packed words hold `n` elements."""
    if n < 0 or word_count(n, width(bits)) > words:
        raise ValueError(f"{words} words do not hold {n} elements of {bits} bits")


def plane_shape(shape: tuple[int, ...], n: int) -> None:
    """`shape` is that of bit planes of `n` elements."""
    if len(shape) != 2 or not 1 <= shape[0] <= WORD or n < 0 or shape[1] != word_count(n, 1):
        raise ValueError(f"{shape} is not the shape of bit planes of {n} elements, [bits, ceil(n / 64)]")


def require(condition: bool, complaint: str) -> None:
    if not condition:
        raise ValueError(complaint)


def check_shapes(**arrays: tuple[Array, tuple[int, ...]]) -> None:
    """Every array has the shape that stands beside it."""
    for name, (array, shape) in arrays.items():
        if array.shape != shape:
            raise ValueError(f"{name} must have the shape {shape}, not {array.shape}")
