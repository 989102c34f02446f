"""Planning: what a run will ask for and send, found by running it on shapes.

plan = make_plan(rank, lambda party: model.forward(party, ...), first=provider.taken)
provider.prepare(plan)        # offline: fetch all correlations
model.forward(party, ...)     # online: sends exactly plan.sent[rank] payload bytes in plan.rounds rounds
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from gpu_ss.backend.null import NullArray, NullBackend
from gpu_ss.economy import DEALT, Economy
from gpu_ss.party import Party, Round
from gpu_ss.prg import Prg
from gpu_ss.provider.base import Provider
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.direct import Direct, Message, Traffic
from gpu_ss.ring import Array


@dataclass(slots=True)
class TagCost:
    """What one tag carries: messages, and payload bytes sent by each rank."""

    messages: int = 0
    sent: list[int] = field(default_factory=lambda: [0, 0])


@dataclass(slots=True)
class Plan:
    """The correlations of a run in order (the first has number `first`), and its traffic.

    Bytes are payload bytes, headers apart; `offline_bytes` is what a dealer sends to rank 1.
    """

    first: int
    specs: list[Correlation] = field(default_factory=list)
    tags: dict[str, TagCost] = field(default_factory=dict)
    rounds: int = 0

    @property
    def sent(self) -> tuple[int, int]:
        """Online payload bytes sent by rank 0 and by rank 1."""
        rows = self.tags.values()
        return sum(r.sent[0] for r in rows), sum(r.sent[1] for r in rows)

    @property
    def offline_bytes(self) -> int:
        return sum(spec.correction_bytes for spec in self.specs)

    def offline_bytes_without(self, kinds: tuple[type[Correlation], ...]) -> int:
        """The same when correlations of these kinds do not come from a dealer."""
        return sum(spec.correction_bytes for spec in self.specs if not isinstance(spec, kinds))

    @property
    def taken(self) -> int:
        """The number after the last correlation."""
        return self.first + len(self.specs)

    def moved(self, first: int) -> Plan:
        """The same run later in the session: correlations numbered from `first` on."""
        offset = first - self.first
        specs = [spec.moved(offset, self.first) for spec in self.specs]
        return Plan(first, specs, self.tags, self.rounds)

    def count_message(self, message: Message) -> None:
        """Add one message of a direct product."""
        self.rounds += message.round
        row = self.tags.setdefault(message.tag, TagCost())
        row.messages += 1
        row.sent[message.sender] += message.bytes

    def count(self, request: Round) -> None:
        """Add one round."""
        self.rounds += 1
        row = self.tags.setdefault(request.tag, TagCost())
        row.messages += 1
        for item in request.items:
            for rank in (0, 1):
                if item.sender in (None, rank):
                    row.sent[rank] += item.bytes


class PlanProvider(Provider):
    """Notes what is taken and gives shapes."""

    def __init__(self, rank: int, plan: Plan, economy: Economy, traffic: Traffic | None) -> None:
        super().__init__()
        self._traffic = traffic
        self.economy = economy
        self._next = plan.first
        self._rank = rank
        self._plan = plan
        self._held = 0

    def hold(self, words: Array | None, shape: tuple[int, ...], bits: int) -> int:
        self._held += 1
        return self._held - 1

    @property
    def direct(self) -> bool:
        return self._traffic is not None

    def compute(self, spec: Direct, *operands: Array) -> tuple[Array, int]:
        if self._traffic is None:
            return super().compute(spec, *operands)
        self.take(spec)
        messages = list(self._traffic(spec))
        for message in messages:
            self._plan.count_message(message)
        return NullArray(spec.shape), sum(message.round for message in messages)

    def _expand(self, number: int, spec: Correlation) -> Sequence[Array | None]:
        self._plan.specs.append(spec)
        return [NullArray(o.shape) if o.owner in (None, self._rank) else None for o in spec.outputs()]


class PlanningParty(Party):
    """A party whose rounds are counted instead of sent."""

    def __init__(self, rank: int, plan: Plan, economy: Economy, traffic: Traffic | None) -> None:
        backend = NullBackend()
        no_channel: Any = None
        provider = PlanProvider(rank, plan, economy, traffic)
        super().__init__(rank, backend, provider, no_channel, Prg(backend, bytes(32)))
        self.plan = plan

    def exchange(self, request: Round) -> list[Array]:
        self.plan.count(request)
        return [NullArray(item.shape) for item in request.items]


def make_plan(
    rank: int,
    run: Callable[[Party], Any],
    first: int = 0,
    economy: Economy = DEALT,
    traffic: Traffic | None = None,
) -> Plan:
    """The plan of `run`, which gets a party that holds shapes only.

    economy: that of the session's provider. traffic: of products that the provider computes at once, if it does.
    """
    plan = Plan(first)
    run(PlanningParty(rank, plan, economy, traffic))
    return plan
