"""What a recipe can ask of the two parties (see `pair`), and how requests of one kind are answered together."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any

from gpu_ss.field import Field
from gpu_ss.provider.ot.pair import OtPair
from gpu_ss.provider.specs.bits import words_of
from gpu_ss.ring import WORD, Array, Ring


@dataclass(frozen=True, repr=False, eq=False)
class And:
    """choice AND payload_j: planes [W] and [m, W] to [m, W]."""

    choice: Array
    payload: Array

    @property
    def kind(self) -> Hashable:
        return And, len(self.payload)


@dataclass(frozen=True, repr=False, eq=False)
class Sum:
    """The bits of x_0 + x_1, modulo 2^b, for the parties' own numbers, from the planes [b, W] of each: [b, W]."""

    planes: Array

    @property
    def kind(self) -> Hashable:
        return Sum


@dataclass(frozen=True, repr=False, eq=False)
class Overlap:
    """XOR_j x_j AND y_j of rank 0's planes x [m, W] and rank 1's y: [W]."""

    planes: Array

    @property
    def kind(self) -> Hashable:
        return Overlap, len(self.planes)


@dataclass(frozen=True, repr=False, eq=False)
class Mux:
    """A plane of bits times words x [m, n] modulo 2^w: [m, n]."""

    bits: Array
    x: Array
    ring: Ring

    @property
    def kind(self) -> Hashable:
        return Mux, len(self.x), self.ring


@dataclass(frozen=True, repr=False, eq=False)
class Value:
    """A plane of n bits as numbers modulo 2^w: [n]."""

    bits: Array
    n: int
    ring: Ring

    @property
    def kind(self) -> Hashable:
        return Value, self.ring


@dataclass(frozen=True, repr=False, eq=False)
class Times:
    """x y modulo 2^w, or x^2 where y is None: [n]. The sum of the shares of y counts below 2^factor_bits each."""

    x: Array
    y: Array | None
    ring: Ring
    factor_bits: int = WORD

    @property
    def kind(self) -> Hashable:
        return Times, self.y is None, self.ring, min(self.factor_bits, self.ring.bits)


@dataclass(frozen=True, repr=False, eq=False)
class Joint:
    """Rank 0's own x times rank 1's own y < 2^factor_bits, modulo 2^w: [n]."""

    mine: Array
    ring: Ring
    factor_bits: int

    @property
    def kind(self) -> Hashable:
        return Joint, self.ring, self.factor_bits


@dataclass(frozen=True, repr=False, eq=False)
class Wrap:
    """Random bits of n elements at each party, and shares of their products in a ring or field: (plane, [n])."""

    own: Array
    n: int
    group: Ring | Field

    @property
    def kind(self) -> Hashable:
        return Wrap, self.group


@dataclass(frozen=True, repr=False, eq=False)
class Pads:
    """Something random that the pair makes without a message: `make(pair)`."""

    make: Callable[[OtPair], Any]

    @property
    def kind(self) -> Hashable:
        return Pads


class Answers:
    """Answers the requests of one kind with one call of the pair."""

    def __init__(self, pair: OtPair) -> None:
        self._pair = pair
        self._by_type: dict[type, Callable[[Sequence[Any]], list[Any]]] = {
            And: self._and,
            Sum: self._sum,
            Overlap: self._overlap,
            Mux: self._mux,
            Value: self._value,
            Times: self._times,
            Joint: self._joint,
            Wrap: self._wrap,
            Pads: lambda requests: [request.make(self._pair) for request in requests],
        }

    def __call__(self, requests: Sequence[Any]) -> list[Any]:
        return self._by_type[type(requests[0])](requests)

    def _and(self, requests: Sequence[And]) -> list[Array]:
        choice, payload = (
            self._joined([r.choice for r in requests]),
            self._joined([r.payload for r in requests]),
        )
        return _cut(self._pair.and_vector(choice, payload), [r.choice.size for r in requests])

    def _sum(self, requests: Sequence[Sum]) -> list[Array]:
        """Side by side, the longest first: so those that have a bit are the beginning."""
        order = sorted(range(len(requests)), key=lambda r: -len(requests[r].planes))
        planes = [requests[r].planes for r in order]
        spans = list(pairwise(accumulate((own.shape[1] for own in planes), initial=0)))
        together = self._pair.backend.zeros((len(planes[0]), spans[-1][1]))
        for own, (start, end) in zip(planes, spans, strict=True):
            together[: len(own), start:end] = own
        ends = [
            max(end for own, (_, end) in zip(planes, spans, strict=True) if len(own) > k)
            for k in range(len(together))
        ]
        total = self._pair.add(together, ends)
        found = {r: total[: len(planes[at]), slice(*spans[at])] for at, r in enumerate(order)}
        return [found[r] for r in range(len(requests))]

    def _overlap(self, requests: Sequence[Overlap]) -> list[Array]:
        found = self._pair.overlap(self._joined([r.planes for r in requests]))
        return _cut(found, [r.planes.shape[1] for r in requests])

    def _mux(self, requests: Sequence[Mux]) -> list[Array]:
        x = self._joined([self._filled(r.x) for r in requests])
        found = self._pair.mux(self._joined([r.bits for r in requests]), x, requests[0].ring)
        sizes = [WORD * words_of(r.x.shape[1]) for r in requests]
        return [c[:, : r.x.shape[1]] for c, r in zip(_cut(found, sizes), requests, strict=True)]

    def _value(self, requests: Sequence[Value]) -> list[Array]:
        bits = self._joined([r.bits for r in requests])
        found = self._pair.value(bits, WORD * int(bits.size), requests[0].ring)
        sizes = [WORD * r.bits.size for r in requests]
        return [c[: r.n] for c, r in zip(_cut(found, sizes), requests, strict=True)]

    def _times(self, requests: Sequence[Times]) -> list[Array]:
        x, ring = self._joined([r.x for r in requests]), requests[0].ring
        if requests[0].y is None:
            found = self._pair.square(x, ring)
        else:
            bits = min(requests[0].factor_bits, ring.bits)
            found = self._pair.product(x, self._joined([r.y for r in requests]), ring, bits)
        return _cut(found, [r.x.size for r in requests])

    def _joint(self, requests: Sequence[Joint]) -> list[Array]:
        mine = self._joined([r.mine for r in requests])
        found = self._pair.joint(mine, requests[0].ring, requests[0].factor_bits)
        return _cut(found, [r.mine.size for r in requests])

    def _wrap(self, requests: Sequence[Wrap]) -> list[tuple[Array, Array]]:
        n = sum(WORD * words_of(r.n) for r in requests)
        planes, shares = self._pair.wrap_product(
            self._joined([r.own for r in requests]), n, requests[0].group
        )
        words = [words_of(r.n) for r in requests]
        cut = zip(_cut(planes, words), _cut(shares, [WORD * w for w in words]), requests, strict=True)
        return [(plane, share[: r.n]) for plane, share, r in cut]

    def _joined(self, arrays: Sequence[Array]) -> Array:
        return arrays[0] if len(arrays) == 1 else self._pair.backend.xp.concatenate(arrays, axis=-1)

    def _filled(self, x: Array) -> Array:
        """Rows filled up with zeros to whole words of bits."""
        missing = -x.shape[-1] % WORD
        if not missing:
            return x
        return self._pair.backend.xp.concatenate([x, self._pair.backend.zeros((len(x), missing))], axis=1)


def _cut(array: Array, sizes: Sequence[int]) -> list[Array]:
    """Consecutive pieces of the last dimension."""
    return [array[..., start:end] for start, end in pairwise(accumulate(sizes, initial=0))]
