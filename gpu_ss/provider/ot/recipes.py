"""How two parties make each kind of correlation from their shares of the masks, with oblivious transfer.

A recipe is a generator (see `provider.jobs`) that returns this party's arrays in the order of `spec.outputs()`. The
masks are uniform and never opened here; of intermediate values nothing is opened but what `pair` opens under
triples. Recipes start shared jobs for what several correlations need: the bits of a viewed mask, its powers.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.backend.reference_circuits import and_subsets
from gpu_ss.field import Field
from gpu_ss.prg import Prg
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.jobs import Job, Shared, Work
from gpu_ss.provider.made import Batch
from gpu_ss.provider.ot import circuits
from gpu_ss.provider.ot.pair import OtPair
from gpu_ss.provider.ot.requests import Joint, Mux, Pads, Times, Value, Wrap
from gpu_ss.provider.specs.arithmetic import (
    ColumnProduct,
    Powers,
    Product,
    RowProduct,
    RowSquareSum,
    WrapProduct,
)
from gpu_ss.provider.specs.bits import (
    COLUMNS,
    PAIRS,
    ROWS,
    AndMonomials,
    BitProducts,
    BitValues,
    DigitMonomials,
    MaskView,
    NodeMonomials,
    ViewPowers,
    columns,
    pair_differences,
    words_of,
)
from gpu_ss.provider.specs.fields import FieldWrap
from gpu_ss.provider.specs.tables import UnitVectors
from gpu_ss.provider.specs.transfers import (
    BitTriples,
    CrossProducts,
    DigitTransfers,
    WordChoices,
)
from gpu_ss.ring import Array, Ring, lead_of

#: This party's arrays of a correlation.
Made = Work[Sequence[Array | None]]


class Kitchen:
    """What recipes work with: the batch's masks, and jobs that they share."""

    def __init__(self, rank: int, backend: Backend, prg: Prg, batch: Batch) -> None:
        self.rank = rank
        self.lead = lead_of(rank)
        self.backend = backend
        self.batch = batch
        self._prg = prg
        self._shared = Shared()
        self._degrees = _degrees(batch)

    def fresh_plane(self, n: int) -> Array:
        """Random bits for n elements: [1, W]."""
        return self._prg.words((1, words_of(n)))

    def planes_of(self, mask: int) -> Array:
        """This party's share of a bit mask: [planes, words]."""
        return self.batch.share(mask)

    def number(self, view: MaskView) -> Job:
        """Shares modulo 2^view.bits of a viewed mask: [n]."""
        return self._shared.job((_number, view), lambda: _number(self, view))

    def upper(self, mask: int, source: int, shift: int) -> Job:
        """Shares of mask >> shift modulo 2^(source - shift)."""
        return self._shared.job((_upper, mask, source, shift), lambda: _upper(self, mask, source, shift))

    def bits(self, view: MaskView) -> Job:
        """The planes [bits, W] of a viewed mask."""
        return self._shared.job((_bits, view), lambda: _bits(self, view))

    def carry(self, view: MaskView) -> Job:
        """The carry [W] of the sum of the parties' shares of `number`."""
        return self._shared.job((_carry, view), lambda: _carry(self, view))

    def powers(self, view: MaskView, ring: Ring, lift: bool) -> Job:
        """Per case (see ViewPowers) the list v, v^2, ... modulo 2^w, up to the highest degree in the batch."""
        degree = self._degrees[view, ring.bits, lift]
        return self._shared.job((_powers, view, ring, lift), lambda: _powers(self, view, ring, lift, degree))


# What several correlations need


def _upper(kitchen: Kitchen, mask: int, source: int, shift: int) -> Work[Array]:
    """Both shift their share; the carry from the bits dropped is added."""
    share = Ring(source).reduce(kitchen.batch.share(mask)).reshape(-1)
    ring = Ring(source - shift)
    low = kitchen.backend.to_planes(Ring(shift).reduce(share), shift)
    planes = yield from circuits.add(low)
    carry = yield from circuits.next_carry(kitchen.lead, low[-1], planes[-1] ^ low[-1])
    (carried,) = yield [Value(carry, int(share.size), ring)]
    return ring.reduce((share >> np.uint64(shift)) + carried)


def _number(kitchen: Kitchen, view: MaskView) -> Work[Array]:
    backend = kitchen.backend
    if view.shift:
        a = yield kitchen.upper(view.a, view.source, view.shift)
    else:
        a = kitchen.batch.share(view.a).reshape(-1)
    if view.form == PAIRS:
        a = pair_differences(backend, a.reshape(-1, view.group))
    elif view.form == COLUMNS:
        a = columns(backend, a.reshape(-1, view.group))
    elif view.form == ROWS:
        a = a.reshape(-1, view.group) - kitchen.batch.share(view.b).reshape(-1, 1)
    return Ring(view.bits).reduce(backend.xp.ascontiguousarray(a).reshape(-1))


