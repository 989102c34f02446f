"""Products of shares that the two parties compute at once, while a protocol runs, instead of from correlations.

A protocol asks `provider.compute(spec, *operands)` where `provider.direct` is true. The spec is part of the plan
like a correlation, but has no arrays: preparing it exchanges keys, so that nothing of its traffic depends on
whether it is the first of its kind. What is sent is known from the spec alone (`Traffic`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gpu_ss.provider.correlation import Correlation, Out


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a direct product; `round`: whether the receiver waits for it, see `net.Channel.send`."""

    tag: str
    sender: int
    bytes: int
    round: bool


@dataclass(frozen=True)
class Direct(Correlation):
    """A product of shares; not made of masks, so it has no arrays."""

    def outputs(self) -> tuple[Out, ...]:
        return ()

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of the result."""


@dataclass(frozen=True)
class DirectAffine(Direct):
    """X [W_1 | W_2 | ..] for shared X [rows, k] and weights that one party holds: [rows, sum of columns].

    weights: their numbers, see `Provider.hold`; of `diagonal` ones only the diagonal [k] is there.
    """

    rows: int
    k: int
    weights: tuple[int, ...]
    columns: tuple[int, ...]
    diagonal: tuple[int, ...]
    bits: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.rows, sum(self.columns))


@dataclass(frozen=True)
class DirectMatmul(Direct):
    """X Y for shared X [batch, m, k] and Y [batch, k, n]."""

    batch: int
    m: int
    k: int
    n: int
    bits: int

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.batch, self.m, self.n)


#: The messages of a product, in the order in which they are sent.
Traffic = Callable[[Direct], Iterable[Message]]
