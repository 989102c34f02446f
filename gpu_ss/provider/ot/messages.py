"""How what is built on OT travels: bit planes of choices, and packed words of corrections and messages."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

from gpu_ss.provider.ot.cot import CotSource, frame
from gpu_ss.ring import WORD, Array, word_count

TAG_CHOICE = "ot/choice"
TAG_MESSAGES = "ot/messages"
TAG_PRODUCTS = "ot/products"


def tell(source: CotSource, tag: str, packed: Array, sizes: Sequence[int] | None = None) -> None:
    """Send packed words, in one frame or in consecutive ones of these sizes."""
    words = frame(source.backend, packed)
    ends = accumulate(sizes or [len(words)], initial=0)
    source.channel.send(tag, [words[start:end] for start, end in pairwise(ends)])


def heard(source: CotSource, tag: str, sizes: Sequence[int]) -> Array:
    """The packed words of frames of these sizes, one after the other."""
    received = source.channel.recv(tag, [8 * size for size in sizes])
    frames = [np.frombuffer(words, np.uint64) for words in received]
    return source.backend.asarray(frames[0] if len(frames) == 1 else np.concatenate(frames))


def send_planes(source: CotSource, planes: Array, n: int) -> None:
    """Send bit planes of n OTs, new ones. What a plane holds past its last bit is not masked, so it stays here."""
    if n % WORD:
        planes[:, -1] &= np.uint64((1 << n % WORD) - 1)
    source.channel.send(TAG_CHOICE, [frame(source.backend, planes)])


def told_planes(source: CotSource, n: int, rows: int = 1) -> Array:
    """Bit planes [rows, W] of n OTs each that the receiver has sent."""
    width = word_count(n, 1)
    return heard(source, TAG_CHOICE, [rows * width]).reshape(rows, width)
