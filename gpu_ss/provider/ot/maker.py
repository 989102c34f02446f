"""The maker of everything but matrix products, by oblivious transfer between the two parties."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from gpu_ss.backend.base import Backend
from gpu_ss.prg import Prg
from gpu_ss.provider.base import Progress
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.jobs import Job, run
from gpu_ss.provider.made import Arrays, Batch, Maker
from gpu_ss.provider.ot import recipes
from gpu_ss.provider.ot.exponential import exp_lookup
from gpu_ss.provider.ot.pair import OtPair
from gpu_ss.provider.ot.recipes import Kitchen, Made
from gpu_ss.provider.ot.requests import Answers
from gpu_ss.provider.ot.silent import SilentReceiver, SilentSender
from gpu_ss.provider.specs.arithmetic import (
    ColumnProduct,
    Powers,
    Product,
    RowProduct,
    RowSquareSum,
    WrapProduct,
)
from gpu_ss.provider.specs.bits import (
    AndMonomials,
    BitProducts,
    BitValues,
    DigitMonomials,
    NodeMonomials,
    ViewPowers,
)
from gpu_ss.provider.specs.fields import FieldWrap
from gpu_ss.provider.specs.tables import ExpLookup, UnitVectors
from gpu_ss.provider.specs.transfers import (
    BitTriples,
    CrossProducts,
    DigitTransfers,
    WordChoices,
)
from gpu_ss.ring import WORD
from net.channel import Channel

_RECIPES: dict[type[Correlation], Callable[..., Made]] = {
    AndMonomials: recipes.and_monomials,
    BitProducts: recipes.bit_products,
    BitTriples: recipes.bit_triples,
    BitValues: recipes.bit_values,
    CrossProducts: recipes.cross_products,
    DigitMonomials: recipes.digit_monomials,
    DigitTransfers: recipes.digit_transfers,
    ExpLookup: exp_lookup,
    FieldWrap: recipes.wrap_product,
    NodeMonomials: recipes.node_monomials,
    UnitVectors: recipes.unit_vectors,
    ViewPowers: recipes.view_powers,
    WordChoices: recipes.word_choices,
    WrapProduct: recipes.wrap_product,
}
#: Products element by element: up to which ring OT takes them, see `OtMaker`.
_ELEMENTWISE: dict[type[Correlation], Callable[..., Made]] = {
    ColumnProduct: recipes.column_product,
    Powers: recipes.powers,
    Product: recipes.product,
    RowProduct: recipes.row_product,
    RowSquareSum: recipes.row_square_sum,
}
_ALL = _RECIPES | _ELEMENTWISE


def takes(spec: Correlation, most_bits: int) -> bool:
    """Whether OT makes this correlation; products element by element in rings of up to `most_bits`."""
    if type(spec) in _ELEMENTWISE:
        return bool(spec.outputs()[0].bits <= most_bits)
    return type(spec) in _RECIPES


class OtMaker(Maker):
    """Correlations of bits, and products element by element, made from silent OT in both directions.

    A product of w-bit numbers takes about w^2 / 8 bytes, a square half: less than encryption for small w, more for
    large. So products in rings of more than `most_bits` are left to another maker.
    """

    kinds = (*_RECIPES, *_ELEMENTWISE)

    def __init__(self, rank: int, backend: Backend, pair: OtPair, most_bits: int = WORD) -> None:
        self._most_bits = most_bits
        self._rank = rank
        self._backend = backend
        self._prg = Prg(backend)
        self._pair = pair
        self._answer = Answers(pair)

    def accepts(self, spec: Correlation) -> bool:
        return takes(spec, self._most_bits)

    def make(self, batch: Batch, progress: Progress) -> Iterator[tuple[int, Arrays]]:
        """A window after the other; nothing of one is kept here for the next."""
        chosen, done = batch.of(self.kinds), 0
        for window in _windows(chosen, self._pair.agree()):
            yield from self._made(batch, window)
            done += len(window)
            progress(done, len(chosen))

    def _made(self, batch: Batch, window: dict[int, Correlation]) -> Iterator[tuple[int, Arrays]]:
        kitchen = Kitchen(self._rank, self._backend, self._prg, batch)
        jobs = {number: Job(_ALL[type(spec)](kitchen, spec)) for number, spec in window.items()}
        run(jobs.values(), self._answer)
        while jobs:
            number, job = jobs.popitem()
            yield number, job.result


def silent_pair(rank: int, backend: Backend, channel: Channel) -> OtPair:
    """Silent OT in both directions over the parties' channel; nothing is sent before the first use."""
    return OtPair(rank, backend, channel, SilentSender(backend, channel), SilentReceiver(backend, channel))


def _windows(specs: dict[int, Correlation], most: int) -> Iterator[dict[int, Correlation]]:
    """Consecutive correlations of at most so many words, or one larger one."""
    window: dict[int, Correlation] = {}
    words = 0
    for number, spec in specs.items():
        size = sum(out.size for out in spec.outputs())
        if window and words + size > most:
            yield window
            window, words = {}, 0
        window[number] = spec
        words += size
    if window:
        yield window
