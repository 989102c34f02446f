"""Opening before dividing: the quotient's units, what is made of it, and its declared cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.errors import RingMismatch
from gpu_ss.party import Party
from gpu_ss.protocols.quotient import (
    open_quotient,
    quotient_cost,
    row_square_sums,
    scaled_cost,
    times_rows,
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


@pytest.mark.parametrize(
    ("bits", "shift", "out"), [(53, 20, 64), (48, 16, 48), (64, 1, 64), (20, 0, 22), (10, 8, 3), (30, 12, 40)]
)
def test_quotient_squares_and_products(bits: int, shift: int, out: int) -> None:
    ring, target = Ring(bits), Ring(out)
    x, factor = extremes(ring), RNG.integers(0, 2**64, SHAPE[0], dtype=np.uint64)

    def run(party: Party) -> Any:
        def steps() -> Any:
            opened = yield from open_quotient.steps(party, words_share(party, x, ring, shift), shift, target)
            scaled = yield from times_rows(party, opened, words_share(party, factor, target, 3, 2))
            own = (opened.words & party.lead) - opened.mask
            return own, row_square_sums(party, opened).data, scaled.data, opened.frac_bits, scaled.frac_bits

        return party.run(steps())

    results = both(run).results
    value, squares, scaled = (
        target.reduce(host(a) + host(b)) for a, b in zip(*(r[:3] for r in results), strict=True)
    )
    error = target.reduce(value - (ring.signed(x) >> shift).astype(np.uint64))
    assert set(np.unique(error)) <= ({0, 1} if shift else {0})
    assert np.array_equal(squares, target.reduce((value * value).sum(axis=1)))
    assert np.array_equal(scaled, target.reduce(value * factor[:, None]))
    assert results[0][3:] == (0, 3)


def test_cost() -> None:
    run = both(lambda p: open_quotient(p, words_share(p, extremes(Ring(53)), Ring(53)), 20, RING64).wide)
    check_cost(open_quotient, run, shape_share(SHAPE, Ring(53)), 20, RING64)


@pytest.mark.parametrize(
    ("bits", "shift", "narrow", "out"),
    [(44, 16, 43, 60), (28, 0, 43, 60), (20, 0, 9, 64), (12, 2, 11, 12), (40, 8, 63, 64), (4, 1, 3, 5)],
)
def test_products_with_factors_of_a_smaller_ring(bits: int, shift: int, narrow: int, out: int) -> None:
    """All four cases of wrapped masks occur often: half of the masks have their top bit set."""
    ring, small, target = Ring(bits), Ring(narrow), Ring(out)
    x, factor = extremes(ring), extremes(small)[:, :1].reshape(-1)

    def run(party: Party) -> Any:
        def steps() -> Any:
            opened = yield from open_quotient.steps(party, words_share(party, x, ring, shift), shift, target)
            before = party.channel.traffic.report()
            scaled = yield from times_rows(party, opened, words_share(party, factor, small, 3, 2))
            spent = party.channel.traffic.report() - before
            return (opened.words & party.lead) - opened.mask, scaled.data, spent

        return party.run(steps())

    simulation = both(run)
    value, scaled = (
        target.reduce(host(a) + host(b)) for a, b in zip(*(r[:2] for r in simulation.results), strict=True)
    )
    assert np.array_equal(scaled, target.reduce(value * factor[:, None]))
    opened, scaled_by = quotient_cost(x.size, bits, shift, out), scaled_cost(*SHAPE, bits, shift, out, narrow)
    assert simulation.correction_bytes == opened.offline + scaled_by.offline
    spent = simulation.results[0][2]
    assert (spent.rounds, spent.sent.payload) == (scaled_by.rounds, scaled_by.sent0)


def test_unbiased() -> None:
    """One element's error lies in (-1, 1), so a mean of n leaves +-6.5 / sqrt(n) once in 2^32."""
    x = RNG.integers(0, 1 << 40, (100, 200), dtype=np.uint64)
    run = both(lambda p: open_quotient(p, words_share(p, x, Ring(50), 16), 16, Ring(50)))
    mask = host(run.results[0].mask) + host(run.results[1].mask)
    error = Ring(50).signed(host(run.results[0].words) - mask) - x / 2.0**16
    assert abs(error.mean()) < 6.5 / np.sqrt(x.size)


@pytest.mark.parametrize(("shift", "out"), [(16, 30), (47, 64)])
def test_where_it_has_no_use(shift: int, out: int) -> None:
    with pytest.raises(RingMismatch, match="saves nothing"):
        both(lambda p: open_quotient(p, words_share(p, extremes(Ring(46)), Ring(46)), shift, Ring(out)))
