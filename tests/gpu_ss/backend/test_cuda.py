"""The CUDA path without a GPU: the text compiles for real devices, and the host code runs on a stand-in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from gpu_ss.backend import BackendError, cuda, product, source
from gpu_ss.backend.cuda import NVRTC_OPTIONS, CudaBackend
from gpu_ss.backend.signatures import KERNELS
from tests.support import fake_cuda, fake_cupy
from tests.support.backends import CUDA, open_backend

UNITS = sorted({kernel.unit for kernel in KERNELS.values()})
ARCHITECTURES = ["sm_80", "sm_90", "sm_100"]
PROPERTIES = re.compile(
    r"Function properties for (\w+)\n\D*(\d+) bytes stack frame, (\d+) bytes spill stores"
)

COMPILED_ON_CUDA = ["cuda-fake", CUDA]


# The text


def nvcc(unit: str, architecture: str, folder: Path) -> str:
    """ptxas' report on a unit."""
    path = folder / unit
    path.write_text(source.cuda_text(unit))
    command = ["nvcc", *NVRTC_OPTIONS, f"-arch={architecture}", "-cubin", "-Xptxas", "-v", str(path)]
    done = subprocess.run([*command, "-o", str(path) + ".cubin"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr


def nvrtc(unit: str, architecture: str, folder: Path) -> str:
    """The same from NVRTC, which needs no driver."""
    compiler = pytest.importorskip(
        "cupy_backends.cuda.libs.nvrtc", reason="neither nvcc nor CuPy to compile kernels with"
    )
    program = compiler.createProgram(source.cuda_text(unit), unit, [], [])
    options = [*NVRTC_OPTIONS, f"--gpu-architecture={architecture}", "--ptxas-options=-v"]
    compiler.compileProgram(program, options)
    compiler.getCUBIN(program)
    return str(compiler.getProgramLog(program))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("unit", UNITS)
def test_kernels_compile_without_spills(
    unit: str, architecture: str, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    compiler = nvcc if shutil.which("nvcc") else nvrtc
    report = PROPERTIES.findall(compiler(unit, architecture, tmp_path))
    for kernel, stack, spill in report:
        record_property(f"{kernel} {architecture}", f"stack {stack} B")
        assert (stack, spill) == ("0", "0"), kernel
    assert {kernel for kernel, _, _ in report} == {k for k, entry in KERNELS.items() if entry.unit == unit}


@pytest.mark.parametrize("unit", UNITS)
def test_text_is_self_contained_and_as_the_table_says(unit: str) -> None:
    text = source.cuda_text(unit)
    assert '#include "' not in text
    assert "#pragma once" not in text
    declared = {
        name: "".join(p.code for p in parameters)
        for name, parameters in fake_cuda.kernel_parameters(text).items()
    }
    assert declared == {name: kernel.codes for name, kernel in KERNELS.items() if kernel.unit == unit}


def test_every_cuda_file_is_in_the_table() -> None:
    assert [path.name for path in source.units() if path.suffix == ".cu"] == UNITS


def test_cpu_matmul_has_the_signature_of_the_cuda_one() -> None:
    text = (source.FOLDER / "matmul_cpu.cpp").read_text()
    codes = "".join(p.code for p in fake_cuda.kernel_parameters(text)["matmul"])
    assert codes == KERNELS["matmul"].codes


# The host code


@pytest.mark.parametrize("name", COMPILED_ON_CUDA)
@pytest.mark.parametrize(
    ("a", "b"),
    [((9, 70), (70, 11)), ((3, 9, 1100), (1100, 11)), ((3, 9, 7), (3, 7, 5)), ((9, 1025), (3, 1025, 5))],
)
def test_float_products(
    name: str, a: tuple[int, ...], b: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = open_backend(name)
    monkeypatch.setattr(cuda, "_FLOAT64_FROM", 0)
    used = []
    original = product.float_product
    monkeypatch.setattr(product, "float_product", lambda *args: used.append(1) or original(*args))
    rng = np.random.default_rng(4)
    x, y = (rng.integers(0, 2**64, shape, dtype=np.uint64) for shape in (a, b))
    got = backend.to_host(backend.matmul(backend.asarray(x), backend.asarray(y)))
    assert np.array_equal(got, x @ y)
    assert used or name == "cuda"  # consumer cards do not use float64


def test_float_products_are_left_alone_where_they_are_inexact(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cupy.installed():
        backend = CudaBackend()
    monkeypatch.setattr(cuda, "_FLOAT64_FROM", 0)
    original = product.float_product
    monkeypatch.setattr(product, "float_product", lambda *args: original(*args) + np.uint64(1))
    x = np.arange(12, dtype=np.uint64)
    a, b = x.reshape(3, 4), x.reshape(4, 3)
    got = backend.to_host(backend.matmul(backend.asarray(a), backend.asarray(b)))
    assert np.array_equal(got, a @ b)


def test_missing_device_and_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cupy.installed(), pytest.raises(BackendError, match="no CUDA device 1"):
        CudaBackend(1)
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendError, match="pip install"):
        CudaBackend()


def test_driver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise RuntimeError("cudaErrorInsufficientDriver")

    monkeypatch.setattr(fake_cuda.cuda.runtime, "getDeviceCount", fail)
    with fake_cupy.installed(), pytest.raises(BackendError, match="driver"):
        CudaBackend()
