"""Products of masks made by the two parties, by encryption, for whoever supplies the masks.

What is revealed: what the three protocols of `products` reveal, that is nothing up to their stated distances.
"""

from __future__ import annotations

from collections.abc import Callable, Generator

from gpu_ss.backend.base import Backend
from gpu_ss.provider.base import Progress, Provider
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.made import Arrays, Batch, MadeProvider, Maker
from gpu_ss.provider.ot.maker import OtMaker, silent_pair
from gpu_ss.provider.specs.arithmetic import (
    ColumnProduct,
    Powers,
    Product,
    RowProduct,
    RowSquareSum,
    WeightProduct,
)
from gpu_ss.ring import Array
from he_bridge.products import ClientProducts, Products, ServerProducts
from net import Channel

#: This party's share of a mask, by its number.
Share = Callable[[int], Array]
#: Asks for products of two arrays of equal size (the second None: squares), is told them, returns its share.
Asking = Generator[tuple[Array, Array | None], Array, Array]


def _product(spec: Product, share: Share, backend: Backend) -> Asking:
    return (yield share(spec.a).reshape(-1), share(spec.b).reshape(-1))


def _powers(spec: Powers, share: Share, backend: Backend) -> Asking:
    a = share(spec.a).reshape(-1)
    powers = [(yield a, None)]
    while len(powers) < spec.degree - 1:
        powers.append((yield powers[-1], a))
    return backend.xp.stack(powers)


def _row_square_sum(spec: RowSquareSum, share: Share, backend: Backend) -> Asking:
    squares = yield share(spec.a).reshape(-1), None
    return squares.reshape(spec.rows, spec.n).sum(axis=1)


def _row_product(spec: RowProduct, share: Share, backend: Backend) -> Asking:
    factors = backend.xp.repeat(share(spec.b).reshape(-1), spec.n)
    products = yield share(spec.a).reshape(-1), factors
    return products.reshape(spec.rows, spec.n)


def _column_product(spec: ColumnProduct, share: Share, backend: Backend) -> Asking:
    factors = backend.xp.tile(share(spec.b).reshape(-1), spec.rows)
    products = yield share(spec.a).reshape(-1), factors
    return products.reshape(spec.rows, spec.n)


_ELEMENTWISE: dict[type[Correlation], Callable[..., Asking]] = {
    Product: _product,
    Powers: _powers,
    RowSquareSum: _row_square_sum,
    RowProduct: _row_product,
    ColumnProduct: _column_product,
}
#: Rings in which products element by element are cheaper by oblivious transfer than by encryption.
OT_BITS = 48
#: The correlations made here.
HANDLED: tuple[type[Correlation], ...] = (*_ELEMENTWISE, WeightProduct)


class ProductMaker(Maker):
    """Makes what is a product of masks, with one pair of engines (`products`)."""

    kinds = HANDLED

    def __init__(self, backend: Backend, products: Products) -> None:
        self._backend = backend
        self._products = products

    def hold(self, words: Array | None, shape: tuple[int, ...], bits: int) -> int:
        return self._products.hold(words, shape, bits)

    def make(self, batch: Batch, progress: Progress) -> dict[int, Arrays]:
        made: dict[int, Arrays] = {}
        groups = _by_mask(batch)
        for done, group in enumerate(groups):
            made |= self._by_weights(group, batch)
            progress(done + 1, len(groups) + 1)
        made |= self._elementwise(batch)
        progress(len(groups) + 1, len(groups) + 1)
        return made

    def _by_weights(self, group: dict[int, WeightProduct], batch: Batch) -> dict[int, Arrays]:
        """The products of one mask with all its weights: the mask is encrypted once."""
        specs = list(group.values())
        a = batch.part(specs[0].a)
        c = self._products.by_weights(a, specs[0].rows, tuple(spec.weight for spec in specs))
        made: dict[int, Arrays] = {}
        start = 0
        for number, spec in group.items():
            made[number] = [self._backend.xp.ascontiguousarray(c[:, start : start + spec.n])]
            start += spec.n
        return made

    def _elementwise(self, batch: Batch) -> dict[int, Arrays]:
        """All elementwise products at once, those that need the result of another in the next turn."""
        asking: dict[int, Asking] = {
            number: _ELEMENTWISE[type(spec)](spec, batch.share, self._backend)
            for number, spec in batch.of(tuple(_ELEMENTWISE)).items()
        }
        made: dict[int, Arrays] = {}
        answers: dict[int, Array | None] = dict.fromkeys(asking)
        while asking:
            requests: dict[int, tuple[Array, Array | None]] = {}
            for number, generator in list(asking.items()):
                try:
                    requests[number] = generator.send(answers[number])
                except StopIteration as finished:
                    (out,) = batch.specs[number].outputs()
                    made[number] = [finished.value.reshape(out.shape)]
                    del asking[number]
            answers = self._answer(requests)
        return made

    def _answer(self, requests: dict[int, tuple[Array, Array | None]]) -> dict[int, Array | None]:
        """Products and squares of all requests, each kind in one stream of full blocks."""
        answers: dict[int, Array | None] = {}
        for squares in (True, False):
            chosen = {k: (a, b) for k, (a, b) in requests.items() if (b is None) == squares}
            if not chosen:
                continue
            concatenate = self._backend.xp.concatenate
            a = concatenate([a for a, _ in chosen.values()])
            b = None if squares else concatenate([b for _, b in chosen.values()])
            c = self._products.elementwise(a, b)
            start = 0
            for number, (mine, _) in chosen.items():
                answers[number] = c[start : start + mine.size]
                start += int(mine.size)
        return answers


def with_products(rank: int, backend: Backend, channel: Channel, inner: Provider) -> Provider:
    """The provider of one party of a session: sends or receives the public keys (`gpu_ss.session.Extension`)."""
    products = (ClientProducts, ServerProducts)[rank](backend, channel)
    return MadeProvider(inner, [ProductMaker(backend, products)])


def two_party(rank: int, backend: Backend, channel: Channel, inner: Provider) -> Provider:
    """The same without a dealer: what is not a product of masks comes from oblivious transfer."""
    products = (ClientProducts, ServerProducts)[rank](backend, channel)
    bits = OtMaker(rank, backend, silent_pair(rank, backend, channel), OT_BITS)
    return MadeProvider(inner, [bits, ProductMaker(backend, products)])


def _by_mask(batch: Batch) -> list[dict[int, WeightProduct]]:
    """Products with weights by number, those of one mask together."""
    groups: dict[int, dict[int, WeightProduct]] = {}
    for number, spec in batch.specs.items():
        if isinstance(spec, WeightProduct):
            groups.setdefault(spec.a, {})[number] = spec
    return list(groups.values())
