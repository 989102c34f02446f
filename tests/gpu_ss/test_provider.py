"""Correlations: what is dealt is what was promised, once, and nothing else."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.backend.reference_circuits import and_subsets, node_subsets
from gpu_ss.backend.reference_steps import plane_bits
from gpu_ss.provider.correlation import BitMask, Correlation, Mask, expand_share
from gpu_ss.provider.dealing import DealingEngine, unpack_corrections
from gpu_ss.provider.specs.arithmetic import (
    ColumnProduct,
    MatmulProduct,
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
)
from gpu_ss.provider.specs.tables import ExpLookup, UnitVectors, power_table
from gpu_ss.provider.specs.transfers import CrossProducts

BACKEND = ReferenceBackend()
KEY0, KEY1 = bytes(range(32)), bytes(range(1, 33))
N = 70

MASKS: list[Correlation] = [
    Mask((N,), 64),  # 0
    Mask((N,), 64),  # 1
    Mask((10, 7), 64),  # 2
    Mask((10,), 64),  # 3
    Mask((7,), 64, owner=1),  # 4
    Mask((10, 7), 64, owner=0),  # 5
    BitMask(4, 2),  # 6
    Mask((N,), 20),  # 7
    Mask((N,), 30),  # 8
    BitMask(1, 2),  # 9
    Mask((2, 7, 5), 64),  # 10
    BitMask(7, 2),  # 11
]
VIEW = MaskView(8, N, 30, 25, 5)
DERIVED: list[Correlation] = [
    Product(0, 1, N, 50),
    Powers(0, N, 4, 64),
    MatmulProduct(2, 10, 2, 5, 7, 5, 2, 0, 64),
    MatmulProduct(2, 10, 2, 5, 7, 5, 2, 1, 64),
    RowSquareSum(2, 10, 7, 64),
    RowProduct(2, 3, 10, 7, 40),
    ColumnProduct(5, 4, 10, 7, 64),
    WrapProduct(N, 12),
    DigitMonomials(VIEW, (8, 8, 8)),
    NodeMonomials(6, 2, 2, 1),
    AndMonomials(6, 2, 4),
    NodeMonomials(11, 2, 4, 0),
    BitValues(6, 4, N, 33),
    ViewPowers(VIEW, 2, 64, 1),
    BitProducts(6, 4, VIEW, 2, 64, 1),
    BitProducts(6, 4, MaskView(0, N, 64, 64), 3, 48),
    ExpLookup(MaskView(8, N, 30, 30), 7, 9, 12, 20, 14, 64),
    UnitVectors(N, 5),
    CrossProducts(N, 20, 3),
]


def deal_all(specs: list[Correlation]) -> tuple[list[list[Any]], list[list[Any]], DealingEngine]:
    """Both parties' arrays of each correlation."""
    engine = DealingEngine(BACKEND, KEY0, KEY1, cache_words=200)  # small: masks are expanded again
    left, right = [], []
    for number, spec in enumerate(specs):
        left.append(expand_share(0, spec, number, BACKEND, KEY0))
        own = expand_share(1, spec, number, BACKEND, KEY1)
        words = engine.deal(number, spec)
        assert sum(w.nbytes for w in words) == spec.correction_bytes
        right.append(unpack_corrections(BACKEND, spec, own, words))
    return left, right, engine


def clear(spec: Correlation, index: int, left: list[Any], right: list[Any]) -> Any:
    """The value of one array from both parties' parts, modulo its ring."""
    out = spec.outputs()[index]
    a, b = left[index], right[index]
    words = b if a is None else a if b is None else (a ^ b if out.xor else a + b)
    return words & np.uint64((1 << out.bits) - 1)


@pytest.fixture(scope="module")
def dealt() -> tuple[list[list[Any]], list[list[Any]], list[Correlation]]:
    specs = MASKS + DERIVED
    left, right, _ = deal_all(specs)
    return left, right, specs


def value(dealt: Any, spec: Correlation, index: int = 0) -> Any:
    left, right, specs = dealt
    number = specs.index(spec)
    return clear(spec, index, left[number], right[number])


def mask(dealt: Any, number: int) -> Any:
    left, right, specs = dealt
    return clear(specs[number], 0, left[number], right[number])


def test_products(dealt: Any) -> None:
    a, b = mask(dealt, 0), mask(dealt, 1)
    assert np.array_equal(value(dealt, DERIVED[0]), a * b & np.uint64(2**50 - 1))
    assert np.array_equal(value(dealt, DERIVED[1]), np.stack([a**2, a**3, a**4]))
    rows, columns = mask(dealt, 2), mask(dealt, 3)
    left, right = rows.reshape(2, 5, 7), mask(dealt, 10)
    assert np.array_equal(value(dealt, DERIVED[2]), left @ right)
    assert np.array_equal(value(dealt, DERIVED[3]), left @ right.reshape(2, 5, 7).transpose(0, 2, 1))
    assert np.array_equal(value(dealt, DERIVED[4]), (rows * rows).sum(axis=1))
    assert np.array_equal(value(dealt, DERIVED[5]), rows * columns[:, None] & np.uint64(2**40 - 1))
    assert np.array_equal(value(dealt, DERIVED[6]), mask(dealt, 5) * mask(dealt, 4))


def test_wrap_bits(dealt: Any) -> None:
    left, right, specs = dealt
    number = specs.index(DERIVED[7])
    assert left[number][1] is None
    assert right[number][0] is None
    a, b = plane_bits(left[number][0][0], N), plane_bits(right[number][1][0], N)
    assert np.array_equal(value(dealt, DERIVED[7], 2), a * b)


