"""Key files: permissions, refusals, and no secret on display."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from zmq.utils import z85

from net import KeyFileError, KeyPair, PublicKey, generate, load_authorised, load_keys, load_public
from net.identity import check_key
from tests.net.helpers import CLIENT, new_keys


def test_round_trip_and_permissions(tmp_path: Path) -> None:
    keys = generate(tmp_path / "new", "client")
    secret_file, public_file = tmp_path / "new/client.key", tmp_path / "new/client.pub"
    assert load_keys(secret_file) == keys
    assert load_public(public_file) == keys.public
    assert secret_file.stat().st_mode & 0o777 == 0o600
    assert secret_file.parent.stat().st_mode & 0o077 == 0
    assert keys.secret not in public_file.read_text()


def test_keys_differ_and_names_are_kept() -> None:
    first, second = new_keys("a"), new_keys("a")
    assert first.secret != second.secret
    assert first.name == "a"


def test_the_secret_never_shows() -> None:
    assert CLIENT.secret not in repr(CLIENT)
    assert CLIENT.secret not in f"{CLIENT}"
    with pytest.raises(ValueError, match="40 characters") as caught:
        KeyPair(CLIENT.public, CLIENT.secret[:-1])
    assert CLIENT.secret[:-1] not in str(caught.value)


@pytest.mark.parametrize("left", ["client.key", "client.pub"])
def test_nothing_is_overwritten(tmp_path: Path, left: str) -> None:
    (tmp_path / left).write_text("precious")
    with pytest.raises(KeyFileError, match="not overwritten"):
        generate(tmp_path, "client")
    assert (tmp_path / left).read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == [left]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_secret_that_others_can_reach_is_refused(tmp_path: Path, mode: int) -> None:
    generate(tmp_path, "client")
    (tmp_path / "client.key").chmod(mode)
    with pytest.raises(KeyFileError, match="chmod 600"):
        load_keys(tmp_path / "client.key")


@pytest.mark.parametrize("name", ["", "../x", ".hidden", "a b", "x" * 65, "-rf", "ü"])
def test_bad_names(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="name"):
        generate(tmp_path / "d", name)


@given(st.binary(min_size=32, max_size=32))
def test_every_key_is_a_key(raw: bytes) -> None:
    check_key(z85.encode(raw).decode())


@pytest.mark.parametrize("text", ["", "0" * 39, "0" * 41, "%nSc1" * 8, "#" * 40, " " * 40, "é" * 40])
def test_other_texts_are_none(text: str) -> None:
    with pytest.raises(ValueError, match="Z85"):
        PublicKey("x", text)


def spoilt(content: dict[str, str]) -> dict[str, str]:
    return {
        "not json": "{",
        "a list": "[]",
        "deep": "[" * 4000,
        "too long": json.dumps(content) + " " * 5000,
        "a field too many": json.dumps(content | {"more": "x"}),
        "a field missing": json.dumps({k: v for k, v in content.items() if k != "public"}),
        "a number": json.dumps(content | {"name": 1}),
        "another version": json.dumps(content | {"format": "fastlmpi-key-2"}),
        "a bad name": json.dumps(content | {"name": "a/b"}),
        "a bad key": json.dumps(content | {"public": "x"}),
    }


@pytest.mark.parametrize("kind", spoilt({}))
def test_malformed_files_are_refused(tmp_path: Path, kind: str) -> None:
    keys = generate(tmp_path, "client")
    for file, load in (("client.key", load_keys), ("client.pub", load_public)):
        path = tmp_path / file
        path.write_text(spoilt(json.loads(path.read_text()))[kind])
        with pytest.raises(KeyFileError, match=file) as caught:
            load(path)
        assert keys.secret not in str(caught.value)


def test_halves_that_do_not_belong_together(tmp_path: Path) -> None:
    generate(tmp_path, "client")
    path = tmp_path / "client.key"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"public": new_keys("x").public.z85}))
    with pytest.raises(KeyFileError, match="do not belong together"):
        load_keys(path)


def test_a_secret_file_is_not_taken_for_a_public_one(tmp_path: Path) -> None:
    generate(tmp_path, "client")
    with pytest.raises(KeyFileError):
        load_public(tmp_path / "client.key")


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="No such file"):
        load_public(tmp_path / "nobody.pub")


def test_authorised_from_files_and_directories(tmp_path: Path) -> None:
    a, b = (generate(tmp_path, name).public for name in "ab")
    c = generate(tmp_path / "more", "c").public
    assert load_authorised(tmp_path) == (a, b)
    assert load_authorised(tmp_path / "b.pub", tmp_path / "more") == (b, c)
    (tmp_path / "empty").mkdir()
    with pytest.raises(KeyFileError, match=r"no \.pub file"):
        load_authorised(tmp_path / "empty")
    shutil.copy(tmp_path / "a.pub", tmp_path / "again.pub")
    with pytest.raises(KeyFileError, match="share a name or a key"):
        load_authorised(tmp_path)
