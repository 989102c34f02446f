"""Packed products with weights: exact shares, weights that stay hidden, and hostile messages."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_ss.prg import Prg
from he_bridge import evaluation, rlwe
from he_bridge.errors import CiphertextError, ParameterError
from he_bridge.packed import PackedClient, PackedServer, PackedWeights
from he_bridge.params import LIN24P, LIN64P, ParameterSet
from he_bridge.ring import PolyRing
from he_bridge.wire import HEADER_BYTES
from net import Channel, NetError, ProtocolError, memory_pair
from tests.he_bridge.lattice import (
    Tape,
    Words,
    assert_rounding,
    centred,
    noise,
    opened,
    random_weights,
    random_words,
    reply_noise,
)
from tests.he_bridge.packed_party import shares
from tests.he_bridge.products import Messages, assert_shares, at_both_ends, correlate
from tests.support.parties import run_pair

SHAPES = [(1, 5, 1), (1, 768, 96), (5, 7, 3), (64, 30, 17), (100, 70, 130), (128, 64, 65), (128, 100, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shares_are_exact(shape: tuple[int, int, int]) -> None:
    rows, inputs, outputs = shape
    weights, x = random_weights(inputs, outputs), random_words(rows, inputs)
    ((client, server),) = correlate((opened(), opened()), weights, [x])
    assert_shares(LIN64P, weights, x, client, server)


@pytest.mark.parametrize("byte_ns", [0.0, 40.0, 1e9])
def test_every_layout_is_exact(byte_ns: float) -> None:
    weights, x = random_weights(50, 40), random_words(30, 50)
    ((client, server),) = correlate((opened(), opened()), weights, [x], byte_ns=byte_ns)
    assert_shares(LIN64P, weights, x, client, server)


def test_more_rows_than_coefficients() -> None:
    weights, x = random_weights(2, 3), random_words(8195, 2)
    ((client, server),) = correlate((opened(), opened()), weights, [x])
    assert_shares(LIN64P, weights, x, client, server)


def test_many_inputs_are_added_up_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """More ciphertexts than results: sums are kept, not inputs; folds of lazy sums; the ring of 24 bits."""
    monkeypatch.setattr(evaluation, "BLOCK", 17)
    weights, x = random_weights(700, 3, largest=2**20), random_words(512, 700)
    ((client, server),) = correlate((opened(), opened()), weights, [x], LIN24P)
    assert_shares(LIN24P, weights, x, client, server)


@pytest.mark.parametrize("params", [LIN64P, LIN24P], ids=lambda p: p.name)
def test_extremes(params: ParameterSet) -> None:
    cases = [
        (np.full((64, 40), 2**64 - 1, np.uint64), np.full((40, 20), -(2**20))),
        (np.full((64, 40), 2**63, np.uint64), np.full((40, 20), 2**20 - 1)),
        (np.zeros((64, 40), np.uint64), np.zeros((40, 20), np.int64)),
    ]
    for x, weights in cases:
        ((client, server),) = correlate((opened(), opened()), weights, [x], params)
        assert_shares(params, weights, x, client, server)


def test_calls_of_one_session() -> None:
    """Switching keys are sent when a layout first needs them, and reused."""
    weights = random_weights(40, 30)
    xs = [random_words(rows, 40) for rows in (100, 1, 64, 100)]
    for x, (client, server) in zip(xs, correlate((opened(), opened()), weights, xs), strict=True):
        assert_shares(LIN64P, weights, x, client, server)
    tape = client_messages(calls=2)
    tags = [tag for tag, _ in tape]
    assert tags.count("he/key") == 1
    assert tags.count("he/switching") == 3  # distances 4, 2 and 1: once for both calls
    assert tags[-1] == "he/inputs"


@pytest.mark.parametrize(
    ("client", "server"), [("cuda-fake", "cuda-fake"), ("cpu", "cuda-fake"), ("reference", "cpu")]
)
def test_backends_mix(client: str, server: str) -> None:
    weights, x = random_weights(3, 4), random_words(1100, 3)
    ((held, mask),) = correlate((opened(client), opened(server)), weights, [x])
    assert_shares(LIN64P, weights, x, held, mask)


def test_between_processes(tmp_path: Path) -> None:
    run_pair("tests.he_bridge.packed_party", tmp_path)
    names = ("weights", "client", "server", "client_product", "server_product")
    weights, client, server, *products = (np.load(tmp_path / f"{name}.npy") for name in names)
    assert_shares(LIN64P, weights, random_words(len(client), len(weights)), client, server)
    (a0, b0), (a1, b1) = shares(0), shares(1)
    left = (products[0] + products[1] - (a0 + a1) @ (b0 + b1)) & np.uint64(2**48 - 1)
    assert not left.any()


def test_sizes_are_those_announced() -> None:
    weights, x = random_weights(64, 64), random_words(128, 64)
    held = PackedWeights(opened(), LIN64P, weights)

    def traffic(run: Callable[[Channel], Any]) -> Callable[[Channel], Any]:
        def counted(channel: Channel) -> Any:
            run(channel)
            return {
                tag: (sent.bytes, back.bytes) for tag, (sent, back) in channel.traffic.report().by_tag.items()
            }

        return counted

    sent, _ = at_both_ends(
        traffic(lambda c: PackedClient(opened(), c, LIN64P).correlate(held.layer, x)),
        traffic(lambda c: PackedServer(opened(), c, LIN64P).correlate(held, 128)),
    )
    assert sent["he/inputs"][0] == pytest.approx(8192 * 150 / 8, rel=0.01)
    assert sent["he/replies"][1] == pytest.approx(8192 * 139 / 8, rel=0.01)
    assert sent["he/switching"][0] == pytest.approx(6 * 5 * 8192 * 180 / 8, rel=0.01)


# Weights that stay hidden


class Seen:
    """What a key holder knows of one product: its errors, and what `rlwe.reply` was given and gave."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, weights: Words, x: Words) -> None:
        self.errors: list[Words] = []
        self.results: list[tuple[Any, Any]] = []
        self.replies: list[rlwe.Reply] = []
        errors, reply, key = PolyRing.errors, rlwe.reply, rlwe.SecretKey

        def watched_errors(ring: PolyRing, prg: Prg, polys: int, add: Any = None) -> Any:
            fresh = errors(ring, prg, polys, add)
            if add is None:
                self.errors.append(centred(fresh[0], ring.primes[0]))
            return fresh

        def watched_reply(ring: PolyRing, public: Any, b: Any, a: Any, *rest: Any) -> rlwe.Reply:
            self.results.append((b, a))
            self.replies.append(reply(ring, public, b, a, *rest))
            return self.replies[-1]

        def watched_key(ring: PolyRing, prg: Prg) -> rlwe.SecretKey:
            self.secret = key(ring, prg)
            return self.secret

        monkeypatch.setattr(PolyRing, "errors", watched_errors)
        monkeypatch.setattr(rlwe, "reply", watched_reply)
        monkeypatch.setattr(rlwe, "SecretKey", watched_key)
        correlate((opened(), opened()), weights, [x])