def _bits(kitchen: Kitchen, view: MaskView) -> Work[Array]:
    share = yield kitchen.number(view)
    return (yield from circuits.add(kitchen.backend.to_planes(share, view.bits)))


def _carry(kitchen: Kitchen, view: MaskView) -> Work[Array]:
    share = yield kitchen.number(view)
    planes = yield kitchen.bits(view)
    own = kitchen.backend.bit_plane(share, view.bits - 1)[0]
    return (yield from circuits.next_carry(kitchen.lead, own, planes[-1] ^ own))


def _powers(kitchen: Kitchen, view: MaskView, ring: Ring, lift: bool, degree: int) -> Work[list[list[Array]]]:
    found = [[case] for case in (yield from _cases(kitchen, view, ring, lift))]
    for _ in range(1, degree):
        requests = [Times(p[-1], None if len(p) == 1 else p[0], ring) for p in found]
        for powers, answer in zip(found, (yield requests), strict=True):
            powers.append(answer)
    return found


def _cases(kitchen: Kitchen, view: MaskView, ring: Ring, lift: bool) -> Work[list[Array]]:
    """The viewed mask r in a ring; with `lift` as an integer, and again less 2^bits where its top bit is set."""
    share = yield kitchen.number(view)
    if not lift:
        return [ring.reduce(share)]
    if ring.bits <= view.bits:
        return [ring.reduce(share)] * 2
    planes = yield kitchen.bits(view)
    carry = yield kitchen.carry(view)
    above = Ring(ring.bits - view.bits)
    wrapped, top = yield [Value(carry, view.n, above), Value(planes[-1], view.n, above)]
    size = np.uint64(view.bits)
    whole = share - (wrapped << size)
    return [ring.reduce(whole), ring.reduce(whole - (top << size))]


def _degrees(batch: Batch) -> dict[tuple[MaskView, int, bool], int]:
    """The highest power of each viewed mask that anything in the batch needs."""
    found: dict[tuple[MaskView, int, bool], int] = {}
    for spec in batch.specs.values():
        if isinstance(spec, (ViewPowers, BitProducts)):
            key = (spec.view, spec.bits, bool(spec.lift))
        elif isinstance(spec, Powers):
            key = (MaskView(spec.a, spec.n, spec.bits, spec.bits), spec.bits, False)
        else:
            continue
        found[key] = max(found.get(key, 1), spec.degree)
    return found


def rescaled(kitchen: Kitchen, x: Array, ring: Ring, shift: int, out: Ring) -> Work[Array]:
    """x / 2^shift in a larger ring than that leaves, to within one unit either way (`protocols.trunc`, T1).

    Needs |x| < 2^(w - 2): then the biased shares wrapped exactly if one of them has its top bit set.
    """
    bias, left = 1 << (ring.bits - 2), ring.bits - shift
    biased = ring.reduce(x + (np.uint64(bias) & kitchen.lead))
    top = biased >> np.uint64(ring.bits - 1)
    (both,) = yield [Joint(top, Ring(out.bits - left), 1)]
    wrap = top - both
    public = np.uint64(((1 if shift else 0) - (bias >> shift)) % 2**64) & kitchen.lead
    return out.reduce((biased >> np.uint64(shift)) - (wrap << np.uint64(left)) + public)


# The correlations


def digit_monomials(kitchen: Kitchen, spec: DigitMonomials) -> Made:
    planes = yield kitchen.bits(spec.view)
    xp = kitchen.backend.xp
    products = yield from circuits.digit_products(xp, planes[:-1], spec.widths)
    return [xp.concatenate([products, planes[-1:]])]


def node_monomials(kitchen: Kitchen, spec: NodeMonomials) -> Made:
    return (yield from _plane_products(kitchen, spec.mask, spec.subsets()))


def and_monomials(kitchen: Kitchen, spec: AndMonomials) -> Made:
    return (yield from _plane_products(kitchen, spec.mask, and_subsets(spec.fan_in)))


def _plane_products(kitchen: Kitchen, mask: int, subsets: Sequence[int]) -> Made:
    return [(yield from circuits.subset_products(kitchen.backend.xp, kitchen.planes_of(mask), subsets))]


def bit_values(kitchen: Kitchen, spec: BitValues) -> Made:
    planes = kitchen.planes_of(spec.mask)
    return [kitchen.backend.xp.stack((yield [Value(plane, spec.n, Ring(spec.bits)) for plane in planes]))]


def view_powers(kitchen: Kitchen, spec: ViewPowers) -> Made:
    xp, ring = kitchen.backend.xp, Ring(spec.bits)
    cases = yield kitchen.powers(spec.view, ring, bool(spec.lift))
    return [xp.stack([xp.stack(powers[: spec.degree]) for powers in cases])]


