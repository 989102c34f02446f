"""Products one after the other, with the next ones under way before one is finished.

A product under encryption is a row of turns: the client offers ciphertexts, the server answers, the client
decrypts. Neither waits for the other more than it must if the client offers ahead:

    client   offer 1, offer 2,                 finish 1, offer 3,          finish 2, ...
    server            answer 1 (from offer 1), answer 2 (from offer 2), ...

In each direction messages keep the order of the turns, so the server, which answers one turn after the other, sees
no difference but that the next offer is there when it wants it. Both parties describe their products alike: the
offer of a server is to do nothing, what it has to do is the finish.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
S = TypeVar("S")

#: What is left to do of a turn that was offered: returns what this party has of it.
Finish = Callable[[], T]

#: Bytes of turns that are offered and not finished: what the transport holds without blocking (`ZmqSettings.hwm`).
_AHEAD_BYTES = 1 << 25
#: The size of a turn beside which there is no other.
_ALONE = _AHEAD_BYTES


@dataclass(frozen=True, slots=True, repr=False)
class Turn(Generic[T]):
    """An offer and the reply to it. size: bytes of its messages, both ways, the same at both parties."""

    size: int
    offer: Callable[[], Finish[T]]

    def then(self, change: Callable[[T], S]) -> Turn[S]:
        """The same turn, with something else made of its result."""

        def offer() -> Finish[S]:
            finish = self.offer()
            return lambda: change(finish())

        return Turn(self.size, offer)


@dataclass(frozen=True, slots=True, repr=False)
class Product(Generic[R]):
    """A row of turns, and what is made of their results, which come in order."""

    turns: Sequence[Turn[Any]]
    combine: Callable[[Iterator[Any]], R]

    def then(self, change: Callable[[R], S]) -> Product[S]:
        """The same product, with something else made of it."""
        return Product(self.turns, lambda results: change(self.combine(results)))


def together(turns: Sequence[Turn[T]]) -> Turn[list[T]]:
    """Turns of which all are offered before one is finished."""

    def offer() -> Finish[list[T]]:
        offered = [turn.offer() for turn in turns]
        return lambda: [finish() for finish in offered]

    return Turn(sum(turn.size for turn in turns), offer)


def whole(compute: Callable[[], R]) -> Product[R]:
    """A product that exchanges all its messages in one go, with no other one under way."""
    return Product([Turn(_ALONE, lambda: compute)], next)


def row(products: Sequence[Product[R]]) -> Product[Iterator[R]]:
    """Several products as one; its results come one after the other."""

    def combine(results: Iterator[Any]) -> Iterator[R]:
        return (product.combine(islice(results, len(product.turns))) for product in products)

    return Product([turn for product in products for turn in product.turns], combine)


def ahead(products: Iterable[Product[R]]) -> Iterator[R]:
    """Makes products in order. The next ones are described, and their turns offered, as far as there is room."""
    return _Ahead(products).results()


def now(product: Product[R]) -> R:
    """Makes one product."""
    (result,) = ahead([product])
    return result


class _Ahead(Generic[R]):
    """Products in execution."""

    def __init__(self, products: Iterable[Product[R]]) -> None:
        self._products = iter(products)
        self._described: deque[Product[R]] = deque()
        self._turns: deque[Turn[Any]] = deque()  # of what is described: those not offered yet
        self._offered: deque[tuple[int, Finish[Any]]] = deque()

    def results(self) -> Iterator[R]:
        while self._described or self._describe():
            yield self._made(self._described.popleft())

    def _made(self, product: Product[R]) -> R:
        return product.combine(self._finished() for _ in product.turns)

    def _finished(self) -> Any:
        """The result of the next turn."""
        self._offer()
        _, finish = self._offered.popleft()
        return finish()

    def _offer(self) -> None:
        """Offers as many turns as there is room for, and at least one."""
        busy = sum(size for size, _ in self._offered)
        while not self._offered or busy < _AHEAD_BYTES:
            while not self._turns:
                if not self._describe():
                    return
            if self._offered and busy + self._turns[0].size > _AHEAD_BYTES:
                return
            turn = self._turns.popleft()
            self._offered.append((turn.size, turn.offer()))
            busy += turn.size

    def _describe(self) -> bool:
        """Takes up the next product, if there is one."""
        product = next(self._products, None)
        if product is None:
            return False
        self._described.append(product)
        self._turns.extend(product.turns)
        return True
