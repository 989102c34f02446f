"""Client and server as real processes with nobody else running: `--trust two-party`."""

from __future__ import annotations

import os
import signal
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from net import NetError, PeerGone, RemoteError, handshake
from tests.support.parties import Parties, alive, couple, parties
from transformer.client import Client, load_tokenizer, tokenize
from transformer.session import agreement

TEXTS = ("the cat sat on the mat .", "a dog ran")


@pytest.fixture(scope="module")
def pair(folder: Path, model: Path) -> Iterator[Parties]:
    """A server that several tests may use one after the other; it says on what network, and clients follow."""
    with couple(folder, model, ["--network", "50,80"]) as running:
        yield running


def test_a_private_query(pair: Parties) -> None:
    result = pair.answer(*TEXTS)
    assert min(result["cosine"]) > 0.9999
    assert (result["trust"], result["weights"], result["products"]) == ("two-party", "private", "he")
    assert result["network"] == "50,80"
    assert result["dealer_bytes"] == 0
    assert result["offline_bytes"] > result["online_bytes"] > 0


def test_several_queries_in_one_session(pair: Parties, model: Path) -> None:
    tokenizer = load_tokenizer(model)
    with Client(pair.open_server, None, "cpu") as client:
        answers = [client.ask(tokenize([text], tokenizer, client.card)) for text in (TEXTS[0], TEXTS[0])]
    secrets = weakref.ref(client._party.provider)
    del client
    assert secrets() is None, (
        "keys, masks and memory go with the session, not when Python next looks for cycles"
    )
    assert np.abs(answers[0].outputs["embedding"] - answers[1].outputs["embedding"]).max() < 5e-3
    for answer in answers:
        assert answer.report.rounds == answer.report.plan.rounds
        assert answer.report.online.sent.payload == answer.report.plan.sent[0]
    first, second = (answer.report.offline.sent.bytes for answer in answers)
    assert second < first, "public keys and the start of OT are sent once a session"


def test_who_is_trusted_must_be_agreed(pair: Parties, folder: Path, model: Path) -> None:
    with pair.open_server() as channel, pytest.raises(NetError, match="trust"):
        handshake(channel, agreement("dealer"))
    with parties(folder, model) as trio, pytest.raises(NetError, match="trust"):
        Client(trio.open_server, None, "cpu")
    assert min(pair.answer(TEXTS[0])["cosine"]) > 0.9999


@pytest.mark.parametrize("frames", [[b"x"], [bytes(40)], [b""] * 40])
@pytest.mark.parametrize("tag", ["he.key", "ot/base", "ot/choice", "nonsense"])
def test_garbage_while_correlations_are_made(pair: Parties, tag: str, frames: list[bytes]) -> None:
    with Client(pair.open_server, None, "cpu") as client:
        client._server.send("query", [b'{"batch":1,"length":9}'], round=False)
        client._server.send(tag, frames, round=False)
        with pytest.raises((RemoteError, PeerGone, NetError)):
            client._server.recv("timing", [1])


def test_the_server_is_none_the_worse(pair: Parties) -> None:
    assert min(pair.answer(TEXTS[0])["cosine"]) > 0.9999


@pytest.mark.parametrize("stage", ["offline", "online"])
def test_a_killed_server_ends_the_client(folder: Path, model: Path, stage: str) -> None:
    with couple(folder, model) as pair:
        victim, tokenizer = pair.running.pid("server"), load_tokenizer(model)

        def progress(name: str, done: int, total: int) -> None:
            if name == stage and alive(victim):
                os.kill(victim, signal.SIGKILL)

        start = time.monotonic()
        with (
            pytest.raises(PeerGone, match="server"),
            Client(pair.open_server, None, "cpu", progress=progress) as client,
        ):
            client.ask(tokenize(TEXTS, tokenizer, client.card))
        assert time.monotonic() - start < 60
