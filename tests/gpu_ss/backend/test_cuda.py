"""The CUDA path without a GPU: the text compiles for real devices, and the host code runs on a stand-in."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gpu_ss.backend import BackendError, source
from gpu_ss.backend.cuda import NVRTC_OPTIONS, CudaBackend
from gpu_ss.backend.signatures import CUDA_KERNELS, KERNELS
from tests.support import fake_cuda, fake_cupy

EVERY_KERNEL = KERNELS | CUDA_KERNELS
UNITS = sorted({kernel.unit for kernel in EVERY_KERNEL.values()})
ARCHITECTURES = ["sm_80", "sm_90", "sm_100"]
PROPERTIES = re.compile(
    r"Function properties for (\w+)\n\D*(\d+) bytes stack frame, (\d+) bytes spill stores"
    r".*\n.*Used (\d+) registers(?:.* (\d+) bytes smem)?"
)
REGISTERS, SHARED = 65536, 99 << 10  # of a multiprocessor, and what a block may ask for, from sm_80 on


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
    for kernel, stack, spill, registers, static in report:
        record_property(f"{kernel} {architecture}", f"{registers} registers")
        assert (stack, spill, static) == ("0", "0", ""), kernel
        assert int(registers) * EVERY_KERNEL[kernel].block <= REGISTERS, kernel
        assert EVERY_KERNEL[kernel].shared <= SHARED, kernel
    assert {found[0] for found in report} == {k for k, entry in EVERY_KERNEL.items() if entry.unit == unit}


@pytest.mark.parametrize("unit", UNITS)
def test_text_is_self_contained_and_as_the_table_says(unit: str) -> None:
    text = source.cuda_text(unit)
    assert '#include "' not in text
    assert "#pragma once" not in text
    declared = {
        name: "".join(p.code for p in parameters)
        for name, parameters in fake_cuda.kernel_parameters(text).items()
    }
    assert declared == {name: kernel.codes for name, kernel in EVERY_KERNEL.items() if kernel.unit == unit}


def test_every_cuda_file_is_in_the_table() -> None:
    assert [path.name for path in source.units() if path.suffix == ".cu"] == UNITS


def test_cpu_matmul_has_the_signature_of_the_cuda_one() -> None:
    text = (source.FOLDER / "matmul_cpu.cpp").read_text()
    codes = "".join(p.code for p in fake_cuda.kernel_parameters(text)["matmul"])
    assert codes == KERNELS["matmul"].codes


# The host code


def test_missing_device_and_library(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_cupy.installed(), pytest.raises(BackendError, match="no CUDA device 2"):
        CudaBackend(2)
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(BackendError, match="pip install"):
        CudaBackend()


def test_driver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise RuntimeError("cudaErrorInsufficientDriver")

    monkeypatch.setattr(fake_cuda.cuda.runtime, "getDeviceCount", fail)
    with fake_cupy.installed(), pytest.raises(BackendError, match="driver"):
        CudaBackend()