def test_replies_do_not_tell_the_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Least squares of the noise on the client's own errors: it finds W in a result, nothing in a reply."""
    rows, inputs = 128, 64
    weights = random_weights(inputs, 64, largest=2**12)
    seen = Seen(monkeypatch, weights, random_words(rows, inputs))
    own = seen.errors[-1][0]  # of the one fresh ciphertext: public key and switching keys come before
    places = 64 * np.arange(rows)[:, None] - np.arange(inputs)[None]  # coefficient 64 i - j meets w_j
    design = np.where(places < 0, -1, 1) * own[places]
    ((b, a),), (reply,) = seen.results, seen.replies
    level = seen.secret.ring.at(LIN64P.level)

    def found(noise_of: Words) -> float:
        by_column = noise_of[0].reshape(rows, 64).astype(float)  # result of column c at place 64 i + c
        fitted = np.linalg.lstsq(-design.astype(float), by_column, rcond=None)[0]
        return abs(float(np.corrcoef(fitted.reshape(-1), weights.reshape(-1))[0, 1]))

    mask = level.backend.asarray(random_words(1, 8192))
    leaky = level.add_message(level.coefficients(b), mask), level.coefficients(a)
    assert found(noise(seen.secret, *leaky)) > 0.95
    assert found(reply_noise(level, seen.secret, reply)) < 0.1


