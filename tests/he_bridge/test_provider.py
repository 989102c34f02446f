"""Products made by the two parties, behind the same protocols as those of a dealer."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.errors import CorrelationError
from gpu_ss.party import Party
from gpu_ss.plan import make_plan
from gpu_ss.protocols.arith import mul, powers, row_square_sums, square, times_rows
from gpu_ss.protocols.io import open_masked, private
from gpu_ss.protocols.weights import affine, hold
from gpu_ss.ring import RING64, Ring
from gpu_ss.simulate import simulate
from he_bridge.provider import with_products
from tests.support.protocols import host, real_share, words_share

RNG = np.random.default_rng(4)
K, N = 20, 9


def weights(party: Party) -> list[Any]:
    """A matrix and a diagonal at the server."""
    matrix = np.random.default_rng(8).integers(-(2**15), 2**15, (K, N)).astype(np.int64).view(np.uint64)
    diagonal = np.random.default_rng(9).integers(-(2**15), 2**15, K).astype(np.int64).view(np.uint64)
    return [
        private(party, 1, w if party.rank == 1 else None, w.shape, RING64, 11) for w in (matrix, diagonal)
    ]


def run(party: Party, words: np.ndarray[Any, Any], held: Any) -> list[Any]:
    """Some of every kind of product."""
    x = words_share(party, words, RING64, 16)
    y = words_share(party, words[::-1].copy(), Ring(40), 16, seed=5)
    opened = open_masked(party, x)[0]
    factor = words_share(party, words[:, 0].copy(), RING64, 16, seed=6)
    return [
        mul(party, x, x),
        square(party, y),
        *powers(party, y, 4),
        row_square_sums(party, opened),
        party.run(times_rows(party, opened, factor)),
        *affine(party, x, held),
    ]


def expected(words: np.ndarray[Any, Any]) -> list[Any]:
    y = words[::-1]
    w = [np.random.default_rng(8).integers(-(2**15), 2**15, (K, N)).astype(np.int64).view(np.uint64)]
    w.append(np.random.default_rng(9).integers(-(2**15), 2**15, K).astype(np.int64).view(np.uint64))
    return [
        words * words,
        y * y,
        y,
        y * y,
        y * y * y,
        y * y * y * y,
        (words * words).sum(axis=1),
        words * words[:, :1],
        words @ w[0],
        words * w[1],
    ]


def test_products_of_every_kind() -> None:
    words = RNG.integers(0, 2**64, (7, K), dtype=np.uint64)
    words[0], words[1] = 0, 2**64 - 1

    def prepared(party: Party) -> Any:
        held = hold(party, *weights(party))
        plan = make_plan(party.rank, lambda p: run(p, words, hold(p, *weights(p))))
        party.provider.prepare(plan.specs)
        return run(party, words, held)

    simulation = simulate(prepared, extend=with_products)
    assert simulation.correction_bytes == 0, "the dealer sends nothing for products"
    for left, right, value in zip(*simulation.results, expected(words), strict=True):
        found = left.ring.reduce(host(left.data) + host(right.data))
        assert np.array_equal(found, left.ring.reduce(value))


def test_a_product_that_was_not_planned_is_refused() -> None:
    def unprepared(party: Party) -> Any:
        return mul(party, real_share(party, [1.0]), real_share(party, [2.0]))

    with pytest.raises(CorrelationError, match="was not prepared"):
        simulate(unprepared, extend=with_products)
