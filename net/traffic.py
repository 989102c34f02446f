"""Counting what a session sends and receives, by phase and tag.

Counted are DATA messages as handed to the transport: payload bytes and, apart from them, the bytes of the
headers. Not counted are what the transport adds (ZMTP and TCP framing, encryption tags), greetings and
farewells: a plan made before the run predicts the counted numbers exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType


class Direction(Enum):
    SENT = "sent"
    RECEIVED = "received"


@dataclass(frozen=True)
class Totals:
    """Number of messages, bytes of payload, bytes of headers."""

    messages: int = 0
    payload: int = 0
    overhead: int = 0

    @property
    def bytes(self) -> int:
        """Payload and headers together."""
        return self.payload + self.overhead

    def __add__(self, other: Totals) -> Totals:
        return Totals(
            self.messages + other.messages, self.payload + other.payload, self.overhead + other.overhead
        )

    def __sub__(self, other: Totals) -> Totals:
        return Totals(
            self.messages - other.messages, self.payload - other.payload, self.overhead - other.overhead
        )


@dataclass(frozen=True)
class Row:
    """One line of a traffic table: what one tag carried in one phase."""

    phase: str
    tag: str
    sent: Totals
    received: Totals


_Key = tuple[str, str, Direction]
_NOTHING = Totals()


@dataclass(frozen=True)
class TrafficReport:
    """The counters at one moment, or the difference of two moments (`later - earlier`)."""

    counters: Mapping[_Key, Totals]
    rounds_by_phase: Mapping[str, int]

    @property
    def sent(self) -> Totals:
        return self._total(Direction.SENT)

    @property
    def received(self) -> Totals:
        return self._total(Direction.RECEIVED)

    @property
    def rounds(self) -> int:
        return sum(self.rounds_by_phase.values())

    @property
    def by_tag(self) -> Mapping[str, tuple[Totals, Totals]]:
        """tag -> (sent, received), over all phases."""
        merged: dict[str, tuple[Totals, Totals]] = {}
        for row in self.table():
            sent, received = merged.get(row.tag, (_NOTHING, _NOTHING))
            merged[row.tag] = (sent + row.sent, received + row.received)
        return merged

    def phase(self, name: str) -> TrafficReport:
        """The part of this report that belongs to one phase."""
        return TrafficReport(
            MappingProxyType({key: totals for key, totals in self.counters.items() if key[0] == name}),
            MappingProxyType({name: self.rounds_by_phase.get(name, 0)}),
        )

    def table(self) -> list[Row]:
        """Rows for display, in the order in which phases and tags first appeared."""
        names = dict.fromkeys((phase, tag) for phase, tag, _ in self.counters)
        return [
            Row(
                phase,
                tag,
                self.counters.get((phase, tag, Direction.SENT), _NOTHING),
                self.counters.get((phase, tag, Direction.RECEIVED), _NOTHING),
            )
            for phase, tag in names
        ]

    def __sub__(self, earlier: TrafficReport) -> TrafficReport:
        counters = {key: now - earlier.counters.get(key, _NOTHING) for key, now in self.counters.items()}
        rounds = {
            name: now - earlier.rounds_by_phase.get(name, 0) for name, now in self.rounds_by_phase.items()
        }
        return TrafficReport(
            MappingProxyType({key: totals for key, totals in counters.items() if totals != _NOTHING}),
            MappingProxyType({name: count for name, count in rounds.items() if count}),
        )

    def _total(self, direction: Direction) -> Totals:
        return sum((t for key, t in self.counters.items() if key[2] is direction), _NOTHING)


@dataclass
class Traffic:
    """Running counters of one session."""

    current_phase: str = "setup"
    _counters: dict[_Key, list[int]] = field(
        default_factory=dict
    )  # plain numbers: this runs for every message
    _rounds: dict[str, int] = field(default_factory=dict)

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Books everything inside the block under phase `name`; phases nest."""
        outer, self.current_phase = self.current_phase, name
        try:
            yield
        finally:
            self.current_phase = outer

    def count(self, direction: Direction, tag: str, payload: int, overhead: int) -> None:
        """Books one message."""
        totals = self._counters.setdefault((self.current_phase, tag, direction), [0, 0, 0])
        totals[0] += 1
        totals[1] += payload
        totals[2] += overhead

    def count_round(self) -> None:
        """Books one round."""
        self._rounds[self.current_phase] = self._rounds.get(self.current_phase, 0) + 1

    def report(self) -> TrafficReport:
        """An immutable snapshot."""
        counters = {key: Totals(*totals) for key, totals in self._counters.items()}
        return TrafficReport(MappingProxyType(counters), MappingProxyType(dict(self._rounds)))
