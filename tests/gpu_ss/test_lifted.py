"""Rows opened in small rings, multiplied in larger ones."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.errors import RingMismatch
from gpu_ss.party import Party
from gpu_ss.protocols.io import open_masked
from gpu_ss.protocols.lifted import Liftable, open_liftable, times_rows
from gpu_ss.ring import RING64, Ring
from tests.support.backends import EVERY_BACKEND, open_backend
from tests.support.protocols import both, reconstruct, shape_share, words_share

ROWS, N = 7, 65


def words_within(bits: int, shape: tuple[int, ...], seed: int) -> Any:
    """Numbers of the whole range |x| < 2^(bits - 2), its ends and 0 among them."""
    most = (1 << (bits - 2)) - 1
    x = np.random.default_rng(seed).integers(-most, most + 1, shape)
    flat = x.reshape(-1)
    flat[:3] = -most, 0, most
    return x.view(np.uint64)


def product(party: Party, x: Any, f: Any, bits: tuple[int, int], ring: Ring, seed: int = 1) -> Any:
    rows, factors = Ring(bits[0]), Ring(bits[1])
    opened = party.run(open_liftable(party, words_share(party, x, rows, 12, seed), "rows"))
    return times_rows(party, opened, words_share(party, f, factors, 20, seed + 1), ring)


@pytest.mark.parametrize("backend_name", EVERY_BACKEND)
@pytest.mark.parametrize(
    ("bits", "ring"),
    [((28, 43), 60), ((20, 30), 64), ((3, 3), 4), ((40, 60), 60), ((16, 64), 64), ((63, 9), 64)],
)
def test_products_are_exact(backend_name: str, bits: tuple[int, int], ring: int) -> None:
    backend = open_backend(backend_name)
    x, f = words_within(bits[0], (ROWS, N), 3), words_within(bits[1], (ROWS,), 4)
    run = both(lambda p: product(p, x, f, bits, Ring(ring)), (backend, backend))
    assert np.array_equal(reconstruct(run), Ring(ring).reduce(x * f[:, None]))
    assert run.results[0].frac_bits == 32


def test_whatever_the_shares_are() -> None:
    """All combinations of shares, masks and values of small rings, hence all four wrap-arounds."""
    x, f = words_within(5, (64, 64), 5), words_within(5, (64,), 6)
    for seed in range(8):
        run = both(lambda p, seed=seed: product(p, x, f, (5, 5), Ring(12), seed))
        assert np.array_equal(reconstruct(run), Ring(12).reduce(x * f[:, None]))


def test_cost() -> None:
    x, f = words_within(28, (ROWS, N), 3), words_within(40, (ROWS,), 4)

    def run(party: Party) -> Any:
        opened = Liftable(open_masked(party, words_share(party, x, Ring(28)))[0])
        before = party.channel.traffic.report()
        times_rows(party, opened, words_share(party, f, Ring(40)), RING64)
        return opened, party.channel.traffic.report() - before

    simulation = both(run)
    opened, spent = simulation.results[0]
    declared = times_rows.cost(opened, shape_share((ROWS,), Ring(40)), RING64)
    assert (declared.rounds, declared.sent0) == (spent.rounds, spent.sent.payload)
    assert declared.offline == simulation.correction_bytes


def test_rings_that_do_not_hold_the_operands() -> None:
    x, f = words_within(28, (ROWS, N), 3), words_within(40, (ROWS,), 4)
    with pytest.raises(RingMismatch, match="do not fit"):
        both(lambda p: product(p, x, f, (28, 40), Ring(39)))
