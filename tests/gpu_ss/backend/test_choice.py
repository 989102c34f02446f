"""`get_backend`, `available`, and what they say when something is missing."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gpu_ss.backend import BackendError, MissingKernelsWarning, available, choice, get_backend, native
from gpu_ss.backend.reference import ReferenceBackend
from tests.support import fake_cupy


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings, no CuPy, and nothing remembered before or after."""
    for name in ("FASTLMPI_BACKEND", "FASTLMPI_ISA", "FASTLMPI_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setitem(__import__("sys").modules, "cupy", None)
    choice._verified.cache_clear()
    choice._warn_once.cache_clear()
    yield
    choice._verified.cache_clear()
    choice._warn_once.cache_clear()


def missing(text: str) -> Callable[..., Any]:
    def fail(*_: object) -> Any:
        raise BackendError(text)

    return fail


class Compiled(ReferenceBackend):
    """Stands for a compiled backend that works."""

    name = "cpu"


class Wrong(ReferenceBackend):
    """Computes, but not the right words."""

    name = "cpu"

    def keystream(self, key: bytes, nonce: int, first_block: int, n_words: int) -> Any:
        return self.zeros(n_words)


class Broken(ReferenceBackend):
    """Is there, but no kernel runs."""

    name = "cpu"

    def matmul(self, a: Any, b: Any, bits: int = 64) -> Any:
        raise RuntimeError("CUDA_ERROR_NO_BINARY_FOR_GPU")


def test_auto_prefers_cuda_then_compiled_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "CpuBackend", Compiled)
    assert type(get_backend()) is Compiled
    with fake_cupy.installed():
        assert get_backend().name == "cuda"
        assert get_backend("auto") is get_backend("cuda")


def test_auto_falls_back_to_numpy_with_one_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "CpuBackend", missing("kernels are not compiled: install g++"))
    with pytest.warns(
        MissingKernelsWarning, match=r"NumPy.*cuda: CuPy is not.*cpu: .*install g\+\+"
    ) as caught:
        assert get_backend().name == "reference"
    assert caught[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get_backend().name == "reference"


@pytest.mark.parametrize(("backend", "complaint"), [(Wrong, "wrong words"), (Broken, "NO_BINARY")])
def test_a_backend_that_fails_its_trial_is_not_used(
    backend: type[ReferenceBackend], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choice, "CpuBackend", backend)
    with pytest.raises(BackendError, match=complaint):
        get_backend("cpu")
    with pytest.warns(MissingKernelsWarning, match=complaint):
        assert type(get_backend()) is ReferenceBackend


def test_cpu_without_compiled_kernels_is_numpy_and_says_so(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(native, "FOLDER", tmp_path)
    with pytest.warns(MissingKernelsWarning, match="no compiled kernels") as caught:
        assert get_backend("cpu").name == "reference"
    assert caught[0].filename == __file__


def test_named_backends_never_fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "CpuBackend", missing("install g++"))
    for name, complaint in [("cpu", "install g"), ("cuda", "pip install"), ("cuda:1", "pip install")]:
        with pytest.raises(BackendError, match=complaint):
            get_backend(name)
    for name in ("gpu", "cuda:x", "cuda:-1", ""):
        with pytest.raises(BackendError, match="unknown backend"):
            get_backend(name)


def test_environment_overrides_auto_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTLMPI_BACKEND", "reference")
    assert get_backend().name == "reference"
    monkeypatch.setenv("FASTLMPI_BACKEND", "cuda")
    with pytest.raises(BackendError):
        get_backend()
    assert get_backend("reference").name == "reference"


def test_available_lists_what_works_and_why_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "CpuBackend", missing("install g++"))
    rows = {row.name: row for row in available()}
    assert list(rows) == ["reference", "cpu", "cuda"]
    assert rows["reference"].usable
    assert rows["reference"].details["numpy"]
    assert not rows["cpu"].usable
    assert rows["cpu"].reason == "install g++"
    assert "CuPy" in rows["cuda"].reason
    with fake_cupy.installed():
        rows = {row.name: row for row in available()}
    assert rows["cuda"].usable
    assert rows["cuda"].details["device"] == "0: fake device"
