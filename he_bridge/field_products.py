"""Products of masks in a field: which vectors they are laid out in, and what is made of the replies.

FieldProduct          flat: those of one field one after the other, 8192 to a vector.
FieldRowProduct,      a [rows, n] in vectors of g rows and 8192 / g columns, column after column. So the factor of
FieldRowSquareSum     each row stands in the same places for all of them: b is one vector for a group of g rows, and
                      squares of up to 16 vectors are summed before a reply. All products of one mask a share its
                      vectors: they travel once.

Of x y = (x_0 + x_1)(y_0 + y_1) the local products are local; the client's x_0 and y_0 travel for the cross terms,
of a square one of them, whose share counts twice.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, chain, groupby, pairwise

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.field import Field, field_of
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.made import Batch
from gpu_ss.provider.specs.fields import FieldProduct, FieldRowProduct, FieldRowSquareSum
from gpu_ss.ring import Array
from he_bridge.field_sets import params_of
from he_bridge.field_slots import step_bytes
from he_bridge.field_steps import SLOTS, Name, Spare, Step
from he_bridge.pace import Work
from he_bridge.products import Products
from he_bridge.turns import Product, row

RowSpec = FieldRowProduct | FieldRowSquareSum
Spec = FieldProduct | RowSpec
#: The correlations made here.
KINDS: tuple[type[Spec], ...] = (FieldProduct, FieldRowProduct, FieldRowSquareSum)

_CHUNK = 16  # vectors of a mask in a step; their squares are summed
_CALL = 32  # steps in a call
_MATRIX, _FACTOR = "a", "b"
_ELEMENT_NS = 300.0  # CPU time of both parties, for the display of progress


@dataclass(frozen=True, slots=True)
class Unit:
    """Vectors of some rows and columns of a matrix that are made in one call."""

    rows: slice
    columns: tuple[slice, ...]

    def steps(self, squares: bool, products: int) -> list[Step]:
        """The steps for its squares and for products with that many factors."""
        factors = tuple((_FACTOR, w) for w in range(products))
        every = [(_MATRIX, j) for j in range(len(self.columns))]
        steps = []
        for first in range(0, len(every), _CHUNK):
            some = every[first : first + _CHUNK]
            summed = [tuple((a, a) for a in some)] if squares else []
            each = [((a, b), (b, a)) for b in factors for a in some]
            uploads = (*(factors if first == 0 else ()), *some)
            steps.append(Step(uploads, (*summed, *each), factors))
        return steps

    def columns_of(self, step: Step) -> slice:
        """Those of a step's vectors, which follow each other."""
        return self.span([which for kind, which in step.uploads if kind == _MATRIX])

    def span(self, vectors: Sequence[int]) -> slice:
        """The columns of vectors that follow each other."""
        return slice(self.columns[vectors[0]].start, self.columns[vectors[-1]].stop)

    @property
    def height(self) -> int:
        """Rows."""
        return int(self.rows.stop - self.rows.start)

    @property
    def width(self) -> int:
        """Columns of a full vector."""
        return int(self.columns[0].stop - self.columns[0].start)


@cache
def units(rows: int, n: int) -> tuple[Unit, ...]:
    """How a matrix is cut up: with the fewest vectors, factors counted."""

    def cut(group: int) -> tuple[Unit, ...]:
        width = SLOTS // group
        columns = [slice(j, min(n, j + width)) for j in range(0, n, width)]
        parts = [tuple(columns[k : k + _CHUNK * _CALL]) for k in range(0, len(columns), _CHUNK * _CALL)]
        groups = [slice(i, min(rows, i + group)) for i in range(0, rows, group)]
        return tuple(Unit(some, part) for some in groups for part in parts)

    sizes = {min(rows, SLOTS), *(1 << k for k in range(SLOTS.bit_length()) if 1 << k < rows)}
    return min((cut(size) for size in sorted(sizes, reverse=True)), key=_vectors)


def _vectors(cut: Sequence[Unit]) -> int:
    return sum(len(unit.columns) + 1 for unit in cut)


def _flat_step(vectors: Sequence[int]) -> Step:
    """Each of these vectors of both parties multiplied by the other's."""
    names = tuple((_MATRIX, k) for k in vectors)
    return Step(names, tuple(((name, name),) for name in names))


