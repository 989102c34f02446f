"""Compiles the CPU kernels while the package is built; everything else is in pyproject.toml.

One library per x86-64 level (one plain library elsewhere); which one is used is decided at run time. They are
loaded with ctypes, so one wheel serves every Python version. Without a working C++ compiler the package is
built without them, and computes with NumPy.
"""

from __future__ import annotations

import hashlib
import os
import platform
import runpy
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from setuptools import Command, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build import build

ROOT = Path(__file__).parent
NATIVE = Path("gpu_ss/backend/_native")
SOURCE = runpy.run_path(str(ROOT / "gpu_ss/backend/source.py"))

FLAGS = ["-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi"]
LEVELS = {
    "v4": ["-march=x86-64-v4", "-mprefer-vector-width=512"],
    "v3": ["-march=x86-64-v3"],
    "v2": ["-march=x86-64-v2"],
}


def say(text: str) -> None:
    print(f"fastlmpi: {text}", file=sys.stderr)


def levels() -> dict[str, list[str]]:
    return LEVELS if platform.machine().lower() in ("x86_64", "amd64") else {"base": []}


def run_compiler(command: list[str]) -> None:
    """Run it; a failure is a RuntimeError with the first complaint."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = done.stderr.splitlines()
        complaints = [*(line for line in lines if "error" in line), *lines, f"{command[0]} failed"]
        raise RuntimeError(complaints[0])


class Compiler:
    """The C++ compiler that was found, with the flags it takes."""

    def __init__(self) -> None:
        self.command = shlex.split(os.environ.get("CXX", ""))
        if not self.command:
            found = next(filter(None, map(shutil.which, ("g++", "clang++"))), None)
            if found is None:
                raise RuntimeError("no C++ compiler found (install g++)")
            self.command = [found]
        self.command += [*FLAGS, *self._openmp()]

    def _openmp(self) -> list[str]:
        with tempfile.TemporaryDirectory() as folder:
            empty = Path(folder, "empty.cpp")
            empty.touch()
            try:
                run_compiler([*self.command, "-fopenmp", "-shared", str(empty), "-o", f"{folder}/empty.so"])
            except (RuntimeError, OSError):
                say("the compiler has no OpenMP: kernels will use one thread")
                return ["-Wno-unknown-pragmas"]
        return ["-fopenmp"]

    def stamp(self, flags: list[str]) -> str:
        """What a library is compiled from and how; it is part of the library."""
        command = hashlib.blake2b(repr((self.command, flags)).encode(), digest_size=8)
        return f"{SOURCE['digest']()}-{command.hexdigest()}"

    def compile(self, unit: Path, flags: list[str], folder: Path) -> str:
        """Compile one source file; returns the object file."""
        folder.mkdir(exist_ok=True)
        target = str(folder / f"{unit.name}.o")
        define = f'-DBUILD_STAMP="{self.stamp(flags)}"'
        run_compiler([*self.command, *flags, define, "-x", "c++", "-c", str(unit), "-o", target])
        return target

    def link(self, objects: list[str], flags: list[str], target: Path) -> None:
        """Put the library in place in one step: another process may be about to load it."""
        fresh = target.with_suffix(".new")
        run_compiler([*self.command, *flags, "-shared", *objects, "-o", str(fresh)])
        fresh.replace(target)


def build_libraries(folder: Path) -> None:
    """Bring the libraries in `folder` up to date; those that cannot be built are absent afterwards."""
    folder.mkdir(parents=True, exist_ok=True)
    try:
        compiler = Compiler()
    except RuntimeError as error:
        shutil.rmtree(folder)
        say(f"compiled kernels left out, NumPy will be used: {error}")
        return
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor(os.cpu_count()) as pool:
        jobs: dict[str, list[Future[str]]] = {}
        for level, flags in levels().items():
            target = library(folder, level)
            if not target.exists() or compiler.stamp(flags).encode() not in target.read_bytes():
                target.unlink(missing_ok=True)
                units = SOURCE["units"]()
                jobs[level] = [pool.submit(compiler.compile, u, flags, Path(scratch, level)) for u in units]
        failed: dict[str, str] = {}
        for level, objects in jobs.items():
            try:
                compiler.link([job.result() for job in objects], levels()[level], library(folder, level))
            except (RuntimeError, OSError) as error:
                failed[level] = str(error)
    if failed:
        say(f"compiled kernels for {', '.join(failed)} left out: {'; '.join(dict.fromkeys(failed.values()))}")


def library(folder: Path, level: str) -> Path:
    return folder / f"kernels-{level}.so"


class BuildKernels(Command):
    """Sub-command of `build`: the libraries, in the source tree for an editable install, else in the build.

    On its own, `python setup.py build_kernels --inplace` refreshes the source tree.
    """

    description = "compile the CPU kernels"
    user_options = [("inplace", "i", "put the libraries into the source tree")]  # noqa: RUF012
    boolean_options = ["inplace"]  # noqa: RUF012

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.editable_mode = False
        self.inplace = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"))

    def run(self) -> None:
        build_libraries(self._folder())

    def _folder(self) -> Path:
        in_tree = self.editable_mode or self.inplace
        return ROOT / NATIVE if in_tree else Path(str(self.build_lib)) / NATIVE

    def _libraries(self) -> list[str]:
        return sorted(path.name for path in self._folder().glob("*.so"))

    def get_source_files(self) -> list[str]:
        return []  # the kernels are package data

    def get_outputs(self) -> list[str]:
        return [str(Path(str(self.build_lib)) / NATIVE / name) for name in self._libraries()]

    def get_output_mapping(self) -> dict[str, str]:
        if not self.editable_mode:
            return {}
        return {output: str(NATIVE / Path(output).name) for output in self.get_outputs()}


class Wheel(bdist_wheel):
    """A wheel for every Python 3: of this platform when it holds libraries, of any when not."""

    def run(self) -> None:
        self.run_command("build")
        native = bool(self.get_finalized_command("build_kernels").get_outputs())
        self.distribution.has_ext_modules = lambda: native  # where `install` puts the files
        self.root_is_pure = not native
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


build.sub_commands.insert(0, ("build_kernels", None))
setup(cmdclass={"build_kernels": BuildKernels, "bdist_wheel": Wheel})
