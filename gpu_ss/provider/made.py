"""Correlations the two parties make themselves: a provider in front of makers, each for some kinds.

    provider = MadeProvider(backend, inner, [products, bits])
    provider.prepare(plan.specs)          # offline: the makers of both parties talk over the parties' channel

A correlation is a function of masks of which each party has its own share, wherever the masks come from: `inner`
expands them from a seed. So the parties can make what depends on them from their shares, without a dealer;
`inner` only counts such a correlation (`Elsewhere`) and never learns it.

Makers hand over what they have made as they go, and it is kept packed to its bits until it is taken, or goes to a
store at once: so memory is that of what the makers have at hand, and of a packed plan where there is no store.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gpu_ss.backend.base import Backend
from gpu_ss.backend.product import Factor
from gpu_ss.economy import DEALT, Economy
from gpu_ss.errors import CorrelationError
from gpu_ss.provider.base import Keep, Progress, Provider
from gpu_ss.provider.correlation import Correlation, check_planned, expand_share
from gpu_ss.provider.direct import Direct
from gpu_ss.provider.reel import Reel, ReelReader, from_zero
from gpu_ss.provider.specs.arithmetic import Elsewhere
from gpu_ss.ring import WORD, Array

C = TypeVar("C", bound=Correlation)
#: This party's arrays of a correlation, in the order of `outputs()`; None where the other party's alone.
Arrays = Sequence[Array | None]


@dataclass(frozen=True, slots=True)
class Batch:
    """The correlations of one `prepare`, by number, and this party's part of their masks."""

    specs: Mapping[int, Correlation]
    own: Callable[[int, Correlation], Array | None]
    #: Those that the maker is to make.
    wanted: frozenset[int]

    def of(self, kinds: tuple[type[C], ...]) -> dict[int, C]:
        """Those of some kinds that are to be made."""
        wanted = ((number, self.specs[number]) for number in sorted(self.wanted))
        return {number: spec for number, spec in wanted if isinstance(spec, kinds)}

    def part(self, number: int) -> Array | None:
        """This party's part of a mask of the batch (None: the other party's alone)."""
        if number not in self.specs:
            raise CorrelationError(f"mask {number} is not planned together with what is made of it")
        return self.own(number, self.specs[number])

    def share(self, number: int) -> Array:
        """This party's share of a mask that both have a share of."""
        found = self.part(number)
        if found is None:
            raise CorrelationError(f"mask {number} belongs to the other party alone")
        return found


class Maker(ABC):
    """One party's end of a way to make correlations of some kinds; both parties have the same ones in order."""

    #: The correlations it can make.
    kinds: tuple[type[Correlation], ...]

    def accepts(self, spec: Correlation) -> bool:
        """Whether it makes this one; else the makers after it are asked. From public figures only."""
        return isinstance(spec, self.kinds)

    @abstractmethod
    def make(self, batch: Batch, progress: Progress) -> Iterable[tuple[int, Arrays]]:
        """The wanted correlations of a batch, each with its number, when it is made. The parties talk here."""

    def joins(self, spec: Correlation) -> bool:
        """Whether those of several sets are cheaper made at once, see `Provider.record`; wanted together then."""
        return False

    def hold(self, words: Array | None, shape: tuple[int, ...], bits: int) -> int | None:
        """See `Provider.hold`; None: not for this maker."""
        return None

    @property
    def direct(self) -> bool:
        """Whether it computes products of shares, see `Provider.direct`; `make` then prepares what they need."""
        return False

    def compute(self, spec: Direct, *operands: Array) -> tuple[Array, int]:
        """See `Provider.compute`."""
        raise CorrelationError(f"{type(self).__name__} computes no products")