def made_bytes(specs: Sequence[Correlation]) -> float:
    """Bytes to make these correlations with the engine `native`, both ways, without keys.

    What is left of the last flat step is shared with others.
    """
    total, flat = 0.0, _flat_step(range(_CHUNK))
    for spec in specs:
        if isinstance(spec, FieldProduct):
            total += step_bytes(params_of(field_of(spec.prime)), flat) * spec.n / (_CHUNK * SLOTS)
    for group in _by_mask(dict(enumerate(specs))).values():
        first, products, squares = _sorted(group)
        params = params_of(field_of(first.prime))
        for unit in units(first.rows, first.n):
            total += sum(step_bytes(params, step) for step in unit.steps(bool(squares), len(products)))
    return total


def cost_ns(spec: Correlation) -> float:
    """About what a correlation takes, for the display of progress."""
    return _ELEMENT_NS * (spec.rows * spec.n if isinstance(spec, RowSpec) else spec.outputs()[0].size)


def _by_mask(specs: Mapping[int, Correlation]) -> dict[int, dict[int, RowSpec]]:
    """Products and squares of rows by number, those of one mask together."""
    groups: dict[int, dict[int, RowSpec]] = {}
    for number, spec in specs.items():
        if isinstance(spec, RowSpec):
            groups.setdefault(spec.a, {})[number] = spec
    return groups


def _sorted(group: dict[int, RowSpec]) -> tuple[RowSpec, dict[int, FieldRowProduct], list[int]]:
    """Any of a mask's correlations, its products, and the numbers of its squares."""
    products = {number: spec for number, spec in group.items() if isinstance(spec, FieldRowProduct)}
    squares = [number for number, spec in group.items() if isinstance(spec, FieldRowSquareSum)]
    return next(iter(group.values())), products, squares


