"""The device side of `fake_cupy`: devices, streams, and kernels compiled by g++ as serial SIMT code."""

from __future__ import annotations

import atexit
import ctypes
import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import threading
import time
import types
import weakref
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

_SIGNATURE = re.compile(r"^KERNEL (\w+)\(([^)]*)\)", re.MULTILINE)
_SIZES = {"u64": 8, "i64": 8, "double": 8, "u32": 4, "i32": 4, "float": 4, "u8": 1, "i8": 1}
_FLAGS = [
    "-std=c++17",
    "-O1",
    "-DSIMT=1",
    "-nostdinc",
    "-nostdinc++",
    "-fPIC",
    "-shared",
    "-fvisibility=hidden",
]
_MOST_SHARED = 99 << 10  # bytes a block may have on every device since compute capability 8.0
DEVICES = 2
_SCALARS = {"u64": np.uint64, "i64": np.int64}


class Parameter(NamedTuple):
    """A kernel parameter as its source text declares it."""

    type: str
    pointer: bool
    const: bool

    @property
    def code(self) -> str:
        """The letter of `signatures.Kernel.codes`."""
        if self.pointer:
            return {8: "p", 4: "h"}[_SIZES[self.type]]
        return {"u64": "u", "i64": "i"}[self.type]


def kernel_parameters(text: str) -> dict[str, list[Parameter]]:
    """Kernel name -> parameters, read from a source text."""
    return {name: [_parameter(p) for p in parts.split(",")] for name, parts in _SIGNATURE.findall(text)}


def _parameter(declaration: str) -> Parameter:
    words = declaration.replace("*", " * ").split()
    const = words[0] == "const"
    return Parameter(words[1] if const else words[0], "*" in words, const)


@cache
def folder() -> Path:
    """Where compiled texts go: FAKE_CUPY_CACHE, shared between processes, or a folder of this process."""
    kept = os.environ.get("FAKE_CUPY_CACHE")
    if kept:
        Path(kept).mkdir(parents=True, exist_ok=True)
        return Path(kept)
    folder = Path(tempfile.mkdtemp(prefix="fake-cupy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def made_once(text: str, suffix: str, make: Callable[[Path, Path], object]) -> Path:
    """What `make` writes to its second argument for a kernel text, in the file that is its first; kept."""
    target = folder() / f"{hashlib.sha256(text.encode()).hexdigest()[:16]}{suffix}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            unit, fresh = Path(scratch, "kernel.cu"), Path(scratch, f"made{suffix}")
            unit.write_text(text)
            make(unit, fresh)
            fresh.replace(target)
    return target


def _compile(unit: Path, fresh: Path) -> None:
    """The library of a kernel text. NVRTC has no standard headers, so none are in reach here either."""
    subprocess.run(["g++", *_FLAGS, "-x", "c++", str(unit), "-o", str(fresh)], check=True)


class RawModule:
    """Kernels of one source text."""

    def __init__(self, *, code: str, options: tuple[str, ...] = (), backend: str = "nvrtc") -> None:
        if not isinstance(options, tuple) or not all(isinstance(o, str) for o in options):
            raise TypeError("options must be a tuple of str")
        self._code = code

    def get_function(self, name: str) -> RawKernel:
        library = ctypes.CDLL(str(made_once(self._code, ".so", _compile)))
        return RawKernel(name, kernel_parameters(self._code)[name], library)


class Kernel:
    """One kernel: checks its arguments, then runs all items."""

    def __init__(self, name: str, parameters: list[Parameter]) -> None:
        self._name = name
        self._parameters = parameters
        self.max_dynamic_shared_size_bytes = 48 << 10

    @property
    def attributes(self) -> dict[str, int]:
        return {"num_regs": 32, "local_size_bytes": 0}

    def __call__(
        self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], *, shared_mem: int = 0
    ) -> None:
        _check_shape("grid", grid, 2**31 - 1)
        _check_shape("block", block, 1024)
        if not 0 <= shared_mem <= self.max_dynamic_shared_size_bytes <= _MOST_SHARED:
            raise ValueError(f"CUDA_ERROR_INVALID_VALUE: {shared_mem} bytes of shared memory")
        if len(args) != len(self._parameters):
            raise TypeError(f"{self._name} takes {len(self._parameters)} arguments, not {len(args)}")
        for parameter, arg in zip(self._parameters, args, strict=True):
            self._check_argument(parameter, arg)
        self._check_aliasing(args)
        self._run(grid, block, args, shared_mem)

    def _run(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], shared: int) -> None:
        raise NotImplementedError

    def _check_argument(self, parameter: Parameter, value: Any) -> None:
        if not parameter.pointer:
            if type(value) is not _SCALARS[parameter.type]:
                raise TypeError(f"{self._name}: a {parameter.type} must be a NumPy scalar, not {type(value)}")
            return
        array = device_array(value)
        if value.device.id != current.device:
            raise ValueError(f"{self._name}: an array of device {value.device.id} on device {current.device}")
        if array.dtype.itemsize != _SIZES[parameter.type] or not array.flags.c_contiguous:
            raise TypeError(f"{self._name}: {parameter.type}* must be a contiguous array of such words")

    def _check_aliasing(self, args: tuple[Any, ...]) -> None:
        """Pointers are __restrict__: nothing may overlap an output."""
        pointers = [(p, device_array(a)) for p, a in zip(self._parameters, args, strict=True) if p.pointer]
        for k, (parameter, output) in enumerate(pointers):
            others = [array for j, (_, array) in enumerate(pointers) if j != k]
            if not parameter.const and any(np.may_share_memory(output, other) for other in others):
                raise ValueError(f"{self._name}: an output overlaps another argument")


