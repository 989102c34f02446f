"""Backends to run tests on: every kind this machine has, and CUDA on the stand-in where it has no GPU.

@pytest.mark.parametrize("backend_name", EVERY_BACKEND)
def test_something(backend_name):
    backend = open_backend(backend_name)      # skips the test when it cannot be had
"""

from __future__ import annotations

import shutil
from functools import cache

import pytest

from gpu_ss.backend import Backend, BackendError, native
from gpu_ss.backend.cpu import CpuBackend
from gpu_ss.backend.cuda import CudaBackend
from gpu_ss.backend.reference import ReferenceBackend
from tests.support import fake_cupy
from tests.support.ptx.module import PtxModule, compiler

_LEVELS = [level for level in ("base", "v2", "v3", "v4") if native.library(level).exists()] or ["v2"]

CUDA = pytest.param("cuda", marks=pytest.mark.gpu)
COMPILED_BACKENDS = [*(f"cpu-{level}" for level in _LEVELS), "cuda-fake", "cuda-ptx", CUDA]
EVERY_BACKEND = ["reference", *COMPILED_BACKENDS]


def open_backend(name: str) -> Backend:
    """The backend of that name, the same one every time; its device is the current one."""
    try:
        backend = _open(name)
    except BackendError as error:
        pytest.skip(str(error))
    backend.activate()
    return backend


@cache
def _open(name: str) -> Backend:
    if name == "reference":
        return ReferenceBackend()
    if name == "cuda":
        return CudaBackend()
    if name == "cuda-fake":
        if shutil.which("g++") is None:
            raise BackendError("the CUDA stand-in compiles kernels with g++, which is missing")
        with fake_cupy.installed():
            return CudaBackend()
    if name == "cuda-ptx":
        if not compiler():
            raise BackendError("neither nvcc nor CuPy to make PTX with")
        with fake_cupy.installed(PtxModule):
            return CudaBackend()
    return CpuBackend(isa=name.removeprefix("cpu-"))
