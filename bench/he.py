"""Products that the two parties make by homomorphic encryption: the rows `he_triple` and `he_linear_offline`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.job import Job, null_share, test_share
from bench.protocols import FRAC, ProtocolJob, shaped
from bench.rows import Row, peak_memory
from gpu_ss.backend.null import NullArray
from gpu_ss.fixed import decode, encode
from gpu_ss.party import Party, Steps
from gpu_ss.plan import Plan, make_plan
from gpu_ss.protocols.io import private, reveal
from gpu_ss.protocols.weights import Held, affine, hold
from gpu_ss.ring import RING64, Array
from gpu_ss.values import AShare

NAMES = ["he_triple", "he_linear_offline"]
LINEAR = (8192, 768, 768)  # 64 texts of 128 tokens through a matrix of BERT-base
WEIGHT_FRAC = 13  # weights of deviation 1 are integers of some 15 bits
SERVER = 1


class LinearJob(Job):
    """x W for shared x [rows, k] and W [k, n] held by the server: offline A W for a mask A, online one message."""

    bench = "protocols"
    name = "he_linear_offline"
    ring_bits, frac_bits = RING64.bits, FRAC

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        rows, inputs, outputs = self.shape
        rng = np.random.default_rng(12)
        self._x = rng.normal(0, 1, (rows, inputs))
        self._w = rng.normal(0, 1, (inputs, outputs))
        self._held: list[Held] = []
        self._plan: Plan | None = None

    def describe(self) -> dict[str, Any]:
        return {"shape": list(self.shape)}

    def set_up(self, party: Party) -> None:
        words = party.backend.asarray(encode(self._w, RING64, WEIGHT_FRAC))
        self._held = self._hold(party, words)
        self._share = test_share(party, self._x, RING64, FRAC, 1)

    def _hold(self, party: Party, words: Array) -> list[Held]:
        own = words if party.rank == SERVER else None
        return hold(party, private(party, SERVER, own, self._w.shape, RING64, WEIGHT_FRAC))

    def plan(self, rank: int) -> Plan:
        if self._plan is None:

            def steps(party: Party) -> Steps[Any]:
                x = null_share(party, self._x.shape, RING64, FRAC)
                return affine.steps(party, x, self._hold(party, NullArray(self._w.shape)))

            self._plan = make_plan(rank, lambda party: party.run(steps(party)))
        return self._plan

    def run(self, party: Party) -> AShare:
        (product,) = affine(party, self._share, self._held)
        return product

    def errors(self, party: Party, result: AShare) -> tuple[float, float] | None:
        words = reveal(party, result, 0)
        if words is None:
            return None
        found = decode(party.backend.to_host(words), RING64, result.frac_bits)
        error = np.abs(found - self._x @ self._w)
        return float(error.max()), float(error.mean())

    def decorate(self, row: Row) -> Row:
        return replace(row, extra=row.extra | {"peak_memory_bytes_rank0": peak_memory()})


def job(name: str, elements: int | None) -> Job:
    """The job of a row, at its default shape or with about so many elements of x."""
    if name == "he_triple":
        return ProtocolJob(name, shaped(name, elements))
    rows, *sides = LINEAR
    return LinearJob([rows if elements is None else max(1, elements // sides[0]), *sides])
