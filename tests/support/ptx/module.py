"""The stand-in's kernels, executed from PTX: nvcc makes it, or NVRTC, which needs no driver."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from tests.support import fake_cuda
from tests.support.ptx.grid import Grid
from tests.support.ptx.memory import Arguments
from tests.support.ptx.text import Program, parse

ARCHITECTURE = "compute_90"


@cache
def compiler() -> str:
    """What makes PTX here; empty if nothing does."""
    if shutil.which("nvcc"):
        return "nvcc"
    try:
        from cupy_backends.cuda.libs import nvrtc

        nvrtc.getVersion()  # finds its library with CuPy's help, so before a stand-in takes CuPy's place
    except Exception:  # CuPy's exception classes differ between versions
        return ""
    return "nvrtc"


class PtxModule:
    """Kernels of one source text, as CuPy's RawModule."""

    def __init__(self, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc") -> None:
        self._code, self._options = code, options

    def get_function(self, name: str) -> PtxKernel:
        programs = _programs(self._code, self._options)
        return PtxKernel(name, fake_cuda.kernel_parameters(self._code)[name], programs[name])


class PtxKernel(fake_cuda.Kernel):
    """One kernel: what the stand-in checks is checked here too, and every access to memory."""

    def __init__(self, name: str, parameters: list[fake_cuda.Parameter], program: Program) -> None:
        super().__init__(name, parameters)
        self._program = program

    def _run(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], shared: int) -> None:
        arrays = Arguments()
        values = []
        for parameter, arg in zip(self._parameters, args, strict=True):
            if parameter.pointer:
                values.append(arrays.append(fake_cuda.device_array(arg), not parameter.const))
            else:
                values.append(int(arg))
        with np.errstate(all="ignore"):
            Grid(self._program, grid[0], block[0], shared, arrays, values).run()


@cache
def _programs(text: str, options: tuple[str, ...]) -> dict[str, Program]:
    make = partial(_nvcc if compiler() == "nvcc" else _nvrtc, options)
    return parse(fake_cuda.made_once(text, ".ptx", make).read_text())


def _nvcc(options: tuple[str, ...], unit: Path, fresh: Path) -> None:
    command = ["nvcc", *options, f"-arch={ARCHITECTURE}", "-w", "-ptx", str(unit), "-o", str(fresh)]
    subprocess.run(command, check=True)


def _nvrtc(options: tuple[str, ...], unit: Path, fresh: Path) -> None:
    from cupy_backends.cuda.libs import nvrtc

    program = nvrtc.createProgram(unit.read_text(), unit.name, [], [])
    nvrtc.compileProgram(program, [*options, f"--gpu-architecture={ARCHITECTURE}"])
    fresh.write_bytes(bytes(nvrtc.getPTX(program)))
