"""Calibrated widths between real processes: the right answer, or an error at the client."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.models import add_pooling, make_model
from tests.support.parties import CLI, parties
from transformer.client import Client, load_tokenizer, tokenize
from transformer.errors import WidthsExceeded
from transformer.model import PrivateModel
from transformer.terms import Terms
from transformer.widths import Measured, read_widths

TEXTS = ["the cat sat on the mat .", "a dog ran"]


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wide") / "model"
    return add_pooling(make_model(folder, num_hidden_layers=1, initializer_range=0.5))


@pytest.fixture(scope="module")
def widths(wide: Path) -> Path:
    """A file that the command has written."""
    file, texts = wide.parent / "widths.json", wide.parent / "texts.txt"
    texts.write_text("\n".join(TEXTS) + "\n", encoding="utf-8")
    argv = [
        *CLI,
        "calibrate",
        "--model",
        str(wide),
        "--texts",
        str(texts),
        "--out",
        str(file),
        "--margin-bits",
        "0",
    ]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    assert "serve" in done.stdout
    return file


def test_a_query_within_its_widths(folder: Path, wide: Path, widths: Path) -> None:
    with parties(folder, wide, serve=["--widths", str(widths)]) as trio:
        result = trio.answer(*TEXTS)
    assert min(result["cosine"]) > 0.9999
    plan, proven = (PrivateModel.load(wide, None, Terms(), file).plan(2, 9) for file in (widths, None))
    assert result["rounds"] == plan.query.rounds
    assert result["dealer_bytes"] == plan.dealer_bytes != proven.dealer_bytes


def test_a_query_that_leaves_its_widths(folder: Path, wide: Path, widths: Path, tmp_path: Path) -> None:
    """The client is told, nobody else; the session and the server go on."""
    low = tmp_path / "low.json"
    read_widths(widths).model_copy(update={"layers": (Measured(query=2, key=2),)}).write(low)
    with parties(folder, wide, serve=["--widths", str(low)]) as trio:
        for _ in range(2):
            done = trio.query(TEXTS[0])
            assert done.returncode == 1
            assert "calibrated" in done.stderr
            assert "Traceback" not in done.stderr
            assert TEXTS[0] not in done.stdout + done.stderr
        with Client(trio.open_server, trio.open_dealer, "cpu") as client:
            tokens = tokenize(TEXTS, load_tokenizer(wide), client.card)
            for _ in range(2):
                with pytest.raises(WidthsExceeded):
                    client.ask(tokens)


def test_the_server_says_where_widths_are_of_no_use(wide: Path, widths: Path) -> None:
    argv = [*CLI, "plan", "--model", str(wide), "--trust", "two-party", "--widths", str(widths)]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "trust dealer" in done.stderr
