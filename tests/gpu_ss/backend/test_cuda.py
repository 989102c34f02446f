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

from gpu_ss.backend import BackendError, cuda, source
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


def test_what_leaves_comes_part_by_part(monkeypatch: pytest.MonkeyPatch) -> None:
    """And is garbage until it is waited for, on the stand-in as on a GPU."""
    monkeypatch.setattr(cuda, "_PART_WORDS", 10)
    with fake_cupy.installed():
        backend = CudaBackend()
    words = [np.arange(1, n + 1, dtype=np.uint64) for n in (25, 0, 3, 10)]
    hosts, ready = backend.to_hosts([backend.asarray(x) for x in words])
    ready(0)
    garbage = np.uint64(0xA5A5A5A5A5A5A5A5)
    assert all((host == garbage).all() for host in hosts)
    ready(8 * 10)
    assert np.array_equal(hosts[0][:10], words[0][:10]) and (hosts[0][10:] == garbage).all()
    ready(8 * 27)
    assert np.array_equal(hosts[0], words[0]) and np.array_equal(hosts[2][:2], words[2][:2])
    for _ in range(2):
        ready(8 * 38)
    assert all(np.array_equal(host, x) for host, x in zip(hosts, words, strict=True))


def test_small_arrays_go_to_the_device_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "_SMALL_BYTES", 80)
    with fake_cupy.installed():
        backend = CudaBackend()
    words = [np.arange(n, dtype=np.uint64) for n in (3, 40, 0, 9, 10)]
    moved: list[int] = []
    asarray = backend.asarray
    monkeypatch.setattr(backend, "asarray", lambda host: moved.append(host.size) or asarray(host))
    arrays = backend.asarrays(words)
    assert all(np.array_equal(backend.to_host(x), y) for x, y in zip(arrays, words, strict=True))
    assert sorted(moved) == [10, 12, 40]
    assert backend.asarrays([]) == []


def test_room_for_what_comes_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of what is free, or of what the process may take."""
    with fake_cupy.installed():
        backend = CudaBackend()
        assert backend.spare_bytes() == fake_cuda.cuda.runtime.memGetInfo()[0] // 4
        monkeypatch.setattr(fake_cuda.pool, "_limit", 1 << 20)
        assert backend.spare_bytes() == 1 << 18


def test_driver_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> int:
        raise RuntimeError("cudaErrorInsufficientDriver")

    monkeypatch.setattr(fake_cuda.cuda.runtime, "getDeviceCount", fail)
    with fake_cupy.installed(), pytest.raises(BackendError, match="driver"):
        CudaBackend()
