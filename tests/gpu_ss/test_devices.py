"""Where the two parties compute: one GPU for both, one each, or a GPU and a CPU; and when its memory is used up.

On the stand-in for CuPy, which has two devices, a memory limit, and refuses arrays of a device that is not current.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from gpu_ss.backend import Backend, BackendError, get_backend
from gpu_ss.backend.cuda import CudaBackend
from gpu_ss.backend.errors import OutOfMemory
from gpu_ss.functions.softmax import softmax
from gpu_ss.party import Party
from gpu_ss.protocols.arith import matmul
from gpu_ss.protocols.io import reveal
from gpu_ss.ring import RING64, Array
from gpu_ss.session import fatal_when_full
from gpu_ss.simulate import simulate
from net import RemoteError, memory_pair
from tests.support import fake_cuda, fake_cupy
from tests.support.protocols import real_share

KEYS = (bytes(32), bytes([1]) * 32)
X = np.linspace(-2, 2, 96).reshape(8, 12)


@pytest.fixture
def backends() -> Iterator[dict[str, Backend]]:
    with fake_cupy.installed():
        yield {"gpu 0": CudaBackend(0), "gpu 1": CudaBackend(1), "cpu": get_backend("cpu")}
    fake_cuda.cuda.Device(0).use()
    fake_cuda.pool.set_limit(size=0)


def program(party: Party) -> list[Array]:
    x = real_share(party, X, RING64, 16)
    found = [matmul(party, x, x, transposed=True), softmax(party, x)]
    return [party.backend.to_host(reveal(party, y)) for y in found]


@pytest.mark.parametrize(
    "where", [("gpu 0", "gpu 0"), ("gpu 0", "gpu 1"), ("cpu", "gpu 1"), ("gpu 1", "cpu")]
)
def test_any_two_devices_compute_the_same(backends: dict[str, Backend], where: tuple[str, str]) -> None:
    wanted = simulate(program, ("cpu", "cpu"), KEYS)
    left, right = where
    found = simulate(program, (backends[left], backends[right]), KEYS)
    for mine, theirs, expected in zip(*found.results, wanted.results[0], strict=True):
        assert mine.tobytes() == theirs.tobytes() == expected.tobytes()
    assert [report.sent.payload for report in found.traffic] == [r.sent.payload for r in wanted.traffic]


def test_the_stand_in_notices_arrays_of_another_device(backends: dict[str, Backend]) -> None:
    x, y = (backends[name].zeros(3) for name in ("gpu 0", "gpu 1"))
    backends["gpu 0"].activate()
    with pytest.raises(ValueError, match="device 1"):
        x + y
    with pytest.raises(ValueError, match="device 1"):
        backends["gpu 0"].pack(y, 5)


def test_a_full_gpu_ends_both_sides(backends: dict[str, Backend]) -> None:
    backend = backends["gpu 0"]
    server, client = memory_pair("server", "client", timeout_s=5)
    fake_cuda.pool.set_limit(size=1 << 20)
    told = r"device 0, where \d MB of the 1 MB it may take .*--device"
    with pytest.raises(OutOfMemory, match=told), server, fatal_when_full(backend, server):
        backend.empty(1 << 18)
    with pytest.raises(RemoteError, match=r"server.*out of memory: use a smaller batch"):
        client.recv("values", [8])


@pytest.mark.parametrize("sign", ["CUBLAS_STATUS_ALLOC_FAILED", "cudaErrorMemoryAllocation: out of memory"])
def test_libraries_that_run_out_of_memory_are_understood(backends: dict[str, Backend], sign: str) -> None:
    assert backends["gpu 1"].out_of_memory(RuntimeError(sign)) is not None
    assert backends["gpu 1"].out_of_memory(RuntimeError("cudaErrorIllegalAddress")) is None
    assert backends["cpu"].out_of_memory(RuntimeError(sign)) is None
    assert backends["cpu"].out_of_memory(MemoryError()) is not None


def test_the_limit_is_a_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTLMPI_GPU_MEMORY_MB", "3")
    with fake_cupy.installed():
        backend = CudaBackend()
        try:
            backend.empty(1 << 18)
            with pytest.raises(MemoryError):
                backend.empty(1 << 19)
        finally:
            fake_cuda.pool.set_limit(size=0)
        monkeypatch.setenv("FASTLMPI_GPU_MEMORY_MB", "much")
        with pytest.raises(BackendError, match="positive number"):
            CudaBackend()
