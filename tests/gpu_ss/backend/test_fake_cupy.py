"""The stand-in is as strict as CuPy where it matters."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
import pytest

from tests.support import fake_cuda, fake_cupy

SAXPY = """
typedef unsigned long long u64;
typedef long long i64;
#define KERNEL extern "C" __attribute__((visibility("default"))) void
KERNEL saxpy(const u64* __restrict__ x, u64* __restrict__ out, u64 factor, i64 n) {
  for (i64 i = 0; i < n; i++) out[i] += factor * x[i];
}
"""


@pytest.fixture
def cp() -> Any:
    with fake_cupy.installed():
        import cupy

        return cupy


def test_what_it_has_cupy_has_too() -> None:
    real = pytest.importorskip("cupy")
    stand_in = fake_cupy._module
    assert [name for name in vars(stand_in) if not name.startswith("_") and not hasattr(real, name)] == []
    for inner, theirs in [
        (fake_cuda.cuda, real.cuda),
        (fake_cuda.cuda.runtime, real.cuda.runtime),
        *(
            (getattr(fake_cuda.cuda, name), getattr(real.cuda, name))
            for name in ("Device", "Stream", "Event")
        ),
        (fake_cuda.MemoryPool, real.cuda.MemoryPool),
        (fake_cuda.RawModule, real.RawModule),
        (fake_cuda.RawKernel, real.RawKernel),
        (fake_cupy.ndarray, real.ndarray),
    ]:
        names = [name for name in vars(inner) if not name.startswith("_")]
        assert [name for name in names if not hasattr(theirs, name)] == [], inner


def test_arrays_do_not_become_numpy_by_accident(cp: Any) -> None:
    x = cp.arange(5)
    for convert in (np.asarray, np.array, memoryview, (ctypes.c_char * 0).from_buffer):
        with pytest.raises(TypeError):
            convert(x)
    assert type(x.get()) is np.ndarray
    assert type(cp.asnumpy(x)) is np.ndarray


def test_numpy_arrays_do_not_mix(cp: Any) -> None:
    x, host = cp.arange(5), np.arange(5)
    mixtures = [
        lambda: x + host,
        lambda: host + x,
        lambda: cp.concatenate([x, host]),
        lambda: cp.where(x > 1, host, x),
        lambda: np.add(x, host),
    ]
    for mix in mixtures:
        with pytest.raises(TypeError):
            mix()
    with pytest.raises(ValueError, match="fill"):
        x[:] = host


def test_operators_and_functions(cp: Any) -> None:
    x = cp.asarray(np.arange(6, dtype=np.uint64)).reshape(2, 3)
    y = (x << np.uint64(2) ^ np.uint64(1)) - np.uint64(3) * x
    assert y.get().tolist() == [[1, 2, 3], [4, 5, 6]]
    assert isinstance(np.uint64(1) + x, cp.ndarray)
    assert isinstance(np.add(x, np.uint64(1)), cp.ndarray)
    assert isinstance(np.concatenate([x, x]), cp.ndarray)
    assert cp.stack([x, x], axis=1).shape == (2, 2, 3)
    assert cp.broadcast_to(x[0], (4, 3)).shape == (4, 3)
    assert x.sum(axis=1).tolist() == [3, 12]
    assert int(x.cumsum()[-1]) == 15
    assert bool((cp.where(x > 2, x, np.uint64(0)) == x * (x > 2)).all())
    assert [row.tolist() for row in x] == [[0, 1, 2], [3, 4, 5]]
    assert (x.astype(np.float64) @ x.T.astype(np.float64)).tolist() == [[5.0, 14.0], [14.0, 50.0]]
    x += np.uint64(1)
    assert x[cp.asarray([1, 0]), 0].tolist() == [4, 1]
    with pytest.raises(AttributeError):
        cp.frombuffer  # noqa: B018


def test_slices_and_scalars_are_views(cp: Any) -> None:
    x = cp.zeros((3, 4), dtype=np.uint64)
    x[1] = np.uint64(7)
    x[..., 2].fill(5)
    corner = x[2, 3]
    corner += np.uint64(9)
    assert isinstance(corner, cp.ndarray)
    assert x.tolist() == [[0, 0, 5, 0], [7, 7, 5, 7], [0, 0, 5, 9]]


def test_new_memory_is_garbage(cp: Any) -> None:
    assert cp.empty(3, dtype=np.uint64).tolist() == [0xA5A5A5A5A5A5A5A5] * 3


def test_launches_are_checked(cp: Any) -> None:
    kernel = cp.RawModule(code=SAXPY, options=("--std=c++17",)).get_function("saxpy")
    x, out = cp.arange(4).astype(np.uint64), cp.ones(4, dtype=np.uint64)
    u, i = np.uint64(10), np.int64(4)
    kernel((1,), (64,), (x, out, u, i))
    assert out.tolist() == [1, 11, 21, 31]
    wide = cp.zeros(8, dtype=np.uint64)
    wrong: list[tuple[Any, ...]] = [
        (x, out, u),
        (x, out, 10, i),
        (x, out, np.int64(10), i),
        (x, out, u, np.int32(4)),
        (x.get(), out, u, i),
        (wide[::2], out, u, i),
        (x.astype(np.uint32), out, u, i),
    ]
    for arguments in wrong:
        with pytest.raises(TypeError):
            kernel((1,), (64,), arguments)
    for grid, block, arguments in [
        ((0,), (64,), (x, out, u, i)),
        ((1,), (2048,), (x, out, u, i)),
        ((1,), (64,), (out, out, u, i)),
        ((1,), (64,), (wide[2:6], wide[:4], u, i)),
    ]:
        with pytest.raises(ValueError):
            kernel(grid, block, arguments)
