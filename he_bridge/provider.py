"""Products of masks made by the two parties, by encryption, for whoever supplies the masks.

What is revealed: what the protocols of `products` reveal, that is nothing up to their stated distances.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.economy import ALONE, Economy
from gpu_ss.field import field_of
from gpu_ss.provider.base import Progress, Provider
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.direct import Direct, DirectAffine, DirectMatmul
from gpu_ss.provider.made import Arrays, Batch, MadeProvider, Maker
from gpu_ss.provider.ot.maker import OtMaker, silent_pair
from gpu_ss.provider.specs.arithmetic import MatmulProduct, WeightProduct
from gpu_ss.ring import Array
from he_bridge import choice, elementwise, field_products, traffic
from he_bridge.errors import ParameterError
from he_bridge.matmul import DIRECT, TURNED, Terms
from he_bridge.pace import Work
from he_bridge.packing import Shape
from he_bridge.products import ClientProducts, Engine, Products, ServerProducts, pieces
from he_bridge.turns import Product, ahead, now
from net import Channel

#: Rings in which products element by element are cheaper by oblivious transfer than by encryption.
OT_BITS = 48
#: Products of one mask with its weights, by number; and those of masks that meet the same weights.
Group = dict[int, WeightProduct]
Call = list[Group]
#: This party's arrays of correlations, by number.
Made = dict[int, Arrays]
#: Bytes of a call with weights, of masks and results: 1.2 GB, for 8192 tokens' embedding.
_CALL_BYTES = 9 << 27
_NARROW_BITS = 32
#: The correlations made here.
HANDLED: tuple[type[Correlation], ...] = (
    *elementwise.KINDS,
    *field_products.KINDS,
    WeightProduct,
    MatmulProduct,
)


class ProductMaker(Maker):
    """Makes what is a product of masks, with one pair of engines (`products`)."""

    kinds = (*HANDLED, DirectAffine, DirectMatmul)

    def __init__(self, rank: int, backend: Backend, products: Products, direct: bool = False) -> None:
        self._direct = direct
        self._rank = rank
        self._backend = backend
        self._products = products

    def hold(self, words: Array | None, shape: tuple[int, ...], bits: int) -> int:
        return self._products.hold(words, shape, bits)

    @property
    def direct(self) -> bool:
        return self._direct

    def compute(self, spec: Direct, *operands: Array) -> tuple[Array, int]:
        """The product itself, under way; its keys were exchanged by `make`."""
        rounds = sum(message.round for message in traffic.messages(spec))
        if isinstance(spec, DirectAffine):
            found = now(self._products.by_weights(operands[0], spec.rows, spec.weights, spec.bits))
            return self._backend.xp.concatenate(found, axis=1), rounds
        if isinstance(spec, DirectMatmul):
            return now(self._products.multiply(operands[0], operands[1], spec.bits)), rounds
        return super().compute(spec, *operands)

    def make(self, batch: Batch, progress: Progress) -> Iterator[tuple[int, Arrays]]:
        """Progress is shown in microseconds of the expected time, also within long products.

        The server multiplies for most of the time, while the client, which is ahead with its offers, waits.
        """
        with self._backend.taking_turns():
            yield from self._make(batch, progress)

    def _make(self, batch: Batch, progress: Progress) -> Iterator[tuple[int, Arrays]]:
        calls, matrices = _calls(batch), batch.of((MatmulProduct,))
        elements, in_fields = batch.of(elementwise.KINDS), batch.of(field_products.KINDS)
        cost = sum((self._weights_ns(call) for call in calls), 0.0)
        cost += sum(self._matrices_ns(spec, batch) for spec in matrices.values())
        cost += sum(field_products.cost_ns(spec) for spec in in_fields.values())
        work = Work(progress, cost + sum(elementwise.cost_ns(spec) for spec in elements.values()))
        yield from self._prepared(batch).items()
        self._open(calls, matrices, in_fields, batch)
        joined = any(len(call) > 1 for call in calls)
        for made in ahead(self._described(calls, matrices, batch, work)):
            yield from made.items()
            del made  # before the next ones are made
            if joined:
                self._backend.give_back()
        for number, words in elementwise.make(self._rank, self._backend, batch, self._products, work).items():
            (out,) = elements[number].outputs()
            yield number, [words.reshape(out.shape)]
        work.finish()

    def _open(
        self,
        calls: list[Call],
        matrices: Mapping[int, MatmulProduct],
        in_fields: Mapping[int, field_products.Spec],
        batch: Batch,
    ) -> None:
        """Engines and keys for what `_described` gives: they are exchanged before any product is under way."""
        for call in calls:
            first = _first(call)
            self._products.open_weights(first.rows * len(call), _weights(call[0]), first.bits)
        for bits in {spec.bits: None for spec in matrices.values() if _matmul(spec, batch)[1]}:
            self._products.open_matrices(bits)
        for prime in {spec.prime: None for spec in in_fields.values()}:
            self._products.open_field(field_of(prime))

    def _described(
        self, calls: list[Call], matrices: Mapping[int, MatmulProduct], batch: Batch, work: Work
    ) -> Iterator[Product[Made]]:
        """Everything that is made in turns."""
        for call in calls:
            yield self._by_weights(call, batch, work.part(self._weights_ns(call)))
        for number, spec in matrices.items():
            yield self._matrices(number, spec, batch, work.part(self._matrices_ns(spec, batch)))
        kitchen = field_products.FieldKitchen(self._rank, self._backend, batch, self._products, work)
        for product in kitchen.products():
            yield product.then(lambda made: {number: [words] for number, words in made.items()})

    def _prepared(self, batch: Batch) -> dict[int, Arrays]:
        """Keys for the products that will be computed directly; they have no arrays."""
        chosen = batch.of((Direct,))
        for spec in chosen.values():
            if isinstance(spec, DirectAffine):
                self._products.ready_weights(spec.rows, spec.weights, spec.bits)
            elif isinstance(spec, DirectMatmul):
                self._products.ready_matrices(Shape(spec.batch, spec.m, spec.k, spec.n), spec.bits)
        return dict.fromkeys(chosen, ())

    def joins(self, spec: Correlation) -> bool:
        return isinstance(spec, WeightProduct)

    def _by_weights(self, call: Call, batch: Batch, progress: Progress) -> Product[Made]:
        """The products of masks, row below row, with their weights: a mask is encrypted once for all of these."""
        first, weights = _first(call), _weights(call[0])
        rows, count = first.rows, len(call)

        def cut(found: list[Array]) -> Made:
            return {
                number: [c[place * rows : (place + 1) * rows]]
                for place, group in enumerate(call)
                for number, c in zip(group, found, strict=True)
            }

        a = self._stacked(call, batch)
        return self._products.by_weights(a, rows * count, weights, first.bits, progress).then(cut)

    def _stacked(self, call: Call, batch: Batch) -> Array | None:
        """The masks of a call, row below row (None: the other party's alone); a single one as it is."""
        if len(call) == 1:
            return batch.part(_first(call).a)
        first, a = _first(call), None
        for place, group in enumerate(call):
            mask = batch.part(_first([group]).a)
            if mask is not None:
                shape = first.rows * len(call), first.k
                a = self._backend.xp.empty(shape, _word(first)) if a is None else a
                a[place * first.rows : (place + 1) * first.rows] = mask.reshape(first.rows, first.k)
        return a

    def _weights_ns(self, call: Call) -> float:
        first = _first(call)
        shape = self._products.shape(first.rows * len(call), _weights(call[0]))
        return choice.linear_ns(choice.linear_set(shape, first.bits), shape)

    def _matrices(self, number: int, spec: MatmulProduct, batch: Batch, progress: Progress) -> Product[Made]:
        """A B [batch, m, n]. One B for all is one product of all rows of A."""
        shape, terms = _matmul(spec, batch)
        a, b = (batch.part(mask) for mask in (spec.a, spec.b))
        left = self._zeros(shape.batch, shape.rows, shape.inputs) if a is None else a
        right = self._zeros(spec.b_batch, spec.k, spec.n) if b is None else spec.right(b)
        left = left.reshape(shape.batch, shape.rows, shape.inputs)
        if terms:
            product = self._products.multiply(left, right, spec.bits, terms, progress)
        else:
            product = Product([], lambda _: self._backend.matmul(left, right))
        return product.then(lambda c: {number: [c.reshape(spec.batch, spec.m, spec.n)]})

    def _matrices_ns(self, spec: MatmulProduct, batch: Batch) -> float:
        shape, terms = _matmul(spec, batch)
        return sum(choice.matrix_ns(piece, spec.bits, terms) for piece in pieces(shape, spec.bits))

    def _zeros(self, *shape: int) -> Array:
        return self._backend.zeros(shape)


def with_products(
    rank: int,
    backend: Backend,
    channel: Channel,
    inner: Provider,
    engine: Engine = "native",
    direct: bool = False,
) -> Provider:
    """The provider of one party of a session (`gpu_ss.session.Extension`); keys are exchanged when first needed.

    engine: for products with weights and in fields. direct: products of matrices are computed while a protocol
    runs.
    """
    return MadeProvider(backend, inner, [_products(rank, backend, channel, engine, direct)])


def two_party(
    rank: int,
    backend: Backend,
    channel: Channel,
    inner: Provider,
    engine: Engine = "native",
    direct: bool = False,
    economy: Economy = ALONE,
) -> Provider:
    """The same without a dealer: what is not a product of masks comes from oblivious transfer."""
    bits = OtMaker(rank, backend, silent_pair(rank, backend, channel), OT_BITS)
    return MadeProvider(backend, inner, [bits, _products(rank, backend, channel, engine, direct)], economy)


def _products(rank: int, backend: Backend, channel: Channel, engine: Engine, direct: bool) -> ProductMaker:
    if direct and engine != "native":
        raise ParameterError(f"the engine {engine} computes no products directly, only the native one does")
    products = (ClientProducts, ServerProducts)[rank](backend, channel, engine)
    return ProductMaker(rank, backend, products, direct)


def _calls(batch: Batch) -> list[Call]:
    """All products with weights: masks that meet the same weights share a call, as far as memory bears it."""
    groups: dict[int, Group] = {}
    for number, spec in batch.of((WeightProduct,)).items():
        groups.setdefault(spec.a, {})[number] = spec
    alike: dict[tuple[Any, ...], Call] = {}
    for group in groups.values():
        first = _first([group])
        alike.setdefault((_weights(group), first.rows, first.bits), []).append(group)
    return [call[start:stop] for call in alike.values() for start, stop in _spans(call)]


def _spans(call: Call) -> Iterator[tuple[int, int]]:
    """The groups of a call in equal parts that memory bears."""
    first = _first(call)
    size = np.dtype(_word(first)).itemsize * first.rows * first.k
    size += 8 * sum(out.size for spec in call[0].values() for out in spec.outputs())
    most = max(1, _CALL_BYTES // size)
    parts = -(-len(call) // most)
    ends = [len(call) * part // parts for part in range(parts + 1)]
    return pairwise(ends)


def _word(spec: WeightProduct) -> type[np.uint32 | np.uint64]:
    """What the masks of many products are kept in until they are encrypted."""
    return np.uint32 if spec.bits <= _NARROW_BITS else np.uint64


def _first(call: Call) -> WeightProduct:
    """All of a call have its mask's rows and its ring."""
    return next(iter(call[0].values()))


def _weights(group: Group) -> tuple[int, ...]:
    return tuple(spec.weight for spec in group.values())


def _matmul(spec: MatmulProduct, batch: Batch) -> tuple[Shape, Terms]:
    """The product as the engines see it, and the cross terms that are not zero."""
    one = spec.b_batch == 1 and spec.batch > 1
    shape = (
        Shape(1, spec.batch * spec.m, spec.k, spec.n) if one else Shape(spec.batch, spec.m, spec.k, spec.n)
    )
    a, b = (batch.specs[number].outputs()[0].owner for number in (spec.a, spec.b))
    direct = a != 1 and b != 0  # A has a part at the client, B one at the server
    turned = b != 1 and a != 0
    return shape, (*((DIRECT,) if direct else ()), *((TURNED,) if turned else ()))