def test_noise_of_replies_is_that_of_rounding(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = Seen(monkeypatch, random_weights(64, 64), random_words(128, 64))
    (reply,) = seen.replies
    assert_rounding(LIN64P, reply_noise(seen.secret.ring.at(LIN64P.level), seen.secret, reply))


def test_large_weights_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(ParameterError, match="hide operands"):
        PackedWeights(opened(), LIN64P, np.full((64, 64), 2**40))
    held = PackedWeights(opened(), LIN64P, np.full((768, 768), 2**23))  # good for a row, not for many
    there, here = memory_pair(timeout_s=1)
    PackedClient(opened(), there, LIN64P)
    server = PackedServer(opened(), here, LIN64P)
    with pytest.raises(ParameterError, match="hide operands"):
        server.correlate(held, 4096)
    with pytest.raises(ParameterError, match="LIN24P"):
        server.correlate(PackedWeights(opened(), LIN24P, random_weights(2, 2)), 1)
    for weights in (np.ones((2, 2)), np.ones((2, 2), np.uint64), np.ones((0, 2), np.int64)):
        with pytest.raises(ParameterError, match="weights must be"):
            PackedWeights(opened(), LIN64P, weights)
    with pytest.raises(ValueError, match="X must be"):
        PackedClient(opened(), there, LIN64P).correlate(held.layer, random_words(4, 3))


def test_what_is_shown_holds_no_secret() -> None:
    there, here = memory_pair()
    client = PackedClient(opened(), there, LIN64P)
    server = PackedServer(opened(), here, LIN64P)
    shown = [repr(x) for x in (client, server, client._end, server._end, WEIGHTS)]
    assert shown[0] == "PackedClient(LIN64P, <hidden>)"
    assert all("hidden" in text and "array" not in text for text in shown)


# Hostile messages

ROWS, INPUTS, OUTPUTS = 128, 5, 40
WEIGHTS = PackedWeights(opened(), LIN64P, random_weights(INPUTS, OUTPUTS))


def client_messages(calls: int = 1) -> Messages:
    """Keys, and the inputs of some calls."""
    tape = Tape()
    client = PackedClient(opened(), tape, LIN64P, byte_ns=1e9)
    for _ in range(calls):
        with pytest.raises(EOFError):
            client.correlate(WEIGHTS.layer, opened().asarray(random_words(ROWS, INPUTS)))
    return tape.messages


def serve(messages: Messages, weights: PackedWeights = WEIGHTS, calls: int = 1) -> None:
    """A server that receives these messages."""
    peer, here = memory_pair(timeout_s=1)
    for tag, frames in messages:
        peer.send(tag, frames)
    server = PackedServer(opened(), here, LIN64P, byte_ns=1e9)
    for _ in range(calls):
        server.correlate(weights, ROWS)


@pytest.fixture(scope="module")
def recorded() -> Iterator[Messages]:
    messages = client_messages()
    serve(messages)  # as they are, they are fine
    yield messages


def changed(messages: Messages, number: int, frame: int, change: Callable[[bytes], bytes]) -> Messages:
    copy = [(tag, list(frames)) for tag, frames in messages]
    copy[number][1][frame] = change(copy[number][1][frame])
    return copy


@pytest.mark.parametrize("number", [0, 1, -1], ids=["key", "switching", "inputs"])
def test_malformed_messages_end_in_one_error(recorded: Messages, number: int) -> None:
    frames = len(recorded[number][1])
    for at in range(0, HEADER_BYTES, 3):
        flip = lambda raw, at=at: raw[:at] + bytes([raw[at] ^ 0x10]) + raw[at + 1 :]  # noqa: E731
        with pytest.raises(CiphertextError, match="differs"):
            serve(changed(recorded, number, 0, flip))
    for frame in range(frames):
        for change in (lambda raw: raw[:-1], lambda raw: raw + b"\0", lambda raw: b""):
            with pytest.raises(ProtocolError):
                serve(changed(recorded, number, frame, change))
    for frame in range(2, frames):
        for garbage in (lambda raw: b"\xff" * len(raw), lambda raw: raw[:-8] + b"\xff" * 8):
            with pytest.raises(CiphertextError, match="no residue"):
                serve(changed(recorded, number, frame, garbage))


def test_replayed_swapped_and_foreign_messages(recorded: Messages) -> None:
    *keys, first, second = client_messages(calls=2)
    serve([*keys, first, second], calls=2)
    for inputs in ([first, first], [second, first]):
        with pytest.raises(CiphertextError, match="batch counter"):
            serve([*keys, *inputs], calls=2)
    with pytest.raises(CiphertextError, match="block"):
        serve([keys[0], keys[2], keys[1], *keys[3:], first])
    with pytest.raises(ProtocolError):
        serve([*keys[:-1], first])  # a switching key is missing
    with pytest.raises(CiphertextError, match="weights"):
        serve(recorded, PackedWeights(opened(), LIN64P, random_weights(INPUTS, OUTPUTS) + 1))


def test_replies_are_checked_as_well(recorded: Messages) -> None:
    peer, here = memory_pair(timeout_s=1)
    for tag, frames in recorded:
        peer.send(tag, frames)
    PackedServer(opened(), here, LIN64P, byte_ns=1e9).correlate(WEIGHTS, ROWS)
    replies = [bytes(frame) for frame in peer.recv_any("he/replies", 1 << 20)]

    def receive(change: Callable[[list[bytes]], list[bytes]]) -> None:
        there, other = memory_pair(timeout_s=1)
        client = PackedClient(opened(), there, LIN64P, byte_ns=1e9)
        client._end._sent.update(1 << e for e in range(13))  # keys were sent: no matter here
        other.send("he/replies", change(replies))
        client.correlate(WEIGHTS.layer, opened().asarray(random_words(ROWS, INPUTS)))

    receive(lambda frames: frames)  # decrypts to nonsense under another key, but is well-formed
    with pytest.raises(CiphertextError):
        receive(lambda f: [f[0][:9] + b"?" + f[0][10:], *f[1:]])
    assert len(replies) == 5  # the digits of b, and of a, in two frames each
    for frame in range(1, 5):
        receive(lambda f, k=frame: [*f[:k], b"\xff" * len(f[k]), *f[k + 1 :]])  # any digits are some
        for change in (lambda raw: raw[1:], lambda raw: raw + b"\0", lambda raw: b""):
            with pytest.raises(NetError):
                receive(lambda f, k=frame, change=change: [*f[:k], change(f[k]), *f[k + 1 :]])