class FieldKitchen:
    """Makes the correlations of a batch with the engines of `products`."""

    def __init__(self, rank: int, backend: Backend, batch: Batch, products: Products, work: Work) -> None:
        self._rank = rank
        self._backend = backend
        self._batch = batch
        self._products = products
        self._work = work

    def products(self) -> Iterator[Product[dict[int, Array]]]:
        """This party's shares of all correlations of KINDS that are wanted, by number: some with each product."""
        wanted = self._batch.of(KINDS)
        by_field: dict[Field, dict[int, FieldProduct]] = {}
        for number, spec in wanted.items():
            if isinstance(spec, FieldProduct):
                by_field.setdefault(field_of(spec.prime), {})[number] = spec
        for field, flat in by_field.items():
            yield self._flat(field, flat)
        for group in _by_mask(wanted).values():
            yield self._rows(group)

    def _flat(self, field: Field, specs: dict[int, FieldProduct]) -> Product[dict[int, Array]]:
        """Products one after the other in full vectors."""
        parts = [self._batch.share((spec.a, spec.b)[self._rank]) for spec in specs.values()]
        own = self._backend.xp.concatenate([part.reshape(-1) for part in parts])
        count = -(-own.size // SLOTS)
        every = [_flat_step(range(k, min(count, k + _CHUNK))) for k in range(0, count, _CHUNK)]
        calls = [every[first : first + _CALL] for first in range(0, len(every), _CALL)]

        def call(steps: list[Step]) -> Product[list[Array]]:
            show = self._work.part(_ELEMENT_NS * SLOTS * sum(len(step.uploads) for step in steps))
            return self._products.in_field(field, steps, _Flat(own).vectors, show)

        def combine(found: Iterator[list[Array]]) -> dict[int, Array]:
            shares = self._backend.xp.concatenate([*chain.from_iterable(found)]).reshape(-1)[: own.size]
            ends = accumulate((spec.n for spec in specs.values()), initial=0)
            return {
                number: shares[start:end] for number, (start, end) in zip(specs, pairwise(ends), strict=True)
            }

        return row([call(steps) for steps in calls]).then(combine)

    def _rows(self, group: dict[int, RowSpec]) -> Product[dict[int, Array]]:
        """All products and the squares of one mask."""
        rows = _Rows(self._backend, self._batch, group)

        def call(steps: list[Step], layout: _Laid) -> Product[list[Array]]:
            show = self._work.part(sum(cost_ns(spec) for spec in group.values()) / len(rows.laid))
            return self._products.in_field(rows.field, steps, layout.vectors, show)

        return row([call(*each) for each in zip(rows.steps, rows.laid, strict=True)]).then(rows.made)


class _Rows:
    """The products and squares of one mask a [rows, n]: the steps of each unit, and what is made of the replies."""

    def __init__(self, backend: Backend, batch: Batch, group: dict[int, RowSpec]) -> None:
        first, self._products, self._squares = _sorted(group)
        rows, n = first.rows, first.n
        self._backend = backend
        self._a = batch.share(first.a).reshape(rows, n)
        self._factors = [batch.share(spec.b).reshape(-1) for spec in self._products.values()]
        self._units = units(rows, n)
        self.field = field_of(first.prime)
        self.steps = [unit.steps(bool(self._squares), len(self._factors)) for unit in self._units]
        self.laid = [_Laid(backend, unit, self._a, self._factors) for unit in self._units]

    def made(self, found: Iterator[list[Array]]) -> dict[int, Array]:
        """This party's shares by number, from the replies to each unit's steps."""
        crossed = self._backend.empty((len(self._factors), *self._a.shape))
        sums = self._backend.zeros((len(self._a),))
        for place, replies in enumerate(found):
            self._gather(place, replies, crossed, sums)
        a, prime = self._a, self.field.prime
        made = {}
        for number, b, cross in zip(self._products, self._factors, crossed, strict=True):
            made[number] = self._backend.field_multiply_add(a, b, cross, prime)
        for number in self._squares:
            made[number] = self.field.add(self._backend.field_dots(a, a, prime), self.field.add(sums, sums))
        return made

    def _gather(self, place: int, found: list[Array], crossed: Array, sums: Array) -> None:
        """The cross terms of a unit: those of products to their places, those of squares added up."""
        unit, layout, squares = self._units[place], self.laid[place], bool(self._squares)
        for step, replies in zip(self.steps[place], found, strict=True):
            if squares:
                own = layout.row_sums(self.field, replies[0])
                sums[unit.rows] = self.field.add(sums[unit.rows], own)
            columns = unit.columns_of(step)
            for cross, some in zip(crossed, layout.each(replies, squares), strict=True):
                cross[unit.rows, columns] = layout.columns(some)[:, : columns.stop - columns.start]


class _Flat:
    """Numbers one after the other."""

    def __init__(self, own: Array) -> None:
        self._own = own

    def vectors(self, names: Sequence[Name], spare: Spare) -> Array:
        first = names[0][1]
        some = self._own[first * SLOTS : (first + len(names)) * SLOTS]
        if some.size == len(names) * SLOTS:
            return some.reshape(-1, SLOTS)
        out = spare(len(names))
        out.reshape(-1)[: some.size] = some
        return out


class _Laid:
    """The vectors of a unit: column after column."""

    def __init__(self, backend: Backend, unit: Unit, a: Array, factors: list[Array]) -> None:
        self._backend = backend
        self._unit = unit
        self._a = a
        self._factors = factors
        self._used = unit.height * unit.width  # places of a full vector

    def vectors(self, names: Sequence[Name], spare: Spare) -> Array:
        """Those of a mask follow each other."""
        out, start = self._room(names, spare), 0
        for kind, group in groupby(names, lambda name: name[0]):
            which = [number for _, number in group]
            place = out[start : start + len(which)]
            if kind == _MATRIX:
                self._lay(place, which)
            else:
                for vector, number in zip(place, which, strict=True):
                    rows = self._factors[number][self._unit.rows]
                    vector[: self._used].reshape(self._unit.width, -1)[...] = rows
            start += len(which)
        return out

    def _room(self, names: Sequence[Name], spare: Spare) -> Array:
        """Vectors of which every place that is not written is spare."""
        last = self._unit.columns[-1]
        cut_short = (
            last.stop - last.start < self._unit.width and (_MATRIX, len(self._unit.columns) - 1) in names
        )
        if self._used < SLOTS or cut_short:
            return spare(len(names))
        return self._backend.empty((len(names), SLOTS))

    def _lay(self, place: Array, vectors: list[int]) -> None:
        """The columns of the mask into full vectors and, if some are left, the beginning of one more."""
        width = self._unit.width
        block = self._backend.xp.ascontiguousarray(self._a[self._unit.rows, self._unit.span(vectors)].T)
        full = len(block) // width
        place[:full, : self._used] = block[: full * width].reshape(full, self._used)
        if full < len(vectors):
            rest = block[full * width :].reshape(-1)
            place[full, : rest.size] = rest

    def each(self, replies: Array, squares: bool) -> list[Array]:
        """The replies for each factor, after the one for squares."""
        replies, count = replies[int(squares) :], len(self._factors)
        each = len(replies) // max(1, count)
        return [replies[k * each : (k + 1) * each] for k in range(count)]

    def columns(self, replies: Array) -> Array:
        """The places of replies as rows and columns."""
        return replies[:, : self._used].reshape(-1, self._unit.height).T

    def row_sums(self, field: Field, reply: Array) -> Array:
        """The places of each row added up: none but those of the unit's first columns are in use."""
        rows = self._backend.xp.ascontiguousarray(self.columns(reply[None]))
        ones = self._backend.zeros(rows.shape) + np.uint64(1)
        return self._backend.field_dots(rows, ones, field.prime)
