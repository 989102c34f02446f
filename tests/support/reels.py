"""Small plans and reels for tests of the store."""

from __future__ import annotations

import secrets
from typing import Any

import numpy as np

from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.prg import fresh_key
from gpu_ss.provider.correlation import BitMask, Correlation, Mask
from gpu_ss.provider.reel import Head, Purpose, ReelWriter, layout, plan_digest, stored_outputs, stored_words
from gpu_ss.provider.specs.arithmetic import Powers, Product, WrapProduct
from gpu_ss.provider.store import Draft, Shelf

BACKEND = ReferenceBackend()
#: Masks of both and of one, made ones in rings of several sizes, one with an array for each party alone.
SPECS: list[Correlation] = [
    Mask((3, 5), 64),
    Mask((15,), 21, owner=0),
    Product(0, 1, 15, 21),
    BitMask(2, 3),
    WrapProduct(100, 13),
    Powers(0, 15, 4, 64),
    Mask((4,), 33),
]
PURPOSE = Purpose(plan_digest(SPECS), b"c" * 32, "small")
OTHER = Purpose(PURPOSE.plan, b"d" * 32, "small")


def new_head(rank: int = 0, purpose: Purpose = PURPOSE) -> Head:
    return Head(secrets.token_bytes(16), rank, purpose, len(SPECS), stored_words(rank, SPECS))


def random_arrays(rank: int, seed: int = 1) -> dict[int, list[Any]]:
    """Arrays of what is not a mask, with bits above their rings."""
    rng = np.random.default_rng(seed)
    return {
        number: [
            None if out is None else rng.integers(0, 2**64, out.shape, dtype=np.uint64)
            for out in stored_outputs(rank, spec)
        ]
        for number, spec in enumerate(SPECS)
        if not spec.is_mask
    }


def write(draft: Draft, rank: int, seed: int = 1, key: bytes | None = None) -> None:
    """All words of a reel, the last correlation first, and the rest."""
    writer = ReelWriter(BACKEND, layout(rank, SPECS), draft.put)
    for number, arrays in reversed(random_arrays(rank, seed).items()):
        writer.keep(number, arrays)
    writer.finish()
    draft.seal(key or fresh_key())


def packed_words(rank: int, seed: int = 1) -> Any:
    """The words of that reel."""
    arrays = random_arrays(rank, seed)
    outs = [
        (out, array)
        for n in arrays
        for out, array in zip(stored_outputs(rank, SPECS[n]), arrays[n], strict=True)
    ]
    return np.concatenate([BACKEND.pack(array, out.bits) for out, array in outs if out is not None])


def put(shelf: Shelf, head: Head | None = None, seed: int = 1) -> Head:
    """A reel that is ready."""
    head = head or new_head()
    with shelf.draft(head) as draft:
        write(draft, head.rank, seed)
        draft.commit()
    return head
