"""Trees, codes and hashes of blocks: every backend gives the reference's words, and the reference is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend.oblivious import CHOICE_ROUNDS, GROUP_BLOCKS, GROUP_ROWS, LEAF_TREES, LEAF_WAYS
from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.backend.reference_chacha import chacha
from tests.gpu_ss.backend.test_conformance import KEY, Words, check_rows, drawn
from tests.support.backends import COMPILED_BACKENDS, EVERY_BACKEND, open_backend

ALL = 2**64 - 1
Row = tuple[str, str, Callable[[Words], tuple[Any, ...]]]


def _level(words: Words, count: int, trees: int, ways: int, first: int, half: bool) -> tuple[Any, ...]:
    targets = words(trees) % np.uint64(count)
    targets[::5] = ALL
    return words(count, trees, 2), words(ways, trees, 2), targets, first, half


def _encode(words: Words, size: int, count: int, ways: int, tree: int, row: int) -> tuple[Any, ...]:
    nodes, fixes, targets, *_ = _level(words, count, LEAF_TREES, ways, 0, True)
    return words(size, 2), nodes, fixes, targets, tree, KEY, row


ROWS: list[Row] = [
    *(
        ("tree_level", f"{case}", lambda words, case=case: _level(words, *case))
        for case in [
            (1, 16, 1, 0, False), (2, 16, 2, 2**40, True), (8, 32, 2, 7, True),
            (64, 128, 1, 128, False), (256, 64, 2, 2**48 - 64, False),
        ]
    ),
    *(
        ("xor_rows", f"{shape}", lambda words, shape=shape: (words(*shape),))
        for shape in [
            (0, 3, 4), (1, 1, 1), (3, 0, 5), (2, 7, 63), (3, 5, 64), (2, 4, 65), (4, 512, 256), (1, 999, 300),
            (1, 40_000, 2),
        ]
    ),
    *(
        ("lpn_encode", f"{case}", lambda words, case=case: _encode(words, *case))
        for case in [
            (2, 4, 1, 0, 0), (64, 8, 2, 7, 2**40), (1 << 12, 64, 2, 2**48 - 32, 256), (1 << 17, 128, 1, 96, 2**56),
            (1 << 21, 4, 2, 0, 0),
        ]
    ),
    ("lpn_encode", "threads", lambda words: _encode(words, 1 << 12, 512, 2, 1, 256)),
    *(
        ("hash_blocks", f"{n} {count}", lambda words, n=n, count=count: (
            words(n, 2), (7, ALL), 2**64 - 3 * n - 1, 2**56 + 1, count))
        for n in (0, 1, 3, 15, 16, 17, 1000)
        for count in (1, 2, 3, 8)
    ),
    *(
        ("hash_planes", f"{n} {bits}", lambda words, n=n, bits=bits: (
            words(n, 2), (ALL, 5), 2**64 - 2 * n - 1, 3 << 56, bits))
        for n in (0, 1, 17, 64, 511, 512, 1100)
        for bits in (1, 8, 16, 17, 64)
    ),
    ("hash_blocks", "threads", lambda words: (words(40_001, 2), (0, 0), 2**32 - 20_000, ALL, 2)),
    ("hash_planes", "threads", lambda words: (words(40_001, 2), (0, 0), 2**32 - 20_000, ALL, 12)),
]  # fmt: skip


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
@pytest.mark.parametrize("operation", sorted({row[0] for row in ROWS}))
def test_same_words_as_the_reference(name: str, operation: str) -> None:
    check_rows(ROWS, name, operation, drawn(13))


def block_words(key: bytes, block: int, rounds: int) -> Any:
    """The sixteen 32-bit words of a block of ChaCha under a 256-bit key, nonce 0."""
    state = np.frombuffer(b"expand 32-byte k" + key + block.to_bytes(8, "little") + bytes(8), "<u4")
    return chacha(state.reshape(16, 1).copy(), rounds)[:, 0]


def test_blocks_are_those_of_the_cipher() -> None:
    """20 rounds as OpenSSL has them; 8 as in draft-strombergson-chacha-test-vectors-01, TC1, 256-bit key."""
    ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers")
    start = (77).to_bytes(8, "little") + bytes(8)
    cipher = ciphers.Cipher(ciphers.algorithms.ChaCha20(KEY, start), mode=None)
    stream = cipher.encryptor().update(bytes(64))
    assert block_words(KEY, 77, 20).astype("<u4").tobytes() == stream
    short = block_words(bytes(32), 0, 8).astype("<u4").tobytes().hex()
    assert short.startswith("3e00ef2f895f40d67f5bb8e81f09a5a12c840ec3ce9a7f3b181be188ef711a1e")


def test_short_keys_give_the_published_stream() -> None:
    """A test vector of draft-strombergson-chacha-test-vectors-01: TC1, 128-bit key, 8 rounds, all zero."""
    got = ReferenceBackend().hash_blocks(np.zeros((1, 2), np.uint64), (0, 0), 0, 0, 8)
    assert (
        got.astype("<u8")
        .tobytes()
        .hex()
        .startswith("e28a5fa4a67f8c5defed3e6fb7303486aa8427d31419a729572d777953491120")
    )


def test_choices_are_those_of_the_stream() -> None:
    """Row r of group 3 adds what the documented words of the public stream say."""
    rng = np.random.default_rng(3)
    table = rng.integers(0, 2**64, (1 << 9, 2), dtype=np.uint64)
    nodes, nothing = np.zeros((4, LEAF_TREES, 2), np.uint64), np.zeros((1, LEAF_TREES, 2), np.uint64)
    encode, known = ReferenceBackend().lpn_encode, np.full(LEAF_TREES, ALL, np.uint64)
    got, _ = encode(table, nodes, nothing, known, 0, KEY, 3 * GROUP_ROWS)
    leaves, _ = encode(np.zeros_like(table), nodes, nothing, known, 0, KEY, 0)
    for row in (0, 1, 17, 127, 128, 255):
        k, lane = divmod(row, 16)
        words = [block_words(KEY, 3 * GROUP_BLOCKS + 16 * e + lane, CHOICE_ROUNDS) for e in range(7)]
        places = [int(words[e][k]) >> (32 - 9) for e in range(7)]
        for e in range(k // 8, 6, 2):
            high, low = (int(words[e][2 * (k % 8) + half]) & 0x7FF for half in (0, 1))
            places.append((high << 11 | low) & 0x1FF)
        assert len(places) == 10
        assert got[row].tolist() == np.bitwise_xor.reduce([leaves[row], *table[places]]).tolist()


def test_leaves_are_those_of_the_cipher() -> None:
    """Three blocks of the stream under the node, and what adds up to the node; lowest bits are cleared."""
    reference, rng = ReferenceBackend(), np.random.default_rng(8)
    nodes = rng.integers(0, 2**64, (4, LEAF_TREES, 2), dtype=np.uint64)
    nothing, known = np.zeros((1, LEAF_TREES, 2), np.uint64), np.full(LEAF_TREES, ALL, np.uint64)
    rows, sums = reference.lpn_encode(np.zeros((2, 2), np.uint64), nodes, nothing, known, 77, KEY, 0)
    leaves = rows.reshape(4, LEAF_WAYS, LEAF_TREES, 2)
    for q, j in ((0, 0), (3, 31), (2, 5)):
        stream = reference.hash_blocks(nodes[q, j : j + 1], (0, 0), (77 + j) << 16 | q, 4, 6).reshape(3, 2)
        last = nodes[q, j] ^ np.bitwise_xor.reduce(stream)
        expected = np.stack([*stream, last]) & np.array([ALL - 1, ALL], np.uint64)
        assert np.array_equal(leaves[q, :, j], expected)
    for half in (0, 1):
        assert np.array_equal(sums[half, 0], np.bitwise_xor.reduce(leaves[2 * half : 2 * half + 2]))
        assert np.array_equal(sums[half, 1], sums[half, 0]), "the table is zero"


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_a_missing_path_is_completed_one_level_later(name: str, half: bool) -> None:
    """Who lacks one path and gets the sums of the other children ends with all leaves but one."""
    backend, trees = open_backend(name), LEAF_TREES
    rng = np.random.default_rng(5)
    whole = backend.asarray(rng.integers(0, 2**64, (1, trees, 2), dtype=np.uint64))
    broken, known = backend.zeros((1, trees, 2)), backend.asarray(np.full(trees, ALL, np.uint64))
    none = backend.zeros((1, trees, 2))
    fixes, path = none, np.zeros(trees, np.uint64)
    for level in range(4):
        count = 1 << level
        whole = backend.tree_level(whole, none, known, 7, half)
        broken = backend.tree_level(broken, fixes, backend.asarray(path), 7, half)
        sums, partial = (
            backend.xor_rows(x.reshape(2, count, 2 * trees)).reshape(2, trees, 2) for x in (whole, broken)
        )
        step = rng.integers(0, 2, trees, dtype=np.uint64)
        wanted = np.array([step != 0, step != 1])[:, :, None]
        fixes = backend.asarray(backend.to_host(sums ^ partial) * wanted)
        path = path + np.uint64(count) * step
    table, targets = backend.zeros((2, 2)), backend.asarray(path)
    right, told = backend.lpn_encode(table, whole, none, known, 7, KEY, 0)
    rows, own = backend.lpn_encode(table, broken, fixes, targets, 7, KEY, 0)
    last = rng.integers(0, LEAF_WAYS, trees, dtype=np.uint64)
    beside = backend.asarray((np.arange(LEAF_WAYS)[:, None] != last)[:, :, None].astype(np.uint64))
    lacking = (told[0, 0] ^ told[1, 0] ^ own[0, 0] ^ own[1, 0]) * beside
    backend.lpn_complete(rows, lacking, targets)
    same = (backend.to_host(right) == backend.to_host(rows)).all(axis=1).reshape(-1, LEAF_WAYS, trees)
    for tree in range(trees):
        assert np.argwhere(~same[:, :, tree]).tolist() == [[int(path[tree]), int(last[tree])]]


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
def test_rows_are_completed_as_in_the_reference(name: str) -> None:
    backend, reference, rng = open_backend(name), ReferenceBackend(), np.random.default_rng(9)
    for nodes in (1, 4, 256):
        rows, fixes = (rng.integers(0, 2**64, (n, 2), dtype=np.uint64) for n in (nodes * 128, 128))
        targets = rng.integers(0, nodes + 1, LEAF_TREES, dtype=np.uint64)
        arguments = fixes.reshape(LEAF_WAYS, LEAF_TREES, 2), targets
        got = backend.asarray(rows.copy())
        backend.lpn_complete(got, *map(backend.asarray, arguments))
        reference.lpn_complete(rows, *arguments)
        assert np.array_equal(backend.to_host(got), rows)


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_wrong_arguments_are_refused(name: str) -> None:
    backend = open_backend(name)
    nodes, fixes, targets = backend.zeros((4, 16, 2)), backend.zeros((2, 16, 2)), backend.zeros(16)
    more, none, places = backend.zeros((4, 32, 2)), backend.zeros((1, 32, 2)), backend.zeros(32)
    table, rows = backend.zeros((8, 2)), backend.zeros((128, 2))
    for nothing in (
        lambda: backend.tree_level(nodes, backend.zeros((4, 16, 2)), targets, 0, False),
        lambda: backend.tree_level(nodes, fixes, targets[:8], 0, True),
        lambda: backend.tree_level(nodes, backend.zeros((2, 32, 2)), targets, 0, True),
        lambda: backend.tree_level(backend.zeros((3, 16, 2)), fixes, targets, 0, True),
        lambda: backend.tree_level(
            backend.zeros((4, 8, 2)), backend.zeros((2, 8, 2)), backend.zeros(8), 0, False
        ),
        lambda: backend.tree_level(nodes, fixes, targets, 1 << 48, True),
        lambda: backend.lpn_encode(backend.zeros((6, 2)), more, none, places, 0, KEY, 0),
        lambda: backend.lpn_encode(backend.zeros((1 << 22, 2)), more, none, places, 0, KEY, 0),
        lambda: backend.lpn_encode(table, nodes, fixes, targets, 0, KEY, 0),
        lambda: backend.lpn_encode(table, more[:2].copy(), none, places, 0, KEY, 0),
        lambda: backend.lpn_encode(table, more, none, places, 0, KEY, 128),
        lambda: backend.lpn_encode(table, more, none, places, 1 << 48, KEY, 0),
        lambda: backend.lpn_encode(table, more, none, places, 0, KEY[:16], 0),
        lambda: backend.lpn_complete(rows[:64].copy(), more, places),
        lambda: backend.lpn_complete(rows, none, places),
        lambda: backend.lpn_complete(rows, more, targets),
        lambda: backend.hash_blocks(table, (0, 0), 0, 0, 9),
        lambda: backend.hash_blocks(table, (0, 0), 2**64 - 1, 0, 1),
        lambda: backend.hash_blocks(targets, (0, 0), 0, 0, 1),
        lambda: backend.hash_planes(table, (0, 0), 0, 0, 65),
        lambda: backend.hash_planes(targets, (0, 0), 0, 0, 1),
        lambda: backend.xor_rows(table),
    ):
        with pytest.raises(ValueError):
            nothing()
