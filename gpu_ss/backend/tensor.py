"""Products on tensor cores: the host side of kernels/tensor.cu, and the choice between all ways a GPU has.

Every way gives the same words modulo 2^bits, so the choice is one of speed only. It is made by trying: the first
product of a shape is computed in each way that may be the fastest, and timed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from gpu_ss.backend import product
from gpu_ss.backend.product import Forms, Operands
from gpu_ss.backend.signatures import CUDA_KERNELS, LIMBS
from gpu_ss.ring import Array

if TYPE_CHECKING:
    from gpu_ss.backend.cuda import CudaBackend

PLACES = 32  # along K that one instruction takes
_LEFT_TILE, _RIGHT_TILE = (16, PLACES), (PLACES, 8)
_LEAST_STEPS = 4  # of PLACES, in a part, where K is cut into parts only to keep the device busy
_TENSOR_FROM = 80  # compute capability 8.0: asynchronous copies, and mma.m16n8k32 on bytes
# Compute capabilities with float64 units at half the float32 rate or better; others have a token few.
_STRONG_FLOAT64 = frozenset({60, 70, 80, 90, 100})
# Multiplications from which on a way is tried. By arithmetic: below, nothing beats one launch of a plain kernel;
# the float64 way takes some 40 launches.
_TENSOR_WORK = 1 << 18
_FLOAT64_WORK = 1 << 24
_TRIES = 3

#: Batch, M, K, N, digits, and whether the right operand is a `Factor`: what a choice depends on.
Key = tuple[int, int, int, int, int, bool]


def limbs_of(bits: int) -> int:
    """Digits of 8 bits that a product modulo 2^bits is computed with."""
    return max(LIMBS[0], -(-bits // 8))


def most_steps(limbs: int) -> int:
    """Steps of PLACES after which a 32-bit sum of digit products may be full."""
    return (2**31 - 1) // (limbs * 2**14) // PLACES


class Products:
    """The ways one CUDA backend multiplies, and which one it takes for which shape."""

    def __init__(self, backend: CudaBackend) -> None:
        self._backend = backend
        #: What is taken. To be read; a test or a bench may set what it wants to see.
        self.chosen: dict[Key, str] = {}
        self._exact: dict[str, bool] = {}

    def compute(self, task: Operands, bits: int, forms: Forms | None) -> Array:
        """The product modulo 2^bits in the fastest way. `forms`: of the right operand, if it is a `Factor`."""
        (_, rows, inner), cols, limbs = task.a.shape, task.b.shape[-1], limbs_of(bits)
        key = (task.batch, rows, inner, cols, limbs, forms is not None)
        way = self.chosen.get(key)
        if way is None:
            way = self.chosen[key] = self._fastest(task, limbs, forms)
        return self.run(way, task, limbs, forms)

    def ways(self, task: Operands, limbs: int) -> Iterator[str]:
        """Those worth trying; their results have been compared on this device."""
        yield "plain"
        work = task.batch * prod(task.a.shape[1:]) * task.b.shape[-1]
        if (
            work >= _FLOAT64_WORK
            and self._backend.capability in _STRONG_FLOAT64
            and self._agrees("float64", 8)
        ):
            yield "float64"
        if work >= _TENSOR_WORK and self._backend.capability >= _TENSOR_FROM:
            yield from (k for k in (f"tensor_{limbs}", f"small_tensor_{limbs}") if self._agrees(k, limbs))

    def run(self, way: str, task: Operands, limbs: int, forms: Forms | None = None) -> Array:
        """The product modulo 2^(8 limbs) in one way."""
        if way == "plain":
            return self._backend.plain_product(task)
        if way == "float64":
            with self._backend.current():
                return product.float_product(self._backend.xp, task.a, task.b)
        return self._tensor(way, task, limbs, forms)

    def _fastest(self, task: Operands, limbs: int, forms: Forms | None) -> str:
        ways = list(self.ways(task, limbs))
        return (
            ways[0] if len(ways) == 1 else min(ways, key=lambda way: self._seconds(way, task, limbs, forms))
        )

    def _seconds(self, way: str, task: Operands, limbs: int, forms: Forms | None) -> float:
        """The least of a few tries, after one that compiles, and splits what is split once."""
        once: Callable[[], Array] = lambda: self.run(way, task, limbs, forms)  # noqa: E731
        once()
        return min(self._backend.seconds(once) for _ in range(_TRIES))

    def _tensor(self, kernel: str, task: Operands, limbs: int, forms: Forms | None) -> Array:
        (lefts, rows, inner), (rights, _, cols) = task.a.shape, task.b.shape
        left, right = task.a, self._right(task.b, limbs, forms)
        if CUDA_KERNELS[kernel].codes.startswith("h"):  # takes digits; others split the words they read
            left = self._split("split_left", task.a, limbs, _LEFT_TILE)
        down, across = CUDA_KERNELS[kernel].tile or (1, 1)
        tiles = task.batch * -(-rows // down) * -(-cols // across)
        parts = self._parts(tiles, -(-inner // PLACES), limbs)
        shape = (task.batch, rows, cols)
        out = self._backend.empty(shape) if parts == 1 else self._backend.zeros(shape)
        steps = [x.size // count if count > 1 else 0 for x, count in ((left, lefts), (right, rights))]
        self._backend.launch(kernel, tiles * parts, left, right, out, rows, inner, cols, *steps, parts)
        return out

    def _right(self, b: Array, limbs: int, forms: Forms | None) -> Array:
        """The digits of the right operand, kept for the next product if it is a `Factor`."""
        if forms is None:
            return self._split("split_right", b, limbs, _RIGHT_TILE)
        if limbs not in forms:
            digits = self._split("split_right", b, limbs, _RIGHT_TILE)
            self._backend.synchronize()  # other threads may use it on other streams
            forms[limbs] = digits
        return forms[limbs]

    def _split(self, kernel: str, x: Array, limbs: int, tile: tuple[int, int]) -> Array:
        """The digits of matrices, tile by tile as tensor.cu says."""
        batch, *sides = x.shape
        tiles = batch * prod(-(-side // part) for side, part in zip(sides, tile, strict=True))
        with self._backend.current():
            out = self._backend.xp.empty(tiles * prod(tile) * limbs // 4, dtype=np.uint32)
        self._backend.launch(kernel, tiles * PLACES, x, out, limbs, *sides)
        return out

    def _parts(self, tiles: int, steps: int, limbs: int) -> int:
        """Into how many parts K is cut: what sums of 32 bits need, or more to keep the device busy."""
        needed = -(-steps // most_steps(limbs))
        busy = min(self._backend.multiprocessors // tiles, steps // _LEAST_STEPS)
        return max(needed, busy)

    def _agrees(self, way: str, limbs: int) -> bool:
        """Whether a way gives the right words on this device; compared once, and a complaint if not."""
        if way not in self._exact:
            mask = np.uint64((1 << 8 * limbs) - 1)
            a, b = (self._backend.asarray(x) for x in probe(way))
            task = Operands(a, b, ())
            found, exact = self.run(way, task, limbs), self._backend.plain_product(task)
            with self._backend.current():
                self._exact[way] = bool(((found ^ exact) & mask == 0).all())
            if not self._exact[way]:
                warnings.warn(
                    f"{way} products are inexact on this GPU, so they are not used: please report this",
                    RuntimeWarning,
                    stacklevel=2,
                )
        return self._exact[way]


def probe(way: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Operands that show what may be wrong with a device: float64 with fewer bits, or another layout of digits."""
    if way == "float64":
        return product.worst_case()
    a, b = (np.arange(np.prod(shape), dtype=np.uint64).reshape(shape) for shape in ((2, 70, 90), (1, 90, 50)))
    mixed = np.uint64(0x9E3779B97F4A7C15)  # every digit of every word is another one
    return (a + mixed) * mixed, (b - mixed) * mixed
