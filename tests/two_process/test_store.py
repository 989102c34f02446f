"""Correlations prepared by one pair of processes and used by later ones, the real model in between."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_ss.errors import SharingError, StoreError
from gpu_ss.provider.reel import Purpose
from gpu_ss.provider.store import Store
from net import NetError, PeerGone, RemoteError, load_public
from tests.support.models import add_pooling, make_model
from tests.support.parties import CLI, Parties, alive, couple, parties
from tests.support.reels import new_head, put
from transformer.client import Client, load_tokenizer, tokenize
from transformer.errors import ModelError
from transformer.inference import Request
from transformer.model import ModelCard, PrivateModel
from transformer.session import Query, Wish
from transformer.stock import context_of, model_tag, stored_sizes
from transformer.terms import Terms

TEXT = "a dog ran"
LENGTH = 5
SHAPE = f"1 x {LENGTH}"
LIMIT = 1 << 30
ALONE = Terms(trust="two-party", products="he")


def prepare(pair: Parties, store: Path, queries: int, *extra: str) -> subprocess.CompletedProcess[str]:
    """`fastlmpi prepare` as a process of its own."""
    argv = [*CLI, "prepare", "--keys", str(pair.keys), "--server", pair.server, "--store", str(store)]
    argv += ["--queries", str(queries), "--length", str(LENGTH), "--backend", "cpu", *extra]
    return subprocess.run(argv, capture_output=True, text=True, timeout=200)


def reels(*folders: Path) -> list[set[str]]:
    """The ids of what is ready in stores."""
    return [{path.stem for path in folder.glob("*/*.reel")} for folder in folders]


@pytest.fixture(scope="module")
def stores(folder: Path, model: Path) -> tuple[Path, Path]:
    """Of client and server, with two queries prepared by processes that are gone."""
    client, server = folder / "client", folder / "server"
    with couple(folder, model, ["--store", str(server)]) as pair:
        done = prepare(pair, client, 2)
        assert done.returncode == 0, done.stderr
    assert f"Prepared 2 queries of {SHAPE} tokens" in done.stdout
    assert f"2 of {SHAPE}" in done.stdout
    mine, theirs = reels(client, server)
    assert mine == theirs
    assert len(mine) == 2
    card = PrivateModel.load(model, None, ALONE).card
    sizes = stored_sizes(card, Request(batch=1, length=LENGTH))
    for where, size in zip((client, server), sizes, strict=True):
        assert [path.stat().st_size for path in where.glob("*/*.reel")] == [size] * 2
        assert f"{2 * size / 1e6:.2f} MB" in done.stdout
    return client, server


@pytest.fixture(scope="module")
def pair(folder: Path, model: Path, stores: tuple[Path, Path]) -> Iterator[Parties]:
    """A server started later, with the same store."""
    with couple(folder, model, ["--store", str(stores[1])]) as running:
        yield running


def query(pair: Parties, store: Path) -> dict[str, object]:
    """A query as a process of its own, compared with the clear-text model."""
    file = pair.keys / "stored.json"
    extra = ["--store", str(store), "--pad-to", str(LENGTH), "--compare", "--json", str(file)]
    done = pair.query(TEXT, extra=extra)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(file.read_text())
    return found | {"said": done.stdout}


def test_a_query_from_the_store(pair: Parties, stores: tuple[Path, Path]) -> None:
    """In processes that did not prepare it: the same result, and next to nothing is sent before it."""
    before = reels(*stores)
    found = query(pair, stores[0])
    assert min(found["cosine"]) > 0.9999  # type: ignore[call-overload]
    assert found["stored"] is True
    assert found["offline_bytes"] < 500  # type: ignore[operator]
    assert "came from the store, which has those of 1 more" in str(found["said"])
    (used,) = before[0] - reels(stores[0])[0]
    assert reels(*stores) == [before[0] - {used}] * 2, "the same one is gone at both"


def test_other_lengths_are_made_on_demand(pair: Parties, model: Path, stores: tuple[Path, Path]) -> None:
    tokenizer = load_tokenizer(model)
    before = reels(*stores)
    with Client(pair.open_server, None, "cpu", store=Store(stores[0], LIMIT)) as client:
        answer = client.ask(tokenize(["ran"], tokenizer, client.card, LENGTH - 1))
        assert not answer.report.stored
        said = client.about_store(Request(batch=1, length=LENGTH - 1), stored=False)
        assert f"use --pad-to {LENGTH}" in said
        longer = client.about_store(Request(batch=1, length=LENGTH + 1), stored=False)
        assert "--pad-to" not in longer
    assert reels(*stores) == before


def test_what_a_reel_belongs_to(model: Path) -> None:
    """Model, terms and version: what differs in one of them is not used."""
    card = PrivateModel.load(model, None, ALONE).card
    direct = card.model_copy(update={"terms": ALONE.model_copy(update={"linear": "direct"})})
    again = ModelCard.model_validate_json(card.model_dump_json())
    assert context_of(again, "a" * 32) == context_of(card, "a" * 32)
    assert len({context_of(card, "a" * 32), context_of(card, "b" * 32), context_of(direct, "a" * 32)}) == 3


def test_tags_tell_models_apart_and_nothing_else(model: Path, tmp_path: Path) -> None:
    other_model = add_pooling(make_model(tmp_path / "other", seed=9, num_hidden_layers=1))
    one, other = (PrivateModel.load(path, None, ALONE) for path in (model, other_model))
    stores = [Store(tmp_path / name, LIMIT) for name in ("a", "b")]
    tags = [model_tag(m, s) for m in (one, other) for s in stores]
    assert len(set(tags)) == 4, "keyed by the store, so a tag confirms no guess of the weights"
    assert model_tag(one, Store(tmp_path / "a", LIMIT)) == tags[0]


@pytest.mark.parametrize(
    "wish",
    [
        b'{"kind":"prepare","batch":1,"length":5}',
        b'{"batch":1,"length":5,"stored":true}',
        b'{"kind":"prepare","batch":0,"length":5}',
        b'{"kind":"prepare","batch":1,"length":9999}',
        b'{"kind":"prepare","batch":1}',
        b'{"kind":"prepare","batch":1,"length":5,"stored":true}',
        b'{"kind":"anything"}',
        b'{"kind":"stock","batch":1}',
        b"[]",
    ],
)
def test_hostile_wishes(pair: Parties, wish: bytes) -> None:
    """Preparing before the store is agreed, or nonsense: one clear error."""
    with Client(pair.open_server, None, "cpu") as client:
        client._server.send("query", [wish])
        with pytest.raises((RemoteError, PeerGone)) as raised:
            client._server.recv("stock", [1])
        if isinstance(raised.value, RemoteError):
            assert "Traceback" not in raised.value.text


@pytest.mark.parametrize(
    ("tag", "frames"),
    [
        ("query", [b'{"kind":"stock"}']),
        ("query", [b'{"kind":"prepare","batch":1,"length":999}']),
        ("query", [b'{"kind":"prepare","batch":60000,"length":24}']),
        ("store/make", [bytes(16), bytes(32), bytes(32)]),
    ],
)
def test_hostile_wishes_with_a_store(
    pair: Parties, stores: tuple[Path, Path], tag: str, frames: list[bytes]
) -> None:
    before = reels(*stores)
    with Client(pair.open_server, None, "cpu", store=Store(stores[0], LIMIT)) as client:
        client._server.send(tag, frames)
        with pytest.raises((RemoteError, PeerGone)):
            client._server.recv("store/room", [1])
    assert reels(*stores) == before


def test_a_client_that_wants_another_plan_prepared(pair: Parties, stores: tuple[Path, Path]) -> None:
    with Client(pair.open_server, None, "cpu", store=Store(stores[0], LIMIT)) as client:
        client._server.send("query", [b'{"kind":"prepare","batch":1,"length":5,"queries":1}'])
        client._server.send("store/make", [bytes(32), bytes(32), b"i" * 16])
        with pytest.raises(RemoteError, match="another plan"):
            client._server.recv("store/room", [1])


def test_naming_what_is_not_there(pair: Parties, stores: tuple[Path, Path]) -> None:
    before = reels(*stores)
    with Client(pair.open_server, None, "cpu", store=Store(stores[0], LIMIT)) as client:
        client._server.send("query", [b'{"batch":1,"length":5,"stored":true}'])
        client._server.send("store/take", [b"n" * 16])
        assert bytes(client._server.recv("store/taken", [1])[0]) == b"\0"
    assert reels(*stores) == before


def test_wishes_as_json() -> None:
    for text in ('{"batch":1,"length":9}', '{"batch":1,"length":9,"stored":false}'):
        assert Wish.model_validate_json(text).root == Query(batch=1, length=9)


def test_preparing_beside_queries(folder: Path, pair: Parties, stores: tuple[Path, Path]) -> None:
    """A second server with the same store prepares while the first one answers from it."""
    before = reels(stores[0])[0]
    assert before, "the tests before left one"
    with couple(folder, pair.model, ["--store", str(stores[1])]) as second:
        argv = [*CLI, "prepare", "--keys", str(pair.keys), "--server", second.server, "--quiet"]
        argv += ["--store", str(stores[0]), "--queries", "1", "--length", str(LENGTH), "--backend", "cpu"]
        with subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) as preparing:
            found = query(pair, stores[0])
            _, errors = preparing.communicate(timeout=200)
    assert preparing.returncode == 0, errors
    assert found["stored"] is True
    mine, theirs = reels(*stores)
    assert mine == theirs
    assert len(mine - before) == 1, "the new one"
    assert len(before - mine) == 1, "the used one"


def test_a_killed_server_loses_what_it_used_and_no_more(
    folder: Path, model: Path, stores: tuple[Path, Path]
) -> None:
    """Killed when the query has begun: both have removed the same one, and what is left serves the next session."""
    before = reels(*stores)[0]
    tokenizer = load_tokenizer(model)
    with couple(folder, model, ["--store", str(stores[1])]) as pair:
        victim = pair.running.pid("server")

        def die(name: str, done: int, total: int) -> None:
            if name == "online" and done == 3 and alive(victim):
                os.kill(victim, signal.SIGKILL)

        with (
            pytest.raises(PeerGone),
            Client(pair.open_server, None, "cpu", progress=die, store=Store(stores[0], LIMIT)) as client,
        ):
            client.ask(tokenize([TEXT], tokenizer, client.card, LENGTH))
    mine, theirs = reels(*stores)
    assert mine == theirs
    assert len(before - mine) == 1


def test_what_one_side_lost_is_removed_at_the_other(
    pair: Parties, model: Path, stores: tuple[Path, Path]
) -> None:
    """As after a crash between the two: it is collected when they meet. What belongs to another model stays."""
    loaded = PrivateModel.load(model, None, ALONE)
    here = context_of(loaded.card, model_tag(loaded, Store(stores[1], LIMIT)))
    before, opened = reels(*stores), [Store(path, LIMIT) for path in stores]
    keys = [load_public(pair.keys / f"{role}.pub").z85 for role in ("server", "client")]
    heads = [
        [put(store.shelf(key), new_head(rank, Purpose(bytes(32), context))) for context in (here, bytes(32))]
        for rank, (store, key) in enumerate(zip(opened, keys, strict=True))
    ]
    with Client(pair.open_server, None, "cpu", store=opened[0]) as client:
        assert client.stock.held() == Counter({SHAPE: len(before[0])})
    for folder, was, (_, foreign) in zip(stores, before, heads, strict=True):
        assert reels(folder) == [was | {foreign.id.hex()}]
        for path in folder.glob(f"*/{foreign.id.hex()}.reel"):
            path.unlink()


def test_a_server_without_room(folder: Path, model: Path, tmp_path: Path) -> None:
    """It refuses before it begins, says why, and goes on."""
    with couple(folder, model, ["--store", str(tmp_path / "s"), "--store-limit-mb", "1"]) as pair:
        for _ in range(2):
            done = prepare(pair, tmp_path / "c", 1, "--quiet")
            assert done.returncode == 1
            assert "server prepares no more: the store is full" in done.stderr
            assert "Traceback" not in done.stderr
        done = prepare(pair, tmp_path / "c", 1, "--quiet", "--store-limit-mb", "1")
        assert done.returncode == 1
        assert "error: the store is full" in done.stderr
    assert not list(tmp_path.glob("*/*/*"))


def test_a_server_without_a_store(folder: Path, model: Path, tmp_path: Path) -> None:
    with couple(folder, model) as pair:
        done = prepare(pair, tmp_path / "c", 1)
        assert done.returncode == 1
        assert "start client and server with a store" in done.stderr
        with Client(pair.open_server, None, "cpu", store=Store(tmp_path / "c", LIMIT)) as client:
            with pytest.raises(StoreError):
                client.prepare(Request(batch=1, length=LENGTH))
            assert "keeps no store" in client.about_store(Request(batch=1, length=3), stored=False)


def test_a_dealers_correlations_are_not_stored(folder: Path, model: Path, tmp_path: Path) -> None:
    with (
        parties(folder, model) as trio,
        pytest.raises((ModelError, SharingError, NetError), match="two-party"),
    ):
        Client(trio.open_server, trio.open_dealer, "cpu", store=Store(tmp_path / "c", LIMIT))
    argv = [*CLI, "query", "--trust", "dealer", "--store", str(tmp_path), "--text", TEXT]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "a store needs trust two-party" in done.stderr


def test_preparing_needs_to_know_where(folder: Path) -> None:
    argv = [*CLI, "prepare", "--queries", "1", "--length", "8", "--keys", str(folder / "keys")]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "--store FOLDER" in done.stderr
