"""The compiled library as such: choosing it, loading it, its threads."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpu_ss.backend import BackendError, native
from gpu_ss.backend.cpu import CpuBackend
from gpu_ss.backend.reference import ReferenceBackend

LEVELS = [level for level in native.executable() if native.library(level).exists()]

needs_library = pytest.mark.skipif(
    not LEVELS, reason="no compiled kernels: pip install -e . with a C++ compiler"
)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("FASTLMPI_ISA", "FASTLMPI_THREADS", "FASTLMPI_THREADS_IN_TURN", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    return monkeypatch


def run(program: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """A fresh interpreter, since the OpenMP runtime reads its settings once."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    return subprocess.run(
        [sys.executable, "-c", program],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )


@needs_library
def test_best_level_is_chosen(environment: pytest.MonkeyPatch) -> None:
    assert native.choose() == LEVELS[0]
    environment.setenv("FASTLMPI_ISA", LEVELS[-1])
    assert native.choose() == LEVELS[-1]
    assert CpuBackend().details["isa"] == LEVELS[-1]
    assert native.choose(LEVELS[0]) == LEVELS[0]


def test_levels_need_their_features(environment: pytest.MonkeyPatch) -> None:
    assert native.executable()[-1] == "base"
    environment.setattr(native, "cpu_features", lambda: frozenset(native._V2))
    assert native.executable() == ["v2", "base"]
    with pytest.raises(BackendError, match="cannot run v4"):
        native.choose("v4")
    with pytest.raises(BackendError, match="unknown instruction set 'v5'"):
        native.choose("v5")


def test_missing_library(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setattr(native, "FOLDER", tmp_path)
    with pytest.raises(BackendError, match="install a C"):
        native.choose()
    with pytest.raises(BackendError, match="install a C"):
        native.choose(native.executable()[0])


@needs_library
def test_library_that_is_broken_or_outdated(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    level = LEVELS[0]
    environment.setattr(native.source, "digest", lambda: "0" * 16)
    with pytest.raises(BackendError, match="compiled from other sources"):
        CpuBackend()
    environment.setattr(native, "FOLDER", tmp_path)
    native.library(level).write_bytes(b"not a library")
    with pytest.raises(BackendError, match="cannot be loaded"):
        CpuBackend()


def test_thread_count(environment: pytest.MonkeyPatch) -> None:
    assert native.thread_count() == len(os.sched_getaffinity(0))
    environment.setenv("OMP_NUM_THREADS", "3,2")
    assert native.thread_count() == 3
    environment.setenv("FASTLMPI_THREADS", "1")
    assert native.thread_count() == 1
    for wrong in ("0", "-1", "many"):
        environment.setenv("FASTLMPI_THREADS", wrong)
        with pytest.raises(BackendError, match="FASTLMPI_THREADS"):
            native.thread_count()


def test_parties_of_one_machine_share_its_cores(environment: pytest.MonkeyPatch) -> None:
    """Each has its part, and all of them while the other one waits; a user's own setting stays, and is the most."""
    cores = len(os.sched_getaffinity(0))
    environment.setattr(os, "environ", dict(os.environ))
    native.share_cores(2)
    assert (native.thread_count(), native.threads_in_turn(1)) == (max(1, cores // 2), cores)
    environment.setattr(os, "environ", dict(os.environ) | {"FASTLMPI_THREADS": "3"})
    del os.environ["FASTLMPI_THREADS_IN_TURN"]
    native.share_cores(2)
    assert (native.thread_count(), native.threads_in_turn(3)) == (3, 3)


@needs_library
def test_threads_while_the_parties_take_turns(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("FASTLMPI_THREADS_IN_TURN", "5")
    backend = CpuBackend(threads=2)
    told: list[int] = []
    environment.setitem(backend._functions, "set_threads", told.append)
    with pytest.raises(KeyError), backend.taking_turns():
        raise KeyError
    assert told == [5, 2]


LOAD = "from gpu_ss.backend.cpu import CpuBackend; backend = CpuBackend(threads=2); import os;"


@needs_library
def test_idle_threads_sleep() -> None:
    done = run(LOAD + "print('OMP_WAIT_POLICY' in os.environ)", OMP_DISPLAY_ENV="VERBOSE")
    assert "GOMP_SPINCOUNT = '0'" in done.stderr
    assert done.stdout == "False\n"


@needs_library
def test_the_users_waiting_policy_is_kept() -> None:
    done = run(LOAD, OMP_DISPLAY_ENV="VERBOSE", GOMP_SPINCOUNT="77")
    assert "GOMP_SPINCOUNT = '77'" in done.stderr


@needs_library
def test_a_forked_child_can_compute() -> None:
    program = LOAD + (
        "backend.keystream(bytes(32), 0, 0, 10**6);"
        "child = os.fork();"
        "words = backend.keystream(bytes(32), 0, 0, 10**6);"
        "os._exit(7 if words.any() else 1) if child == 0 else print(os.waitstatus_to_exitcode(os.wait()[1]))"
    )
    assert run(program).stdout == "7\n"


@needs_library
def test_threads_of_the_program_can_share_a_backend() -> None:
    from concurrent.futures import ThreadPoolExecutor

    backend, reference = CpuBackend(), ReferenceBackend()
    with ThreadPoolExecutor(4) as pool:
        streams = list(pool.map(lambda nonce: backend.keystream(bytes(32), nonce, 0, 30_000), range(8)))
    for nonce, stream in enumerate(streams):
        assert np.array_equal(stream, reference.keystream(bytes(32), nonce, 0, 30_000))