class _Packed:
    """A correlation that is made and not yet taken, with no bits but those of its rings."""

    __slots__ = ("_arrays", "spec")

    def __init__(self, backend: Backend, spec: Correlation, arrays: Arrays) -> None:
        self.spec = spec
        self._arrays = [
            array if array is None or out.bits == WORD else backend.pack(array, out.bits)
            for array, out in zip(arrays, spec.outputs(), strict=True)
        ]

    def arrays(self, backend: Backend) -> Arrays:
        return [
            array
            if array is None or out.bits == WORD
            else backend.unpack(array, out.bits, out.size).reshape(out.shape)
            for array, out in zip(self._arrays, self.spec.outputs(), strict=True)
        ]


class _Sets(Mapping[int, Correlation]):
    """A plan's correlations several times over, numbered on; each is there only while it is looked at."""

    def __init__(self, specs: Sequence[Correlation], count: int) -> None:
        self._specs = specs
        self._count = count

    def __len__(self) -> int:
        return len(self._specs) * self._count

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __getitem__(self, number: int) -> Correlation:
        if not 0 <= number < len(self):
            raise KeyError(number)
        k, place = divmod(number, len(self._specs))
        return self._specs[place].moved(k * len(self._specs), 0)


class SeedProvider(Provider):
    """Masks only, from this party's own seed: what needs no other party and no dealer."""

    def __init__(self, rank: int, backend: Backend, key: bytes) -> None:
        super().__init__()
        self._rank = rank
        self._backend = backend
        self._key = key

    def __repr__(self) -> str:
        return f"SeedProvider(taken={self.taken}, key=<hidden>)"

    def under(self, key: bytes) -> SeedProvider:
        """This party's masks of another key."""
        return SeedProvider(self._rank, self._backend, key)

    def read(self, reel: Reel, specs: Sequence[Correlation]) -> ReelReader:
        """A reel whose masks are this party's."""
        return ReelReader(reel, self._rank, self._backend, specs)

    def own(self, number: int, spec: Correlation) -> Array | None:
        return expand_share(self._rank, spec, number, self._backend, self._key)[0]

    def _expand(self, number: int, spec: Correlation) -> Arrays:
        if not spec.is_mask:
            raise CorrelationError(f"nobody makes correlation {number}, a {type(spec).__name__}")
        return expand_share(self._rank, spec, number, self._backend, self._key)


