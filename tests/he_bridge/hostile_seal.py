"""SEAL itself on bytes it should never see, with bounded memory: python -m tests.he_bridge.hostile_seal CASE.

Prints "accepted" or "refused" for each of four attempts; anything else is a finding.
"""

from __future__ import annotations

import resource
import struct
import sys
import zlib

import numpy as np
import zstandard

from he_bridge.errors import HeError
from he_bridge.tenseal_bfv import Bfv, BfvParams, KeyHolder
from he_bridge.tenseal_io import guarded

MEMORY = 4 << 30
BOMB = 1 << 25
CASES = ("random", "empty", "truncated", "flipped", "huge", "range", "other", "zlib", "zstd")
SIZES_AT = (8, 49, 57, 65, 105)  # offsets of every length in a serialised ciphertext
PARMS_AT = slice(16, 48)


def hostile(case: str, good: bytes, rng: np.random.Generator) -> bytes:
    """One message of the kind, made from a good ciphertext."""
    bad = bytearray(good)
    if case == "random":
        return rng.bytes(5000)
    if case == "empty":
        return b""
    if case == "truncated":
        return good[: rng.integers(1, len(good))]
    if case in ("zlib", "zstd"):
        bomb = zlib.compress(bytes(BOMB), 9) if case == "zlib" else zstandard.compress(bytes(BOMB))
        return good[:5] + struct.pack("<BHQ", 1 if case == "zlib" else 2, 0, 16 + len(bomb)) + bomb
    if case == "flipped":
        for _ in range(3):
            bad[rng.integers(0, 120)] ^= 1 << rng.integers(0, 8)
    elif case == "huge":
        offset = rng.choice(SIZES_AT)
        bad[offset : offset + 8] = struct.pack("<Q", 2 ** int(rng.integers(31, 64)))
    elif case == "range":
        bad[-8:] = b"\xff" * 8
    elif case == "other":
        bad[PARMS_AT] = bytes(32)
    return bytes(bad)


def main(case: str) -> None:
    bfv = Bfv(BfvParams(4096, (35,), (30,), 17, 20), 1 << 20)
    holder, library = KeyHolder(bfv), bfv.library
    residues = np.random.default_rng(5).integers(0, 2**29, (2, 2, 4096), dtype=np.uint64)
    head = library.CIPHER.pack(*bfv.context.first_parms_id(), False, 2, 4096, 2, 1.0, 1)
    array = library._object(struct.pack("<Q", residues.size), residues.tobytes())
    good = b"".join(library._object(head, *array))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for seed in range(4):
        message = hostile(case, good, np.random.default_rng(seed))
        target, plain = library.seal.Ciphertext(bfv.context), library.seal.Plaintext()
        try:
            with guarded("foreign"):
                library._file.load([message], lambda path, to=target: to.load(bfv.context, path))
                holder._decryptor.decrypt(target, plain)
            print("accepted")
        except HeError:
            print("refused")


if __name__ == "__main__":
    main(sys.argv[1])
