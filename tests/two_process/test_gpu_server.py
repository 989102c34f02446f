"""A server that computes on a GPU, here the stand-in, and a client on its CPU, as real processes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import pytest

from net import PeerGone, Program
from tests.support import fake_cuda
from tests.support.parties import CLI, Parties, couple
from transformer import demo

FAKE_SITE = Path(__file__).parents[1] / "support" / "fake_site"
ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="the stand-in compiles with g++")


@contextmanager
def gpu_server(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch, *options: str
) -> Iterator[Parties]:
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_SITE}:{ROOT}")
    monkeypatch.setenv("FAKE_CUPY_CACHE", str(fake_cuda.folder()))
    with couple(folder, model, ["--backend", "cuda", "--device", "1", *options]) as running:
        yield running


def test_a_query_to_a_gpu_server(folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with gpu_server(folder, model, monkeypatch) as pair:
        assert min(pair.answer("the cat sat")["cosine"]) > 0.9999


def test_a_full_gpu_is_told_to_both_sides_and_the_server_goes_on(
    folder: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with gpu_server(folder, model, monkeypatch, "--gpu-memory-limit", "1") as pair:
        for _ in range(2):
            failed = pair.query("the cat sat")
            assert failed.returncode == 1
            assert "ran out of memory: use a smaller batch or shorter texts" in failed.stderr
        log = pair.running.output("server")[1]
    assert log.count("out of memory on CUDA device 1") == 2
    assert "of the 1 MB it may take (--gpu-memory-limit)" in log


def test_the_demo_hands_the_gpu_on_to_its_programs(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{FAKE_SITE}:{ROOT}")
    argv = [*CLI, "demo", "--model", str(model), "--backend", "cuda", "--gpu-memory-limit", "900"]
    done = subprocess.run([*argv, "--device", "7"], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    assert "there is no CUDA device 7" in done.stderr
    started: list[list[str]] = []

    def launched(programs: list[Program], timeout_s: float) -> NoReturn:
        started.extend(program.argv for program in programs)
        raise PeerGone("far enough")

    monkeypatch.setattr(demo, "launch", launched)
    given = {
        "model": str(model),
        "backend": "cuda",
        "device": 0,
        "gpu_memory_limit_mb": 900,
        "trust": "dealer",
    }
    with pytest.raises(PeerGone):
        demo.run_demo(given, None, None, True)
    (dealer,) = started
    assert dealer[dealer.index("--device") :][:4] == ["--device", "0", "--gpu-memory-limit", "900"]
    assert os.environ.pop("FASTLMPI_GPU_MEMORY_MB") == "900"
