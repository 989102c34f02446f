"""Kernels run from their PTX (`cuda-ptx` among the backends of the conformance tests): that faults are found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend import source
from gpu_ss.backend.cuda import CudaBackend
from gpu_ss.backend.product import Operands
from tests.support import fake_cupy
from tests.support.ptx.memory import Fault
from tests.support.ptx.module import PtxModule, compiler

pytestmark = pytest.mark.skipif(not compiler(), reason="neither nvcc nor CuPy to make PTX with")

HEAD = 'typedef unsigned long long u64; typedef long long i64;\n#define KERNEL extern "C" __global__ void\n'
ITEM = "i64 i = (i64)blockIdx.x * blockDim.x + threadIdx.x;"


Words = np.ndarray[Any, Any]


def launch(body: str, *arrays: Words, blocks: int = 1, threads: int = 64) -> list[Words]:
    """What is in the arrays after a kernel with this body: `x` is const, `out` is not, a block has `shared`."""
    text = f"""{HEAD}extern __shared__ u64 shared[];
KERNEL some(const u64* __restrict__ x, u64* __restrict__ out, i64 n) {{ {ITEM} {body} }}"""
    with fake_cupy.installed(PtxModule) as cupy:
        on_device = [cupy.asarray(array) for array in arrays]
        function = PtxModule(code=text).get_function("some")
        function((blocks,), (threads,), (*on_device, np.int64(arrays[0].size)), shared_mem=8 * threads)
        return [array.get() for array in on_device]


def words(count: int) -> Words:
    return np.arange(1, count + 1, dtype=np.uint64)


REVERSED = "shared[threadIdx.x] = x[i]; __syncthreads(); out[i] = shared[blockDim.x - 1 - threadIdx.x];"


def test_blocks_share_memory() -> None:
    _, out = launch(REVERSED, words(128), words(128), blocks=2)
    assert np.array_equal(out, words(128).reshape(2, 64)[:, ::-1].reshape(-1))


def test_branches_meet_again() -> None:
    loop = "u64 s = 0; for (u64 k = 0; k < x[i]; k++) s += k % 3 ? k : x[i];"
    _, out = launch(f"{loop} out[i] = s + __ballot_sync(~0u, s & 1);", words(64), words(64))
    sums = [sum(k if k % 3 else x for k in range(x)) for x in range(1, 65)]
    ballots = [sum((s & 1) << lane for lane, s in enumerate(sums[at : at + 32])) for at in (0, 32)]
    assert out.tolist() == [s + ballots[k // 32] for k, s in enumerate(sums)]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (REVERSED.replace("__syncthreads();", ""), "reads what another one wrote"),
        (REVERSED + " shared[threadIdx.x] = 0;", "writes what another one read"),
        ("shared[threadIdx.x / 2] = i; __syncthreads(); out[i] = shared[0];", "two threads write the same word"),
        ("out[i / 2] = x[i];", "two threads write the same word"),
        ("u64 y = out[63 - i]; out[i] = y + x[i];", "writes what another one read"),
        ("out[i] = x[i + 1];", "out of bounds"),
        ("out[i - 1] = x[i];", "out of bounds"),
        ("shared[threadIdx.x + 1] = x[i]; out[i] = 0;", "shared memory has no byte"),
        ("((u64*)x)[i] = 0; out[i] = 0;", "array that is const"),
        ("*(ulonglong2*)(out + 2 * (i % 31) + 1) = make_ulonglong2(x[i], i);", "no multiple of 16"),
        ("if (i < 32) __syncthreads(); out[i] = x[i];", "never come to"),
        ("if (i < 32) __syncthreads(); else { out[i] = 1; __syncthreads(); } out[i] = x[i];", "different barriers"),
        ("if (i < 31) out[i] = __ballot_sync(~0u, x[i] & 1);", "not all lanes"),
    ],
)  # fmt: skip
def test_faults_are_found(body: str, message: str) -> None:
    with pytest.raises(Fault, match=message):
        launch(body, words(64), words(64))


def test_atomic_sums_are_no_race() -> None:
    _, out = launch("atomicAdd(out + i % 2, x[i]);", words(64), np.zeros(2, np.uint64))
    assert out.tolist() == [words(64)[::2].sum(), words(64)[1::2].sum()]


OF_ALL = "FN void all_threads() { __syncthreads(); }", "FN void all_threads() {}"
OF_COPIES = '"n"(PENDING) : "memory");\n  __syncthreads();', '"n"(PENDING) : "memory");'


def grown(backend: CudaBackend) -> None:
    backend.grow_trees(backend.asarray(words(2 * 32).reshape(1, 32, 2)), None, 3, 0)


def transformed(backend: CudaBackend) -> None:
    backend.ntt(backend.asarray(np.zeros((1, 1, 1024), np.uint32)), (998244353,))


def multiplied(backend: CudaBackend) -> None:
    side = backend.asarray(words(64 * 64).reshape(1, 64, 64))
    backend.products.run("tensor_8", Operands(side, side, ()), 8)


@pytest.mark.parametrize(
    ("unit", "barrier", "use"),
    [
        ("trees.cu", OF_ALL, grown),
        ("blocks_ntt.cu", OF_ALL, transformed),
        ("tensor.cu", OF_COPIES, multiplied),
    ],
)
def test_our_kernels_need_their_barriers(
    unit: str,
    barrier: tuple[str, str],
    use: Callable[[CudaBackend], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without them, a race is found, even where the results would be right."""
    text = source.cuda_text
    assert barrier[0] in text(unit)
    monkeypatch.setattr(source, "cuda_text", lambda unit: text(unit).replace(*barrier))
    with fake_cupy.installed(PtxModule):
        backend = CudaBackend()
    with pytest.raises(Fault, match="another one wrote"):
        use(backend)
