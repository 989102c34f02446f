"""Products of two shared matrices: exact shares for all shapes and rings, and what the noise tells."""

from __future__ import annotations

import numpy as np
import pytest

from he_bridge import matmul, rlwe
from he_bridge.errors import CiphertextError, ParameterError
from he_bridge.matmul import MatrixProductClient, MatrixProductServer, matrix_params
from he_bridge.params import LIN64, MAT48, MAT64, ParameterSet
from he_bridge.ring import PolyRing
from net import memory_pair
from tests.he_bridge.lattice import Tape, Words, assert_rounding, noise, opened, reply_noise
from tests.he_bridge.products import Messages, multiply

CPU = (opened(), opened())


def random_shares(*shape: int) -> Words:
    words = np.random.default_rng(shape).integers(0, 2**64, (2, *shape), dtype=np.uint64)
    words[1].flat[:4] = [0, 2**64 - 1, 2**63, 2**63 - 1]
    return words


def assert_product(a: Words, b: Words, bits: int, client: Words, server: Words) -> None:
    mask = np.uint64((1 << bits) - 1)
    product = a.sum(axis=0) @ b.sum(axis=0)
    assert client.shape == server.shape == product.shape
    assert np.array_equal((client + server) & mask, product & mask)
    assert max(client.max(), server.max()) <= mask
    if client.size > 40:  # else chance decides
        assert min(client.std(), server.std()) > 0.2 * float(mask)


@pytest.mark.parametrize(
    "shape",
    [
        (1, 1, 1, 1),
        (1, 1, 5, 7),
        (2, 5, 33, 9),
        (1, 64, 20, 100),
        (2, 100, 16, 3),
        (3, 128, 64, 128),
        (9, 16, 32, 16),
    ],
    ids=str,
)
def test_shares_are_exact(shape: tuple[int, int, int, int]) -> None:
    batch, rows, inner, columns = shape
    a, b = random_shares(batch, rows, inner), random_shares(batch, inner, columns)
    assert_product(a, b, 64, *multiply(CPU, a, b))


@pytest.mark.parametrize(("params", "bits"), [(MAT64, 40), (MAT48, 48), (MAT48, 13)], ids=str)
def test_smaller_rings(params: ParameterSet, bits: int) -> None:
    """Bits above those of the ring do not matter, in operands, and are not in shares."""
    a, b = random_shares(2, 20, 18), random_shares(2, 18, 10)
    assert_product(a, b, bits, *multiply(CPU, a, b, params, bits))


@pytest.mark.parametrize("word", [2**64 - 1, 2**63, 2**63 - 1, 0])
def test_extremes(word: int) -> None:
    a, b = np.full((2, 1, 64, 64), word, np.uint64), np.full((2, 1, 64, 64), 2**63 + 1, np.uint64)
    mine, other = multiply(CPU, a, b)
    assert np.array_equal(mine + other, a.sum(axis=0) @ b.sum(axis=0))


def test_large_batches_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "_HELD", 1)
    matmul._parts.cache_clear()
    a, b = random_shares(5, 16, 40), random_shares(5, 40, 30)
    assert len(matmul._parts(MAT64, matmul.Shape(5, 16, 40, 30), 1e9)) > 1
    assert_product(a, b, 64, *multiply(CPU, a, b, byte_ns=1e9))
    matmul._parts.cache_clear()


@pytest.mark.parametrize(("client", "server"), [("cuda-fake", "cuda-fake"), ("reference", "cpu")])
def test_backends_mix(client: str, server: str) -> None:
    a, b = random_shares(1, 4, 3), random_shares(1, 3, 4)
    parties = opened(client), opened(server)
    assert_product(a, b, 48, *multiply(parties, a, b, MAT48, byte_ns=0.0))


def test_noise_of_replies_is_that_of_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    """64-bit operands leave no trace: the noise before the last division is as computed, after it rounding's."""
    kept: list[tuple[Words, Words, rlwe.Reply]] = []
    secrets: list[rlwe.SecretKey] = []
    reply, key = rlwe.reply, rlwe.SecretKey

    def watched(ring: PolyRing, public: object, b: Words, a: Words, *rest: object) -> rlwe.Reply:
        kept.append((ring.coefficients(b), ring.coefficients(a), reply(ring, public, b, a, *rest)))  # type: ignore[arg-type]
        return kept[-1][2]

    def watched_key(*arguments: object) -> rlwe.SecretKey:
        secrets.append(key(*arguments))  # type: ignore[arg-type]
        return secrets[-1]

    monkeypatch.setattr(rlwe, "reply", watched)
    monkeypatch.setattr(rlwe, "SecretKey", watched_key)
    a, b = random_shares(1, 128, 64), random_shares(1, 64, 128)
    multiply(CPU, a, b)
    bound = 2.0 ** matmul.margins(MAT64, matmul.Shape(1, 128, 64, 128), 64).noise_bits
    level = secrets[0].ring.at(MAT64.level)
    for before_b, before_a, after in kept:
        seen = noise(secrets[0], before_b, before_a)
        assert abs(seen).max() < bound
        assert bound / 20 < seen.std() < bound / 9
        assert_rounding(MAT64, reply_noise(level, secrets[0], after))


def test_sets_for_rings() -> None:
    assert [matrix_params(bits).name for bits in (13, 48, 49, 64)] == ["MAT48", "MAT48", "MAT64", "MAT64"]


def test_wrong_arguments_are_refused() -> None:
    there, here = memory_pair()
    client = MatrixProductClient(opened(), there, MAT48)
    server = MatrixProductServer(opened(), here, MAT48)
    assert repr(client) == "MatrixProductClient(MAT48, <hidden>)"
    assert repr(server) == "MatrixProductServer(MAT48, <hidden>)"
    words = np.zeros((2, 3, 4), np.uint64)
    for left, right in ((words, words), (words[0], words[0].T), (words, words[:1].transpose(0, 2, 1))):
        for party in (client, server):
            with pytest.raises(ValueError, match="no product"):
                party.multiply(left, right)
    with pytest.raises(ValueError, match="2\\^48 at most"):
        client.multiply(words, words.transpose(0, 2, 1), 49)
    weak = MatrixProductClient(opened(), Tape(), LIN64)
    with pytest.raises(ParameterError, match="switching keys"):
        weak.multiply(words, words.transpose(0, 2, 1))


# Hostile messages

A, B = random_shares(1, 16, 8), random_shares(1, 8, 16)


def client_messages() -> Messages:
    tape = Tape()
    with pytest.raises(EOFError):
        MatrixProductClient(opened(), tape, MAT48).multiply(A[0], B[0])
    return tape.messages


def serve(messages: Messages, bits: int = 48) -> None:
    peer, here = memory_pair(timeout_s=1)
    for tag, frames in messages:
        peer.send(tag, frames)
    MatrixProductServer(opened(), here, MAT48).multiply(A[1], B[1], bits)


def test_hostile_messages_end_in_one_error() -> None:
    messages = client_messages()
    *before, (tag, frames), _ = messages  # the second cross term is sent before the first reply
    with pytest.raises(CiphertextError, match="batch counter"):
        serve([*before, (tag, frames), (tag, frames)])  # the first cross term once more
    with pytest.raises(CiphertextError, match="weights"):
        serve(messages, bits=47)
    for frame in range(2, len(frames)):
        garbage = [*frames[:frame], b"\xff" * len(frames[frame]), *frames[frame + 1 :]]
        with pytest.raises(CiphertextError, match="no residue"):
            serve([*before, (tag, garbage)])
    with pytest.raises(CiphertextError):
        serve([*before, (tag, [frames[0][::-1], *frames[1:]])])
