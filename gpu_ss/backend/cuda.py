"""The CUDA backend: the kernels compiled by NVRTC when first used. The only file that imports CuPy."""

from __future__ import annotations

import importlib
import os
from collections import deque
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from gpu_ss.backend import product, source
from gpu_ss.backend.errors import BackendError, OutOfMemory
from gpu_ss.backend.kernel import KernelBackend
from gpu_ss.backend.oblivious import LEAST_WORDS
from gpu_ss.backend.signatures import CUDA_KERNELS, KERNELS, MOST_SHARED_DEGREE
from gpu_ss.backend.tensor import Products
from gpu_ss.ring import Array

INSTALL = "install CuPy for your driver: pip install 'fastlmpi[cuda12]' or 'fastlmpi[cuda13]'"
NVRTC_OPTIONS = ("--std=c++17",)

_BLOCKS_PER_MULTIPROCESSOR = 32  # items beyond a full device go to the same threads (grid-stride loops)
# CuPy passes scalars by their NumPy type, whatever the kernel takes.
_SCALARS = {"u": np.uint64, "i": np.int64}
_SMALL_BYTES = 1 << 16  # of a host array
#: What leaves alone by way of page-locked memory: less leaves sooner without, more would hold it for long.
_PAGE_LOCKED_BYTES = range(1 << 16, 1 << 26)
#: What OT makes side by side, two or three layers of BERT-base, where memory has room for all that goes with it.
_MOST_WORDS, _BYTES_OF_WORD = 1 << 27, 32
_PART_WORDS = 1 << 16  # of what is copied to the host: 512 KiB, as messages are cut
_SHARED_UNASKED = 48 << 10  # bytes of shared memory that every kernel may use; more must be asked for
_SIGNS_OF_NO_MEMORY = ("cudaErrorMemoryAllocation", "CUDA_ERROR_OUT_OF_MEMORY", "CUBLAS_STATUS_ALLOC_FAILED")
_ALL_KERNELS = KERNELS | CUDA_KERNELS


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


def memory_limit() -> int:
    """Bytes of each device's memory that this process may take, from FASTLMPI_GPU_MEMORY_MB; 0: all."""
    text = os.environ.get("FASTLMPI_GPU_MEMORY_MB", "")
    if text and (not text.isdecimal() or int(text) < 1):
        raise BackendError(f"FASTLMPI_GPU_MEMORY_MB must be a positive number, not {text!r}")
    return int(text or 0) << 20