def test_monomials(dealt: Any) -> None:
    r = mask(dealt, 8) >> np.uint64(5)
    planes = value(dealt, DERIVED[8])
    row = 0
    for digit in range(3):
        for subset in range(1, 256):
            wanted = np.uint64(subset << (8 * digit))
            assert np.array_equal(plane_bits(planes[row], N), ((r & wanted) == wanted).astype(np.uint64))
            row += 1
    assert np.array_equal(plane_bits(planes[row], N), r >> np.uint64(24))
    for spec, number, subsets in (
        (DERIVED[9], 6, node_subsets(2, True)),
        (DERIVED[10], 6, and_subsets(4)),
        (DERIVED[11], 11, node_subsets(4, False)),
    ):
        source, products = mask(dealt, number), value(dealt, spec)
        for product, subset in zip(products, subsets, strict=True):
            chosen = [source[k] for k in range(len(source)) if subset >> k & 1]
            assert np.array_equal(product, np.bitwise_and.reduce(chosen))


def test_bits_times_powers(dealt: Any) -> None:
    bits = np.stack([plane_bits(p, N) for p in mask(dealt, 6)])
    assert np.array_equal(value(dealt, DERIVED[12]), bits)
    r = mask(dealt, 8) >> np.uint64(5)
    lifted = r - ((r >> np.uint64(24)) << np.uint64(25))
    for case, number in enumerate((r, lifted)):
        assert np.array_equal(value(dealt, DERIVED[13])[case], np.stack([number, number**2]))
        powers = np.stack([number**0, number, number**2])
        assert np.array_equal(value(dealt, DERIVED[14])[case], bits[:, None] * powers[None])
    a = mask(dealt, 0)
    powers = np.stack([a**k for k in range(4)])
    assert np.array_equal(value(dealt, DERIVED[15])[0], bits[:, None] * powers & np.uint64(2**48 - 1))


def test_exponential_look_up(dealt: Any) -> None:
    left, right, specs = dealt
    spec = DERIVED[16]
    number = specs.index(spec)
    r, mu = mask(dealt, 8), mask(dealt, 7)
    rho = plane_bits(mask(dealt, 9)[0], N)
    high = (r >> np.uint64(12)) & np.uint64(63)
    assert np.array_equal(left[number][0] ^ right[number][0], np.uint64(1) << high)
    positive = (left[number][0] >> high) & np.uint64(1)
    size = power_table(12, 14)[(r & np.uint64(4095)).astype(int)]
    k = np.where(positive == 1, size, -size)
    top = (mu >> np.uint64(19)) << np.uint64(20)
    expected = np.stack([k, -k * mu, k * top])
    assert np.array_equal(value(dealt, spec, 1), np.concatenate([expected, expected * rho]))


def test_unit_vectors(dealt: Any) -> None:
    r, planes = value(dealt, DERIVED[17], 0), value(dealt, DERIVED[17], 1)
    assert np.array_equal(np.stack([plane_bits(p, N) for p in planes]), r == np.arange(32)[:, None])


def test_words_times_bits_of_the_other_party(dealt: Any) -> None:
    left, right, specs = dealt
    number = specs.index(DERIVED[18])
    assert [a is None for a in left[number]] == [False, True, False, True, False, False]
    assert [a is None for a in right[number]] == [True, False, True, False, False, False]
    words = [value(dealt, DERIVED[18], k) for k in (0, 1)]
    bits = [
        np.stack([plane_bits(p, N) << np.uint64(k) for k, p in enumerate(party[number][2 + rank])])
        for rank, party in enumerate((left, right))
    ]
    for owner in (0, 1):
        expected = bits[1 - owner] * words[owner] & np.uint64(2**20 - 1)
        assert np.array_equal(value(dealt, DERIVED[18], 4 + owner), expected)


def test_mask_views() -> None:
    specs: list[Correlation] = [Mask((6, 3), 20), Mask((6,), 20)]
    left, right, engine = deal_all(specs)
    a = clear(specs[0], 0, left[0], right[0])
    b = clear(specs[1], 0, left[1], right[1])

    class Look:
        backend = BACKEND
        mask = staticmethod(engine.mask)

    look: Any = Look()
    assert np.array_equal(MaskView(0, 18, 20, 20).words(look), a.reshape(-1))
    assert np.array_equal(MaskView(0, 18, 20, 12, 8).words(look), a.reshape(-1) >> np.uint64(8))
    rows = (a - b[:, None]) & np.uint64(2**20 - 1)
    assert np.array_equal(MaskView(0, 18, 20, 20, 0, ROWS, 3, 1).words(look), rows.reshape(-1))
    columns = MaskView(0, 3 * 64, 20, 20, 0, COLUMNS, 3).words(look).reshape(3, 64)
    assert np.array_equal(columns[:, :6], a.T)
    pairs = MaskView(0, 3 * 64, 20, 20, 0, PAIRS, 3).words(look).reshape(3, 64)
    assert np.array_equal(pairs[2, :6], (a[:, 1] - a[:, 2]) & np.uint64(2**20 - 1))


def test_corrections_hide_the_values(dealt: Any) -> None:
    """What rank 1 receives is its value minus a keystream: the same correlation under other keys of rank 0
    gives unrelated corrections."""
    spec = Product(0, 1, 4000, 64)
    engines = [DealingEngine(BACKEND, key, KEY1) for key in (KEY0, bytes(32))]
    words = []
    for engine in engines:
        for number in (0, 1):
            engine.deal(number, Mask((4000,), 64))
        words.append(engine.deal(2, spec)[0])
    same = words[0] ^ words[1]
    ones = np.unpackbits(same.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 0.01
