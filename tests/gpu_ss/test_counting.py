"""Counted comparisons: signs as numbers, choices by count, their corrections field by field, their cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.party import Party
from gpu_ss.protocols import lookup
from gpu_ss.protocols.compare import effective
from gpu_ss.protocols.counting import choose_by_count, choose_cost, counting_shape, signs, signs_cost
from gpu_ss.protocols.io import open_masked
from gpu_ss.provider.specs.bits import MaskView
from gpu_ss.provider.specs.counts import fieldwise_difference
from gpu_ss.ring import RING64, Ring
from tests.support.protocols import both, host, reconstruct, words_share

RNG = np.random.default_rng(12)
N = 300


def bounded(bits: int) -> np.ndarray[Any, Any]:
    """Elements |x| < 2^(bits-2), extremes and small ones among them."""
    limit = 1 << (bits - 2)
    values = RNG.integers(-limit + 1, limit, N) >> RNG.integers(0, bits, N)
    values[:4] = [0, -1 if limit > 1 else 0, limit - 1, 1 - limit]
    return values.astype(np.uint64)


@pytest.mark.parametrize("field", [1, 3, 6])
@pytest.mark.parametrize("bits", [2, 3, 4, 9, 17, 28, 33, 34, 47, 64])
def test_signs(bits: int, field: int) -> None:
    x, ring = bounded(bits), Ring(bits)

    def run(party: Party) -> Any:
        def steps() -> Any:
            (opened,) = yield from open_masked.steps(party, words_share(party, x, ring))
            before = party.channel.traffic.report(), party.provider.correction_bytes
            found = yield from signs(party, effective(opened, bits), field)
            spent = party.channel.traffic.report() - before[0]
            return found, spent, party.provider.correction_bytes - before[1]

        return party.run(steps())

    results = both(run).results
    got = Ring(field).reduce(host(results[0][0]) + host(results[1][0]))
    assert np.array_equal(got[:N], (ring.signed(x) < 0).astype(np.uint64))
    cost = signs_cost(N, bits, field)
    assert [r[1].sent.payload for r in results] == [cost.sent0, cost.sent1]
    assert (results[0][1].rounds, results[1][2]) == (cost.rounds, cost.offline)


def test_shapes() -> None:
    assert counting_shape(17, 3).digits == (4, 4, 4, 4)
    assert len(counting_shape(33, 3).levels) == 1
    assert len(counting_shape(34, 3).levels) == 2


@pytest.mark.parametrize(("field", "wanted"), [(1, 1), (3, 7), (3, 0), (4, 9)])
def test_choices(field: int, wanted: int) -> None:
    ring, counts = Ring(40), RNG.integers(0, 1 << field, N).astype(np.uint64)
    x = ring.reduce(RNG.integers(0, 2**64, N, dtype=np.uint64))

    def run(party: Party) -> Any:
        def steps() -> Any:
            (opened,) = yield from open_masked.steps(party, words_share(party, x, ring))
            share = words_share(party, counts, Ring(field), 0, 5).data
            all_wanted = np.full(N, wanted, np.uint64)
            view = MaskView(opened.mask.number, N, 40, 40)
            return (yield from choose_by_count(party, share, field, all_wanted, opened.words, view, ring))

        return party.run(steps())

    results = both(run).results
    assert np.array_equal(ring.reduce(host(results[0]) + host(results[1])), np.where(counts == wanted, x, 0))


def test_differences_stay_in_their_fields() -> None:
    a, b = RNG.integers(0, 2**64, (2, N), dtype=np.uint64)
    for field, per in ((1, 64), (3, 21), (4, 11), (33, 1)):
        found = fieldwise_difference(Ring(field * per).reduce(a), b, field, per)
        for k in range(per):
            parts = (w >> np.uint64(field * k) & np.uint64((1 << field) - 1) for w in (a, b, found))
            first, second, difference = parts
            assert np.array_equal(Ring(field).reduce(first - second), difference)


def test_choice_cost() -> None:
    assert choose_cost(64, 3, 17).offline == 2 * 8 * 64 * 17 // 8


@pytest.mark.parametrize("bits", [20, 23, 28, 29])
def test_a_gate_that_is_counted(bits: int) -> None:
    """2^y for every y of a ring up to the table's end: exactly 0 below the range, also where the table repeats."""
    ring, span = Ring(bits), lookup.SOFTMAX
    assert lookup.near(span, bits)
    top = 1 << (lookup.FRAC + 1)
    lowest = -(1 << (bits - 1))
    y = np.concatenate([
        RNG.integers(lowest, top, 4000), RNG.integers(-70 << lookup.FRAC, top, 6000),
        *(np.arange(-3, 4) + (k << lookup.FRAC) for k in (-92, -64, -60, -32, -28, -20, 0)),
    ])  # fmt: skip
    y = np.clip(y, lowest, top)

    def run(party: Party) -> Any:
        def steps() -> Any:
            (opened,) = yield from open_masked.steps(party, words_share(party, y.astype(np.uint64), ring))
            return (yield from lookup.exp2_opened(party, effective(opened, bits), span, RING64))

        return party.run(steps())

    for attempt in range(3):  # a mask decides whether the floor or the next one is looked up
        got = reconstruct(both(run)).astype(np.int64) / 2.0**span.result_bits
        expected = np.where(y < span.low << lookup.FRAC, 0.0, np.exp2(y / 2.0**lookup.FRAC))
        assert np.abs(got - expected).max() <= 2.0**-13 * expected.max() + 2.0**-span.scale, attempt
        assert not got[y < span.low << lookup.FRAC].any()
