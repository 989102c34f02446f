"""How far long work is: a call for every step, and several pieces of work under one display."""

from __future__ import annotations

from collections.abc import Callable

#: Called after each step: (steps done, in all).
Progress = Callable[[int, int], None]

_MICRO = 1000  # nanoseconds


def silent(done: int, total: int) -> None:
    """Shows no progress."""


def counter(progress: Progress, total: int) -> Callable[[], None]:
    """To be called `total` times, once after each step."""
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        progress(done, total)

    return step


class Work:
    """Pieces of work of known cost, done one after the other: progress in microseconds of their sum."""

    def __init__(self, progress: Progress, nanoseconds: float) -> None:
        self._progress = progress
        self._total = max(1, round(nanoseconds / _MICRO))
        self._done = 0.0

    def part(self, nanoseconds: float) -> Progress:
        """The display of the next piece."""
        before, cost = self._done, nanoseconds / _MICRO
        self._done += cost

        def show(done: int, total: int) -> None:
            self._progress(min(self._total, round(before + cost * done / max(1, total))), self._total)

        return show

    def finish(self) -> None:
        """Everything is done, whatever it cost."""
        self._progress(self._total, self._total)
