"""Mistakes that users make: each gives one message that says what to do, before any work is done in vain."""

from __future__ import annotations

import io
import json
import traceback
from pathlib import Path

import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from net import KeyFileError, generate
from tests.support.models import make_model
from transformer import hf
from transformer.architecture import Architecture
from transformer.cli import app
from transformer.client import check_texts
from transformer.errors import InputError, MalformedModel
from transformer.model import ModelCard, PrivateModel
from transformer.programs import _where
from transformer.settings import SettingsError, load_settings


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_model(tmp_path_factory.mktemp("mistakes") / "model", num_hidden_layers=1)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["query", "--text", "x", "--json", "/nowhere/x.json"], "there is no folder /nowhere"),
        (["query", "--text", "x", "--json", "/"], "is a folder; name a file"),
        (["fit", "silu", "--plot", "/nowhere/x.png"], "there is no folder /nowhere"),
        (["accuracy", "--plot", "/nowhere/x.png"], "there is no folder /nowhere"),
        (["plan", "--length", "0"], "--length"),
        (["plan", "--batch", "-1"], "--batch"),
        (["query", "--text", "x", "--pad-to", "0"], "--pad-to"),
        (["query", "--text", "x", "--recv-timeout-s", "inf"], "recv_timeout_s"),
        (["keygen", "/proc/nowhere"], "cannot be written"),
        (["keygen", "keys", "--name", "../server"], "letters, digits"),
        (["report", "/dev/null", "--out", "/nowhere/report.html"], "/nowhere/report.html"),
        (["plan", "--network", "fast"], "MBIT_S,RTT_MS"),
    ],
)
def test_they_are_named(argv: list[str], message: str) -> None:
    done = CliRunner().invoke(app, argv)
    assert done.exit_code in (1, 2), done.output
    assert message in done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception


def test_settings_are_listed_for_one_that_does_not_exist() -> None:
    with pytest.raises(SettingsError, match="recv_timeout_s"):
        load_settings(None, {"colour": 3})
    with pytest.raises(SettingsError) as refused:
        load_settings(None, {"trust": "nobody"})
    assert "recv_timeout_s" not in str(refused.value)


def test_key_files_are_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that fills up in the middle of it leaves nothing that looks like a key in use."""
    dump = json.dump

    def full(content: dict[str, str], file: io.TextIOBase, indent: int) -> None:
        dump(content, file, indent=indent)
        if "secret" not in content:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dump", full)
    with pytest.raises(KeyFileError, match="No space left"):
        generate(tmp_path, "server")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    generate(tmp_path, "server")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.json", "[]"),
        ("config.json", '{"architectures": 7, "vocab_size": 14}'),
        ("config.json", '{"hidden_act": ["gelu"]}'),
        ("config.json", "[" * 100_000),
        ("modules.json", '{"type": 3}'),
        ("modules.json", '["x", 3]'),
    ],
)
def test_files_of_another_kind_are_malformed_models(model: Path, name: str, content: str) -> None:
    before = (model / name).read_text() if (model / name).exists() else None
    (model / name).write_text(content)
    try:
        with pytest.raises((MalformedModel, hf.UnsupportedModel)):
            PrivateModel.load(model)
    finally:
        (model / name).unlink() if before is None else (model / name).write_text(before)


def test_one_line_says_what_is_wrong_with_a_config(model: Path) -> None:
    before = (model / "config.json").read_text()
    (model / "config.json").write_text(json.dumps(json.loads(before) | {"hidden_size": "big"}))
    with pytest.raises(MalformedModel, match=r"hidden: .*integer") as refused:
        PrivateModel.load(model)
    assert "\n" not in str(refused.value)
    (model / "config.json").write_text(before)


def test_a_client_with_another_model_is_told(model: Path) -> None:
    arch = hf.read_architecture(hf.find_model(model))
    hf.check_same(hf.find_model(model), arch)
    with pytest.raises(InputError, match="vocab_size 14 here, 15 there"):
        hf.check_same(hf.find_model(model), arch.model_copy(update={"vocab": 15}))


def test_a_server_cannot_drive_a_terminal(model: Path) -> None:
    """Names from a server are printed by its clients."""
    card = PrivateModel.load(model).card
    for change in ({"name": "\x1b[2Jmodel"}, {"name": "x" * 201}):
        with pytest.raises(ValidationError):
            ModelCard.model_validate(card.model_dump() | change)
    content = card.arch.model_dump() | {"task": "classification", "labels": ("good", "\x1b]0;bad\x07")}
    with pytest.raises(ValidationError, match="printed"):
        Architecture.model_validate(content)


def test_texts_are_text() -> None:
    check_texts(["münchen 😀", ("a", "b")])
    with pytest.raises(InputError, match=r"text 2 .*UTF-8"):
        check_texts(["a", b"\xff the".decode(errors="surrogateescape")])


def test_the_log_shows_no_text_of_an_error_nobody_expected() -> None:
    try:
        raise IndexError("secret 42")
    except IndexError as error:
        line = _where(error)
        assert "secret" in "".join(traceback.format_exception(error))
    assert "IndexError" in line
    assert "test_mistakes.py:" in line
    assert "secret" not in line
