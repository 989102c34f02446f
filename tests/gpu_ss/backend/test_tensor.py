"""The ways a GPU multiplies matrices: each exact on its own, and one of them taken. Without a GPU on the stand-in.

There the tensor core kernels run with the fragments of each lane where the PTX manual says they are, and a copy in
the background leaves garbage until it is waited for; a sum of more than 32 bits ends the process.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend import product, tensor
from gpu_ss.backend.cuda import CudaBackend
from gpu_ss.backend.product import Factor, operands
from gpu_ss.backend.signatures import LIMBS
from tests.support import fake_cupy
from tests.support.backends import CUDA, open_backend

ON_CUDA = ["cuda-fake", "cuda-ptx", CUDA]
WAYS = [f"{size}tensor_{limbs}" for limbs in LIMBS for size in ("", "small_")]
SHAPES = [
    ((1, 1), (1, 1)), ((1, 300), (300, 1)), ((16, 32), (32, 8)), ((3, 33), (33, 50)), ((130, 70), (70, 65)),
    ((2, 65, 97), (97, 49)), ((3, 40, 20), (3, 20, 70)), ((40, 20), (3, 20, 9)), ((2, 1, 5, 36), (1, 3, 36, 7)),
]  # fmt: skip

Words = np.ndarray[Any, Any]


def ways_of(backend: Any) -> tensor.Products:
    assert isinstance(backend, CudaBackend)
    return backend.products


def drawn(seed: int, *shapes: tuple[int, ...]) -> Iterator[Words]:
    rng = np.random.default_rng(seed)
    return (rng.integers(0, 2**64, shape, dtype=np.uint64) for shape in shapes)


def digits_of(way: str) -> tuple[int, np.uint64]:
    """Limbs, and the bits that must be right."""
    limbs = int(way[-1]) if "tensor" in way else 8
    return limbs, np.uint64(2 ** (8 * limbs) - 1)


def skip_if_impossible(backend: Any, way: str) -> None:
    if backend.capability < 80 and "tensor" in way:
        pytest.skip("no tensor cores for bytes here")


@pytest.mark.parametrize("name", ON_CUDA)
@pytest.mark.parametrize("way", [*WAYS, "float64", "plain"])
def test_every_way_is_exact(name: str, way: str) -> None:
    backend = open_backend(name)
    skip_if_impossible(backend, way)
    limbs, mask = digits_of(way)
    for a, b in SHAPES:
        x, y = drawn(7, a, b)
        task = operands(backend.xp, backend.asarray(x), backend.asarray(y))
        got = backend.to_host(ways_of(backend).run(way, task, limbs)).reshape(task.shape)
        assert np.array_equal(got & mask, (x @ y) & mask), (a, b)


@pytest.mark.parametrize("name", ON_CUDA)
@pytest.mark.parametrize("way", ["tensor_8", "small_tensor_5"])
def test_operands_that_are_transposed(name: str, way: str) -> None:
    backend = open_backend(name)
    skip_if_impossible(backend, way)
    limbs, mask = digits_of(way)
    x, y = drawn(8, (2, 37, 70), (2, 41, 70))
    task = operands(backend.xp, backend.asarray(x), backend.asarray(y).transpose(0, 2, 1))
    got = backend.to_host(ways_of(backend).run(way, task, limbs))
    assert np.array_equal(got & mask, (x @ y.transpose(0, 2, 1)) & mask)


@pytest.mark.parametrize("name", ["cuda-fake", CUDA])  # from PTX it would take half a minute
@pytest.mark.parametrize("limbs", [4, 8])
def test_the_largest_sums_fit_and_longer_products_are_cut(
    name: str, limbs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every digit is -128: no operands have larger digit products. The stand-in ends when a sum overflows."""
    backend = open_backend(name)
    skip_if_impossible(backend, way := f"small_tensor_{limbs}")
    monkeypatch.setattr(backend, "multiprocessors", 1)  # nothing is cut for the device's sake
    lowest = -sum(128 << 8 * j for j in range(limbs))
    longest = 32 * tensor.most_steps(limbs)
    assert limbs * 2**14 * longest < 2**31 <= limbs * 2**14 * (longest + 32)
    for depth in (longest, longest + 1):
        a, b = (np.full(shape, np.uint64(lowest % 2**64)) for shape in ((1, depth), (depth, 1)))
        task = operands(backend.xp, backend.asarray(a), backend.asarray(b))
        got = backend.to_host(ways_of(backend).run(way, task, limbs))
        assert int(got[0, 0, 0]) % 2 ** (8 * limbs) == depth * lowest**2 % 2 ** (8 * limbs)


