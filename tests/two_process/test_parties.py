"""Client, server and dealer as real processes over real sockets: what works, and what a user sees when not."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from net import AuthError, Busy, NetError, PeerGone, RemoteError, generate, handshake, load_keys
from tests.support.parties import CLI, Parties, alive, parties
from transformer.client import Client, load_tokenizer, tokenize
from transformer.demo import usual_trust
from transformer.model import PrivateModel
from transformer.session import agreement
from transformer.terms import Terms

TEXTS = ("the cat sat on the mat .", "a dog ran")
FIELDS = {
    "model", "inputs", "outputs", "reference", "cosine", "max_abs_error", "online_s", "offline_s", "online_bytes",
    "offline_bytes", "rounds", "trust", "backend",
}  # fmt: skip


@pytest.fixture(scope="module")
def trio(folder: Path, model: Path) -> Iterator[Parties]:
    """A dealer and a server that several tests may use one after the other."""
    with parties(folder, model) as running:
        yield running


def test_a_private_query(trio: Parties) -> None:
    result = trio.answer(*TEXTS)
    assert result.keys() >= FIELDS
    assert min(result["cosine"]) > 0.9999
    assert result["trust"] == "dealer"
    assert result["weights"] == "private"
    assert result["rounds"] > 20
    assert np.array(result["outputs"]).shape == (2, 32)


def test_one_server_answers_client_after_client(trio: Parties) -> None:
    first, second = trio.answer(TEXTS[0]), trio.answer(TEXTS[0], extra=["--pad-to", "20"])
    assert np.abs(np.array(first["outputs"]) - np.array(second["outputs"])).max() < 5e-3
    assert second["online_bytes"] > first["online_bytes"]


def test_several_queries_in_one_session(trio: Parties, model: Path) -> None:
    tokenizer = load_tokenizer(model)
    with Client(trio.open_server, trio.open_dealer, "cpu") as client:
        answers = [client.ask(tokenize([text], tokenizer, client.card)) for text in (*TEXTS, TEXTS[0])]
    assert np.abs(answers[0].outputs["embedding"] - answers[2].outputs["embedding"]).max() < 5e-3
    for answer in answers:
        assert answer.report.rounds == answer.report.plan.rounds
        assert answer.report.online.sent.payload == answer.report.plan.sent[0]
        assert answer.report.online.received.payload == answer.report.plan.sent[1]


def test_texts_that_cannot_run(trio: Parties) -> None:
    for texts, message in (
        ((" ",), "text 1 is empty"),
        (("the cat " * 30,), "at most 24 fit"),
        ((), "no text"),
    ):
        done = trio.query(*texts)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert min(trio.answer(TEXTS[0])["cosine"]) > 0.9999, "the server is none the worse"


def test_an_unknown_client_is_refused(trio: Parties, folder: Path, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger"
    generate(stranger, "client")
    for role in ("server", "dealer"):
        (stranger / f"{role}.pub").write_bytes((folder / "keys" / f"{role}.pub").read_bytes())
    done = trio.query(TEXTS[0], keys=stranger)
    assert done.returncode == 1
    assert "does not accept our key" in done.stderr


def test_a_server_with_another_key_is_refused(trio: Parties, folder: Path, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    generate(keys, "server")
    for name in ("client.key", "client.pub", "dealer.pub"):
        (keys / name).write_bytes((folder / "keys" / name).read_bytes())
        (keys / name).chmod(0o600)
    done = trio.query(TEXTS[0], keys=keys)
    assert done.returncode == 1
    assert "key" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_second_client_is_told_that_the_server_is_busy(trio: Parties) -> None:
    with Client(trio.open_server, trio.open_dealer, "cpu"), pytest.raises((Busy, NetError)):
        trio.open_server()


def test_strangers_on_the_ports_do_no_harm(trio: Parties) -> None:
    rng = random.Random(5)
    for address in (trio.server, trio.dealer):
        host, port = address.removeprefix("tcp://").rsplit(":", 1)
        for size in (1, 100, 100_000):
            with suppress(OSError), socket.create_connection((host, int(port))) as stranger:
                stranger.sendall(rng.randbytes(size))  # may be thrown out before it has finished
    assert min(trio.answer(TEXTS[0])["cosine"]) > 0.9999


@pytest.mark.parametrize(
    ("tag", "frames"),
    [
        ("query", [b'{"batch":1000000,"length":9}']),
        ("query", [b'{"batch":1,"length":25}']),
        ("query", [b"garbage"]),
        ("query", [b'{"batch":1,"length":9,"more":1}']),
        ("ready", [b"too early"]),
        ("query", [b"x" * (1 << 21)]),
    ],
)
def test_a_hostile_client_gets_an_error_and_the_next_one_an_answer(
    trio: Parties, tag: str, frames: list[bytes]
) -> None:
    with Client(trio.open_server, trio.open_dealer, "cpu") as client:
        channel = client._server
        channel.send(tag, frames)
        with pytest.raises((RemoteError, PeerGone)):
            channel.recv("timing", [1])
    assert min(trio.answer(TEXTS[0])["cosine"]) > 0.9999


def test_settings_that_differ_are_named(trio: Parties) -> None:
    with trio.open_server() as channel, pytest.raises(NetError, match="profile"):
        handshake(channel, agreement(profile="another"))
    assert min(trio.answer(TEXTS[0])["cosine"]) > 0.9999


def killing_client(trio: Parties, model: Path, stage: str, victim: int) -> Any:
    """Run a query whose progress kills a process when `stage` begins."""
    tokenizer = load_tokenizer(model)

    def progress(name: str, done: int, total: int) -> None:
        if name == stage and alive(victim):
            os.kill(victim, signal.SIGKILL)

    with Client(trio.open_server, trio.open_dealer, "cpu", progress=progress) as client:
        return client.ask(tokenize(TEXTS, tokenizer, client.card))


@pytest.mark.parametrize("stage", ["setup", "online"])
def test_a_killed_server_ends_the_client(folder: Path, model: Path, stage: str) -> None:
    with parties(folder, model) as trio:
        start = time.monotonic()
        with pytest.raises(PeerGone, match="server"):
            killing_client(trio, model, stage, trio.running.pid("server"))
        assert time.monotonic() - start < 15
        assert alive(trio.running.pid("dealer")), "the dealer waits for the next session"


def test_a_killed_dealer_ends_server_session_and_client(folder: Path, model: Path) -> None:
    with parties(folder, model) as trio:
        start = time.monotonic()
        with pytest.raises((RemoteError, PeerGone)):
            killing_client(trio, model, "setup", trio.running.pid("dealer"))
        assert time.monotonic() - start < 15


def test_a_killed_client_leaves_the_server_ready(trio: Parties, model: Path) -> None:
    script = (
        "import os, signal, sys\n"
        "from tests.support.parties import Parties\n"
        "from pathlib import Path\n"
        "from transformer.client import Client, load_tokenizer, tokenize\n"
        "keys, model, dealer, server = sys.argv[1:]\n"
        "trio = Parties(None, Path(keys), Path(model), dealer, server)\n"
        "die = lambda name, done, total: name == 'online' and done == 5 and os.kill(os.getpid(), signal.SIGKILL)\n"
        "with Client(trio.open_server, trio.open_dealer, 'cpu', progress=die) as client:\n"
        "    client.ask(tokenize(['the cat'], load_tokenizer(Path(model)), client.card))\n"
    )
    argv = [sys.executable, "-c", script, str(trio.keys), str(model), trio.dealer, trio.server]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2])
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert min(trio.answer(TEXTS[0])["cosine"]) > 0.9999


def test_nobody_listening_is_said(folder: Path, model: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    argv = [*CLI, "query", "--keys", str(folder / "keys"), "--server", address, "--dealer", address]
    settings = folder / "quick.toml"
    settings.write_text("connect_timeout_s = 2.0\n")
    argv += ["--model", str(model), "--text", "the cat", "--settings", str(settings)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "connect_timeout_s" in done.stderr


def test_missing_keys_are_said(model: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [*CLI, "query", "--keys", str(tmp_path), "--model", str(model), "--text", "the cat"],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert "client.key" in done.stderr
    assert "Traceback" not in done.stderr


def test_keygen_does_not_overwrite(tmp_path: Path) -> None:
    for expected in (0, 1):
        done = subprocess.run(
            [*CLI, "keygen", str(tmp_path / "k")], capture_output=True, text=True, timeout=60
        )
        assert done.returncode == expected
    assert "not overwritten" in done.stderr
    assert load_keys(tmp_path / "k" / "server.key").name == "server"


@pytest.mark.parametrize(
    "command", ["", "demo", "keygen", "dealer", "serve", "query", "prepare", "plan", "calibrate", "doctor"]
)
def test_help_teaches(command: str) -> None:
    argv = [*CLI, *([command] if command else []), "--help"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) >= 7


def test_doctor() -> None:
    done = subprocess.run([*CLI, "doctor"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout
    assert "backend cuda" in done.stdout


def test_public_weights_between_processes(folder: Path, model: Path) -> None:
    with parties(folder, model, serve=["--weights", "public"]) as trio:
        result = trio.answer(*TEXTS, extra=["--weights", "public"])
        assert min(result["cosine"]) > 0.9999
        assert result["setup_bytes"] < 2000  # greetings and the model card, no weights
        refused = trio.query(TEXTS[0])
        assert refused.returncode == 1
        assert "give --model" in refused.stderr


def test_a_released_table_between_processes(folder: Path, model: Path) -> None:
    with parties(folder, model, serve=["--weights", "released-table"]) as trio:
        result = trio.answer(*TEXTS)  # the client takes what the server offers, and says so
        assert min(result["cosine"]) > 0.9999
        assert result["weights"] == "released-table"


def test_products_by_encryption_between_processes(folder: Path, model: Path) -> None:
    with parties(folder, model, serve=["--products", "he"]) as trio:
        result = trio.answer(*TEXTS)
        assert min(result["cosine"]) > 0.9999
        assert result["products"] == "he"
        dealt, made = (PrivateModel.load(model, None, Terms(products=p)).plan(2, 9) for p in ("dealer", "he"))
        assert result["dealer_bytes"] == made.dealer_bytes < dealt.dealer_bytes
        assert result["setup_bytes"] < 3e6, "public keys; no weight is sent"


@pytest.mark.parametrize("trust", ["two-party", "dealer"])
def test_the_demo_command(model: Path, tmp_path: Path, trust: str) -> None:
    file = tmp_path / "demo.json"
    argv = [*CLI, "demo", "--model", str(model), "--text", TEXTS[0], "--text", TEXTS[1]]
    argv += ["--json", str(file), "--quiet"]
    argv += ["--trust", trust] if trust == "dealer" else []  # the other one is the default
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "Sentence similarity, private" in done.stdout
    result = json.loads(file.read_text())
    assert result["trust"] == trust
    assert min(result["cosine"]) > 0.9999


def test_who_is_trusted_in_the_demo_if_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    assert usual_trust("cpu", None) == "two-party"
    assert usual_trust("cpu", "dealer") == "dealer"
    assert capsys.readouterr().err == ""
    assert usual_trust("reference", None) == "dealer"
    assert "--trust two-party" in capsys.readouterr().err


def test_wrong_options_are_explained(model: Path) -> None:
    for argv, message in (
        (["demo", "--model", "/nonexistent"], "no folder"),
        (["demo", "--model", str(model), "--backend", "tpu"], "backend"),
        (["demo", "--model", str(model), "--text", ""], "empty"),
        (["demo", "--model", str(model), "--trust", "nobody"], "trust"),
        (["plan", "--model", str(model), "--length", "99"], "too long"),
    ):
        done = subprocess.run([*CLI, *argv], capture_output=True, text=True, timeout=100)
        assert done.returncode == 1, argv
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_auth_error_is_a_net_error() -> None:
    assert issubclass(AuthError, NetError)
