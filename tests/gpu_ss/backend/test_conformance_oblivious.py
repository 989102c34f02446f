"""Trees, codes and hashes of blocks: every backend gives the reference's words, and the reference is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend.oblivious import CHOICE_ROUNDS, CHOICES
from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.backend.reference_chacha import chacha
from tests.gpu_ss.backend.test_conformance import KEY, Words, call
from tests.support.backends import COMPILED_BACKENDS, EVERY_BACKEND, open_backend

ALL = 2**64 - 1
Row = tuple[str, str, Callable[[Words], tuple[Any, ...]]]


def _level(
    words: Words, count: int, trees: int, ways: int, first: int, half: bool, keep: int
) -> tuple[Any, ...]:
    targets = words(trees) % np.uint64(count)
    targets[::5] = ALL
    return words(count, trees, 2), words(ways, trees, 2), targets, first, half, keep


def _encode(words: Words, size: int, count: int, trees: int, ways: int, first: int) -> tuple[Any, ...]:
    targets = words(trees) % np.uint64(count // ways)
    targets[::5] = ALL
    return words(size, 2), words(count, trees, 2), words(ways, trees, 2), targets, KEY, first


ROWS: list[Row] = [
    *(
        ("tree_level", f"{case}", lambda words, case=case: _level(words, *case))
        for case in [
            (1, 16, 1, 0, False, ALL), (2, 16, 2, 2**40, True, ALL), (8, 32, 2, 7, True, ALL - 1),
            (64, 128, 1, 128, False, ALL), (256, 64, 2, 2**48 - 64, False, ALL - 1),
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
            (2, 8, 16, 1, 0), (64, 8, 16, 2, 2**40), (1 << 12, 64, 16, 2, 128), (1 << 17, 128, 128, 2, 2**56),
        ]
    ),
    ("lpn_encode", "threads", lambda words: _encode(words, 1 << 12, 512, 256, 2, 128)),
    *(
        ("hash_blocks", f"{n} {count}", lambda words, n=n, count=count: (
            words(n, 2), (7, ALL), 2**64 - 3 * n - 1, 2**56 + 1, count))
        for n in (0, 1, 3, 15, 16, 17, 1000)
        for count in (1, 2, 3, 8)
    ),
    ("hash_blocks", "threads", lambda words: (words(40_001, 2), (0, 0), 2**32 - 20_000, ALL, 2)),
]  # fmt: skip


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
@pytest.mark.parametrize("operation", sorted({row[0] for row in ROWS}))
def test_same_words_as_the_reference(name: str, operation: str) -> None:
    backend, reference = open_backend(name), ReferenceBackend()
    rng = np.random.default_rng(13)
    for _, label, arguments in (row for row in ROWS if row[0] == operation):
        case = arguments(lambda *shape: rng.integers(0, 2**64, shape, dtype=np.uint64))
        expected, got = call(reference, operation, case), call(backend, operation, case)
        assert got.shape == expected.shape, label
        assert got.tobytes() == expected.tobytes(), label


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
    leaves, nothing = np.zeros((8, 16, 2), np.uint64), np.zeros((1, 16, 2), np.uint64)
    got = ReferenceBackend().lpn_encode(table, leaves, nothing, np.full(16, ALL, np.uint64), KEY, 3 * 128)
    for row in (0, 1, 17, 127):
        m, lane = divmod(row, 16)
        expected = np.zeros(2, np.uint64)
        for e in range(CHOICES // 2):
            halves = block_words(KEY, 3 * 80 + 16 * e + lane, CHOICE_ROUNDS)
            for k in (m, 8 + m):
                expected ^= table[int(halves[k]) >> (32 - 9)]
        assert got[row].tolist() == expected.tolist()


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_a_missing_path_is_completed_one_level_later(name: str, half: bool) -> None:
    """Who lacks one path and gets the sums of the other children ends with all leaves but one."""
    backend = open_backend(name)
    rng = np.random.default_rng(5)
    whole = backend.asarray(rng.integers(0, 2**64, (1, 16, 2), dtype=np.uint64))
    broken, known = backend.zeros((1, 16, 2)), backend.asarray(np.full(16, ALL, np.uint64))
    none = backend.zeros((1, 16, 2))
    fixes, path = none, np.zeros(16, np.uint64)
    for level in range(5):
        count = 1 << level
        whole = backend.tree_level(whole, none, known, 7, half, ALL)
        broken = backend.tree_level(broken, fixes, backend.asarray(path), 7, half, ALL)
        sums, partial = (backend.xor_rows(x.reshape(2, count, 32)).reshape(2, 16, 2) for x in (whole, broken))
        step = rng.integers(0, 2, 16, dtype=np.uint64)
        wanted = np.array([step != 0, step != 1])[:, :, None]
        fixes = backend.asarray(backend.to_host(sums ^ partial) * wanted)
        path = path + np.uint64(count) * step
    table = backend.zeros((2, 2))
    code = [backend.to_host(backend.lpn_encode(table, x, f, backend.asarray(path % np.uint64(16)), KEY, 0))
            for x, f in ((whole, backend.zeros((2, 16, 2))), (broken, fixes))]  # fmt: skip
    same = (code[0] == code[1]).all(axis=1).reshape(32, 16)
    for tree in range(16):
        assert np.flatnonzero(~same[:, tree]).tolist() == [int(path[tree])]


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_wrong_arguments_are_refused(name: str) -> None:
    backend = open_backend(name)
    nodes, fixes, targets = backend.zeros((4, 16, 2)), backend.zeros((2, 16, 2)), backend.zeros(16)
    table = backend.zeros((8, 2))
    for nothing in (
        lambda: backend.tree_level(nodes, backend.zeros((4, 16, 2)), targets, 0, False, ALL),
        lambda: backend.tree_level(nodes, fixes, targets[:8], 0, True, ALL),
        lambda: backend.tree_level(nodes, backend.zeros((2, 32, 2)), targets, 0, True, ALL),
        lambda: backend.tree_level(backend.zeros((3, 16, 2)), fixes, targets, 0, True, ALL),
        lambda: backend.tree_level(
            backend.zeros((4, 8, 2)), backend.zeros((2, 8, 2)), backend.zeros(8), 0, False, ALL
        ),
        lambda: backend.tree_level(nodes, fixes, targets, 1 << 48, True, ALL),
        lambda: backend.lpn_encode(backend.zeros((6, 2)), nodes, fixes, targets, KEY, 0),
        lambda: backend.lpn_encode(table, nodes, fixes, targets, KEY, 0),
        lambda: backend.lpn_encode(table, backend.zeros((8, 16, 2)), fixes, targets, KEY, 64),
        lambda: backend.lpn_encode(table, backend.zeros((8, 16, 2)), fixes, targets, KEY[:16], 0),
        lambda: backend.hash_blocks(table, (0, 0), 0, 0, 9),
        lambda: backend.hash_blocks(table, (0, 0), 2**64 - 1, 0, 1),
        lambda: backend.hash_blocks(targets, (0, 0), 0, 0, 1),
        lambda: backend.xor_rows(table),
    ):
        with pytest.raises(ValueError):
            nothing()