class CudaBackend(KernelBackend):
    """CuPy arrays and kernels on one CUDA device, on the calling thread's current stream."""

    name: ClassVar[str] = "cuda"
    _most_whole_degree = MOST_SHARED_DEGREE
    blocks_at_once = 16  # some 500 transforms for each prime: enough for all multiprocessors; 1 GB at most
    operands_at_once = 2048  # 0.5 GB
    # A slab is 8192 threads of the encoder and 16 blocks of the tree kernels, some 5 MB while it is made.
    slabs_at_once = 64
    hashed_at_once = 1 << 20

    def __init__(self, device: int = 0) -> None:
        devices = device_count()
        if not 0 <= device < devices:
            raise BackendError(f"there is no CUDA device {device}: this machine has {devices}")
        self.xp = import_cupy()
        self._index = device
        properties = self.current()
        #: Compute capability times ten.
        self.capability = int(properties.compute_capability)
        self.multiprocessors = int(properties.attributes["MultiProcessorCount"])
        self.products = Products(self)
        self._modules: dict[str, Any] = {}
        self._functions: dict[str, Any] = {}
        self.activate()
        limit = memory_limit()
        if limit:
            self.xp.get_default_memory_pool().set_limit(size=limit)

    @cached_property
    def words_at_once(self) -> int:
        fitting = 1 << (self.spare_bytes() // _BYTES_OF_WORD).bit_length() - 1
        return max(LEAST_WORDS, min(fitting, _MOST_WORDS))

    def current(self) -> Any:
        """Our device, to be made current. A new object: CuPy's remember what was current before."""
        return self.xp.cuda.Device(self._index)

    @property
    def details(self) -> dict[str, str]:
        name = self.xp.cuda.runtime.getDeviceProperties(self._index)["name"]
        return {
            "device": f"{self._index}: {name.decode()}",
            "compute capability": str(self.capability),
            "cupy": self.xp.__version__,
            "cuda": str(self.xp.cuda.runtime.runtimeGetVersion()),
        }

    def asarray(self, host: np.ndarray[Any, Any]) -> Array:
        with self.current():
            return self.xp.asarray(host, order="C")

    def asarrays(self, hosts: Sequence[np.ndarray[Any, Any]]) -> list[Array]:
        # A move takes longer to ask for than to make, up to some size.
        small = [host for host in hosts if host.nbytes < _SMALL_BYTES]
        if len(small) < 2:
            return super().asarrays(hosts)
        together, start, arrays = self.asarray(np.concatenate(small)), 0, []
        for host in hosts:
            if host.nbytes < _SMALL_BYTES:
                arrays.append(together[start : start + host.size])
                start += host.size
            else:
                arrays.append(self.asarray(host))
        return arrays

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        host: np.ndarray[Any, Any]
        if array.dtype == np.uint64 and array.flags.c_contiguous and array.nbytes in _PAGE_LOCKED_BYTES:
            host = self._page_locked(array)
            array.get(out=host)
        else:
            host = self.xp.asnumpy(array)
        return host

    def to_hosts(self, arrays: Sequence[Array]) -> tuple[list[np.ndarray[Any, Any]], Callable[[int], None]]:
        # Into page-locked memory, which CuPy keeps for the next time, the device copies by itself: while one part
        # is encrypted and sent, the next ones come.
        marks: deque[tuple[int, Any]] = deque()
        with self.current():
            hosts = [self._page_locked(array) for array in arrays]
            asked = marked = 0
            for array, host in zip(arrays, hosts, strict=True):
                for start in range(0, array.size, _PART_WORDS):
                    part = slice(start, start + _PART_WORDS)
                    array[part].get(out=host[part], blocking=False)
                    asked += host[part].nbytes
                    if asked - marked >= 8 * _PART_WORDS:
                        marks.append((asked, self._mark()))
                        marked = asked
            if asked > marked:
                marks.append((asked, self._mark()))
        arrived = 0

        def wait(count: int) -> None:
            nonlocal arrived
            while arrived < count:
                arrived, event = marks.popleft()
                event.synchronize()

        return hosts, wait

    def _mark(self) -> Any:
        """An event after all that the device was asked for so far."""
        event = self.xp.cuda.Event(disable_timing=True)
        event.record()
        return event

    def _page_locked(self, array: Array) -> np.ndarray[Any, Any]:
        """Room on the host for an array."""
        if not array.size:
            return np.empty(array.shape, np.uint64)
        memory = self.xp.cuda.alloc_pinned_memory(array.nbytes)
        return np.frombuffer(memory, np.uint64, array.size).reshape(array.shape)

    def empty(self, shape: int | tuple[int, ...]) -> Array:
        with self.current():
            return self.xp.empty(shape, dtype=np.uint64)

    def zeros(self, shape: int | tuple[int, ...]) -> Array:
        with self.current():
            return self.xp.zeros(shape, dtype=np.uint64)

    def out_of_memory(self, error: Exception) -> OutOfMemory | None:
        # Libraries on top of CUDA have errors of their own for it.
        if super().out_of_memory(error) is None and not any(
            sign in str(error) for sign in _SIGNS_OF_NO_MEMORY
        ):
            return None
        with self.current():
            pool = self.xp.get_default_memory_pool()
            used, limit = (pool.total_bytes() >> 20, pool.get_limit() >> 20)
            pool.free_all_blocks()
        allowed = f" of the {limit} MB it may take (--gpu-memory-limit)" if limit else ""
        return OutOfMemory(
            f"out of memory on CUDA device {self._index}, where {used} MB{allowed} were in use: use a smaller "
            "batch or shorter texts, or another --device"
        )

    def spare_bytes(self) -> int:
        # A quarter: another party may be on this device, and what is computed needs room.
        with self.current():
            pool = self.xp.get_default_memory_pool()
            free = int(self.xp.cuda.runtime.memGetInfo()[0]) + int(pool.free_bytes())
            limit = int(pool.get_limit())
        return (min(free, limit) if limit else free) // 4

    def give_back(self) -> None:
        with self.current():
            self.xp.get_default_memory_pool().free_all_blocks()

    def synchronize(self) -> None:
        with self.current():
            self.xp.cuda.get_current_stream().synchronize()

    def activate(self) -> None:
        self.current().use()

    def seconds(self, work: Callable[[], object]) -> float:
        """How long the device takes for what `work` asks for."""
        with self.current():
            start, end = self.xp.cuda.Event(), self.xp.cuda.Event()
            start.record()
            work()
            end.record()
            end.synchronize()
            return float(self.xp.cuda.get_elapsed_time(start, end)) / 1000

    def launch(self, kernel: str, n: int, *args: Any) -> None:
        """Run one of `CUDA_KERNELS` or `KERNELS`; see `Launcher`."""
        entry = _ALL_KERNELS[kernel]
        coded = zip(entry.codes, (*args, n), strict=True)
        typed = [arg if code in "ph" else _SCALARS[code](arg) for code, arg in coded]
        blocks = -(-n * entry.threads // entry.block)
        blocks = min(blocks, self.multiprocessors * _BLOCKS_PER_MULTIPROCESSOR)
        with self.current():
            self._function(kernel)((blocks,), (entry.block,), tuple(typed), shared_mem=entry.shared)

    _launch = launch

    def _function(self, kernel: str) -> Any:
        if kernel not in self._functions:
            unit, shared = _ALL_KERNELS[kernel].unit, _ALL_KERNELS[kernel].shared
            if unit not in self._modules:
                self._modules[unit] = self.xp.RawModule(code=source.cuda_text(unit), options=NVRTC_OPTIONS)
            function = self._modules[unit].get_function(kernel)
            if shared > _SHARED_UNASKED:
                function.max_dynamic_shared_size_bytes = shared
            self._functions[kernel] = function
        return self._functions[kernel]

    def made_of(self, kernel: str) -> dict[str, int]:
        """What the compiler made of a kernel: registers, bytes of local memory, and more, as CUDA names them."""
        with self.current():
            return dict(self._function(kernel).attributes)

    def _product(self, task: product.Operands, bits: int, forms: product.Forms | None) -> Array:
        return self.products.compute(task, bits, forms)
