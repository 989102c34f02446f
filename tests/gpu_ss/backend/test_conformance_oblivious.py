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


def _targets(words: Words, slabs: int, count: int, trees: int = LEAF_TREES) -> Any:
    targets = words(slabs, trees) % np.uint64(count)
    targets[:, ::5] = ALL
    return targets


def _encode(words: Words, size: int, slabs: int, count: int, tree: int, row: int) -> tuple[Any, ...]:
    nodes = words(slabs, count, LEAF_TREES, 2)
    return words(size, 2), nodes, _targets(words, slabs, count), tree, KEY, row


def _told(words: Words, slabs: int, levels: int) -> tuple[Any, ...]:
    """Sums of leaves, and the OTs' blocks."""
    return words(slabs, 2, 2, LEAF_WAYS, LEAF_TREES, 2), words(slabs, levels, LEAF_TREES, 2)


ROWS: list[Row] = [
    *(
        ("grow_trees", f"{shape} {rest}", lambda words, shape=shape, rest=rest: (words(*shape, 2), *rest))
        for shape, *rest in [
            ((1, 16), None, 1, 0), ((1, 16), None, 8, 2**48 - 16), ((3, 32), (5, ALL), 4, 2**40),
            ((1, 64), (1, 2), 3, 7), ((5, 16), (1, 0), 1, 8), ((2, 32), (1, 0), 10, 2**48 - 64),
            ((2, 32), None, 10, 5),
        ]
    ),
    *(
        ("regrow_trees", f"{shape} {rest}", lambda words, shape=shape, rest=rest: (
            words(*shape) % np.uint64(2), words(*shape, 2), *rest))
        for shape, *rest in [
            ((1, 1, 16), 1, 0, False), ((1, 8, 16), 8, 2**48 - 16, False), ((3, 6, 32), 4, 2**40, True),
            ((1, 3, 64), 3, 7, True), ((5, 2, 16), 2, 8, True), ((2, 12, 32), 10, 2**48 - 64, True),
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
            (2, 1, 4, 0, 0), (64, 3, 8, 7, 2**40), (1 << 12, 2, 64, 2**48 - 64, 256),
            (1 << 17, 1, 128, 96, 2**56), (1 << 21, 5, 4, 0, 0),
        ]
    ),
    ("lpn_encode", "threads", lambda words: _encode(words, 1 << 12, 1, 512, 1, 256)),
    *(
        ("tree_offers", f"{slabs}, {levels}", lambda words, slabs=slabs, levels=levels: (
            words(slabs, levels - 2, 2, LEAF_TREES, 2), *_told(words, slabs, levels), (5, ALL), 2**64 - 32 * slabs,
            4 << 56))
        for slabs, levels in [(1, 2), (3, 12), (130, 3)]
    ),
    *(
        ("leaf_fixes", f"{slabs}, {levels}", lambda words, slabs=slabs, levels=levels, nodes=nodes: (
            *_told(words, slabs, levels), words(slabs, levels + 2, LEAF_TREES, 2),
            words(slabs, LEAF_TREES) % np.uint64(nodes), nodes, 2**64 - 32 * slabs, 4 << 56))
        for slabs, levels, nodes in [(1, 2, 2), (3, 12, 1024), (130, 2, 64)]
    ),
    *(
        ("hash_blocks", f"{n} {count}", lambda words, n=n, count=count, offsets=offsets: (
            words(n, 2), offsets, 2**64 - 3 * n - 1, 2**56 + 1, count))
        for n in (0, 1, 3, 15, 16, 17, 1000)
        for count in (1, 2, 3, 8, 9, 21)
        for offsets in ([(7, ALL)], [(0, 0), (ALL, 1)])
    ),
    *(
        ("hash_planes", f"{n} {bits}", lambda words, n=n, bits=bits, offsets=offsets: (
            words(n, 2), offsets, 2**64 - 2 * n - 1, 3 << 56, bits))
        for n in (0, 1, 17, 64, 511, 512, 1100)
        for bits in (1, 8, 16, 17, 64)
        for offsets in ([(ALL, 5)], [(0, 0), (1, ALL)])
    ),
    ("hash_blocks", "threads", lambda words: (words(40_001, 2), [(0, 0), (1, 2)], 2**32 - 20_000, ALL - 1, 12)),
    ("hash_planes", "threads", lambda words: (words(40_001, 2), [(0, 0), (1, 2)], 2**32 - 20_000, ALL, 12)),
    *(
        ("plane_triples", f"{shape}", lambda words, shape=shape: (
            words(2, *shape), words(1, shape[1]), words(*shape)))
        for shape in [(0, 3), (2, 0), (1, 1), (3, 65), (64, 2000)]
    ),
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
    ((got,),) = ReferenceBackend().hash_blocks(np.zeros((1, 2), np.uint64), [(0, 0)], 0, 0, 8)
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
    nodes, known = np.zeros((1, 4, LEAF_TREES, 2), np.uint64), np.full((1, LEAF_TREES), ALL, np.uint64)
    encode = ReferenceBackend().lpn_encode
    got, _ = encode(table, nodes, known, 0, KEY, 3 * GROUP_ROWS)
    leaves, _ = encode(np.zeros_like(table), nodes, known, 0, KEY, 0)
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
    nodes = rng.integers(0, 2**64, (2, 4, LEAF_TREES, 2), dtype=np.uint64)
    known = np.full((2, LEAF_TREES), ALL, np.uint64)
    rows, sums = reference.lpn_encode(np.zeros((2, 2), np.uint64), nodes, known, 77, KEY, 0)
    leaves = rows.reshape(2, 4, LEAF_WAYS, LEAF_TREES, 2)
    for g, q, j in ((0, 0, 0), (0, 3, 31), (1, 2, 5)):
        place = (77 + LEAF_TREES * g + j) << 16 | q
        stream = reference.hash_blocks(nodes[g, q, j : j + 1], [(0, 0)], place, 4, 6).reshape(3, 2)
        last = nodes[g, q, j] ^ np.bitwise_xor.reduce(stream)
        expected = np.stack([*stream, last]) & np.array([ALL - 1, ALL], np.uint64)
        assert np.array_equal(leaves[g, q, :, j], expected)
    for half in (0, 1):
        assert np.array_equal(
            sums[:, half, 0], np.bitwise_xor.reduce(leaves[:, 2 * half : 2 * half + 2], axis=1)
        )
        assert np.array_equal(sums[:, half, 1], sums[:, half, 0]), "the table is zero"


@pytest.mark.parametrize("delta", [None, (2**63 | 1, 2**62 + 5)])
def test_children_are_those_of_the_cipher(delta: tuple[int, int] | None) -> None:
    """Level by level, at their places; slabs are numbered on, and the sums are those of the levels."""
    reference, rng = ReferenceBackend(), np.random.default_rng(4)
    roots = rng.integers(0, 2**64, (2, 16, 2), dtype=np.uint64)
    leaves, sums = reference.grow_trees(roots, delta, 4, 77)
    nodes = roots[:, None]
    for level in range(4):
        count = 1 << level
        children = np.empty((2, 2 * count, 16, 2), np.uint64)
        for g, q, j in np.ndindex(2, count, 16):
            place = (77 + 16 * g + j) << 16 | q
            stream = reference.hash_blocks(nodes[g, q, j : j + 1], [(0, 0)], place, count, 4).reshape(2, 2)
            children[g, q, j] = stream[0]
            children[g, count + q, j] = nodes[g, q, j] ^ stream[0] if delta else stream[1]
        if delta and level == 0:
            children = np.concatenate([nodes, nodes ^ np.array(delta, np.uint64)], axis=1)
        for c in (0, 1):
            one = children[:, c * count : (c + 1) * count]
            assert np.array_equal(sums[:, level, c], np.bitwise_xor.reduce(one, axis=1))
        nodes = children
    assert np.array_equal(nodes, leaves)
    if delta:
        assert (np.bitwise_xor.reduce(leaves, axis=1) == np.array(delta, np.uint64)).all()


@pytest.mark.parametrize("delta", [None, (2**63 | 1, 2**62 + 5)])
@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_a_missing_path_is_grown_beside(name: str, delta: tuple[int, int] | None) -> None:
    """Who lacks one path and gets the sums of the other children ends with all nodes but one, of all levels."""
    backend, slabs, trees, depth = open_backend(name), 3, LEAF_TREES, 5
    rng = np.random.default_rng(5)
    roots = backend.asarray(rng.integers(0, 2**64, (slabs, trees, 2), dtype=np.uint64))
    whole, sums = backend.grow_trees(roots, delta, depth, 7)
    choices = rng.integers(0, 2, (slabs, depth, trees), dtype=np.uint64)
    told = np.where(choices[..., None] == 1, *(backend.to_host(sums)[:, :, c] for c in (1, 0)))
    broken, targets = backend.regrow_trees(
        backend.asarray(choices), backend.asarray(told), depth, 7, delta is not None
    )
    path = sum((1 - choices[:, level]) << np.uint64(level) for level in range(depth))
    assert np.array_equal(backend.to_host(targets), path)
    same = (backend.to_host(whole) == backend.to_host(broken)).all(axis=3)
    assert (same.sum(axis=1) == (1 << depth) - 1).all()
    assert np.array_equal((~same).argmax(axis=1), path)
    missing = np.take_along_axis(backend.to_host(broken), path[:, None, :, None].astype(np.int64), axis=1)
    assert not missing.any(), "what is unknown is zero"


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_leaves_are_completed_from_what_is_offered(name: str) -> None:
    """Both ends of the last two levels: the receiver's leaves are the sender's but one, that one XOR delta."""
    backend, rng, slabs, count = open_backend(name), np.random.default_rng(6), 2, 8
    delta = np.array([2**63 | 1, 2**62 + 5], np.uint64)
    nodes = rng.integers(0, 2**64, (slabs, count, LEAF_TREES, 2), dtype=np.uint64)
    nodes[:, -1] ^= np.bitwise_xor.reduce(nodes, axis=1) ^ delta  # half-trees: they add up to delta
    targets = rng.integers(0, count, (slabs, LEAF_TREES), dtype=np.uint64)
    hit = (np.arange(count, dtype=np.uint64)[:, None] == targets[:, None])[..., None]
    keys = rng.integers(0, 2**64, (slabs, 2, LEAF_TREES, 2), dtype=np.uint64) & np.array(
        [ALL - 1, ALL], np.uint64
    )
    choices = rng.integers(0, 2, (slabs, 2, LEAF_TREES, 1), dtype=np.uint64)
    table, known = backend.zeros((2, 2)), np.full((slabs, LEAF_TREES), ALL, np.uint64)
    right, theirs = backend.lpn_encode(table, backend.asarray(nodes), backend.asarray(known), 3, KEY, 0)
    rows, own = backend.lpn_encode(
        table, backend.asarray(np.where(hit, 0, nodes)), backend.asarray(targets), 3, KEY, 0
    )
    words, none = (int(delta[0]), int(delta[1])), backend.empty((slabs, 0, 2, LEAF_TREES, 2))
    told = backend.tree_offers(none, theirs, backend.asarray(keys), words, 9, 4 << 56)
    of_receiver = backend.asarray(keys ^ choices * delta)
    fixes, sums = backend.leaf_fixes(own, of_receiver, told, backend.asarray(targets), count, 9, 4 << 56)
    backend.lpn_complete(rows, fixes, backend.asarray(targets))
    rows, right = (backend.to_host(x).reshape(slabs, count, LEAF_WAYS, LEAF_TREES, 2) for x in (rows, right))
    for half, part in enumerate((rows[:, : count // 2], rows[:, count // 2 :])):
        assert np.array_equal(backend.to_host(sums)[:, half], np.bitwise_xor.reduce(part, axis=1))
    last = 2 * (1 - choices[:, 0]) + (1 - choices[:, 1])
    expected = right.copy()
    for g, j in np.ndindex(slabs, LEAF_TREES):
        expected[g, targets[g, j], last[g, j, 0], j] ^= delta
    assert np.array_equal(rows, expected)


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
def test_rows_are_completed_as_in_the_reference(name: str) -> None:
    backend, reference, rng = open_backend(name), ReferenceBackend(), np.random.default_rng(9)
    for slabs, nodes in ((1, 1), (3, 4), (2, 256)):
        rows, fixes = (rng.integers(0, 2**64, (slabs * n, 2), dtype=np.uint64) for n in (nodes * 128, 128))
        targets = rng.integers(0, nodes + 1, (slabs, LEAF_TREES), dtype=np.uint64)
        arguments = fixes.reshape(slabs, LEAF_WAYS, LEAF_TREES, 2), targets
        got = backend.asarray(rows.copy())
        backend.lpn_complete(got, *map(backend.asarray, arguments))
        reference.lpn_complete(rows, *arguments)
        assert np.array_equal(backend.to_host(got), rows)


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_wrong_arguments_are_refused(name: str) -> None:
    backend = open_backend(name)
    zeros = backend.zeros
    nodes, choices, told = zeros((2, 4, 32, 2)), zeros((2, 3, 32)), zeros((2, 3, 32, 2))
    table, targets, rows, fixes = zeros((8, 2)), zeros((2, 32)), zeros((1024, 2)), zeros((2, 4, 32, 2))
    sums, keys, offers = zeros((2, 2, 2, 4, 32, 2)), zeros((2, 3, 32, 2)), zeros((2, 5, 32, 2))
    roots, firsts = zeros((2, 32, 2)), zeros((2, 1, 2, 32, 2))
    for nothing in (
        lambda: backend.grow_trees(roots, None, 0, 0),
        lambda: backend.grow_trees(roots, (1, 2), 11, 0),
        lambda: backend.grow_trees(roots[0], (1, 2), 1, 0),
        lambda: backend.grow_trees(zeros((2, 24, 2)), None, 1, 0),
        lambda: backend.grow_trees(zeros((2, 8, 2)), None, 1, 0),
        lambda: backend.grow_trees(zeros((0, 32, 2)), None, 1, 0),
        lambda: backend.grow_trees(roots, (1, 2), 1, (1 << 48) - 63),
        lambda: backend.regrow_trees(choices, told, 4, 0, True),
        lambda: backend.regrow_trees(choices, told, 0, 0, True),
        lambda: backend.regrow_trees(choices, keys[:1], 3, 0, True),
        lambda: backend.regrow_trees(zeros((2, 11, 32)), zeros((2, 11, 32, 2)), 11, 0, True),
        lambda: backend.regrow_trees(zeros((2, 3, 8)), zeros((2, 3, 8, 2)), 3, 0, True),
        lambda: backend.regrow_trees(choices, told, 3, (1 << 48) - 63, True),
        lambda: backend.lpn_encode(zeros((6, 2)), nodes, targets, 0, KEY, 0),
        lambda: backend.lpn_encode(zeros((1 << 22, 2)), nodes, targets, 0, KEY, 0),
        lambda: backend.lpn_encode(table, zeros((2, 4, 16, 2)), zeros((2, 16)), 0, KEY, 0),
        lambda: backend.lpn_encode(table, zeros((2, 2, 32, 2)), targets, 0, KEY, 0),
        lambda: backend.lpn_encode(table, nodes, targets[:1], 0, KEY, 0),
        lambda: backend.lpn_encode(table, nodes, targets, 0, KEY, 128),
        lambda: backend.lpn_encode(table, nodes, targets, (1 << 48) - 63, KEY, 0),
        lambda: backend.lpn_encode(table, nodes, targets, 0, KEY[:16], 0),
        lambda: backend.lpn_complete(rows[:128].copy(), fixes, targets),
        lambda: backend.lpn_complete(rows[:768].copy(), fixes, targets),
        lambda: backend.lpn_complete(rows, fixes[:1], targets),
        lambda: backend.lpn_complete(rows, fixes, targets[0]),
        lambda: backend.tree_offers(firsts, sums[:1], keys, (0, 1), 0, 0),
        lambda: backend.tree_offers(firsts, sums, keys[:, :2].copy(), (0, 1), 0, 0),
        lambda: backend.tree_offers(firsts, sums, zeros((2, 1, 32, 2)), (0, 1), 0, 0),
        lambda: backend.tree_offers(firsts, sums, keys, (0, 1), 2**64 - 63, 0),
        lambda: backend.leaf_fixes(sums, keys, keys, targets, 4, 0, 0),
        lambda: backend.leaf_fixes(sums, keys, offers, targets[:1], 4, 0, 0),
        lambda: backend.leaf_fixes(sums, keys, offers, targets, 1, 0, 0),
        lambda: backend.hash_blocks(table, [(0, 0)], 0, 0, 0),
        lambda: backend.hash_blocks(table, [(0, 0)] * 3, 0, 0, 1),
        lambda: backend.hash_blocks(table, [], 0, 0, 1),
        lambda: backend.hash_blocks(table, [(0, 0)], 0, ALL, 9),
        lambda: backend.hash_blocks(table, [(0, 0)], 2**64 - 1, 0, 1),
        lambda: backend.hash_blocks(targets, [(0, 0)], 0, 0, 1),
        lambda: backend.hash_planes(table, [(0, 0)], 0, 0, 65),
        lambda: backend.hash_planes(targets, [(0, 0)], 0, 0, 1),
        lambda: backend.plane_triples(zeros((2, 3, 4)), zeros((1, 3)), zeros((3, 4))),
        lambda: backend.plane_triples(zeros((1, 3, 4)), zeros((1, 4)), zeros((3, 4))),
        lambda: backend.xor_rows(table),
    ):
        with pytest.raises(ValueError):
            nothing()
