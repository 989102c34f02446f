"""The order of turns, how far offers run ahead, and that parties whose transport holds next to nothing get on."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from he_bridge import turns
from he_bridge.matmul import MatrixProductClient, MatrixProductServer
from he_bridge.packed import PackedClient, PackedServer, PackedWeights
from he_bridge.params import LIN64P, MAT48
from he_bridge.turns import Finish, Product, Turn, ahead, now, row, together, whole
from net import Channel, ZmqSettings
from tests.he_bridge.lattice import Words, opened, random_weights
from tests.net.helpers import together as at_once
from tests.net.helpers import zmq_pair

MOST = turns._AHEAD_BYTES


class Log:
    """What happens to turns, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def turn(self, name: str, size: int = 1) -> Turn[str]:
        def offer() -> Finish[str]:
            self.events.append(f"offer {name}")
            return lambda: self._finish(name)

        return Turn(size, offer)

    def product(self, name: str, sizes: Sequence[int]) -> Product[str]:
        return Product([self.turn(f"{name}{k}", size) for k, size in enumerate(sizes)], "+".join)

    def _finish(self, name: str) -> str:
        self.events.append(f"finish {name}")
        return name


def test_offers_run_ahead_and_keep_their_order() -> None:
    log = Log()
    assert [*ahead([log.product("a", [1, 1]), log.product("b", [1])])] == ["a0+a1", "b0"]
    assert log.events == ["offer a0", "offer a1", "offer b0", "finish a0", "finish a1", "finish b0"]


def test_no_more_is_under_way_than_there_is_room_for() -> None:
    log, half = Log(), MOST // 2
    assert [*ahead(log.product(name, [half]) for name in "abc")] == ["a0", "b0", "c0"]
    assert log.events == ["offer a0", "offer b0", "finish a0", "offer c0", "finish b0", "finish c0"]


@pytest.mark.parametrize("size", [MOST, 5 * MOST])
def test_a_large_turn_is_made_alone(size: int) -> None:
    log = Log()
    assert [*ahead(log.product(name, [k]) for name, k in (("a", 1), ("b", size), ("c", 1)))] == [
        "a0",
        "b0",
        "c0",
    ]
    assert log.events == ["offer a0", "finish a0", "offer b0", "finish b0", "offer c0", "finish c0"]


def test_what_is_whole_is_made_alone() -> None:
    log = Log()

    def compute() -> str:
        log.events.append("w")
        return "w"

    assert [*ahead([log.product("a", [1]), whole(compute), log.product("b", [1])])] == ["a0", "w", "b0"]
    assert log.events == ["offer a0", "finish a0", "w", "offer b0", "finish b0"]


def test_products_are_described_when_there_is_room() -> None:
    """What a product is made of may be large: it is not asked for before."""
    described: list[str] = []
    log = Log()

    def products() -> Iterator[Product[str]]:
        for name in "abc":
            described.append(name)
            yield log.product(name, [MOST])

    made = ahead(products())
    assert described == []
    for k in range(3):
        next(made)
        assert described == ["a", "b", "c"][: k + 1]
    assert next(made, None) is None


def test_products_of_products() -> None:
    """Products as one, turns as one, products without turns, and what is made of a result."""
    log = Log()
    both: Product[list[str]] = row([log.product("a", [1, 1]), log.product("b", [])]).then(list)
    assert now(both) == ["a0+a1", ""]
    pair = Product([together([log.turn("c"), log.turn("d")]).then(tuple)], next)
    assert log.events[4:] == []
    assert now(pair.then(len)) == 2
    assert log.events[4:] == ["offer c", "offer d", "finish c", "finish d"]
    assert [*ahead([])] == []
    assert now(Product([], lambda _: 3)) == 3


def test_an_error_ends_everything() -> None:
    log = Log()

    def fails() -> Any:
        raise ValueError("no")

    made = ahead([log.product("a", [1]), Product([Turn(1, lambda: fails)], next), log.product("b", [1])])
    assert next(made) == "a0"
    with pytest.raises(ValueError, match="no"):
        next(made)
    assert "finish b0" not in log.events


def test_parties_get_on_whose_transport_holds_next_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offers far ahead of a server that is still replying: neither waits for ever for the other to receive."""
    monkeypatch.setattr(turns, "_AHEAD_BYTES", 1 << 30)
    rng = np.random.default_rng(1)
    xs = [rng.integers(0, 2**64, (rows, 96), np.uint64) for rows in (128, 5, 128, 128)]
    a, b = (rng.integers(0, 2**48, (2, 4, *shape), np.uint64) for shape in ((64, 32), (32, 64)))
    weights = random_weights(96, 128)
    with zmq_pair(settings=ZmqSettings(hwm=2)) as (there, here):
        client, server = at_once(
            lambda: _client(there, weights, xs, a[0], b[0]), lambda: _server(here, weights, xs, a[1], b[1])
        )
    clear = weights.astype(np.int64).view(np.uint64)
    for x, mine, theirs in zip(xs, client[:-1], server[:-1], strict=True):
        assert np.array_equal(mine - theirs, x @ clear)
    ones = np.uint64(2**48 - 1)
    assert np.array_equal((client[-1] + server[-1]) & ones, ((a[0] + a[1]) @ (b[0] + b[1])) & ones)


def _client(channel: Channel, weights: Words, xs: Sequence[Words], a: Words, b: Words) -> list[Words]:
    layer = PackedWeights(opened(), LIN64P, weights, b"key").layer
    packed, matrices = PackedClient(opened(), channel, LIN64P), MatrixProductClient(opened(), channel, MAT48)
    return [*ahead([*(packed.product(layer, x) for x in xs), matrices.product(a, b)])]


def _server(channel: Channel, weights: Words, xs: Sequence[Words], a: Words, b: Words) -> list[Words]:
    held = PackedWeights(opened(), LIN64P, weights, b"key")
    packed, matrices = PackedServer(opened(), channel, LIN64P), MatrixProductServer(opened(), channel, MAT48)
    return [*ahead([*(packed.product(held, len(x)) for x in xs), matrices.product(a, b)])]
