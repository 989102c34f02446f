"""The compiled CPU library: which instruction set, how many threads, and loading it.

setup.py compiles one library per x86-64 level (v2: SSE4.2, v3: AVX2, v4: AVX-512) and `base` elsewhere.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from gpu_ss.backend import source
from gpu_ss.backend.errors import BackendError, KernelsMissingError
from gpu_ss.backend.signatures import KERNELS

FOLDER = Path(__file__).parent / "_native"
REINSTALL = "install a C++ compiler (such as apt install g++), then install fastlmpi again"

# malloc.h
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4
_KEPT_BYTES = 512 << 20

#: A kernel as `KERNELS` describes it: arrays, numbers, then the number of items.
KernelFn = Callable[..., None]

# What Linux calls the features of each level, best level first (x86-64 psABI, section 3.1.1).
_V2 = {"cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"}
_V3 = _V2 | {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe"}
_V4 = _V3 | {"avx512bw", "avx512cd", "avx512dq", "avx512f", "avx512vl"}
_LEVELS: dict[str, set[str]] = {"v4": _V4, "v3": _V3, "v2": _V2, "base": set()}


@cache
def cpu_features() -> frozenset[str]:
    """Feature names of this x86-64 processor; empty on others."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":")[1] for line in lines if line.startswith("flags")), "").split())


def executable() -> list[str]:
    """Levels this processor can run, best first."""
    return [level for level, needs in _LEVELS.items() if needs <= cpu_features()]


def library(level: str) -> Path:
    """Where the library of a level is, or would be."""
    return FOLDER / f"kernels-{level}.so"


def choose(level: str | None = None) -> str:
    """The level to use: the given one, else FASTLMPI_ISA, else the best that is compiled and runs here."""
    wanted = level or os.environ.get("FASTLMPI_ISA")
    if wanted:
        if wanted not in _LEVELS:
            raise BackendError(f"unknown instruction set {wanted!r}: choose one of {', '.join(_LEVELS)}")
        if wanted not in executable():
            raise BackendError(f"this processor cannot run {wanted} code, only {', '.join(executable())}")
        if not library(wanted).exists():
            raise BackendError(f"{library(wanted)} is missing: {REINSTALL}")
        return wanted
    for candidate in executable():
        if library(candidate).exists():
            return candidate
    raise KernelsMissingError(f"no compiled kernels in {FOLDER}: {REINSTALL}")


def thread_count() -> int:
    """FASTLMPI_THREADS, else OMP_NUM_THREADS, else the cores this process may run on."""
    for variable in ("FASTLMPI_THREADS", "OMP_NUM_THREADS"):
        text = os.environ.get(variable, "").split(",")[0]
        if text:
            if not text.isdecimal() or int(text) < 1:
                raise BackendError(f"{variable} must be a positive number, not {text!r}")
            return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share_cores(parties: int) -> None:
    """Leave each of so many processes that compute at the same time on this machine its part of the cores.

    For this process and those it starts; a setting of the user's own stays. More threads than cores would wait for
    each other within every kernel. Where the parties take turns each may have them all (`threads_in_turn`).
    """
    if not {"FASTLMPI_THREADS", "OMP_NUM_THREADS"} & os.environ.keys():
        cores = thread_count()
        os.environ["FASTLMPI_THREADS_IN_TURN"] = str(cores)
        os.environ["FASTLMPI_THREADS"] = str(max(1, cores // parties))


def threads_in_turn(threads: int) -> int:
    """How many threads a party with `threads` may use while the other one waits: `share_cores` says so."""
    text = os.environ.get("FASTLMPI_THREADS_IN_TURN", "")
    return max(threads, int(text) if text.isdecimal() else 1)


def load(level: str, threads: int) -> dict[str, KernelFn]:
    """The kernels of a library by name, ready to be called."""
    path = library(level)
    try:
        with _sleeping_threads():
            lib = ctypes.CDLL(str(path))
        _check_stamp(lib, path)
        functions = {name: _function(lib, name, kernel.codes) for name, kernel in KERNELS.items()}
        set_threads = _function(lib, "set_threads", "i")
    except (OSError, AttributeError, ValueError) as error:
        raise BackendError(f"{path} cannot be loaded ({error}): {REINSTALL}") from error
    set_threads(threads)
    functions["set_threads"] = set_threads
    _keep_freed_memory()
    # The OpenMP runtime's threads do not survive a fork, and waiting for them would last forever.
    os.register_at_fork(after_in_child=lambda: set_threads(1))
    return functions


@contextmanager
def _sleeping_threads() -> Iterator[None]:
    """While the OpenMP runtime starts, tell it that idle threads sleep instead of spinning.

    It reads the environment once, when it is first loaded. Two parties on one machine share its cores:
    threads that spin between kernels would take the other party's time. A setting of the user's own is
    respected, and neither child processes nor other libraries see ours.
    """
    if {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
        yield
        return
    os.environ["OMP_WAIT_POLICY"] = "passive"
    try:
        yield
    finally:
        del os.environ["OMP_WAIT_POLICY"]


def _keep_freed_memory() -> None:
    """Tell glibc to keep some freed memory for the next arrays, instead of giving it back and fetching new pages.

    The kernels' outputs are as large each time, and a page that is new to the process costs more than the kernel
    takes to fill it: a fifth of a client's time. Settings of the user's own are respected.
    """
    if any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ):
        return
    with suppress(OSError, AttributeError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)  # no array has pages of its own, which would go back with it
        mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)


def give_back() -> None:
    """Tell glibc to give back what is free, also between arrays that are in use."""
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def _check_stamp(lib: ctypes.CDLL, path: Path) -> None:
    current = source.digest().encode()
    stamp = (ctypes.c_char * len(current)).in_dll(lib, "build_stamp").raw
    if stamp != current:
        raise BackendError(f"{path} was compiled from other sources: run pip install -e . again")


class _Words:
    """ctypes parameter type of an array of words: passes the address of its data."""

    _view = (ctypes.c_char * 0).from_buffer

    @classmethod
    def from_param(cls, array: Any) -> object:
        try:
            return cls._view(array)  # several times faster than array.ctypes, but refuses read-only arrays
        except TypeError:
            return ctypes.c_void_p(array.ctypes.data)


_TYPES = {"p": _Words, "h": _Words, "u": ctypes.c_uint64, "i": ctypes.c_int64}


def _function(lib: ctypes.CDLL, name: str, codes: str) -> KernelFn:
    function = lib[name]  # a new object, whose parameter types are ours alone
    function.argtypes = [_TYPES[code] for code in codes]
    function.restype = None
    return function
