"""Products element by element of masks, as few and as cheap requests to the engines as they need.

A correlation is a generator that asks for products and is told this party's shares of them (`provider.jobs`). The
requests of all correlations of a turn are answered together, in full blocks. What a product costs depends on who
knows its factors:

    both shared          two cross terms, both of the client's shares travel
    a square             one of them
    one party's alone    one cross term: only one vector of the client travels, whichever side the factor is on
    the same party's     nothing: that party multiplies

Rings are widened to 32, 48 or 64 bits, so that blocks are full; bits above a ring do not matter modulo it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, pairwise

from gpu_ss.backend.base import Backend
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.jobs import Job, Work, run
from gpu_ss.provider.made import Batch
from gpu_ss.provider.specs.arithmetic import ColumnProduct, Powers, Product, RowProduct, RowSquareSum
from gpu_ss.ring import Array
from he_bridge.pace import Work as Pace
from he_bridge.products import Products

#: Squares that are summed before a reply: a sixteenth of the replies, four bits of the margins.
PAIRS = 16
_RINGS = (32, 48, 64)
#: For the display of progress: CPU time of a product in a full block.
_ELEMENT_NS = 8_000.0


@dataclass(frozen=True, slots=True, repr=False)
class Factor:
    """This party's part of a mask [n]; None where it belongs to the other party alone (`owner`)."""

    part: Array | None
    owner: int | None

    def map(self, change: Callable[[Array], Array]) -> Factor:
        """The same of a rearranged mask."""
        return self if self.part is None else Factor(change(self.part), self.owner)


@dataclass(frozen=True, slots=True, repr=False)
class Request:
    """Sums of products of shares a, b [pairs, n] (b None: squares); or, `crossed`, products of a [1, n] of each."""

    bits: int
    a: Array
    b: Array | None = None
    crossed: bool = False

    @property
    def kind(self) -> tuple[bool, bool, int, int]:
        """Requests of one kind can be answered together."""
        return self.crossed, self.b is None, len(self.a), self.bits


@dataclass(frozen=True, slots=True)
class Kitchen:
    """What a correlation is made from, in rings of `bits`."""

    rank: int
    backend: Backend
    batch: Batch
    bits: int

    def factor(self, number: int) -> Factor:
        """A mask of the batch, flat."""
        part = self.batch.part(number)
        (out,) = self.batch.specs[number].outputs()
        return Factor(None if part is None else part.reshape(-1), out.owner)

    def asked(self, a: Array, b: Array | None = None, crossed: bool = False) -> Work[Array]:
        """This party's share of what a request is for: [n]."""
        (found,) = yield [Request(self.bits, a, b, crossed)]
        return found

    def square(self, a: Factor, size: int) -> Work[Array]:
        """a a."""
        if a.owner is None:
            return (yield from self.asked(a.part[None]))  # type: ignore[index]
        return self.backend.zeros((size,)) if a.part is None else a.part * a.part

    def times(self, a: Factor, b: Factor, size: int) -> Work[Array]:
        """a b."""
        if a.owner is None and b.owner is None:
            return (yield from self.asked(a.part[None], b.part[None]))  # type: ignore[index]
        local = self.backend.zeros((size,)) if a.part is None or b.part is None else a.part * b.part
        if a.owner == b.owner:
            return local
        clients, servers = (a, b) if a.owner == 0 or b.owner == 1 else (b, a)
        own = clients.part if self.rank == 0 else servers.part
        return local + (yield from self.asked(own[None], crossed=True))  # type: ignore[index]


def _product(kitchen: Kitchen, spec: Product) -> Work[Array]:
    return (yield from kitchen.times(kitchen.factor(spec.a), kitchen.factor(spec.b), spec.n))