@pytest.mark.parametrize("name", ON_CUDA)
def test_parts_keep_small_products_from_idling(name: str) -> None:
    backend = open_backend(name)
    skip_if_impossible(backend, "tensor_8")
    products = ways_of(backend)
    assert products._parts(1, 64, 8) == min(backend.multiprocessors, 16)  # type: ignore[attr-defined]
    assert products._parts(10**6, 64, 8) == 1
    x, y = drawn(9, (20, 2000), (2000, 20))
    task = operands(backend.xp, backend.asarray(x), backend.asarray(y))
    for way in ("tensor_8", "small_tensor_8"):
        assert np.array_equal(backend.to_host(products.run(way, task, 8))[0], x @ y)


# The choice


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> CudaBackend:
    """A fresh stand-in, on which everything is tried."""
    for threshold in ("_TENSOR_WORK", "_FLOAT64_WORK"):
        monkeypatch.setattr(tensor, threshold, 0)
    with fake_cupy.installed():
        return CudaBackend()


@pytest.mark.parametrize("fastest", ["plain", "float64", "tensor_7", "small_tensor_7"])
def test_the_fastest_way_is_found_once(
    backend: CudaBackend, fastest: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []
    run = backend.products.run
    monkeypatch.setattr(backend.products, "run", lambda way, *rest: ran.append(way) or run(way, *rest))
    monkeypatch.setattr(backend, "seconds", lambda once: once() is None or float(ran[-1] != fastest))
    a, b = drawn(1, (9, 70), (70, 11))
    for _ in range(2):
        got = backend.to_host(backend.matmul(backend.asarray(a), backend.asarray(b), 53))
        assert np.array_equal(got & np.uint64(2**53 - 1), (a @ b) & np.uint64(2**53 - 1))
    assert set(ran[:-2]) >= {"plain", "float64", "tensor_7", "small_tensor_7"}
    assert ran[-2:] == [fastest, fastest]
    assert backend.products.chosen == {(1, 9, 70, 11, 7, False): fastest}


def test_a_factor_is_split_once_for_each_number_of_digits(
    backend: CudaBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    launched: list[str] = []
    launch = backend.launch
    monkeypatch.setattr(
        backend, "launch", lambda kernel, *rest: launched.append(kernel) or launch(kernel, *rest)
    )
    a, b = drawn(2, (9, 70), (70, 11))
    factor = backend.factor(backend.asarray(b))
    for limbs in (7, 8):
        backend.products.chosen[1, 9, 70, 11, limbs, True] = f"tensor_{limbs}"
    for bits in (64, 56, 64, 49, 56):
        got = backend.to_host(backend.matmul(backend.asarray(a), factor, bits))
        assert np.array_equal(got & np.uint64(2**bits - 1), (a @ b) & np.uint64(2**bits - 1))
    assert launched.count("split_right") == 2
    assert launched.count("split_left") == 5


@pytest.mark.parametrize(("wrong", "named"), [("float_product", "float64"), ("_tensor", "tensor_8")])
def test_a_way_that_is_inexact_is_left_alone(
    backend: CudaBackend, wrong: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = product if wrong == "float_product" else backend.products
    original = getattr(home, wrong)
    monkeypatch.setattr(home, wrong, lambda *args: original(*args) + np.uint64(1))
    a, b = drawn(3, (3, 4), (4, 3))
    with pytest.warns(RuntimeWarning, match=f"{named} products are inexact"):
        got = backend.to_host(backend.matmul(backend.asarray(a), backend.asarray(b)))
    assert np.array_equal(got, a @ b)
    assert named not in backend.products.ways(operands(backend.xp, *map(backend.asarray, (a, b))), 8)


@pytest.mark.parametrize(
    ("capability", "expected"), [("75", ["plain"]), ("86", ["plain", "tensor_8", "small_tensor_8"])]
)
def test_devices_without_fast_units_do_without(
    capability: str, expected: list[str], backend: CudaBackend
) -> None:
    backend.capability = int(capability)
    a, b = drawn(4, (3, 4), (4, 3))
    task = operands(backend.xp, backend.asarray(a), backend.asarray(b))
    assert list(backend.products.ways(task, 8)) == expected


def test_small_products_are_not_tried() -> None:
    backend = open_backend("cuda-fake")
    x, y = drawn(5, (63, 64), (64, 64))
    task = operands(backend.xp, backend.asarray(x), backend.asarray(y))
    assert list(ways_of(backend).ways(task, 8)) == ["plain"]


def test_a_factor_shows_its_shape_alone() -> None:
    assert repr(Factor(np.full((2, 3), 77, np.uint64))) == "Factor(shape=(2, 3), words=<hidden>)"
