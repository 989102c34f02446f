"""The protocols of gpu_ss, one row each, with their errors against float."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil, erf, prod, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.job import Job, Real, null_share, test_share
from bench.rows import Row
from gpu_ss.fixed import decode
from gpu_ss.functions.activation import activation, relu
from gpu_ss.functions.exp import exp
from gpu_ss.functions.inverse import reciprocal, rsqrt
from gpu_ss.functions.layernorm import unit_rows
from gpu_ss.functions.maximum import argmax
from gpu_ss.functions.softmax import softmax
from gpu_ss.party import Party, Round, Steps, told
from gpu_ss.plan import Plan
from gpu_ss.protocols.arith import matmul, mul, powers, square
from gpu_ss.protocols.compare import ge_public
from gpu_ss.protocols.convert import a2b
from gpu_ss.protocols.io import reveal
from gpu_ss.protocols.select import b2a
from gpu_ss.protocols.trunc import truncate
from gpu_ss.ring import RING64, Ring
from gpu_ss.values import AShare, BShare

FRAC = 16
Words = NDArray[np.uint64]


@dataclass(frozen=True)
class Case:
    """A protocol's workload: default shape, inputs, the steps, the float function, and what to reveal."""

    shape: tuple[int, ...]
    inputs: Callable[[np.random.Generator, tuple[int, ...]], list[Real]]
    steps: Callable[..., Steps[Any]]
    clear: Callable[..., Real]
    frac_bits: int = FRAC
    ring: Ring = RING64


def normal(scale: float, count: int = 1) -> Callable[[np.random.Generator, tuple[int, ...]], list[Real]]:
    """`count` arrays of normal numbers."""
    return lambda rng, shape: [rng.normal(0, scale, shape) for _ in range(count)]


def positive(rng: np.random.Generator, shape: tuple[int, ...]) -> list[Real]:
    """Numbers between 2^-8 and 2^12, evenly in their logarithm."""
    return [2.0 ** rng.uniform(-8, 12, shape)]


def _pair(rng: np.random.Generator, shape: tuple[int, ...]) -> list[Real]:
    rows, inner, columns = shape[-3:]
    lead = shape[:-3]
    return [rng.normal(0, 1, (*lead, rows, inner)), rng.normal(0, 1, (*lead, inner, columns))]


def _gelu(x: Real) -> Real:
    return np.asarray(x * 0.5 * (1 + np.vectorize(erf)(x / sqrt(2))), np.float64)


def _softmax(x: Real) -> Real:
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return np.asarray(e / e.sum(axis=-1, keepdims=True))


def _layernorm(x: Real) -> Real:
    centred = x - x.mean(axis=-1, keepdims=True)
    return np.asarray(centred / np.sqrt(x.shape[-1] * (x.var(axis=-1, keepdims=True) + 1e-12)))


def _compare(party: Party, x: AShare) -> Steps[Any]:
    bits = yield from ge_public.steps(party, x, 0)
    return bits


def _bits_to_number(party: Party, x: AShare) -> Steps[AShare]:
    bits = yield from a2b.steps(party, x)
    number = yield from b2a.steps(party, bits, RING64)
    return AShare(number.data, RING64, FRAC)


def _powers(party: Party, x: AShare) -> Steps[AShare]:
    return (yield from powers.steps(party, x, 3))[2]


BIG = (1_000_000,)
CASES: dict[str, Case] = {
    "mul": Case(BIG, normal(10, 2), mul.steps, lambda x, y: x * y),
    "square": Case(BIG, normal(10), square.steps, lambda x: x * x),
    "matmul": Case((128, 768, 768), _pair, matmul.steps, lambda x, y: x @ y),
    "powers": Case(BIG, normal(1), _powers, lambda x: x**3),
    "trunc": Case(BIG, normal(1000), lambda p, x: truncate.steps(p, x, 8), lambda x: x),
    "compare": Case(BIG, normal(1000), _compare, lambda x: (x >= 0).astype(float)),
    "relu": Case(BIG, normal(10), relu.steps, lambda x: np.maximum(x, 0)),
    "a2b": Case((100_000,), normal(1000), a2b.steps, lambda x: x),
    "b2a": Case((100_000,), normal(1000), _bits_to_number, lambda x: x),
    "exp": Case((100_000,), normal(2), exp.steps, np.exp),
    "reciprocal": Case((2_000,), positive, reciprocal.steps, lambda x: 1 / x),
    "rsqrt": Case((2_000,), positive, rsqrt.steps, lambda x: 1 / np.sqrt(x)),
    "softmax": Case((1536, 128), normal(4), softmax.steps, _softmax),
    "gelu": Case((128, 3072), normal(3), lambda p, x: activation.steps(p, x, "gelu"), _gelu),
    "layernorm": Case((128, 768), normal(3), lambda p, x: unit_rows.steps(p, x, 1e-12, 24), _layernorm),
    "argmax": Case((100, 1000), normal(10), argmax.steps, lambda x: x.argmax(axis=-1).astype(float)),
}


