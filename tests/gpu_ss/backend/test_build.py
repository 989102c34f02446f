"""setup.py with pretended compilers: a new build, an unchanged one, a changed one, and none at all."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
NATIVE = "gpu_ss/backend/_native"

pytestmark = [
    pytest.mark.skipif(not (ROOT / "setup.py").exists(), reason="not run from a source tree"),
    pytest.mark.skipif(platform.machine() != "x86_64", reason="counts the libraries of x86-64"),
]

# Notes each run in `runs`; "objects" hold their command line, "libraries" their objects.
COMPILER = """#!/bin/sh
echo run >> {folder}/runs
for last; do :; done
case "$*" in
  *" -c "*) echo "$@" > "$last";;
  *-shared*.o*) cat $(echo "$@" | tr ' ' '\\n' | grep '\\.o$') > "$last";;
esac
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A source tree with as little in it as a build of the kernels needs."""
    project = tmp_path / "project"
    backend = project / "gpu_ss/backend"
    shutil.copytree(ROOT / "gpu_ss/backend/kernels", backend / "kernels")
    shutil.copy(ROOT / "gpu_ss/backend/source.py", backend)
    shutil.copy(ROOT / "setup.py", project)
    (tmp_path / "g++").write_text(COMPILER.format(folder=tmp_path))
    (tmp_path / "g++").chmod(0o755)
    return project


def build(project: Path, compiler: str) -> str:
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_kernels", "--inplace"],
        cwd=project,
        env={**os.environ, "CXX": compiler},
        capture_output=True,
        text=True,
        check=True,
    )
    return "".join(line + "\n" for line in done.stderr.splitlines() if line.startswith("fastlmpi:"))


def test_only_what_changed_is_compiled(project: Path) -> None:
    compiler, runs = project.parent / "g++", project.parent / "runs"

    def compilations() -> int:
        """Runs of the compiler in the next build, without its trial of OpenMP."""
        runs.unlink(missing_ok=True)
        assert build(project, str(compiler)) == ""
        return len(runs.read_text().splitlines()) - 1

    units = [path for path in (project / "gpu_ss/backend/kernels").iterdir() if path.suffix != ".h"]
    everything = 3 * (len(units) + 1)
    assert compilations() == everything
    assert sorted(path.name for path in (project / NATIVE).iterdir()) == [
        "kernels-v2.so",
        "kernels-v3.so",
        "kernels-v4.so",
    ]
    assert compilations() == 0
    with units[0].open("a") as unit:
        unit.write("// changed\n")
    assert compilations() == everything
    (project / NATIVE / "kernels-v3.so").unlink()
    assert compilations() == everything // 3


def test_a_compiler_that_fails_leaves_no_library(project: Path) -> None:
    build(project, str(project.parent / "g++"))
    said = build(project, "false")
    assert said.splitlines()[-1] == "fastlmpi: compiled kernels for v4, v3, v2 left out: false failed"
    assert list((project / NATIVE).iterdir()) == []


def test_without_a_compiler(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(project))
    said = build(project, "")
    assert said.splitlines() == [
        "fastlmpi: compiled kernels left out, NumPy will be used: no C++ compiler found (install g++)"
    ]
    assert not (project / NATIVE).exists()
