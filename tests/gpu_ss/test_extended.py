"""Openings that extend: the value in the larger ring, what is made of it, and declared costs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.errors import RingMismatch
from gpu_ss.party import Party
from gpu_ss.protocols.extended import (
    open_extended,
    opening_cost,
    row_square_sums,
    squares_cost,
    times_rows,
    times_rows_cost,
)
from gpu_ss.ring import RING64, Ring
from tests.support.protocols import both, check_cost, host, shape_share, words_share

RNG = np.random.default_rng(8)
SHAPE = (6, 200)


def extremes(ring: Ring) -> np.ndarray[Any, Any]:
    """Elements |x| < 2^(bits - 2) of every magnitude."""
    size = int(np.prod(SHAPE))
    shift = RNG.integers(0, ring.bits - 2, size)
    values = RNG.integers(-(1 << 62), 1 << 62, size) >> (64 - ring.bits + shift)
    limit = 1 << (ring.bits - 2)
    values[:4] = [0, -1, limit - 1, 1 - limit]
    return values.astype(np.uint64).reshape(SHAPE)


def extended(ring: Ring, x: np.ndarray[Any, Any], target: Ring) -> np.ndarray[Any, Any]:
    """The same numbers in a larger ring."""
    return target.reduce(ring.signed(x).astype(np.uint64))


@pytest.mark.parametrize(("bits", "out"), [(33, 64), (32, 48), (63, 64), (20, 22), (3, 4), (18, 40)])
def test_value_squares_and_products(bits: int, out: int) -> None:
    ring, target = Ring(bits), Ring(out)
    x, factor = extremes(ring), RNG.integers(0, 2**64, SHAPE[0], dtype=np.uint64)

    def run(party: Party) -> Any:
        def steps() -> Any:
            opened = yield from open_extended.steps(party, words_share(party, x, ring, 5), target)
            squares = row_square_sums(party, opened)
            scaled = yield from times_rows(party, opened, words_share(party, factor, target, 3, 2))
            own = (opened.words & party.lead) - opened.mask
            scales = opened.frac_bits, squares.frac_bits, scaled.frac_bits
            return own, squares.data, scaled.data, scales

        return party.run(steps())

    results = both(run).results
    value, squares, scaled = (
        target.reduce(host(a) + host(b)) for a, b in zip(*(r[:3] for r in results), strict=True)
    )
    assert np.array_equal(value, extended(ring, x, target))
    assert np.array_equal(squares, target.reduce((value * value).sum(axis=1)))
    assert np.array_equal(scaled, target.reduce(value * factor[:, None]))
    assert results[0][3] == results[1][3] == (5, 10, 8)


def test_as_an_opening_of_its_own_ring() -> None:
    """Words and mask that correlations of the small ring can use too, in any shape."""
    ring = Ring(28)
    x = extremes(ring)

    def run(party: Party) -> Any:
        opened = open_extended(party, words_share(party, x, ring), RING64)
        own = opened.own.reshape(3, 2, 200)
        assert (own.shape, own.words.shape, own.ring) == ((3, 2, 200), (3, 2, 200), ring)
        assert own.mask.number == opened.own.mask.number
        return (own.words & party.lead) - own.mask.only

    left, right = (host(result) for result in both(run).results)
    assert np.array_equal(ring.reduce(left + right), ring.reduce(x).reshape(3, 2, 200))


def test_cost() -> None:
    run = both(lambda p: open_extended(p, words_share(p, extremes(Ring(28)), Ring(28)), RING64).own)
    check_cost(open_extended, run, shape_share(SHAPE, Ring(28)), RING64)


@pytest.mark.parametrize(
    ("bits", "factor_bits", "out"),
    [(28, 43, 60), (20, 9, 64), (10, 11, 12), (32, 63, 64), (3, 3, 5), (30, 40, 40), (30, 64, 40)],
)
def test_products_with_factors_of_other_rings(bits: int, factor_bits: int, out: int) -> None:
    """All four cases of wrapped masks occur often: half of the masks have their top bit set."""
    ring, factor_ring, target = Ring(bits), Ring(factor_bits), Ring(out)
    x, factor = extremes(ring), extremes(factor_ring)[:, :1].reshape(-1)

    def run(party: Party) -> Any:
        def steps() -> Any:
            opened = yield from open_extended.steps(party, words_share(party, x, ring), target)
            before = party.channel.traffic.report()
            scaled = yield from times_rows(party, opened, words_share(party, factor, factor_ring, 3, 2))
            return scaled.data, party.channel.traffic.report() - before

        return party.run(steps())

    simulation = both(run)
    left, right = (host(result[0]) for result in simulation.results)
    product = extended(ring, x, target) * factor_ring.signed(factor).astype(np.uint64)[:, None]
    assert np.array_equal(target.reduce(left + right), target.reduce(product))
    opened, scaled = opening_cost(x.size, bits, out), times_rows_cost(*SHAPE, bits, factor_bits, out)
    assert simulation.correction_bytes == opened.offline + scaled.offline
    spent = simulation.results[0][1]
    assert (spent.rounds, spent.sent.payload) == (scaled.rounds, scaled.sent0)


@pytest.mark.parametrize(("bits", "out"), [(33, 64), (63, 64)])
def test_cost_of_squares(bits: int, out: int) -> None:
    def run(party: Party) -> None:
        opened = open_extended(party, words_share(party, extremes(Ring(bits)), Ring(bits)), Ring(out))
        row_square_sums(party, opened)

    expected = opening_cost(int(np.prod(SHAPE)), bits, out) + squares_cost(*SHAPE, bits, out)
    assert both(run).correction_bytes == expected.offline


@pytest.mark.parametrize(("bits", "out"), [(46, 46), (46, 30), (1, 64)])
def test_where_it_has_no_use(bits: int, out: int) -> None:
    x = np.zeros(SHAPE, np.uint64)
    with pytest.raises(RingMismatch, match="cannot be extended"):
        both(lambda p: open_extended(p, words_share(p, x, Ring(bits)), Ring(out)))