#: Rows of products by encryption, see he.py.
ENCRYPTED = {"he_triple": Case((8192,), normal(10, 2), mul.steps, lambda x, y: x * y)}


class ProtocolJob(Job):
    """One protocol at one shape."""

    bench = "protocols"

    def __init__(self, case: str, shape: Sequence[int], chunks: int = 1) -> None:
        """`shape` of all chunks together; the first dimension is cut into equal ones, rounded up."""
        self.name = case
        self.chunks = chunks
        chunk = (ceil(shape[0] / chunks), *shape[1:])
        self.shape = (chunk[0] * chunks, *chunk[1:])
        self._case = (CASES | ENCRYPTED)[case]
        self.ring_bits, self.frac_bits = self._case.ring.bits, self._case.frac_bits
        self._inputs = self._case.inputs(np.random.default_rng(11), chunk)
        self._shares: list[AShare] = []
        self._plan: Plan | None = None

    def describe(self) -> dict[str, Any]:
        return {"case": self.name, "shape": list(self.shape), "chunks": self.chunks}

    @property
    def input_size(self) -> int:
        """Elements of all inputs of a chunk."""
        return sum(x.size for x in self._inputs)

    def set_up(self, party: Party) -> None:
        ring, frac = self._case.ring, self._case.frac_bits
        self._shares = [test_share(party, x, ring, frac, seed) for seed, x in enumerate(self._inputs)]

    def plan(self, rank: int) -> Plan:
        if self._plan is None:
            ring, frac = self._case.ring, self._case.frac_bits
            self._plan = self.planned(
                rank,
                lambda party: party.run(
                    self._case.steps(party, *(null_share(party, x.shape, ring, frac) for x in self._inputs))
                ),
            )
        return self._plan

    def run(self, party: Party) -> Any:
        return party.run(self._case.steps(party, *self._shares))

    def errors(self, party: Party, result: Any) -> tuple[float, float] | None:
        found = _reveal(party, result)
        if found is None:
            return None
        expected = self._case.clear(*self._inputs)
        error = np.abs(found - expected.reshape(found.shape))
        return float(error.max()), float(error.mean())

    def decorate(self, row: Row) -> Row:
        """`items_per_s`: elements, online."""
        rate = prod(self.shape) / row.online_s if row.online_s else None
        return replace(row, extra=row.extra | {"items_per_s": rate})


def _reveal(party: Party, result: Any) -> Real | None:
    """The result as real numbers at rank 0."""
    if isinstance(result, AShare):
        words = reveal(party, result, 0)
        if words is None:
            return None
        host = party.backend.to_host(words)
        if not result.frac_bits:  # indices are unsigned
            return np.asarray(host, np.float64)
        return decode(host, result.ring, result.frac_bits)
    bits = _reveal_bits(party, result)
    return None if bits is None else decode(bits, RING64, FRAC if result.nbits > 1 else 0)


def _reveal_bits(party: Party, x: BShare) -> Words | None:
    """The bits of each element as a word, at rank 0. Takes no correlations: nothing is planned for the check."""
    item = told(1, x.planes if party.rank else None, tuple(x.planes.shape), RING64)
    (theirs,) = party.exchange(Round("check", (item,)))
    if party.rank:
        return None
    return party.backend.to_host(party.backend.from_planes(x.planes ^ theirs, x.size)).reshape(x.shape)


@lru_cache(maxsize=1)
def names() -> list[str]:
    """All protocol rows."""
    return list(CASES)


def shaped(name: str, elements: int | None) -> tuple[int, ...]:
    """The default shape, or about `elements` elements in its first dimension."""
    shape = (CASES | ENCRYPTED)[name].shape
    if elements is None:
        return shape
    rest = prod(shape[1:])
    return (max(1, elements // rest), *shape[1:])
