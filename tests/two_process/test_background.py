"""Correlations made while a session is idle, with a server of its own, and a client of its own that is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gpu_ss.provider.store import Store
from tests.support.parties import CLI, Parties, couple
from transformer.client import Client, load_tokenizer, tokenize
from transformer.inference import Request

LENGTH = 5
REQUEST = Request(batch=1, length=LENGTH)
LIMIT = 1 << 30
LIMIT_S = 280.0


def files(*folders: Path) -> list[set[str]]:
    """Everything in stores, by name: ready, or being made."""
    return [{path.name for path in folder.glob("*/*")} for folder in folders]


def _until_begun(store: Path) -> None:
    """Until there is something in a store, or too long a time has passed."""
    started = time.monotonic()
    while not files(store)[0] and time.monotonic() - started < LIMIT_S:
        time.sleep(0.01)


@pytest.fixture(scope="module")
def server_store(folder: Path) -> Path:
    return folder / "background"


@pytest.fixture(scope="module")
def pair(folder: Path, model: Path, server_store: Path) -> Iterator[Parties]:
    with couple(folder, model, ["--store", str(server_store), "--recv-timeout-s", "250"]) as running:
        yield running


def test_between_queries(pair: Parties, model: Path, server_store: Path, tmp_path: Path) -> None:
    """Each query finds one ready, and while nobody asks another one is made."""
    tokenizer, seen = load_tokenizer(model), set()

    def progress(stage: str, done: int, total: int) -> None:
        seen.add(stage)

    store = Store(tmp_path, LIMIT)
    with Client(pair.open_server, None, "cpu", progress=progress, store=store) as client:
        background = client.prepare_in_background(REQUEST, 1)
        background.wait()
        (first,) = files(tmp_path)
        assert files(server_store) == [first]
        assert len(first) == 1
        answer = client.ask(tokenize(["a dog ran"], tokenizer, client.card, LENGTH))
        assert answer.report.stored
        assert answer.report.rounds == answer.report.plan.rounds
        background.wait()
        mine, theirs = files(tmp_path, server_store)
        assert mine == theirs
        assert len(mine) == 1
        assert not mine & first, "another one"
    assert "ahead" in seen


def test_a_query_that_comes_meanwhile_uses_what_is_being_made(
    pair: Parties, model: Path, tmp_path: Path
) -> None:
    with Client(pair.open_server, None, "cpu", store=Store(tmp_path, LIMIT)) as client:
        client.prepare_in_background(REQUEST, 2)
        _until_begun(tmp_path)
        answer = client.ask(tokenize(["a dog ran"], load_tokenizer(model), client.card, LENGTH))
        assert answer.report.stored
        client.prepare(REQUEST)


def test_leaving_throws_away_what_is_being_made(pair: Parties, server_store: Path, tmp_path: Path) -> None:
    with Client(pair.open_server, None, "cpu", store=Store(tmp_path, LIMIT)) as client:
        client.prepare_in_background(REQUEST, 1000)
        _until_begun(tmp_path)
    assert not [name for name in files(tmp_path)[0] if not name.endswith(".reel")]
    with Client(pair.open_server, None, "cpu", store=Store(tmp_path, LIMIT)) as client:
        assert client.stock.held().total() == len(files(tmp_path)[0]), "the server serves the next session"


def test_a_full_store_ends_it_and_nothing_else(pair: Parties, model: Path, tmp_path: Path) -> None:
    with Client(pair.open_server, None, "cpu", store=Store(tmp_path, 1000)) as client:
        background = client.prepare_in_background(REQUEST, 1)
        background.wait()
        assert "the store is full" in str(background.full)
        answer = client.ask(tokenize(["a dog ran"], load_tokenizer(model), client.card, LENGTH))
        assert not answer.report.stored


def test_lines_and_a_kill(pair: Parties, model: Path, server_store: Path, tmp_path: Path) -> None:
    """`query --lines --ahead`: answers from the store; killed while it makes more, both end with the same ones."""
    argv = [
        *CLI,
        "query",
        "--keys",
        str(pair.keys),
        "--server",
        pair.server,
        "--model",
        str(model),
        "--quiet",
    ]
    argv += ["--backend", "cpu", "--store", str(tmp_path), "--pad-to", str(LENGTH), "--lines", "--ahead", "3"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write("a dog ran\n")
        process.stdin.flush()
        said = ""
        while "store" not in said:
            line = process.stdout.readline()
            assert line, said
            said += line
        os.kill(process.pid, signal.SIGKILL)
    with Client(pair.open_server, None, "cpu", store=Store(tmp_path, LIMIT)) as client:
        held = client.stock.held().total()
    mine = files(tmp_path)[0]
    assert len(mine) == held
    assert mine <= files(server_store)[0]


def test_what_needs_what(tmp_path: Path) -> None:
    for extra, said in (
        (["--lines", "--ahead", "1"], "--store FOLDER"),
        (["--ahead", "1", "--text", "a"], "needs --lines"),
        (["--lines", "--text", "a"], "standard input"),
    ):
        argv = [*CLI, "query", "--keys", str(tmp_path), *extra]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        assert done.returncode != 0
        assert said in done.stderr.replace("\n", " ")
