"""Where correlations come from, seen from a protocol: `provider.take(spec)` and nothing else.

Correlations are numbered in the order in which the parties take them; both take the same ones in the same
order because both run the same protocol. The number names the keystream the correlation is expanded from,
so it is never used twice, and later correlations refer to the masks of earlier ones by it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from gpu_ss.backend.product import Factor
from gpu_ss.economy import DEALT, Economy
from gpu_ss.errors import CorrelationError
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.direct import Direct
from gpu_ss.provider.reel import Reel
from gpu_ss.ring import Array

#: Called while correlations are made ready: (done, in all).
Progress = Callable[[int, int], None]
#: Called with the number of a set, that of a correlation in it and this party's arrays of it, when it is made.
Keep = Callable[[int, int, Sequence[Array | None]], None]


@dataclass(frozen=True, slots=True)
class Material:
    """One party's part of one correlation: its number and its arrays in the order of `spec.outputs()`.

    An array that only the other party knows (`Out.owner`) is None.
    """

    number: int
    arrays: tuple[Array | None, ...]

    def __repr__(self) -> str:
        return f"Material(number={self.number}, arrays=<hidden>)"

    @property
    def only(self) -> Array:
        """The array of a correlation that has just one."""
        (array,) = self.arrays
        return array


class Provider(ABC):
    """Hands out correlations, each once, in order."""

    #: What they cost; the same at both parties.
    economy: Economy = DEALT

    def __init__(self) -> None:
        self._next = 0

    @property
    def taken(self) -> int:
        """How many correlations have been handed out: the number of the next one."""
        return self._next

    def take(self, spec: Correlation) -> Material:
        """This party's part of the next correlation. Raises CorrelationError when there is none."""
        number = self._next
        self._next += 1
        return Material(number, tuple(self._expand(number, spec)))

    def prepare(self, specs: Sequence[Correlation], progress: Progress | None = None) -> None:
        """Get the next correlations ready before they are taken: the offline phase. Optional."""
        return

    @property
    def direct(self) -> bool:
        """Whether products of shares are computed at once (`compute`) instead of from correlations."""
        return False

    def compute(self, spec: Direct, *operands: Array) -> tuple[Array, int]:
        """This party's share of a product of shares, computed with the other party now; and the rounds it took."""
        raise CorrelationError("this provider computes no products: they need correlations")

    def record(
        self,
        seeds: Sequence[bytes],
        specs: Sequence[Correlation],
        keep: Keep,
        progress: Progress | None = None,
    ) -> Iterator[int]:
        """Make correlations for other sessions, with the other party: for each seed a set, its masks from it.

        `specs` is a whole plan, numbered from 0. `keep` gets all that are not masks, each once, in any order; the
        number of a set is yielded when it is complete, and they are completed in order.
        """
        raise CorrelationError("this provider makes no correlations for later sessions")

    def adopt(self, reel: Reel, specs: Sequence[Correlation], progress: Progress | None = None) -> None:
        """Take the next correlations, `specs`, from what another session recorded. Instead of `prepare`."""
        raise CorrelationError("this provider takes up no correlations of other sessions")

    def keep_static(self, number: int, words: Array | Factor) -> None:
        """Told by `weights.open_static`: the other party's weight under mask `number` is open here as `words`."""
        return

    def hold(self, words: Array | None, shape: tuple[int, ...], bits: int) -> int:
        """Note a weight that this party (words) or the other one (None) holds in clear; its number.

        For providers that can make `WeightProduct`; both parties hold the same weights in the same order.
        """
        raise CorrelationError("this provider makes no products with weights that are held in clear")

    def own(self, number: int, spec: Correlation) -> Array | None:
        """This party's part of mask `number`, also before it is taken (None: the other party's alone).

        For providers that expand masks from seeds; others cannot tell.
        """
        raise CorrelationError("this provider does not know masks before they are taken")

    def prepared(self, number: int) -> Array | None:
        """mask @ weight + share for the product `number`, if it was worked out ahead of time; once."""
        return None

    @abstractmethod
    def _expand(self, number: int, spec: Correlation) -> Sequence[Array | None]:
        """This party's arrays of correlation `number`."""
