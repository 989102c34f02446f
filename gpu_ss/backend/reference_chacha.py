"""The ChaCha block function in NumPy, on many states at once."""

from __future__ import annotations

import numpy as np

from gpu_ss.ring import Array

_COLUMNS = [(0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15)]
_DIAGONALS = [(0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14)]


def output_words(state: Array, rounds: int = 20) -> Array:
    """The output for 32-bit states [16, n] as 64-bit words [8, n]."""
    output = chacha(state, rounds).astype(np.uint64)
    return output[0::2] | output[1::2] << np.uint64(32)


def chacha(state: Array, rounds: int) -> Array:
    """The output for states [16, n], with an even number of rounds."""
    x = state.copy()
    for _ in range(rounds // 2):
        for rows in (*_COLUMNS, *_DIAGONALS):
            _quarter_round(x, *rows)
    return x + state


def _quarter_round(x: Array, a: int, b: int, c: int, d: int) -> None:
    for first, second, mixed, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
        x[first] += x[second]
        x[mixed] ^= x[first]
        x[mixed] = x[mixed] << np.uint32(turn) | x[mixed] >> np.uint32(32 - turn)
