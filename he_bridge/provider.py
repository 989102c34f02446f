"""Correlations without trust for products: masks and bits from another provider, products by encryption.

A correlation of products (`HANDLED`) is a function of masks of which each party has its own share, wherever the
masks come from. So the two parties make it from their shares, in `prepare`, over their own channel; the other
provider only counts it (`Elsewhere`) and never learns a weight or a product.

What is revealed: what the three protocols of `products` reveal, that is nothing up to their stated distances.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

from gpu_ss.backend.base import Backend
from gpu_ss.errors import CorrelationError
from gpu_ss.provider.base import Progress, Provider
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.specs.arithmetic import (
    ColumnProduct,
    Elsewhere,
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
#: The correlations made here.
HANDLED: tuple[type[Correlation], ...] = (*_ELEMENTWISE, WeightProduct)


class HeProvider(Provider):
    """`inner` deals masks (expanded from seeds) and bits, `products` makes what is made of masks."""

    def __init__(self, backend: Backend, inner: Provider, products: Products) -> None:
        super().__init__()
        self._backend = backend
        self._inner = inner
        self._products = products
        self._ready: dict[int, Array] = {}

    def __repr__(self) -> str:
        return f"HeProvider(taken={self.taken}, ready={len(self._ready)})"

    def hold(self, words: Array | None, shape: tuple[int, ...], bits: int) -> int:
        return self._products.hold(words, shape, bits)

    def prepare(self, specs: Sequence[Correlation], progress: Progress | None = None) -> None:
        """Make the products of the next correlations, together with the other party."""
        first = self.taken
        self._inner.prepare([_for_inner(spec) for spec in specs])
        numbered = {first + k: spec for k, spec in enumerate(specs)}

        def share(number: int) -> Array:
            mask = self._inner.own(number, numbered[number])
            if mask is None:
                raise CorrelationError(f"mask {number} belongs to the other party alone")
            return mask

        groups = _by_mask(numbered)
        for done, group in enumerate(groups):
            self._by_weights(group, numbered)
            if progress is not None:
                progress(done + 1, len(groups) + 1)
        self._elementwise(numbered, share)
        if progress is not None:
            progress(len(groups) + 1, len(groups) + 1)

    def _by_weights(self, group: list[int], numbered: dict[int, Correlation]) -> None:
        """The products of one mask with all its weights: the mask is encrypted once."""
        specs = [_weight_product(numbered[number]) for number in group]
        a = self._inner.own(specs[0].a, numbered[specs[0].a])
        c = self._products.by_weights(a, specs[0].rows, tuple(spec.weight for spec in specs))
        start = 0
        for number, spec in zip(group, specs, strict=True):
            self._ready[number] = self._backend.xp.ascontiguousarray(c[:, start : start + spec.n])
            start += spec.n

    def _elementwise(self, numbered: dict[int, Correlation], share: Share) -> None:
        """All elementwise products at once, those that need the result of another in the next turn."""
        asking: dict[int, Asking] = {
            number: _ELEMENTWISE[type(spec)](spec, share, self._backend)
            for number, spec in numbered.items()
            if type(spec) in _ELEMENTWISE
        }
        answers: dict[int, Array | None] = dict.fromkeys(asking)
        while asking:
            requests: dict[int, tuple[Array, Array | None]] = {}
            for number, generator in list(asking.items()):
                try:
                    requests[number] = generator.send(answers[number])
                except StopIteration as finished:
                    self._ready[number] = finished.value
                    del asking[number]
            answers = self._answer(requests)

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

    def _expand(self, number: int, spec: Correlation) -> Sequence[Array | None]:
        if not isinstance(spec, HANDLED):
            return self._inner.take(spec).arrays
        self._inner.take(Elsewhere())
        if number not in self._ready:
            raise CorrelationError(
                f"correlation {number} ({type(spec).__name__}) was not prepared: products made by encryption "
                "must be planned, see Provider.prepare"
            )
        (out,) = spec.outputs()
        return [self._ready.pop(number).reshape(out.shape)]


def with_products(rank: int, backend: Backend, channel: Channel, inner: Provider) -> HeProvider:
    """The provider of one party of a session: sends or receives the public keys (`gpu_ss.session.Extension`)."""
    products = (ClientProducts, ServerProducts)[rank](backend, channel)
    return HeProvider(backend, inner, products)


def _for_inner(spec: Correlation) -> Correlation:
    return Elsewhere() if isinstance(spec, HANDLED) else spec


def _weight_product(spec: Correlation) -> WeightProduct:
    if not isinstance(spec, WeightProduct):
        raise TypeError(f"{type(spec).__name__} is not a product with weights")
    return spec


def _by_mask(numbered: dict[int, Correlation]) -> list[list[int]]:
    """The numbers of products with weights, those of one mask together."""
    groups: dict[int, list[int]] = {}
    for number, spec in numbered.items():
        if isinstance(spec, WeightProduct):
            groups.setdefault(spec.a, []).append(number)
    return list(groups.values())
