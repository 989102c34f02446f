"""What is measured: something both parties set up once and run several times.

A job is built on both sides from the same public description (a name and JSON parameters), so the worker
process needs nothing else. Test inputs are shared from a seed both know: this is a bench, not a deployment.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from math import ceil
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from bench.rows import Row
from gpu_ss.fixed import encode
from gpu_ss.party import Party, Steps
from gpu_ss.plan import Plan, make_plan
from gpu_ss.ring import Array, Ring
from gpu_ss.values import AShare
from transformer.terms import PRIVATE, Terms

Real = NDArray[np.float64]


class Job(ABC):
    """One measurable thing. `name`, `shape`, `ring_bits`, `frac_bits` go into its row."""

    registry: ClassVar[dict[str, type[Job]]] = {}
    bench: ClassVar[str]

    name: str
    shape: Sequence[int]
    ring_bits: int | None = None
    frac_bits: int | None = None
    #: Whether it makes correlations that no run of it takes.
    ahead = False
    #: Whether the row says where the online time went, by part of the model.
    by_part: bool = False
    #: A run is so many equal runs one after the other, offline and online in turn, to bound the memory.
    chunks: int = 1
    #: Those of the session, before anything is planned.
    terms: Terms = PRIVATE

    def __init_subclass__(cls) -> None:
        Job.registry[cls.__name__] = cls

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Parameters from which the other side builds the same job."""

    def plan_setup(self, rank: int) -> Plan:
        """The correlations of `set_up`."""
        return Plan(0)

    def set_up(self, party: Party) -> None:
        """What happens once per session (weights)."""
        return

    @abstractmethod
    def plan(self, rank: int) -> Plan:
        """The plan of one run, numbered after the set-up's."""

    def planned(self, rank: int, run: Callable[[Party], Any], first: int = 0) -> Plan:
        """The plan of `run` under this session's terms."""
        return make_plan(rank, run, first, self.terms.economy, self.terms.traffic)

    def prepare(self, party: Party, plan: Plan) -> None:
        """The offline part of a run: fetch, work out or make together what `plan` takes."""
        party.provider.prepare(plan.specs)

    @abstractmethod
    def run(self, party: Party) -> Any:
        """One run: the timed part."""

    @abstractmethod
    def errors(self, party: Party, result: Any) -> tuple[float, float] | None:
        """Reveal the result to rank 0 and compare it with float: (max, mean) absolute error there."""

    def decorate(self, row: Row) -> Row:
        """Add what is special to this job's row."""
        return row


class BatchJob(Job):
    """A job on a batch of texts, which may be run a part at a time."""

    by_part = True
    batch: int
    #: Of a party's memory, what it holds whatever the batch: weights, in the forms it needs.
    held_bytes: int

    def cut(self, chunks: int) -> None:
        """Run the batch as so many equal ones, rounded up."""
        self.chunks = chunks
        self.batch = ceil(self.batch / chunks) * chunks
        self.shape = (self.batch, *self.shape[1:])

    @property
    def texts(self) -> int:
        """Of one chunk."""
        return self.batch // self.chunks


def test_share(party: Party, values: Real, ring: Ring, frac_bits: int, seed: int) -> AShare:
    """A sharing both parties derive from a seed (planning: shapes only)."""
    words = encode(values, ring, frac_bits)
    random = np.random.default_rng(seed).integers(0, 2**64, words.shape, dtype=np.uint64)
    mine = random if party.rank == 0 else words - random
    return AShare(party.backend.asarray(mine), ring, frac_bits)


def null_share(party: Party, shape: Sequence[int], ring: Ring, frac_bits: int) -> AShare:
    """The shape of a share, for planning."""
    data: Array = party.backend.zeros(tuple(shape))
    return AShare(data, ring, frac_bits)


#: Runs a protocol on shares: (party, *shares) -> steps.
Protocol = Callable[..., Steps[Any]]
