"""The CPU backend: the kernels compiled by setup.py, called through ctypes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpu_ss.backend import native
from gpu_ss.backend.host import HostMemory
from gpu_ss.backend.kernel import KernelBackend


class CpuBackend(KernelBackend, HostMemory):
    """Compiled kernels, for the best instruction set and on all cores unless told otherwise.

    The number of threads is one per process and instruction set: the last backend created sets it.
    """

    name = "cpu"
    _transforms_at_once = True
    _sums_at_once = True

    def __init__(self, isa: str | None = None, threads: int | None = None) -> None:
        self._isa = native.choose(isa)
        self._threads = threads or native.thread_count()
        self._functions = native.load(self._isa, self._threads)

    @property
    def details(self) -> dict[str, str]:
        return {
            "isa": self._isa,
            "threads": str(self._threads),
            "library": str(native.library(self._isa)),
        }

    @contextmanager
    def taking_turns(self) -> Iterator[None]:
        most = native.threads_in_turn(self._threads)
        self._functions["set_threads"](most)
        try:
            yield
        finally:
            self._functions["set_threads"](self._threads)

    def give_back(self) -> None:
        native.give_back()

    def _launch(self, kernel: str, n: int, *args: Any) -> None:
        self._functions[kernel](*args, n)
