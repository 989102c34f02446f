"""Whatever the peer sends in place of ciphertexts ends in one kind of error, and in nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest

from he_bridge.errors import CiphertextError
from he_bridge.linear import RowBatchClient, RowBatchServer, Weights
from he_bridge.params import LIN64
from he_bridge.ring import PolyRing
from he_bridge.wire import HEADER_BYTES, pack_residues, unpack_residues
from net import ProtocolError, memory_pair
from tests.he_bridge.lattice import INSECURE32, Tape, opened, random_weights, random_words

ROWS, INPUTS, OUTPUTS = 5, 2, 2
Messages = Sequence[tuple[str, list[bytes]]]


def new_weights(shift: int = 0) -> Weights:
    return Weights(opened(), LIN64, random_weights(INPUTS, OUTPUTS) + shift)


WEIGHTS = new_weights()


def client_messages(batches: int = 1) -> Messages:
    """The key, and the inputs of some batches."""
    tape = Tape()
    client = RowBatchClient(opened(), tape, LIN64)
    for _ in range(batches):
        with pytest.raises(EOFError):
            client.correlate(WEIGHTS.layer, opened().asarray(random_words(ROWS, INPUTS)))
    return tape.messages


def serve(messages: Messages, weights: Weights = WEIGHTS, batches: int = 1) -> None:
    """A server that receives these messages."""
    peer, here = memory_pair(timeout_s=1)
    for tag, frames in messages:
        peer.send(tag, frames)
    server = RowBatchServer(opened(), here, LIN64)
    for _ in range(batches):
        server.correlate(weights, ROWS)


@pytest.fixture(scope="module")
def recorded() -> Messages:
    messages = client_messages()
    serve(messages)  # as they are, they are fine
    return messages


def changed(messages: Messages, number: int, frame: int, change: Callable[[bytes], bytes]) -> Messages:
    copy = [(tag, list(frames)) for tag, frames in messages]
    copy[number][1][frame] = change(copy[number][1][frame])
    return copy


@pytest.mark.parametrize("number", [0, 1], ids=["key", "inputs"])
def test_every_byte_of_a_header_counts(recorded: Messages, number: int) -> None:
    for at in range(HEADER_BYTES):
        flip = lambda raw, at=at: raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :]  # noqa: E731
        with pytest.raises(CiphertextError, match="differs"):
            serve(changed(recorded, number, 0, flip))


@pytest.mark.parametrize("number", [0, 1], ids=["key", "inputs"])
@pytest.mark.parametrize("frame", range(4))
def test_lengths_are_exact(recorded: Messages, number: int, frame: int) -> None:
    for change in (lambda raw: raw[:-1], lambda raw: raw + b"\0", lambda raw: b"", lambda raw: raw * 2):
        with pytest.raises(ProtocolError):
            serve(changed(recorded, number, frame, change))


@pytest.mark.parametrize("number", [0, 1], ids=["key", "inputs"])
@pytest.mark.parametrize("frame", range(2, 4))
def test_residues_are_below_their_prime(recorded: Messages, number: int, frame: int) -> None:
    noise = np.random.default_rng(frame)
    for change in (
        lambda raw: b"\xff" * len(raw),
        lambda raw: raw[:-8] + b"\xff" * 8,
        lambda raw: b"\xff" * 8 + raw[8:],
        lambda raw: noise.bytes(len(raw)),
    ):
        with pytest.raises(CiphertextError, match="no residue"):
            serve(changed(recorded, number, frame, change))


def test_each_prime_of_a_frame_counts() -> None:
    """Three residues share a frame and its width: each is held to its own prime."""
    ring = PolyRing(opened(), LIN64)
    x = np.zeros((len(ring.primes), 1, ring.degree), np.uint32)
    for k, p in enumerate(ring.primes):
        for last, refused in ((p - 1, False), (p, True)):
            x[k, 0, 5] = last
            frames = [memoryview(frame).cast("B") for frame in pack_residues(ring.backend, x, ring.primes)]
            if refused:
                with pytest.raises(CiphertextError, match="no residue"):
                    unpack_residues(ring, frames, 1, ring.primes)
            else:
                assert np.array_equal(unpack_residues(ring, frames, 1, ring.primes), x)
        x[k] = 0


def test_replayed_and_missing_batches() -> None:
    key, first, second = client_messages(batches=2)
    serve([key, first, second], batches=2)
    for messages in ([key, first, first], [key, second, first]):
        with pytest.raises(CiphertextError, match="batch counter"):
            serve(messages, batches=2)


def test_foreign_weights_parameters_and_kinds(recorded: Messages) -> None:
    with pytest.raises(CiphertextError, match="weights"):
        serve(recorded, new_weights(shift=1))
    tape = Tape()
    RowBatchClient(opened(), tape, INSECURE32)
    with pytest.raises(ProtocolError):
        serve(tape.messages)
    (_, key), (tag, inputs) = recorded
    with pytest.raises(CiphertextError, match="kind"):
        serve([recorded[0], (tag, [key[0], *inputs[1:]])])


def test_replies_are_checked_as_well(recorded: Messages) -> None:
    def receive(change: Callable[[list[bytes]], list[bytes]]) -> None:
        """A client that gets the server's reply to somebody else, changed."""
        here, peer = memory_pair(timeout_s=1)
        client = RowBatchClient(opened(), here, LIN64)
        peer.recv_any("he/key", 1 << 20)
        peer.send("he/replies", change(replies))
        client.correlate(WEIGHTS.layer, opened().asarray(random_words(ROWS, INPUTS)))

    replies = _replies(recorded)
    receive(lambda frames: frames)  # decrypts to nonsense under another key, but is well-formed
    for at in range(HEADER_BYTES):
        with pytest.raises(CiphertextError):
            receive(lambda f, at=at: [f[0][:at] + bytes([f[0][at] ^ 1]) + f[0][at + 1 :], *f[1:]])
    assert len(replies) == 5  # the digits of b, and of a, in two frames each
    for frame in range(1, 5):
        receive(lambda f, k=frame: [*f[:k], b"\xff" * len(f[k]), *f[k + 1 :]])  # any digits are some
        for change in (lambda raw: raw[1:], lambda raw: raw + b"\0", lambda raw: b""):
            with pytest.raises(ProtocolError):
                receive(lambda f, k=frame, change=change: [*f[:k], change(f[k]), *f[k + 1 :]])


def _replies(messages: Messages) -> list[bytes]:
    """What a server answers to these messages."""
    peer, here = memory_pair(timeout_s=1)
    for tag, frames in messages:
        peer.send(tag, frames)
    RowBatchServer(opened(), here, LIN64).correlate(WEIGHTS, ROWS)
    return [bytes(frame) for frame in peer.recv_any("he/replies", 1 << 20)]
