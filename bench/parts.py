"""Where a model's online time goes: a party that books time, rounds and bytes by part of the model.

A stretch runs from one message to the next, so the work that follows a round counts to the part whose round it was.
Which part that is, the functions that are running say: the innermost one that PARTS names.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterable
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any, TypeVar

from gpu_ss.party import Party, Round, Steps

T = TypeVar("T")
OTHER = "other"
#: Functions of the model by name.
PARTS = {
    "_forward": "head",
    "_embed": "embedding",
    "attention_block": "attention",
    "softmax_weights": "softmax",
    "affine": "linear",
    "activate": "activation",
    "normalised": "layernorm",
    "unit_rows": "layernorm",
}
#: What these call counts to them.
WHOLE = frozenset({"_embed", "softmax_weights", "activate"})


@dataclass
class Booked:
    """Of one part: online seconds, messages that wait for each other, payload bytes in both directions."""

    s: float = 0.0
    rounds: int = 0
    bytes: int = 0


class BookingParty(Party):
    """A party like `party` that also books what its runs spend."""

    def __init__(self, party: Party) -> None:
        super().__init__(*(getattr(party, f.name) for f in fields(party)))
        self._books: dict[str, Booked] = {}

    def booked(self) -> dict[str, Booked]:
        """What was spent since the last call, by part, in order of appearance."""
        books, self._books = self._books, {}
        return books

    def run(self, steps: Steps[T]) -> T:
        return super().run(self._booking(steps))

    def _booking(self, steps: Steps[T]) -> Steps[T]:
        answer: Any = None
        part: str | None = None
        start = time.perf_counter()
        while True:
            try:
                request = steps.send(answer)
            except StopIteration as stop:
                self._spent(part or OTHER, start)
                result: T = stop.value
                return result
            next_part = part_of(steps)
            start = self._spent(part or next_part, start)
            part = next_part
            self._count(part, request)
            answer = yield request

    def _spent(self, part: str, start: float) -> float:
        self.backend.synchronize()
        now = time.perf_counter()
        self._books.setdefault(part, Booked()).s += now - start
        return now

    def _count(self, part: str, request: Round) -> None:
        book = self._books.setdefault(part, Booked())
        book.rounds += 1
        book.bytes += sum(item.bytes * (2 if item.sender is None else 1) for item in request.items)


def part_of(steps: Generator[Any, Any, Any]) -> str:
    """The part that waits for its round: the innermost function with a name in PARTS."""
    found = OTHER
    inner: Any = steps
    while inner is not None:
        name = inner.gi_code.co_name
        found = PARTS.get(name, found)
        if name in WHOLE:
            return found
        inner = getattr(inner, "gi_yieldfrom", None)
    return found


def medians(runs: Iterable[dict[str, Booked]]) -> dict[str, dict[str, float]]:
    """The parts of several equal runs as JSON: median seconds; rounds and bytes are the same in all."""
    every = list(runs)
    return {
        name: asdict(book) | {"s": median(run[name].s for run in every)} for name, book in every[-1].items()
    }
