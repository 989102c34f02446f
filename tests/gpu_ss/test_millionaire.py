"""Comparison and selection on the parties' own shares: exact over the whole ring, at the declared cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.functions.activation import relu
from gpu_ss.party import Party, Round
from gpu_ss.plan import make_plan
from gpu_ss.protocols import millionaire
from gpu_ss.protocols.millionaire import negative, relu_alone, sign_bits, sign_rounds, times_bit
from gpu_ss.provider.specs.transfers import CrossProducts
from gpu_ss.ring import Ring
from gpu_ss.simulate import Simulation, simulate
from gpu_ss.values import BShare
from tests.support.ot import alone
from tests.support.protocols import bit_share, host, words_share

SIZES = [1, 64, 200]


def words(bits: int, n: int) -> Any:
    """Numbers of a ring, its extremes among them."""
    found = np.random.default_rng(bits).integers(0, 2**64, n, dtype=np.uint64)
    edges = np.array([0, 1, 2**bits - 1, 2 ** (bits - 1), 2 ** (bits - 1) - 1], np.uint64)
    found[: min(n, 5)] = edges[:n]
    return Ring(bits).reduce(found)


def bits_of(simulation: Simulation[Any], n: int) -> Any:
    planes = host(simulation.results[0].planes) ^ host(simulation.results[1].planes)
    return np.unpackbits(planes.view(np.uint8), bitorder="little")[:n]


def numbers_of(simulation: Simulation[Any]) -> Any:
    left, right = simulation.results
    return left.ring.reduce(host(left.data) + host(right.data)).reshape(-1)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 8, 17, 28, 63, 64])
def test_sign(bits: int, n: int) -> None:
    x = words(bits, n)
    simulation = simulate(lambda p: negative(p, words_share(p, x, Ring(bits), 0)))
    assert np.array_equal(bits_of(simulation, n), x >> np.uint64(bits - 1))


def test_sign_for_shares_that_do_and_do_not_wrap() -> None:
    """All pairs of shares of a small ring."""
    ring = Ring(6)
    a, b = (np.tile(np.arange(64, dtype=np.uint64), 64), np.repeat(np.arange(64, dtype=np.uint64), 64))

    def run(party: Party) -> Any:
        mine = words_share(party, a, ring, 0)
        return negative(party, mine.map(lambda data: party.backend.asarray((a, b)[party.rank])))

    assert np.array_equal(bits_of(simulate(run), a.size), (a + b) >> np.uint64(5) & np.uint64(1))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("bits", [1, 13, 64])
def test_selection(bits: int, n: int) -> None:
    x, b = words(bits, n), np.arange(n) % 3 == 0
    simulation = simulate(lambda p: times_bit(p, bit_share(p, b), words_share(p, x, Ring(bits), 0)))
    assert np.array_equal(numbers_of(simulation), np.where(b, x, 0))


@pytest.mark.parametrize("bits", [3, 40, 64])
def test_relu(bits: int) -> None:
    x = words(bits, 99)
    simulation = simulate(lambda p: p.run(relu_alone(p, words_share(p, x, Ring(bits), 0))))
    assert np.array_equal(numbers_of(simulation), np.where(x >> np.uint64(bits - 1), 0, x))


@pytest.mark.parametrize("bits", [2, 5, 28, 64])
@pytest.mark.parametrize("n", SIZES)
def test_costs(bits: int, n: int) -> None:
    x = words(bits, n)

    def run(party: Party) -> Any:
        return negative(party, words_share(party, x, Ring(bits), 0))

    simulation = simulate(run)
    cost = millionaire.sign_cost(n, bits)
    first, second = simulation.traffic
    assert (first.rounds, first.sent.payload, second.sent.payload) == (cost.rounds, cost.sent0, cost.sent1)
    assert simulation.correction_bytes == cost.offline
    assert cost.rounds == sign_rounds(bits)
    plan = make_plan(0, run)
    assert (plan.rounds, plan.sent) == (cost.rounds, (cost.sent0, cost.sent1))


def test_the_cost_of_selection() -> None:
    x, b = words(40, 100), np.arange(100) % 2 == 0
    simulation = simulate(lambda p: times_bit(p, bit_share(p, b), words_share(p, x, Ring(40), 0)))
    cost = millionaire.times_bit_cost(100, 40)
    first, second = simulation.traffic
    assert (first.rounds, first.sent.payload, second.sent.payload) == (cost.rounds, cost.sent0, cost.sent1)
    assert simulation.correction_bytes == cost.offline


def test_a_64_bit_comparison_takes_less_than_90_bytes() -> None:
    """Both directions, the transfers' own traffic included. A whole number of plane words, so none is wasted."""
    n = 1 << 14
    cost = millionaire.sign_cost(n, 64)
    assert 8 * (cost.sent0 + cost.sent1) / n < sign_bits(64) < 8 * 65


def test_with_a_dealer_values_are_opened_instead() -> None:
    x = words(64, 1000)
    simulation = simulate(lambda p: relu(p, words_share(p, x, Ring(64), 0)))
    assert simulation.traffic[0].rounds == relu.cost(simulation.results[0]).rounds


def test_nothing_past_the_last_element_is_sent() -> None:
    """Those bits are not masked where two parties make the transfers."""
    n, sent = 5, []

    def run(party: Party) -> Any:
        bits = BShare(party.backend.asarray(np.array([[0xDEADBEEFCAFE0003]], np.uint64)), (n,))
        original = party.exchange

        def exchange(request: Round) -> Any:
            sent.extend(host(item.data) for item in request.items if item.xor)
            return original(request)

        party.exchange = exchange  # type: ignore[method-assign]
        party.provider.prepare([CrossProducts(n, 40, 1)])
        return times_bit(party, bits, words_share(party, words(40, n), Ring(40), 0))

    simulate(run, extend=alone)
    assert len(sent) == 2
    assert all(int(plane[0, -1]) >> n == 0 for plane in sent)