class RawKernel(Kernel):
    """A kernel that is a function of a library."""

    def __init__(self, name: str, parameters: list[Parameter], library: ctypes.CDLL) -> None:
        super().__init__(name, parameters)
        self._function = library[name]
        self._function.restype = None

    def _run(self, grid: tuple[int, ...], block: tuple[int, ...], args: tuple[Any, ...], shared: int) -> None:
        self._function(*(_word(p, a) for p, a in zip(self._parameters, args, strict=True)))


def _word(parameter: Parameter, value: Any) -> Any:
    if parameter.pointer:
        return ctypes.c_void_p(device_array(value).ctypes.data)
    return ctypes.c_uint64(int(value) % 2**64)


def device_array(value: Any) -> np.ndarray[Any, Any]:
    """The memory of an array of the fake."""
    array = getattr(value, "_array", None)
    if not isinstance(array, np.ndarray):
        raise TypeError(f"a kernel takes device arrays, not {type(value)}")
    return array


def _check_shape(what: str, sides: tuple[int, ...], most: int) -> None:
    if not all(type(side) is int and 1 <= side <= most for side in sides):
        raise ValueError(f"CUDA_ERROR_INVALID_VALUE: {what} {sides}")


class _Current(threading.local):
    """The calling thread's current device, and copies to the host that it has not waited for."""

    device = 0

    def __init__(self) -> None:
        self.copies: list[tuple[Any, Any]] = []


current = _Current()


class Device:
    """One of two devices, shaped like data-centre cards."""

    compute_capability = "90"
    attributes: dict[str, int] = {"MultiProcessorCount": 4}  # noqa: RUF012

    def __init__(self, device: int | None = None) -> None:
        self.id = current.device if device is None else device
        if not 0 <= self.id < DEVICES:
            raise RuntimeError("cudaErrorInvalidDevice: invalid device ordinal")
        self._before: list[int] = []

    def __enter__(self) -> Device:
        self._before.append(current.device)
        current.device = self.id
        return self

    def __exit__(self, *_: object) -> None:
        current.device = self._before.pop()

    def use(self) -> None:
        current.device = self.id

    def synchronize(self) -> None:
        pass


class Stream:
    """Work is done when it is asked for, but copies to the host only when they are waited for."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def synchronize(self) -> None:
        for host, array in current.copies:
            host[...] = array
        current.copies.clear()


class Event:
    """A point in time."""

    def __init__(self, block: bool = False, disable_timing: bool = False, interprocess: bool = False) -> None:
        self.time = 0.0
        self._copies: list[tuple[Any, Any]] = []

    def record(self, *_: Any) -> None:
        self.time = time.perf_counter()
        self._copies = list(current.copies)

    def synchronize(self) -> None:
        for host, array in self._copies:
            host[...] = array
        current.copies = [copy for copy in current.copies if not any(copy is done for done in self._copies)]
        self._copies = []


class OutOfMemoryError(MemoryError):
    """As CuPy's."""


class MemoryPool:
    """Counts what is allocated, of all devices together, and sticks to the limit."""

    def __init__(self) -> None:
        self._used = self._limit = 0

    def set_limit(self, size: int) -> None:
        self._limit = size

    def get_limit(self) -> int:
        return self._limit

    def total_bytes(self) -> int:
        return self._used

    def free_bytes(self) -> int:
        return 0

    def free_all_blocks(self) -> None:
        pass

    def _allocate(self, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """The array, new, as long as there is room for it."""
        if self._limit and self._used + array.nbytes > self._limit:
            raise OutOfMemoryError(f"Out of memory allocating {array.nbytes} bytes (limit {self._limit}).")
        self._used += array.nbytes
        weakref.finalize(array, self._free, array.nbytes)
        return array

    def _free(self, size: int) -> None:
        self._used -= size


pool = MemoryPool()


def _pinned(size: int) -> bytearray:
    return bytearray(b"\xa5" * size)


cuda = types.SimpleNamespace(
    Device=Device,
    Event=Event,
    get_elapsed_time=lambda start, end: 1000 * (end.time - start.time),
    Stream=Stream,
    get_current_stream=Stream,
    alloc_pinned_memory=_pinned,
    is_available=lambda: True,
    runtime=types.SimpleNamespace(
        getDeviceCount=lambda: DEVICES,
        getDevice=lambda: current.device,
        getDeviceProperties=lambda device: {"name": b"fake device"},
        memGetInfo=lambda: (1 << 32, 1 << 33),
        runtimeGetVersion=lambda: 13000,
    ),
)
