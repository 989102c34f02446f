"""The CUDA backend: the kernels compiled by NVRTC when first used. The only file that imports CuPy."""

from __future__ import annotations

import importlib
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from gpu_ss.backend import product, source
from gpu_ss.backend.errors import BackendError
from gpu_ss.backend.kernel import KernelBackend
from gpu_ss.backend.signatures import KERNELS
from gpu_ss.ring import Array

INSTALL = "install CuPy for your driver: pip install 'fastlmpi[cuda12]' or 'fastlmpi[cuda13]'"
NVRTC_OPTIONS = ("--std=c++17",)

_BLOCKS_PER_MULTIPROCESSOR = 32  # items beyond a full device go to the same threads (grid-stride loops)
# CuPy passes scalars by their NumPy type, whatever the kernel takes.
_SCALARS = {"u": np.uint64, "i": np.int64}

# Compute capabilities with float64 units at half the float32 rate or better; others have a token few.
_STRONG_FLOAT64 = frozenset({"60", "70", "80", "90", "100"})
# The float64 path takes some 40 launches. By arithmetic, not measured: below this one plain kernel wins.
_FLOAT64_FROM = 1 << 26


def import_cupy() -> Any:
    """CuPy, or BackendError."""
    try:
        return importlib.import_module("cupy")
    except ImportError as error:
        raise BackendError(f"CuPy is not installed ({error}): {INSTALL}") from error


def device_count() -> int:
    """CUDA devices on this machine; BackendError when CuPy or the driver is missing."""
    cupy = import_cupy()
    try:
        return int(cupy.cuda.runtime.getDeviceCount())
    except Exception as error:  # CuPy's exception classes differ between versions
        raise BackendError(f"the CUDA driver does not answer: {error}") from error


class CudaBackend(KernelBackend):
    """CuPy arrays and kernels on one CUDA device, on the calling thread's current stream."""

    name: ClassVar[str] = "cuda"

    def __init__(self, device: int = 0) -> None:
        devices = device_count()
        if not 0 <= device < devices:
            raise BackendError(f"there is no CUDA device {device}: this machine has {devices}")
        self.xp = import_cupy()
        self._index = device
        properties = self._device()
        self._capability = str(properties.compute_capability)
        self._most_blocks = properties.attributes["MultiProcessorCount"] * _BLOCKS_PER_MULTIPROCESSOR
        self._modules: dict[str, Any] = {}
        self._functions: dict[str, Any] = {}
        self.activate()

    def _device(self) -> Any:
        """Our device, to be made current. A new object: CuPy's remember what was current before."""
        return self.xp.cuda.Device(self._index)

    @property
    def details(self) -> dict[str, str]:
        name = self.xp.cuda.runtime.getDeviceProperties(self._index)["name"]
        return {
            "device": f"{self._index}: {name.decode()}",
            "compute capability": self._capability,
            "cupy": self.xp.__version__,
            "cuda": str(self.xp.cuda.runtime.runtimeGetVersion()),
        }

    def asarray(self, host: np.ndarray[Any, Any]) -> Array:
        with self._device():
            return self.xp.asarray(host, order="C")

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        host: np.ndarray[Any, Any] = self.xp.asnumpy(array)
        return host

    def empty(self, shape: int | tuple[int, ...]) -> Array:
        with self._device():
            return self.xp.empty(shape, dtype=np.uint64)

    def zeros(self, shape: int | tuple[int, ...]) -> Array:
        with self._device():
            return self.xp.zeros(shape, dtype=np.uint64)

    def synchronize(self) -> None:
        with self._device():
            self.xp.cuda.get_current_stream().synchronize()

    def activate(self) -> None:
        self._device().use()

    def _launch(self, kernel: str, n: int, *args: Any) -> None:
        entry = KERNELS[kernel]
        coded = zip(entry.codes, (*args, n), strict=True)
        typed = [arg if code in "ph" else _SCALARS[code](arg) for code, arg in coded]
        blocks = min(-(-n // entry.block), self._most_blocks)
        with self._device():
            self._function(kernel)((blocks,), (entry.block,), tuple(typed))

    def _function(self, kernel: str) -> Any:
        if kernel not in self._functions:
            unit = KERNELS[kernel].unit
            if unit not in self._modules:
                self._modules[unit] = self.xp.RawModule(code=source.cuda_text(unit), options=NVRTC_OPTIONS)
            self._functions[kernel] = self._modules[unit].get_function(kernel)
        return self._functions[kernel]

    def _product(self, task: product.Operands) -> Array:
        """Large products in float64 where the device is good at it.

        This is the place to choose between further ways, such as int8 tensor cores.
        """
        (_, rows, inner), cols = task.a.shape, task.b.shape[-1]
        if task.batch * rows * inner * cols >= _FLOAT64_FROM and self._float64_is_exact:
            with self._device():
                return product.float_product(self.xp, task.a, task.b)
        return super()._product(task)

    @cached_property
    def _float64_is_exact(self) -> bool:
        """Whether float64 products are fast here, and exact at the bound.

        Libraries may emulate float64 with fewer bits: the extreme operands of `product.worst_case` tell.
        """
        if self._capability not in _STRONG_FLOAT64:
            return False
        a, b = (self.asarray(x) for x in product.worst_case())
        with self._device():
            exact = super()._product(product.Operands(a, b, ()))
            return bool((product.float_product(self.xp, a, b) == exact).all())
