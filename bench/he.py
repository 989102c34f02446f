"""Products that the two parties make by homomorphic encryption: the rows `he_...`.

Keys, and the digests of weights, are exchanged in the set-up; offline and online are a product alone.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.job import Job, null_share, test_share
from bench.protocols import FRAC, ProtocolJob, shaped
from gpu_ss.backend.null import NullArray
from gpu_ss.fixed import decode, encode
from gpu_ss.party import Party, Steps, local
from gpu_ss.plan import Plan, make_plan
from gpu_ss.protocols.arith import matmul
from gpu_ss.protocols.direct import affine_now
from gpu_ss.protocols.io import private, reveal
from gpu_ss.protocols.weights import Held, affine, hold
from gpu_ss.provider.direct import Direct, DirectAffine, DirectMatmul, Traffic
from gpu_ss.ring import RING64, Array
from gpu_ss.values import AShare
from he_bridge.traffic import messages

LINEAR = (8192, 768, 768)  # 64 texts of 128 tokens through a matrix of BERT-base
HEADS = (12, 128, 64, 128)  # queries times keys of a layer of BERT-base at 128 tokens
#: 128 tokens through the matrices of a layer of BERT-base.
DIRECT = {
    "he_linear_direct": (128, 768, 768),
    "he_linear_direct_wide": (128, 768, 3072),
    "he_linear_direct_deep": (128, 3072, 768),
}
NAMES = ["he_triple", "he_linear_offline", *DIRECT, "he_matmul"]
WEIGHT_FRAC = 13  # weights of deviation 1 are integers of some 15 bits
SERVER = 1


class ProductJob(Job):
    """A product X Y modulo 2^64 of real arrays. Offline and online are timed; keys are exchanged in the set-up."""

    bench = "protocols"
    ring_bits, frac_bits = RING64.bits, FRAC
    #: Of direct products, for the plan.
    traffic: Traffic | None = None

    def __init__(self, name: str, shape: Sequence[int], *sides: Sequence[int]) -> None:
        self.name = name
        self.shape = tuple(shape)
        rng = np.random.default_rng(12)
        self._inputs = [rng.normal(0, 1, tuple(side)) for side in sides]
        self._plan: Plan | None = None

    def describe(self) -> dict[str, Any]:
        return {"name": self.name, "shape": list(self.shape)}

    @abstractmethod
    def steps(self, party: Party, planning: bool) -> Steps[AShare]:
        """One run, on shapes if `planning`."""

    def plan(self, rank: int) -> Plan:
        if self._plan is None:
            self._plan = make_plan(
                rank, lambda party: party.run(self.steps(party, True)), traffic=self.traffic
            )
        return self._plan

    def run(self, party: Party) -> AShare:
        return party.run(self.steps(party, False))

    def exchange_keys(self, party: Party, spec: Direct) -> None:
        """What is sent once: preparing a direct product of the same shape brings it, and nothing else."""
        party.provider.prepare([spec])
        party.provider.take(spec)

    def errors(self, party: Party, result: AShare) -> tuple[float, float] | None:
        words = reveal(party, result, 0)
        if words is None:
            return None
        left, right = self._inputs
        error = np.abs(decode(party.backend.to_host(words), RING64, result.frac_bits) - left @ right)
        return float(error.max()), float(error.mean())


class LinearJob(ProductJob):
    """x W for shared x [rows, k] and W [k, n] held by the server: offline A W for a mask A, online one message."""

    def __init__(self, name: str, shape: Sequence[int]) -> None:
        rows, inputs, outputs = shape
        super().__init__(name, shape, (rows, inputs), (inputs, outputs))
        self._held: list[Held] = []

    def set_up(self, party: Party) -> None:
        words = party.backend.asarray(encode(self._inputs[1], RING64, WEIGHT_FRAC))
        self._share = test_share(party, self._inputs[0], RING64, FRAC, 1)
        self._held = self._hold(party, words)
        self._plan = None  # it names the weight, which has a number now
        rows, inputs, outputs = self.shape
        number = self._held[0].number
        self.exchange_keys(party, DirectAffine(rows, inputs, (number,), (outputs,), (0,), RING64.bits))

    def _hold(self, party: Party, words: Array) -> list[Held]:
        own = words if party.rank == SERVER else None
        return hold(party, private(party, SERVER, own, self._inputs[1].shape, RING64, WEIGHT_FRAC))

    def steps(self, party: Party, planning: bool) -> Steps[AShare]:
        held = self._held or self._hold(party, NullArray(self._inputs[1].shape))
        x = null_share(party, self._inputs[0].shape, RING64, FRAC) if planning else self._share
        return (yield from self.product(party, x, held))

    def product(self, party: Party, x: AShare, held: list[Held]) -> Steps[AShare]:
        (found,) = yield from affine.steps(party, x, held)
        return found


class DirectJob(LinearJob):
    """The same with everything online: x is encrypted as it is, nothing but keys is made before."""

    traffic = staticmethod(messages)

    def product(self, party: Party, x: AShare, held: list[Held]) -> Steps[AShare]:
        (w,) = held
        (found,) = affine_now(party, x, [w.number], [w.shape], [w.words])
        return local(AShare(found, x.ring, x.frac_bits + w.frac_bits))


class MatmulJob(ProductJob):
    """X Y for shared X [batch, m, k], Y [batch, k, n]: offline the product of two masks, online their openings."""

    def __init__(self, name: str, shape: Sequence[int]) -> None:
        batch, m, k, n = shape
        super().__init__(name, shape, (batch, m, k), (batch, k, n))

    def set_up(self, party: Party) -> None:
        shares = enumerate(self._inputs)
        self._shares = [test_share(party, x, RING64, FRAC, seed) for seed, x in shares]
        batch, m, k, n = self.shape
        self.exchange_keys(party, DirectMatmul(batch, m, k, n, RING64.bits))

    def steps(self, party: Party, planning: bool) -> Steps[AShare]:
        x, y = [null_share(party, x.shape, RING64, FRAC) for x in self._inputs] if planning else self._shares
        return matmul.steps(party, x, y)


def job(name: str, elements: int | None) -> Job:
    """The job of a row, at its default shape or with about so many elements of x."""
    if name == "he_triple":
        return ProtocolJob(name, shaped(name, elements))
    if name == "he_matmul":
        batch, *sides = HEADS
        wanted = batch if elements is None else max(1, elements // (sides[0] * sides[1]))
        return MatmulJob(name, [wanted, *sides])
    kind, shape = (DirectJob, DIRECT[name]) if name in DIRECT else (LinearJob, LINEAR)
    rows, *sides = shape
    return kind(name, [rows if elements is None else max(1, elements // sides[0]), *sides])
