"""Correlations made in one session and used in another: the same results, nothing sent, each once."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_ss.errors import NoRoom, StoreError
from gpu_ss.party import Party
from gpu_ss.provider.ahead import even_out, make_ahead, take_up
from gpu_ss.provider.holdings import clean, holdings
from gpu_ss.provider.store import Shelf, Store
from gpu_ss.simulate import Simulation, simulate
from net import RemoteError
from tests.gpu_ss.ot.test_protocols import NAMES, clear
from tests.support.protocols import host
from tests.support.runs import RUNS_BY_NAME
from tests.support.stores import CONTEXT, Pair, X, make, plan_of, purpose_of, use


def result(simulation: Simulation[Any]) -> Any:
    """The clear result, of whichever session."""
    found = [values for _, values in simulation.results]
    return clear(Simulation((found[0], found[1]), simulation.traffic, 0))


@pytest.mark.parametrize("name", NAMES)
def test_results_are_those_of_a_dealer(pair: Pair, name: str) -> None:
    make(pair, name)
    done = pair.session(lambda p, shelf: use(p, shelf, name))
    assert [stored for stored, _ in done.results] == [True, True]
    found, wanted = result(done), clear(simulate(lambda p: RUNS_BY_NAME[name](p, X)))
    if found.dtype == np.uint64:
        assert np.array_equal(found, wanted)
    else:
        np.testing.assert_allclose(found, wanted, atol=8 * 2.0**-12, rtol=2.0**-12)
    assert pair.files() == [[], []], "used up"


def test_taking_up_sends_two_small_messages(pair: Pair) -> None:
    make(pair, "softmax")
    plan = plan_of("softmax")
    sent = []

    def run(party: Party, shelf: Shelf) -> None:
        before = party.channel.traffic.report()
        assert take_up(party, shelf, purpose_of(plan), plan.specs)
        spent = party.channel.traffic.report() - before
        sent.append((spent.sent.payload, spent.received.payload))

    pair.session(run)
    assert sorted(sent) == [(1, 16), (16, 1)]


def test_a_session_may_use_several_and_make_more(pair: Pair) -> None:
    make(pair, "relu", 2)
    make(pair, "mul", 1)

    def run(party: Party, shelf: Shelf) -> list[Any]:
        return [use(party, shelf, name) for name in ("relu", "mul", "relu", "relu", "mul")]

    done = pair.session(run)
    for place, (name, stored) in enumerate(
        zip(("relu", "mul", "relu", "relu", "mul"), (True, True, True, False, False), strict=True)
    ):
        part = [found[place] for found in done.results]
        assert [had for had, _ in part] == [stored, stored]
        wanted = clear(simulate(lambda p, name=name: RUNS_BY_NAME[name](p, X)))  # type: ignore[misc]
        found = clear(Simulation((part[0][1], part[1][1]), done.traffic, 0))
        np.testing.assert_allclose(found, wanted, atol=2.0**-9, rtol=2.0**-12)


def test_every_reel_has_masks_of_its_own(pair: Pair) -> None:
    """Two reels of one plan share no mask with each other, nor with those made in the session."""
    make(pair, "mul", 2)
    plan = plan_of("mul")

    def run(party: Party, shelf: Shelf) -> list[Any]:
        found = []
        for _ in range(3):
            moved = plan.moved(party.provider.taken)
            if not take_up(party, shelf, purpose_of(moved), moved.specs):
                party.provider.prepare(moved.specs)
            found.append([party.provider.take(spec).arrays for spec in moved.specs])
        return found

    for mine in pair.session(run).results:
        masks = [host(arrays[0]).tobytes() for reel in mine for arrays in reel if arrays[0] is not None]
        assert len(set(masks)) == len(masks)


def test_only_one_side_has_it(pair: Pair) -> None:
    """Rank 0 drops what rank 1 lacks and goes on to the next; what rank 1 alone has is not named."""
    make(pair, "mul", 3)
    plan = plan_of("mul")
    shelves = [store.shelf("the other one") for store in pair.stores]
    oldest, middle, newest = (head.id for head in shelves[0].heads(purpose_of(plan)))
    shelves[1].discard([oldest])
    shelves[0].discard([newest])
    done = pair.session(lambda p, shelf: [use(p, shelf, "mul")[0] for _ in range(2)])
    assert done.results == ([True, False], [True, False])
    assert pair.files() == [[], [newest.hex() + ".reel"]], (middle, "used, the first one dropped")
    removed = pair.session(lambda p, shelf: even_out(p, shelf, CONTEXT))
    assert removed.results == (0, 1)
    assert pair.files() == [[], []]


def test_evening_out(pair: Pair) -> None:
    """Both keep what both have, and what belongs to another context or is being written."""
    make(pair, "mul", 4)
    make(pair, "mul", 2, context=b"o" * 32)
    plan = plan_of("mul")
    shelves = [store.shelf("the other one") for store in pair.stores]
    here = [head.id for head in shelves[0].heads(purpose_of(plan))]
    foreign = [head.id for head in shelves[0].heads(purpose_of(plan, b"o" * 32))]
    shelves[0].discard([here[0], foreign[0]])
    shelves[1].discard([here[1], foreign[1]])
    shelves[0]._path(here[2], ".reel").rename(shelves[0]._path(here[2], ".tmp"))  # as if half made
    removed = pair.session(lambda p, shelf: even_out(p, shelf, CONTEXT))
    assert removed.results == (1, 1)
    left = [{name.split(".")[0] for name in names} for names in pair.files()]
    both = {here[2].hex(), here[3].hex()}
    assert left == [both | {foreign[1].hex()}, both | {foreign[0].hex()}]


def test_another_context_is_not_used(pair: Pair) -> None:
    make(pair, "mul", context=b"another model".ljust(32))
    done = pair.session(lambda p, shelf: use(p, shelf, "mul")[0])
    assert done.results == (False, False)
    assert [len(names) for names in pair.files()] == [1, 1]


def test_no_room_at_rank_1(tmp_path: Path) -> None:
    """Nothing is made then; rank 1 goes on, rank 0 says why."""
    pair = Pair(tmp_path)
    pair.stores[1] = Store(tmp_path / "1", 500)
    plan = plan_of("mul")

    def run(party: Party, shelf: Shelf) -> Any:
        before = party.channel.traffic.report()
        try:
            said = str(make_ahead(party, shelf, purpose_of(plan), plan.specs))
        except StoreError as error:
            said = str(error)
        assert (party.channel.traffic.report() - before).sent.payload < 300
        return said, use(party, shelf, "mul")[0]

    client, server = pair.session(run).results
    assert "prepares no more: the store is full" in client[0]
    assert server == ("None", False)
    assert pair.files() == [[], []]


def test_no_room_at_rank_0(tmp_path: Path) -> None:
    """The same the other way round: both go on."""
    pair = Pair(tmp_path)
    pair.stores[0] = Store(tmp_path / "0", 500)
    plan = plan_of("mul")

    def run(party: Party, shelf: Shelf) -> Any:
        try:
            said = str(make_ahead(party, shelf, purpose_of(plan), plan.specs))
        except NoRoom as error:
            said = str(error)
        return said, use(party, shelf, "mul")[0]

    client, server = pair.session(run).results
    assert "the store is full" in client[0]
    assert server == ("None", False)
    assert pair.files() == [[], []]


def test_what_is_of_another_context_makes_room(pair: Pair) -> None:
    """At the party that is short of it; the other one's part is found to be alone when they meet for it again."""
    other, plan = b"d" * 32, plan_of("mul")
    make(pair, "mul", 2, other)
    one = pair.stores[1].used_bytes() // 2
    pair.stores[1]._limit = 2 * one + one // 2
    make(pair, "mul")
    counts = [Counter(h.context for h in holdings(store) for _ in range(h.count)) for store in pair.stores]
    assert counts == [{CONTEXT: 1, other: 2}, {CONTEXT: 1, other: 1}]
    removed = pair.session(lambda p, shelf: even_out(p, shelf, other)).results
    assert removed == (1, 0)
    with pytest.raises((NoRoom, RemoteError), match="full"):  # its own context's are never pushed out
        pair.stores[1]._limit = one
        pair.session(lambda p, shelf: make_ahead(p, shelf, purpose_of(plan), plan.specs))
    assert sum(h.count for h in holdings(pair.stores[1])) == 2, "nothing is removed in vain"


def test_holdings_are_shown_and_cleaned(pair: Pair) -> None:
    make(pair, "mul", 2, b"d" * 32)
    make(pair, "relu")
    store = pair.stores[0]
    found = holdings(store)
    assert [(h.context, h.count, h.latest) for h in found] == [(b"d" * 32, 2, False), (CONTEXT, 1, True)]
    assert sum(h.size for h in found) == store.used_bytes()
    assert clean(store) == 2
    assert [h.context for h in holdings(store)] == [CONTEXT]
    assert (clean(store), clean(store, everything=True), holdings(store)) == (0, 1, [])
