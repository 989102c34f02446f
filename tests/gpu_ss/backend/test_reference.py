"""The reference itself against published vectors, other programs, and arithmetic on Python integers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from gpu_ss.backend import product
from gpu_ss.backend.reference import ReferenceBackend
from tests.support.backends import COMPILED_BACKENDS, EVERY_BACKEND, open_backend

REFERENCE = ReferenceBackend()

ELEMENTS = st.lists(st.integers(0, 2**64 - 1), max_size=200)
WIDTH = st.integers(1, 64)

# RFC 8439, section 2.3.2. Its 96-bit nonce reaches into what was the counter's high half.
RFC_KEY = bytes(range(32))
RFC_BLOCK = (0x09000000 << 32) + 1
RFC_NONCE = 0x4A000000
RFC_STATE = """
    e4e7f110 15593bd1 1fdd0f50 c47120a3 c7f4d1c7 0368c033 9aaa2204 4e6cd4c3
    466482d2 09aa9f07 05d7c214 a2028bd9 d19c12b5 b94e16de e883d0cb 4e3c50a2
"""
# RFC 8439, appendix A.1, vectors 1 and 2: key and nonce zero, blocks 0 and 1.
RFC_ZERO_BLOCKS = [
    "76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7"
    "da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586",
    "9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed"
    "29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f",
]


def blocks(words: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Whole groups of a keystream in the usual order, [block, word]."""
    return np.ascontiguousarray(words.reshape(-1, 8, 16).transpose(0, 2, 1)).reshape(-1, 8)


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_keystream_gives_the_published_blocks(name: str) -> None:
    backend = open_backend(name)
    zero = backend.to_host(backend.keystream(bytes(32), 0, 0, 128))
    assert [block.tobytes().hex() for block in blocks(zero)[:2]] == RFC_ZERO_BLOCKS
    group = backend.to_host(backend.keystream(RFC_KEY, RFC_NONCE, RFC_BLOCK - 1, 128))
    assert blocks(group)[1].view(np.uint32).tolist() == [int(word, 16) for word in RFC_STATE.split()]


def test_keystream_is_that_of_openssl() -> None:
    ciphers = pytest.importorskip("cryptography.hazmat.primitives.ciphers")
    key, nonce, first, groups = RFC_KEY[::-1], 0x0123456789ABCDEF, 48, 20
    start = first.to_bytes(8, "little") + nonce.to_bytes(8, "little")
    cipher = ciphers.Cipher(ciphers.algorithms.ChaCha20(key, start), mode=None)
    expected = cipher.encryptor().update(bytes(1024 * groups))
    assert blocks(REFERENCE.keystream(key, nonce, first, 128 * groups)).tobytes() == expected


def test_keystream_can_be_taken_in_pieces() -> None:
    whole = REFERENCE.keystream(RFC_KEY, 1, 16, 128 * 5)
    assert np.array_equal(whole[:130], REFERENCE.keystream(RFC_KEY, 1, 16, 130))
    assert np.array_equal(whole[256:], REFERENCE.keystream(RFC_KEY, 1, 48, 128 * 3))


@given(ELEMENTS, WIDTH)
def test_pack_is_a_little_endian_bit_string(elements: list[int], bits: int) -> None:
    packed = REFERENCE.pack(np.array(elements, np.uint64), bits)
    expected = sum((x % 2**bits) << (e * bits) for e, x in enumerate(elements))
    assert len(packed) == -(-len(elements) * bits // 64)
    assert int.from_bytes(packed.tobytes(), "little") == expected


@given(ELEMENTS, WIDTH)
def test_planes_hold_one_bit_of_each_element(elements: list[int], bits: int) -> None:
    planes = REFERENCE.to_planes(np.array(elements, np.uint64), bits)
    assert planes.shape == (bits, -(-len(elements) // 64))
    for i, plane in enumerate(planes):
        expected = sum((x >> i & 1) << e for e, x in enumerate(elements))
        assert int.from_bytes(plane.tobytes(), "little") == expected


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
@given(ELEMENTS, WIDTH)
def test_layouts_come_back(name: str, elements: list[int], bits: int) -> None:
    backend = open_backend(name)
    x = np.array(elements, np.uint64)
    canonical = x & np.uint64(2**bits - 1)
    packed = backend.pack(backend.asarray(x), bits)
    assert np.array_equal(backend.to_host(packed), REFERENCE.pack(x, bits))
    assert np.array_equal(backend.to_host(backend.unpack(packed, bits, len(x))), canonical)
    planes = backend.to_planes(backend.asarray(x), bits)
    assert np.array_equal(backend.to_host(planes), REFERENCE.to_planes(x, bits))
    assert np.array_equal(backend.to_host(backend.from_planes(planes, len(x))), canonical)


@pytest.mark.parametrize("inner", [1, 2, 77, 1024, 1025, 2100])
def test_matmul_against_integers(inner: int) -> None:
    rng = np.random.default_rng(inner)
    a, b = (rng.integers(0, 2**64, shape, dtype=np.uint64) for shape in ((4, inner), (inner, 5)))
    expected = (a.astype(object) @ b.astype(object)) % 2**64
    assert np.array_equal(REFERENCE.matmul(a, b), expected.astype(np.uint64))


def test_float_product_is_exact_at_its_bound() -> None:
    a, b = product.worst_case()
    assert a.shape[-1] == product.EXACT_DEPTH == 1024
    limbs = product._limbs(np, a)
    assert [float(limb.min()) for limb in limbs[:2]] == [-(2.0**21)] * 2
    expected = sum(int(x) * int(y) for x, y in zip(a.ravel(), b.ravel(), strict=True)) % 2**64
    assert int(product.float_product(np, a, b)[0, 0, 0]) == expected


@given(ELEMENTS)
def test_limbs_are_balanced_and_complete(elements: list[int]) -> None:
    x = np.array([*elements, 0, 2**63 - 1, 2**63, 2**64 - 1, 2**64 - 2**21], np.uint64)
    low, mid, high = (limb.astype(int).astype(object) for limb in product._limbs(np, x))
    assert max(abs(low)) <= 2**21
    assert max(abs(mid)) <= 2**21
    assert max(abs(high)) <= 2**19
    assert ((low + mid * 2**22 + high * 2**44) % 2**64 == x.astype(object)).all()


def test_beaver_shares_add_up_to_the_product() -> None:
    rng = np.random.default_rng(3)
    x, y, a, b, a0, b0, c0 = (rng.integers(0, 2**64, 50, dtype=np.uint64) for _ in range(7))
    opened = x + a, y + b
    share0 = REFERENCE.beaver_combine(*opened, a0, b0, c0, True)
    share1 = REFERENCE.beaver_combine(*opened, a - a0, b - b0, a * b - c0, False)
    assert np.array_equal(share0 + share1, x * y)