class MadeProvider(Provider):
    """`makers` make their kinds of correlations in `prepare`; `inner` gives the rest, masks among it."""

    def __init__(
        self, backend: Backend, inner: Provider, makers: Sequence[Maker], economy: Economy = DEALT
    ) -> None:
        super().__init__()
        self.economy = economy
        self._backend = backend
        self._inner = inner
        self._makers = makers
        self._ready: dict[int, _Packed] = {}
        self._reading: tuple[int, ReelReader] | None = None

    def __repr__(self) -> str:
        return f"MadeProvider(taken={self.taken}, ready={len(self._ready)})"

    def hold(self, words: Array | None, shape: tuple[int, ...], bits: int) -> int:
        for maker in self._makers:
            number = maker.hold(words, shape, bits)
            if number is not None:
                return number
        return super().hold(words, shape, bits)

    def own(self, number: int, spec: Correlation) -> Array | None:
        return self._inner.own(number, spec)

    @property
    def direct(self) -> bool:
        return any(maker.direct for maker in self._makers)

    def compute(self, spec: Direct, *operands: Array) -> tuple[Array, int]:
        maker = self._maker(spec)
        if maker is None:
            return super().compute(spec, *operands)
        self.take(spec)
        return maker.compute(spec, *operands)

    def keep_static(self, number: int, words: Array | Factor) -> None:
        self._inner.keep_static(number, words)

    def prepared(self, number: int) -> Array | None:
        return self._inner.prepared(number)

    def prepare(self, specs: Sequence[Correlation], progress: Progress | None = None) -> None:
        """Make the next correlations, together with the other party."""
        self._inner.prepare([Elsewhere() if self._maker(spec) else spec for spec in specs])
        numbered = dict(enumerate(specs, self.taken))
        self._get_ready(numbered, numbered, progress)

    def record(
        self,
        seeds: Sequence[bytes],
        specs: Sequence[Correlation],
        keep: Keep,
        progress: Progress | None = None,
    ) -> Iterator[int]:
        """First what makers make of all sets at once, then one set after the other: memory is that of one."""
        masks, size = self._masks, len(specs)
        kept = [n for n, spec in enumerate(specs) if not isinstance(spec, Direct)]
        joined = {n for n in kept if len(seeds) > 1 and self._joins(specs[n])}

        def own(number: int, spec: Correlation) -> Array | None:
            k, place = divmod(number, size)
            return masks.under(seeds[k]).own(place, spec)

        of_all = [k * size + n for k in range(len(seeds)) for n in sorted(joined)]
        for number, arrays in self._make(_Sets(specs, len(seeds)), of_all, own, progress):
            keep(*divmod(number, size), arrays)
        numbered, rest = dict(enumerate(specs)), [n for n in kept if n not in joined]
        for k, seed in enumerate(seeds):
            for number, arrays in self._make(numbered, rest, masks.under(seed).own, progress):
                keep(k, number, arrays)
            yield k

    def adopt(self, reel: Reel, specs: Sequence[Correlation], progress: Progress | None = None) -> None:
        """What is computed directly, and so is not in the reel, is made ready here."""
        if self._reading is not None:
            raise CorrelationError("the correlations taken up before are not used up")
        reader = self._masks.read(reel, from_zero(specs, self.taken))
        numbered = dict(enumerate(specs, self.taken))
        direct = [n for n, spec in numbered.items() if isinstance(spec, Direct)]
        self._get_ready(numbered, direct, progress)
        self._reading = (self.taken, reader) if reader.left else None

    @property
    def _masks(self) -> SeedProvider:
        if not isinstance(self._inner, SeedProvider):
            raise CorrelationError("correlations with masks of a dealer cannot be kept for another session")
        return self._inner

    def _get_ready(
        self, numbered: dict[int, Correlation], chosen: Iterable[int], progress: Progress | None
    ) -> None:
        """Make those of a plan that are chosen, and have them here to be taken."""
        for number, arrays in self._make(numbered, chosen, self._inner.own, progress):
            self._ready[number] = _Packed(self._backend, numbered[number], arrays)

    def _make(
        self,
        numbered: Mapping[int, Correlation],
        chosen: Iterable[int],
        own: Callable[[int, Correlation], Array | None],
        progress: Progress | None,
    ) -> Iterator[tuple[int, Arrays]]:
        """Those correlations of a plan that have a maker; own: as in `Batch`."""
        makers = {n: self._maker(numbered[n]) for n in chosen}
        for maker in self._makers:
            wanted = frozenset(n for n, found in makers.items() if found is maker)
            if wanted:
                yield from maker.make(Batch(numbered, own, wanted), progress or _nothing)

    def _joins(self, spec: Correlation) -> bool:
        maker = self._maker(spec)
        return maker is not None and maker.joins(spec)

    def _maker(self, spec: Correlation) -> Maker | None:
        """The first one that makes this correlation; None: it comes from the inner provider."""
        return next((maker for maker in self._makers if maker.accepts(spec)), None)

    def _expand(self, number: int, spec: Correlation) -> Arrays:
        if self._reading is not None:
            found = self._read(spec, *self._reading)
            if not isinstance(spec, Direct):
                self._inner.take(Elsewhere())
                return found
        if self._maker(spec) is None:
            return self._inner.take(spec).arrays
        self._inner.take(Elsewhere())
        if number not in self._ready:
            raise CorrelationError(
                f"correlation {number} ({type(spec).__name__}) was not prepared: what the parties make "
                "themselves must be planned, see Provider.prepare"
            )
        made = self._ready.pop(number)
        check_planned(number, made.spec, spec)
        return made.arrays(self._backend)

    def _read(self, spec: Correlation, first: int, reader: ReelReader) -> Arrays:
        """The next one of a reel that was taken up from number `first` on."""
        found = reader.next(spec.moved(-first, first))
        if not reader.left:
            self._reading = None
        return found


def _nothing(done: int, total: int) -> None:
    """Shows no progress."""
