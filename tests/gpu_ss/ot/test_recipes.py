"""Correlations made by OT are those a dealer deals: the same definitions, over all views, rings and odd sizes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend import get_backend
from gpu_ss.backend.reference_circuits import and_subsets
from gpu_ss.field import FIELD53, FIELD60
from gpu_ss.prg import fresh_key
from gpu_ss.provider.correlation import BitMask, Correlation, Dealing, Mask, combine
from gpu_ss.provider.made import MadeProvider, SeedProvider
from gpu_ss.provider.ot.maker import OtMaker
from gpu_ss.provider.ot.pair import OtPair
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
    words_of,
)
from gpu_ss.provider.specs.fields import FieldWrap
from gpu_ss.provider.specs.tables import INDEX_BITS, ExpLookup, UnitVectors, power_table
from gpu_ss.provider.specs.transfers import (
    BitTriples,
    CrossProducts,
    DigitTransfers,
    WordChoices,
)
from tests.support.ot import DealtReceiver, DealtSender, both

BACKEND = get_backend("cpu")
Taken = list[tuple[Any, ...]]


def take(specs: Sequence[Correlation]) -> tuple[Taken, Taken]:
    """Both parties' arrays of correlations 0, 1, ..., with OTs dealt by the test."""

    def party(rank: int, channel: Any) -> Taken:
        ends = DealtSender(BACKEND, channel, 1 + rank), DealtReceiver(BACKEND, channel, 2 - rank)
        maker = OtMaker(rank, BACKEND, OtPair(rank, BACKEND, channel, *ends))
        provider = MadeProvider(BACKEND, SeedProvider(rank, BACKEND, fresh_key()), [maker])
        provider.prepare(specs)
        return [provider.take(spec).arrays for spec in specs]

    return both(lambda channel: party(0, channel), lambda channel: party(1, channel))


def clear(spec: Correlation, first: Any, second: Any) -> list[Any]:
    return [combine(BACKEND, out, a, b) for out, a, b in zip(spec.outputs(), first, second, strict=True)]


def check(specs: Sequence[Correlation]) -> None:
    """The last of these is what its `deal` says; the ones before are its masks."""
    left, right = take(specs)
    masks = [clear(spec, a, b) for spec, a, b in zip(specs, left, right, strict=True)]
    found = masks[-1]
    dealt = specs[-1].deal(Dealing(BACKEND, found, left[-1], lambda number: masks[number][0]))
    derived = [out for out in specs[-1].outputs() if not out.random]
    for out, value, expected in zip(derived, found[-len(derived) :], dealt, strict=True):
        mask = np.uint64(2**out.bits - 1)
        assert np.array_equal(value & mask, expected.reshape(out.shape) & mask)


N = 70
SOURCE = Mask((N,), 28)
VIEWS = {
    "whole": (SOURCE, MaskView(0, N, 28, 28)),
    "low bits": (SOURCE, MaskView(0, N, 28, 9)),
    "one bit": (SOURCE, MaskView(0, N, 28, 1)),
    "shifted": (SOURCE, MaskView(0, N, 28, 17, 11)),
    "64 bits": (Mask((N,), 64), MaskView(0, N, 64, 64)),
    "columns": (Mask((13, 6), 28), MaskView(0, 6 * 64, 28, 17, 11, COLUMNS, 6)),
    "pairs": (Mask((13, 4), 17), MaskView(0, 6 * 64, 17, 17, 0, PAIRS, 4)),
    "shifted pairs": (Mask((13, 4), 28), MaskView(0, 6 * 64, 28, 17, 11, PAIRS, 4)),
    "one": (Mask((1,), 40), MaskView(0, 1, 40, 40)),
}