def bit_products(kitchen: Kitchen, spec: BitProducts) -> Made:
    """The bits themselves, and the bits times all powers of all cases at once."""
    xp, ring, n = kitchen.backend.xp, Ring(spec.bits), spec.view.n
    cases = yield kitchen.powers(spec.view, ring, bool(spec.lift))
    words = xp.stack([power for powers in cases for power in powers[: spec.degree]])
    rho = kitchen.planes_of(spec.mask)
    asked = [Value(plane, n, ring) for plane in rho]
    answers = yield [*asked, *(Mux(plane, words, ring) for plane in rho)]
    out = kitchen.backend.empty((len(cases), spec.planes, spec.degree + 1, n))
    for k in range(spec.planes):
        out[:, k, 0] = answers[k]
        out[:, k, 1:] = answers[spec.planes + k].reshape(len(cases), spec.degree, n)
    return [out]


def wrap_product(kitchen: Kitchen, spec: WrapProduct | FieldWrap) -> Made:
    """Both bits are fresh: rank 0's from its generator, rank 1's the choice bits of the OTs."""
    own = kitchen.fresh_plane(spec.n)
    group = Field(spec.prime) if isinstance(spec, FieldWrap) else Ring(spec.bits)
    ((plane, share),) = yield [Wrap(own, spec.n, group)]
    return [plane, None, share] if kitchen.rank == 0 else [None, plane, share]


# Products element by element


def product(kitchen: Kitchen, spec: Product) -> Made:
    return (yield from _product(kitchen, spec.a, _flat(kitchen, spec.b), spec))


def row_product(kitchen: Kitchen, spec: RowProduct) -> Made:
    return (
        yield from _product(kitchen, spec.a, kitchen.backend.xp.repeat(_flat(kitchen, spec.b), spec.n), spec)
    )


def column_product(kitchen: Kitchen, spec: ColumnProduct) -> Made:
    return (
        yield from _product(kitchen, spec.a, kitchen.backend.xp.tile(_flat(kitchen, spec.b), spec.rows), spec)
    )


def powers(kitchen: Kitchen, spec: Powers) -> Made:
    """A view of the whole mask: so its powers are made once, also if bits are multiplied by them."""
    view = MaskView(spec.a, spec.n, spec.bits, spec.bits)
    (found,) = yield kitchen.powers(view, Ring(spec.bits), False)
    return [kitchen.backend.xp.stack(found[1 : spec.degree])]


def row_square_sum(kitchen: Kitchen, spec: RowSquareSum) -> Made:
    (squares,) = yield [Times(_flat(kitchen, spec.a), None, Ring(spec.bits))]
    return [squares.reshape(spec.rows, spec.n).sum(axis=1)]


def _product(kitchen: Kitchen, a: int, factors: Array, spec: Correlation) -> Made:
    (out,) = spec.outputs()
    (found,) = yield [Times(_flat(kitchen, a), factors, Ring(out.bits))]
    return [found.reshape(out.shape)]


def _flat(kitchen: Kitchen, mask: int) -> Array:
    return kitchen.batch.share(mask).reshape(-1)


def cross_products(kitchen: Kitchen, spec: CrossProducts) -> Made:
    make = partial(OtPair.cross_products, n=spec.n, ring=Ring(spec.bits), factor_bits=spec.factor_bits)
    ((words, bits, first, second),) = yield [Pads(make)]
    if kitchen.rank == 0:
        return [words, None, bits, None, first, second]
    return [None, words, None, bits, first, second]


def unit_vectors(kitchen: Kitchen, spec: UnitVectors) -> Made:
    """The bits of r are each party's random ones: as numbers they add up to r, ANDed to its unit vector."""
    planes = [kitchen.fresh_plane(spec.n)[0] for _ in range(spec.bits)]
    values = yield [Value(plane, spec.n, Ring(spec.bits - k)) for k, plane in enumerate(planes)]
    number = values[0] * np.uint64(0)
    for k, value in enumerate(values):
        number = number + (value << np.uint64(k))
    entries = yield from circuits.unit_vector(kitchen.backend.xp, kitchen.lead, planes)
    return [Ring(spec.bits).reduce(number), entries]


# Transfers and triples: random, so nothing is sent


def digit_transfers(kitchen: Kitchen, spec: DigitTransfers) -> Made:
    """Digit by digit. The pads are whole, so rank 0's share of the chosen ones is zero."""
    words, xp = words_of(spec.n), kitchen.backend.xp
    digit = Pads(partial(OtPair.digit_pads, words=words, width=spec.width, payload=spec.payload))
    found = yield [digit] * spec.digits
    random, chosen = (xp.stack(arrays).reshape(-1, words) for arrays in zip(*found, strict=True))
    return [None, random, chosen] if kitchen.rank == 0 else [random, None, chosen]


def bit_triples(kitchen: Kitchen, spec: BitTriples) -> Made:
    (arrays,) = yield [Pads(partial(OtPair.triples, words=spec.words, payload=spec.payload))]
    return list(arrays)


def word_choices(kitchen: Kitchen, spec: WordChoices) -> Made:
    ((first, second),) = yield [Pads(partial(OtPair.word_choices, n=spec.n, ring=Ring(spec.bits)))]
    return [first, None, second] if kitchen.rank == 0 else [None, first, second]
