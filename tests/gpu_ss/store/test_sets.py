"""Several sets of correlations made in one go: as many as there is room for, each whole or not there."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_ss.errors import CorrelationError, NoRoom
from gpu_ss.party import Party
from gpu_ss.provider.ahead import make_sets
from gpu_ss.provider.reel import Head, stored_bytes
from gpu_ss.provider.store import Shelf, Store
from gpu_ss.simulate import simulate
from net import NetError
from tests.gpu_ss.ot.test_protocols import clear
from tests.gpu_ss.store.test_ahead import result
from tests.support.runs import RUNS_BY_NAME
from tests.support.stores import Pair, X, plan_of, purpose_of, use

NAME = "relu"
PLAN = plan_of(NAME)
PURPOSE = purpose_of(PLAN)


def made(pair: Pair, count: int) -> list[list[Head] | str]:
    """What each party says it made, or why nothing."""

    def run(party: Party, shelf: Shelf) -> Any:
        try:
            return list(make_sets(party, shelf, PURPOSE, PLAN.specs, count))
        except NoRoom as error:
            return str(error)

    return list(pair.session(run).results)


def room_for(sets: int, rank: int) -> int:
    """A store's limit that holds so many, and not one more."""
    return sets * stored_bytes(rank, PLAN.specs) + 100


def test_every_set_is_used_once(pair: Pair) -> None:
    heads = made(pair, 3)
    assert [len(found) for found in heads] == [3, 3]
    assert len({head.id for head in heads[0] if isinstance(head, Head)}) == 3
    wanted = clear(simulate(lambda p: RUNS_BY_NAME[NAME](p, X)))
    for stored in (True, True, True, False):
        done = pair.session(lambda p, shelf: use(p, shelf, NAME))
        assert [found for found, _ in done.results] == [stored, stored]
        assert np.allclose(result(done), wanted, rtol=0, atol=2.0**-12)


@pytest.mark.parametrize(("rooms", "fits"), [((5, 2), 2), ((1, 5), 1), ((2, 2), 2)])
def test_as_many_as_both_have_room_for(tmp_path: Path, rooms: tuple[int, int], fits: int) -> None:
    pair = Pair(tmp_path)
    pair.stores = [Store(tmp_path / str(rank), room_for(rooms[rank], rank)) for rank in (0, 1)]
    assert [len(found) for found in made(pair, 4)] == [fits, fits]
    assert [len(names) for names in pair.files()] == [fits, fits]


@pytest.mark.parametrize("full", [0, 1])
def test_no_room_for_any(tmp_path: Path, full: int) -> None:
    pair = Pair(tmp_path)
    pair.stores[full] = Store(tmp_path / str(full), 100)
    client, server = made(pair, 4)
    assert "the store is full" in client
    assert server == []
    assert pair.files() == [[], []]


def test_what_is_complete_stays_when_a_party_leaves(pair: Pair) -> None:
    """The sets after the one that was being made are gone at both, with what was made for all at once."""

    def run(party: Party, shelf: Shelf) -> None:
        sets = make_sets(party, shelf, PURPOSE, PLAN.specs, 4)
        assert len(list(islice(sets, 2 if party.rank else 3))) >= 2
        if party.rank:
            sets.close()
            raise CorrelationError("killed here")

    with pytest.raises((CorrelationError, NetError)):
        pair.session(run)
    files = pair.files()
    assert all(name.endswith(".reel") for names in files for name in names)
    assert len(files[1]) == 2
    assert set(files[1]) <= set(files[0])


def test_a_peer_that_names_more_room_than_was_asked_for(pair: Pair) -> None:
    def run(party: Party, shelf: Shelf) -> None:
        if party.rank == 0:
            with pytest.raises(CorrelationError, match="malformed"):
                list(make_sets(party, shelf, PURPOSE, PLAN.specs, 2))
            return
        party.channel.recv_any("store/make", 1000)
        party.channel.send("store/room", [(3).to_bytes(4, "little"), b""])

    pair.session(run)
    assert pair.files() == [[], []]
