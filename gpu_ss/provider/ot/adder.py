"""The carries of x_0 + x_1 for numbers of which each party knows one, planes of bits: one AND for each bit.

With a the bit of x_0, which rank 0 alone knows, and p = a ^ b, which is XOR-shared as the parties' own bits stand,
the carry out of a bit is c' = a ^ p (a ^ c). There are two ways through the bits:

    ripple   bit after bit: one step for each
    blocks   c' is affine in t = a ^ c at the block's lowest bit: c' = A ^ P t, where A and P grow within all blocks
             at once, A_k = a_k ^ p_k (a_k ^ A_(k - 1)) and P_k = p_k P_(k - 1), two products of p_k; then a block's
             carries are the products of t. Some 2 sqrt(b) steps for b bits, for as many OTs and nearly twice the
             masked bits.

Where many words have a bit, bytes count and the carries ripple; where few are left, steps do. Nothing is opened but
operands of ANDs under fresh triples (`OtPair.and_vector`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import isqrt
from typing import Any

import numpy as np

from gpu_ss.provider.specs.bits import words_of
from gpu_ss.ring import Array

#: (choice [W], payload [m, W]) -> shares of choice AND payload_j: [m, W].
AndVector = Callable[[Array, Array], Array]

#: A step costs as much as some 0.5 MB: at 1 GB/s between processes, at 100 Mbit/s over 40 ms. So many words of a
#: bit take less than that more in blocks, even with 64 bits.
_FEW = 256


def carries(xp: Any, lead: np.uint64, own: Array, ends: Sequence[int], and_vector: AndVector) -> Array:
    """The carry [b, W] into each bit, from this party's own planes [b, W]; lead: all ones at rank 0, else zero.

    Only the first ends[k] words, no more than those before, have bit k: beyond them carries mean nothing.
    """
    first, into = own & lead, xp.zeros_like(own)
    few = sum(end > _FEW for end in ends[1:])
    for k, end in enumerate(ends[1 : few + 1]):
        a = first[k, :end]
        joint = and_vector(own[k, :end], (a ^ into[k, :end])[None])
        xp.bitwise_xor(a, joint[0], out=into[k + 1, :end])
    if few + 1 < len(own):
        end = ends[few + 1]
        _in_blocks(xp, own[few:, :end], first[few:, :end], into[few:, :end], and_vector)
    return into


def _in_blocks(xp: Any, own: Array, first: Array, into: Array, and_vector: AndVector) -> None:
    """Fills in into[1:] [b, W], from the carry into the lowest bit, into[0]."""
    count = len(own) - 1
    size = isqrt(count)
    gain, reach = first[:-1].copy(), own[:-1].copy()  # A and P of each bit
    for place in range(1, size):
        choice, a = reach[place::size], gain[place::size]
        below = slice(place - 1, count - 1, size)
        payload = xp.stack([a ^ gain[below], reach[below]])
        products = and_vector(choice.reshape(-1), payload.reshape(2, -1)).reshape(payload.shape)
        a ^= products[0]
        choice[...] = products[1]
    for start in range(0, count, size):
        block = slice(start, min(count, start + size))
        found = and_vector(first[start] ^ into[start], reach[block])
        into[block.start + 1 : block.stop + 1] = gain[block] ^ found


def payloads(bits: int, n: int) -> list[int]:
    """How many bits each AND multiplies to add n numbers of that length, with none of another length beside."""
    count = bits - 1
    if words_of(n) > _FEW or count < 1:
        return [1] * count
    size = isqrt(count)
    return [2] * (count - -(-count // size)) + [min(size, count - start) for start in range(0, count, size)]
