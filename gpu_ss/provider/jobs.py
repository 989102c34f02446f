"""Many small computations on shares side by side, so that equal steps of all of them become one message.

A computation is a generator. It yields a list of requests and is sent the list of their answers, or it yields
another `Job` and is sent its result once that is there; what it returns is its own result. Requests of all
computations that wait at the same time are answered together, those of one `kind` in one call.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Hashable, Iterable, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Request(Protocol):
    """Something to be computed by both parties; equal kinds can be computed in one go."""

    @property
    def kind(self) -> Hashable: ...


#: Answers requests of one kind, in order.
Answerer = Callable[[Sequence[Any]], Sequence[Any]]
#: A computation in execution.
Work = Generator[Any, Any, T]


class Job:
    """A computation and, once it has ended, its result."""

    def __init__(self, work: Work[Any]) -> None:
        self.work = work
        self.done = False
        self.result: Any = None

    def __repr__(self) -> str:
        return f"Job(done={self.done}, result=<hidden>)"


class Shared:
    """Computations that several others need the result of, started once each."""

    def __init__(self) -> None:
        self._jobs: dict[Hashable, Job] = {}

    def job(self, key: Hashable, start: Callable[[], Work[Any]]) -> Job:
        """The job of that name, begun now if it is new."""
        if key not in self._jobs:
            self._jobs[key] = Job(start())
        return self._jobs[key]


def run(jobs: Iterable[Job], answer: Answerer) -> None:
    """Run these jobs, and those they wait for, to their ends."""
    waiting: list[tuple[Job, Any]] = [(job, None) for job in jobs]
    started: set[Job] = {job for job, _ in waiting}
    sleepers: dict[Job, list[Job]] = {}
    while waiting:
        asked: list[tuple[Job, Sequence[Request]]] = []
        while waiting:
            job, value = waiting.pop(0)
            try:
                wanted = job.work.send(value)
            except StopIteration as end:
                job.done, job.result = True, end.value
                waiting += [(sleeper, job.result) for sleeper in sleepers.pop(job, [])]
                continue
            if not isinstance(wanted, Job):
                asked.append((job, wanted))
            elif wanted.done:
                waiting.append((job, wanted.result))
            else:
                sleepers.setdefault(wanted, []).append(job)
                if wanted not in started:
                    started.add(wanted)
                    waiting.append((wanted, None))
        waiting = _answered(asked, answer)


def _answered(asked: list[tuple[Job, Sequence[Request]]], answer: Answerer) -> list[tuple[Job, list[Any]]]:
    """The answers of each job, from one call for each kind of request."""
    kinds: dict[Hashable, list[tuple[int, int, Request]]] = {}
    answers: list[list[Any]] = [[None] * len(requests) for _, requests in asked]
    for which, (_, requests) in enumerate(asked):
        for at, request in enumerate(requests):
            kinds.setdefault(request.kind, []).append((which, at, request))
    for group in kinds.values():
        for (which, at, _), found in zip(group, answer([request for *_, request in group]), strict=True):
            answers[which][at] = found
    return [(job, found) for (job, _), found in zip(asked, answers, strict=True)]
