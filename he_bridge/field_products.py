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

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import accumulate, pairwise

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.field import Field, field_of
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.made import Batch
from gpu_ss.provider.specs.fields import FieldProduct, FieldRowProduct, FieldRowSquareSum
from gpu_ss.ring import Array
from he_bridge.field_sets import params_of
from he_bridge.field_slots import Name, Step, step_bytes
from he_bridge.pace import Work
from he_bridge.products import Products
from he_bridge.tenseal_io import Words

#: The correlations made here.
KINDS: tuple[type[Correlation], ...] = (FieldProduct, FieldRowProduct, FieldRowSquareSum)
RowSpec = FieldRowProduct | FieldRowSquareSum

SLOTS = 8192
_CHUNK = 16  # vectors of a mask in a step; their squares are summed
_CALL = 32  # steps in a call
_MATRIX, _FACTOR = "a", "b"
_ELEMENT_NS = 3_500.0  # CPU time of both parties, for the display of progress


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

    def columns_of(self, step: Step) -> list[slice]:
        """Those of a step's vectors."""
        return [self.columns[name[1]] for name in step.uploads if name[0] == _MATRIX]


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


def made_bytes(specs: Sequence[Correlation]) -> float:
    """Bytes to make these correlations, both ways: what is left of the last flat vector is shared with others."""
    total, flat = 0.0, Step(((_MATRIX, 0),), ((((_MATRIX, 0), (_MATRIX, 0)),),))
    for spec in specs:
        if isinstance(spec, FieldProduct):
            total += step_bytes(params_of(field_of(spec.prime)), flat) * spec.n / SLOTS
    for group in _by_mask(dict(enumerate(specs))).values():
        first, products, squares = _sorted(group)
        params = params_of(field_of(first.prime))
        for unit in units(first.rows, first.n):
            total += sum(step_bytes(params, step) for step in unit.steps(bool(squares), len(products)))
    return total


def cost_ns(spec: Correlation) -> float:
    """About what a correlation takes, for the display of progress."""
    return _ELEMENT_NS * (spec.rows * spec.n if isinstance(spec, RowSpec) else spec.outputs()[0].size)


def _by_mask(specs: dict[int, Correlation]) -> dict[int, dict[int, RowSpec]]:
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

    def make(self) -> dict[int, Array]:
        """This party's shares of all correlations of KINDS that are wanted."""
        wanted = self._batch.of(KINDS)
        made: dict[int, Array] = {}
        by_field: dict[Field, dict[int, FieldProduct]] = {}
        for number, spec in wanted.items():
            if isinstance(spec, FieldProduct):
                by_field.setdefault(field_of(spec.prime), {})[number] = spec
        for field, flat in by_field.items():
            made |= self._flat(field, flat)
        for group in _by_mask(wanted).values():
            made |= self._rows(group)
        return made

    def _flat(self, field: Field, specs: dict[int, FieldProduct]) -> dict[int, Array]:
        """Products one after the other in full vectors."""
        parts = [self._host(self._batch.part((s.a, s.b)[self._rank])) for s in specs.values()]
        own = np.concatenate([part.reshape(-1) for part in parts])
        names = [(_MATRIX, k) for k in range(-(-own.size // SLOTS))]
        every = [Step((name,), (((name, name),),)) for name in names]
        found: list[Words] = []
        for first in range(0, len(every), _CHUNK * _CALL):
            steps = every[first : first + _CHUNK * _CALL]
            show = self._work.part(_ELEMENT_NS * SLOTS * len(steps))
            found += self._products.in_field(field, steps, _Flat(own).vector, show)
        shares = self._backend.asarray(np.concatenate(found)[: own.size])
        ends = accumulate((spec.n for spec in specs.values()), initial=0)
        return {number: shares[start:end] for number, (start, end) in zip(specs, pairwise(ends), strict=True)}

    def _rows(self, group: dict[int, RowSpec]) -> dict[int, Array]:
        """All products and the squares of one mask."""
        first, products, squares = _sorted(group)
        field, rows, n = field_of(first.prime), first.rows, first.n
        a = self._batch.share(first.a).reshape(rows, n)
        factors = [self._batch.share(spec.b).reshape(-1) for spec in products.values()]
        hosts = self._host(a), [self._host(b) for b in factors]
        crossed = np.zeros((len(factors), rows, n), np.uint64)
        sums = np.zeros(rows, np.uint64)
        cut = units(rows, n)
        for unit in cut:
            show = self._work.part(sum(cost_ns(spec) for spec in group.values()) / len(cut))
            steps = unit.steps(bool(squares), len(factors))
            replies = iter(self._products.in_field(field, steps, _Laid(unit, *hosts).vector, show))
            for step in steps:
                columns = unit.columns_of(step)
                if squares:
                    sums[unit.rows] = _added(field, sums[unit.rows], _row_sums(field, unit, next(replies)))
                for w in range(len(factors)):
                    for some in columns:
                        crossed[w, unit.rows, some] = _columns(unit, some, next(replies))
        backend, made = self._backend, {}
        for number, b, cross in zip(products, factors, crossed, strict=True):
            made[number] = backend.field_multiply_add(a, b, backend.asarray(cross), field.prime)
        for number in squares:
            twice = backend.asarray(field.add(sums, sums))
            made[number] = field.add(backend.field_dots(a, a, field.prime), twice)
        return made

    def _host(self, array: Array) -> Words:
        return self._backend.to_host(array)


class _Flat:
    """Numbers one after the other."""

    def __init__(self, own: Words) -> None:
        self._own = own

    def vector(self, name: Name) -> Words:
        (_, which) = name
        return self._own[which * SLOTS : (which + 1) * SLOTS]


class _Laid:
    """The vectors of a unit: column after column."""

    def __init__(self, unit: Unit, a: Words, factors: list[Words]) -> None:
        self._unit = unit
        self._a = a
        self._factors = factors

    def vector(self, name: Name) -> Words:
        kind, which = name
        if kind == _MATRIX:
            return np.ascontiguousarray(self._a[self._unit.rows, self._unit.columns[which]].T).reshape(-1)
        width = self._unit.columns[0].stop - self._unit.columns[0].start
        return np.tile(self._factors[which][self._unit.rows], width)


def _columns(unit: Unit, columns: slice, reply: Words) -> Words:
    """The places of a reply as rows and columns."""
    rows, width = unit.rows.stop - unit.rows.start, columns.stop - columns.start
    return reply[: rows * width].reshape(width, rows).T


def _row_sums(field: Field, unit: Unit, reply: Words) -> Words:
    """The places of each row added up: none but those of the unit's first columns are in use."""
    by_column = _columns(unit, unit.columns[0], reply).T
    total: Words = by_column[0].copy()
    for column in by_column[1:]:
        total = _added(field, total, column)
    return total


def _added(field: Field, x: Words, y: Words) -> Words:
    total: Words = field.add(x, y)
    return total
