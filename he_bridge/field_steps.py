"""What an exchange of products in a field consists of: steps that both parties know beforehand."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpu_ss.ring import Array
from he_bridge.pace import Progress, silent
from he_bridge.turns import Product, now

#: Elements of a vector.
SLOTS = 8192
#: Names a vector that each party has: the client's is encrypted, the server's multiplies.
Name = tuple[str, int]
#: Vectors [n, SLOTS] for the places that hold no element.
Spare = Callable[[int], Array]
#: This party's vectors of some names, [names, SLOTS]; what they leave free is as `Spare` has it.
Vectors = Callable[[Sequence[Name], Spare], Array]
#: A reply: the pairs (client's, server's) that are multiplied and summed.
Sum = tuple[tuple[Name, Name], ...]


@dataclass(frozen=True, slots=True)
class Step:
    """uploads: the client's vectors that travel. replies: sums of products. kept: uploads that later steps use
    too."""

    uploads: tuple[Name, ...]
    replies: tuple[Sum, ...]
    kept: tuple[Name, ...] = ()

    @property
    def size(self) -> tuple[int, int]:
        return len(self.uploads), len(self.replies)

    @property
    def operands(self) -> tuple[Name, ...]:
        """The server's vectors, each once."""
        return tuple(dict.fromkeys(theirs for reply in self.replies for _, theirs in reply))


class FieldEngine(ABC):
    """One party's end of a way to make products in a field; both ask for the same steps in the same order."""

    def exchange(self, steps: Sequence[Step], vectors: Vectors, progress: Progress = silent) -> list[Array]:
        """This party's shares of the replies of each step, [replies, SLOTS].

        Raises ParameterError if there are too many for one call, CiphertextError for malformed messages and a peer
        that asks otherwise, NetError if the channel fails.
        """
        return now(self.product(steps, vectors, progress))

    @abstractmethod
    def product(
        self, steps: Sequence[Step], vectors: Vectors, progress: Progress = silent
    ) -> Product[list[Array]]:
        """`exchange`, to be made among other products."""