@pytest.mark.parametrize("name", [name for name in VIEWS if name != "one bit"])
@pytest.mark.parametrize("most", [1, 2, 4, 5])
def test_digit_monomials(name: str, most: int) -> None:
    mask, view = VIEWS[name]
    low = view.bits - 1
    widths = (*[most] * (low // most), *([low % most] if low % most else []))
    check([mask, DigitMonomials(view, widths)])


@pytest.mark.parametrize("n", [1, 63, 64, 70, 1000])
def test_bits_in_fields_and_choices(n: int) -> None:
    for prime in (5, FIELD53.prime, FIELD60.prime):
        check([FieldWrap(n, prime)])
    check([WordChoices(n, 53)])


def test_digit_monomials_of_rows() -> None:
    view = MaskView(0, 15, 28, 28, 0, ROWS, 5, 1)
    check([Mask((3, 5), 28), Mask((3,), 28), DigitMonomials(view, (8, 8, 8, 3))])


@pytest.mark.parametrize(("arity", "with_eq"), [(2, 0), (2, 1), (3, 1), (4, 0), (4, 1), (8, 0)])
def test_node_monomials(arity: int, with_eq: int) -> None:
    spec = NodeMonomials(0, 3, arity, with_eq)
    inputs = max(s.bit_length() for s in spec.subsets())
    check([BitMask(inputs, 3), spec])


@pytest.mark.parametrize("fan_in", [2, 5, 8])
def test_and_monomials(fan_in: int) -> None:
    assert len(and_subsets(fan_in)) == 2**fan_in - fan_in - 1
    check([BitMask(fan_in, 2), AndMonomials(0, 2, fan_in)])


@pytest.mark.parametrize("bits", [1, 17, 64])
@pytest.mark.parametrize("n", [1, 64, 130])
def test_bit_values(n: int, bits: int) -> None:
    check([BitMask(3, words_of(n)), BitValues(0, 3, n, bits)])


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize(("degree", "bits", "lift"), [(1, 64, 1), (2, 64, 1), (2, 9, 0), (3, 1, 0)])
def test_powers_and_bit_products(name: str, degree: int, bits: int, lift: int) -> None:
    mask, view = VIEWS[name]
    bits = min(bits, 64 if lift else view.bits)
    planes = BitMask(2, words_of(view.n))
    check([mask, ViewPowers(view, degree, bits, lift)])
    check([mask, planes, BitProducts(1, 2, view, degree, bits, lift)])


@pytest.mark.parametrize("n", [1, 64, 1000])
@pytest.mark.parametrize("bits", [1, 16, 44, 64])
def test_wrap_products(n: int, bits: int) -> None:
    check([WrapProduct(n, bits)])


@pytest.mark.parametrize(("look_bits", "bits"), [(23, 64), (51, 64), (23, 48)])
def test_exponential(look_bits: int, bits: int) -> None:
    frac, scale, n = 12, 14, 300
    view = MaskView(0, n, 28, 28)
    spec = ExpLookup(view, 1, 2, frac, look_bits, scale, bits)
    masks = [Mask((n,), 28), Mask((n,), look_bits), BitMask(1, words_of(n))]
    left, right = take([*masks, spec])
    (r,), (mu,), (gate,) = (clear(s, a, b) for s, a, b in zip(masks, left[:3], right[:3], strict=True))
    unit, words = clear(spec, left[3], right[3])

    high = (r >> np.uint64(frac)) & np.uint64((1 << INDEX_BITS) - 1)
    assert np.array_equal(unit, np.uint64(1) << high)

    found = words.astype(object)
    value = np.where(found[0] >= 2 ** (bits - 1), found[0] - 2**bits, found[0])
    exact = power_table(frac, scale)[(r & np.uint64((1 << frac) - 1)).astype(np.int64)].astype(int)
    assert np.array_equal(value > 0, (left[3][0] >> high & np.uint64(1)).astype(bool)), "sign"
    # Two factors of 16 bits, each half a unit off at most, and one unit of the rounding in the end.
    assert np.abs(np.abs(value) - exact).max() <= 2
    top = (mu >> np.uint64(look_bits - 1)).astype(int) << look_bits
    assert (((-value * mu.astype(int)) - found[1]) % 2**bits == 0).all()
    assert ((value * top - found[2]) % 2**bits == 0).all()
    rho = np.unpackbits(gate.view(np.uint8), bitorder="little")[:n].astype(int)
    assert ((found[3:] - found[:3] * rho) % 2**bits == 0).all()


@pytest.mark.parametrize("bits", [1, 2, 31, 64])
def test_products_element_by_element(bits: int) -> None:
    a, b = Mask((5, 7), bits), Mask((5, 7), bits)
    check([a, b, Product(0, 1, 35, bits)])
    check([a, Powers(0, 35, 4, bits)])
    check([a, RowSquareSum(0, 5, 7, bits)])
    check([a, Mask((5,), bits), RowProduct(0, 1, 5, 7, bits)])
    check([a, Mask((7,), bits), ColumnProduct(0, 1, 5, 7, bits)])


@pytest.mark.parametrize("n", [1, 64, 130])
@pytest.mark.parametrize(("digits", "width", "payload"), [(1, 1, 1), (3, 2, 2), (1, 3, 2), (2, 3, 8)])
def test_digit_transfers(n: int, digits: int, width: int, payload: int) -> None:
    check([DigitTransfers(n, digits, width, payload)])


@pytest.mark.parametrize("n", [1, 64, 130])
@pytest.mark.parametrize(("bits", "factor_bits"), [(1, 1), (5, 5), (18, 8), (64, 3)])
def test_cross_products(n: int, bits: int, factor_bits: int) -> None:
    check([CrossProducts(n, bits, factor_bits)])


@pytest.mark.parametrize("n", [64, 320])
@pytest.mark.parametrize("bits", [1, 2, 7])
def test_unit_vectors(n: int, bits: int) -> None:
    check([UnitVectors(n, bits)])


@pytest.mark.parametrize("words", [1, 5, (1 << 14) + 3])
@pytest.mark.parametrize("payload", [1, 2, 64])
def test_bit_triples(words: int, payload: int) -> None:
    if words * payload < 1 << 16:
        check([BitTriples(words, payload)])


def test_what_was_not_planned_together_is_refused() -> None:
    from gpu_ss.errors import CorrelationError

    with pytest.raises(CorrelationError, match="not planned together"):
        take([DigitMonomials(MaskView(7, 3, 28, 28), (8, 8, 8, 3))])
