"""Profiles between real processes: agreed on, refused when not, in both trust modes; and the study of them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.support.models import make_model
from tests.support.parties import CLI, couple, parties

TEXT = "the cat sat on the mat ."


def test_both_must_name_the_same_profile(folder: Path, model: Path) -> None:
    with parties(folder, model, ["--profile", "puma"]) as trio:
        done = trio.query(TEXT)
        assert done.returncode == 1
        assert "profile" in done.stderr
        assert "puma" in done.stderr
        assert "Traceback" not in done.stderr
        found = trio.answer(TEXT, extra=["--profile", "puma"])
    assert found["profile"] == "puma"
    assert found["trust"] == "dealer"
    assert min(found["cosine"]) > 0.99


def test_two_parties_alone(folder: Path, model: Path) -> None:
    with couple(folder, model, ["--profile", "fastlmpi"]) as pair:
        found = pair.answer(TEXT, extra=["--profile", "fastlmpi"])
    assert found["profile"] == "fastlmpi"
    assert found["trust"] == "two-party"
    assert min(found["cosine"]) > 0.9999


def test_a_profile_that_does_not_exist() -> None:
    for command in (["plan", "--profile", "exact"], ["accuracy", "--profile", "precise,exact"]):
        done = subprocess.run([*CLI, *command], capture_output=True, text=True, timeout=100)
        assert done.returncode == 1
        assert "profile" in done.stderr
        assert "gaussian-kernel" in done.stderr
        assert "Traceback" not in done.stderr


def test_accuracy_of_labelled_texts_with_a_private_sample(tmp_path: Path) -> None:
    labels = {0: "calm", 1: "urgent", 2: "unknown"}
    model = make_model(
        tmp_path / "model",
        "BertForSequenceClassification",
        num_hidden_layers=1,
        id2label=labels,
        label2id={v: k for k, v in labels.items()},
    )
    lines = ("urgent\ta dog ran on the mat .", "calm\tthe cat sat .", "2\tthe dog .", "calm\ta cat ran")
    (tmp_path / "labelled.tsv").write_text("\n".join(lines) + "\n")
    files = {"json": tmp_path / "study.json", "plot": tmp_path / "study.png"}
    argv = [*CLI, "accuracy", "--model", str(model), "--labelled", str(tmp_path / "labelled.tsv"), "--quiet"]
    argv += ["--profile", "precise,secformer,the-x", "--private", "1"]
    argv += ["--json", str(files["json"]), "--plot", str(files["plot"])]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr
    assert "secformer needs a model fine-tuned to 2Quad" in done.stdout
    study = json.loads(files["json"].read_text())
    precise, secformer, the_x = study["figures"]
    assert (secformer["profile"], the_x["profile"]) == ("secformer", "the-x")
    assert precise["texts"] == 4
    assert precise["agreement"] == 1.0
    assert precise["accuracy"] == precise["clear_accuracy"]
    assert len(precise["layers"]) == 2
    assert max(precise["layers"]) < 3e-3 < min(max(secformer["layers"]), max(the_x["layers"]))
    for figures in study["figures"]:
        sample = figures["private"]
        assert sample["texts"] == 1
        assert sample["max_difference"] < 1e-2, "the emulation is the private run but for truncation"
        assert sample["rounds"] == figures["rounds"]
        assert sample["online_bytes"] > 0
    assert files["plot"].read_bytes().startswith(b"\x89PNG")


def test_files_that_accuracy_cannot_use(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", num_hidden_layers=1)
    (tmp_path / "texts").write_text("the cat\n")
    for options, message in (
        (["--labelled", str(tmp_path / "texts")], "classification"),
        (["--texts", str(tmp_path / "none")], "cannot be read"),
        (["--texts", str(tmp_path / "texts"), "--text", "a dog"], "not several"),
    ):
        argv = [*CLI, "accuracy", "--model", str(model), *options]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=100)
        assert done.returncode == 1
        assert message in done.stderr
        assert "Traceback" not in done.stderr