def _powers(kitchen: Kitchen, spec: Powers) -> Work[Array]:
    a = kitchen.factor(spec.a)
    powers = [a]
    for k in range(2, spec.degree + 1):
        if k % 2 == 0:
            found = yield from kitchen.square(powers[k // 2 - 1], spec.n)
        else:
            found = yield from kitchen.times(powers[-1], a, spec.n)
        powers.append(
            Factor(found, None) if a.owner is None else Factor(found if a.part is not None else None, a.owner)
        )
    zeros = kitchen.backend.zeros((spec.n,))
    return kitchen.backend.xp.stack([zeros if power.part is None else power.part for power in powers[1:]])


def _row_square_sum(kitchen: Kitchen, spec: RowSquareSum) -> Work[Array]:
    """Squares of `PAIRS` places of a row are summed in one slot."""
    backend, rows, n = kitchen.backend, spec.rows, spec.n
    a = kitchen.factor(spec.a)
    if a.owner is not None:
        squares = yield from kitchen.square(a, rows * n)
        return squares.reshape(rows, n).sum(axis=1)
    pairs = min(PAIRS, n)
    slots = -(-n // pairs)
    padded = backend.zeros((rows, slots * pairs))
    padded[:, :n] = a.part.reshape(rows, n)  # type: ignore[union-attr]
    spread = backend.xp.ascontiguousarray(padded.reshape(rows * slots, pairs).T)
    sums = yield from kitchen.asked(spread)
    return sums.reshape(rows, slots).sum(axis=1)


def _row_product(kitchen: Kitchen, spec: RowProduct) -> Work[Array]:
    factors = kitchen.factor(spec.b).map(lambda b: kitchen.backend.xp.repeat(b, spec.n))
    return (yield from kitchen.times(kitchen.factor(spec.a), factors, spec.rows * spec.n))


def _column_product(kitchen: Kitchen, spec: ColumnProduct) -> Work[Array]:
    factors = kitchen.factor(spec.b).map(lambda b: kitchen.backend.xp.tile(b, spec.rows))
    return (yield from kitchen.times(kitchen.factor(spec.a), factors, spec.rows * spec.n))


_RECIPES: dict[type[Correlation], Callable[..., Work[Array]]] = {
    Product: _product,
    Powers: _powers,
    RowSquareSum: _row_square_sum,
    RowProduct: _row_product,
    ColumnProduct: _column_product,
}
#: The correlations made here.
KINDS: tuple[type[Correlation], ...] = tuple(_RECIPES)


def make(rank: int, backend: Backend, batch: Batch, products: Products, work: Pace) -> dict[int, Array]:
    """This party's shares of all correlations of KINDS that are wanted."""
    jobs = {
        number: Job(_RECIPES[type(spec)](Kitchen(rank, backend, batch, ring_of(spec)), spec))
        for number, spec in batch.of(KINDS).items()
    }
    run(jobs.values(), partial(_answered, backend, products, work))
    return {number: job.result for number, job in jobs.items()}


def _answered(backend: Backend, products: Products, work: Pace, requests: Sequence[Request]) -> list[Array]:
    """Requests of one kind are one stream of blocks."""
    first, show = requests[0], work.part(sum(request.a.size for request in requests) * _ELEMENT_NS)
    a = _joined(backend, [request.a for request in requests])
    if first.crossed:
        c = products.crossed(a[0], first.bits, show)
    else:
        b = None if first.b is None else _joined(backend, [request.b for request in requests])
        c = products.inner_products(a, b, first.bits, show)
    ends = accumulate((int(request.a.shape[1]) for request in requests), initial=0)
    return [c[start:end] for start, end in pairwise(ends)]


def _joined(backend: Backend, parts: list[Array | None]) -> Array:
    return parts[0] if len(parts) == 1 else backend.xp.concatenate(parts, axis=1)


def ring_of(spec: Correlation) -> int:
    """The bits its products are made with."""
    (out,) = spec.outputs()
    return next(bits for bits in _RINGS if bits >= out.bits)


def cost_ns(spec: Correlation) -> float:
    """About what a correlation takes, for the display of progress."""
    if isinstance(spec, Powers):
        return (spec.degree - 1) * spec.n * _ELEMENT_NS
    if isinstance(spec, RowSquareSum | RowProduct | ColumnProduct):
        return spec.rows * spec.n * _ELEMENT_NS
    return spec.outputs()[0].size * _ELEMENT_NS
