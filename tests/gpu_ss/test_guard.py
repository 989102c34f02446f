"""The check of bounds: it fires where it must and nowhere else, and what it gates is 0 then."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.backend import get_backend
from gpu_ss.clear import ClearParty
from gpu_ss.party import Party
from gpu_ss.protocols.guard import all_below, gated
from gpu_ss.ring import RING64, Ring
from tests.support.backends import EVERY_BACKEND, open_backend
from tests.support.protocols import both, check_cost, host, real_share, reconstruct, shape_share, words_share

UNIT = 1 << 24


def kept(parts: list[Any], exponents: list[int], backend: Any = "auto") -> int:
    def run(party: Party) -> Any:
        shares = [words_share(party, x, RING64, 24, k + 1) for k, x in enumerate(parts)]
        return all_below(party, shares, exponents)

    (bit,) = reconstruct(both(run, (backend, backend)))
    return int(bit)


def with_one(value: int, at: int, n: int = 300) -> Any:
    """Small numbers, and one that is given."""
    x = np.random.default_rng(at).integers(0, 3 * UNIT, n, dtype=np.uint64)
    x[at] = value
    return x


@pytest.mark.parametrize("backend_name", EVERY_BACKEND)
@pytest.mark.parametrize("at", [0, 63, 64, 299])
def test_one_number_at_its_bound(backend_name: str, at: int) -> None:
    backend = open_backend(backend_name)
    assert kept([with_one(0, 5), with_one((1 << 10) * UNIT - UNIT - 1, at)], [4, 10], backend) == 1
    assert kept([with_one(0, 5), with_one((1 << 10) * UNIT, at)], [4, 10], backend) == 0


@pytest.mark.parametrize("exponent", [2, 9, 20, 36])
def test_whatever_the_shares_are(exponent: int) -> None:
    """At the bound itself no rounding lets a number pass, and a unit below it none is stopped."""
    bound = UNIT << exponent
    for n in range(1, 24):
        assert kept([np.full(n, bound - UNIT - 1, np.uint64)], [exponent]) == 1
        assert kept([np.full(n, bound, np.uint64)], [exponent]) == 0


@pytest.mark.parametrize("value", [1 << 40, 1 << 55, (1 << 62) - 1])
def test_numbers_far_beyond(value: int) -> None:
    assert kept([with_one(value, 17)], [4]) == 0
    assert kept([np.full(300, value, np.uint64)], [4]) == 0, "whatever their count"


@pytest.mark.parametrize("bit", [0, 1])
def test_what_is_gated(bit: int) -> None:
    x, y = np.linspace(-4, 4, 30).reshape(5, 6), np.array([[-1.5]])

    def run(party: Party) -> Any:
        shares = real_share(party, x, Ring(48), 16), real_share(party, y, Ring(20), 8)
        return gated(party, words_share(party, np.array([bit], np.uint64)), *shares)

    left, right = both(run).results
    for wanted, ring, frac, a, b in zip((x, y), (48, 20), (16, 8), left, right, strict=True):
        found = Ring(ring).signed(host(a.data) + host(b.data)) / 2.0**frac
        assert np.array_equal(found, np.rint(wanted * bit * 2.0**frac) / 2.0**frac)


def test_costs() -> None:
    x = with_one(0, 1)
    run = both(lambda p: all_below(p, [words_share(p, x, RING64, 24)] * 2, [10, 12]))
    check_cost(all_below, run, [shape_share((300,), RING64, 24)] * 2, [10, 12])
    run = both(
        lambda p: gated(
            p, words_share(p, np.ones(1, np.uint64)), *(words_share(p, x, Ring(b)) for b in (48, 20))
        )
    )
    check_cost(gated, run, shape_share((1,)), *(shape_share((300,), Ring(b)) for b in (48, 20)))


def test_on_clear_numbers() -> None:
    party = ClearParty(get_backend("reference"))
    for value, expected in ((UNIT << 9, 1), (UNIT << 10, 0)):
        x = words_share(party, with_one(value, 3), RING64, 24)
        x = type(x)(party.backend.asarray(with_one(value, 3)), RING64, 24)
        assert int(all_below(party, [x], [10]).data[0]) == expected
