"""TenSEAL as an independent oracle of the own engine, both ways: encrypt here, decrypt there, and back."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fastlmpi[he]'")

from gpu_ss.prg import fresh_key
from he_bridge import rlwe
from he_bridge.params import A_DIGITS, B_DIGITS, check
from tests.he_bridge.lattice import Words, random_weights, random_words
from tests.he_bridge.oracle import PARAMS, Oracle

N, ONES = PARAMS.degree, np.uint64((1 << PARAMS.ring_bits) - 1)
INPUTS, OUTPUTS = 5, 3


@pytest.fixture(scope="module")
def oracle() -> Oracle:
    return Oracle()


def words(count: int) -> Words:
    return random_words(count, N) & ONES


def native(oracle: Oracle, x: Words) -> tuple[Words, Words]:
    """The own encryption, values of both parts."""
    seed, ring = fresh_key(), oracle.ring
    b = rlwe.encrypt(ring, oracle.secret, ring.backend.asarray(x), seed, oracle.prg)
    return b, ring.public_uniform(seed, len(x))


def decrypted(oracle: Oracle, b: Words, a: Words) -> Words:
    """By the own engine, of coefficients at any modulus."""
    ring = oracle.ring
    return ring.backend.to_host(ring.message(ring.coefficients(oracle.secret.times(ring.values(a))), b))


def combined(oracle: Oracle, weights: Words, b: Words, a: Words) -> tuple[Words, Words]:
    """As RowBatch does: sums with integer weights [inputs, outputs]."""
    w = np.ascontiguousarray(weights.T, np.float64)
    largest = int(np.abs(weights).max())
    backend, primes = oracle.ring.backend, oracle.ring.primes
    return tuple(backend.residue_matmul(backend.asarray(w), largest, x, None, primes) for x in (b, a))  # type: ignore[return-value]


def test_the_set_is_sound() -> None:
    check(PARAMS)


def test_transforms_are_those_of_seal(oracle: Oracle) -> None:
    """The same root and the same order: values are equal residue by residue."""
    cipher = oracle.encrypt(words(1)[0])
    coefficients = oracle.read(cipher)
    oracle.evaluator.transform_to_ntt_inplace(cipher)
    for theirs, mine in zip(oracle.read(cipher), coefficients, strict=True):
        assert np.array_equal(oracle.ring.backend.to_host(oracle.ring.values(mine)), theirs)


def test_seal_decrypts_what_the_own_engine_encrypts(oracle: Oracle) -> None:
    x = words(2)
    b, a = (oracle.ring.coefficients(part) for part in native(oracle, x))
    for index in range(2):
        cipher = oracle.foreign(b, a, index)
        assert np.array_equal(oracle.decrypt(cipher), x[index])
        assert oracle.budget(cipher) > 80, "fresh noise alone"


def test_the_own_engine_decrypts_what_seal_encrypts(oracle: Oracle) -> None:
    x = words(1)
    b, a = oracle.read(oracle.encrypt(x[0]))
    assert np.array_equal(decrypted(oracle, b, a), x)


@pytest.mark.parametrize("encrypted_by", ["own", "seal"])
def test_products_of_the_own_engine(oracle: Oracle, encrypted_by: str) -> None:
    """Fresh ciphertexts of either, the own evaluation and reply, decrypted by both."""
    ring, x = oracle.ring, words(INPUTS)
    weights = random_weights(INPUTS, OUTPUTS)
    if encrypted_by == "own":
        b, a = native(oracle, x)
    else:
        read = [oracle.read(oracle.encrypt(row)) for row in x]
        b, a = (ring.values(np.concatenate([pair[part] for pair in read], axis=1)) for part in (0, 1))
    sums = combined(oracle, weights, b, a)
    mask = words(OUTPUTS)
    reply = rlwe.reply(ring, oracle.public, *sums, ring.backend.asarray(mask), oracle.prg)
    expected = (weights.T.astype(np.int64).view(np.uint64) @ x + mask) & ONES
    assert np.array_equal(ring.backend.to_host(rlwe.decrypt(ring, oracle.secret, reply)), expected)
    parts = ring.from_digits(reply.b, B_DIGITS), ring.from_digits(reply.a, A_DIGITS)
    for index in range(OUTPUTS):
        assert np.array_equal(oracle.decrypt(oracle.foreign(*parts, index)), expected[index])


def test_products_of_seal_on_own_ciphertexts(oracle: Oracle) -> None:
    """SEAL multiplies by scalars, adds, drops the same primes; the own engine decrypts."""
    x, weights = words(2), (12345, 678)
    b, a = (oracle.ring.coefficients(part) for part in native(oracle, x))
    total = oracle.foreign(b, a, 0)
    oracle.evaluator.multiply_plain_inplace(total, oracle.seal.Plaintext(f"{weights[0]:X}"))
    other = oracle.foreign(b, a, 1)
    oracle.evaluator.multiply_plain_inplace(other, oracle.seal.Plaintext(f"{weights[1]:X}"))
    oracle.evaluator.add_inplace(total, other)
    for _ in PARAMS.dropped:
        oracle.evaluator.mod_switch_to_next_inplace(total)
    found = decrypted(oracle, *oracle.read(total))
    expected = (x[0] * np.uint64(weights[0]) + x[1] * np.uint64(weights[1])) & ONES
    assert np.array_equal(found[0], expected)
