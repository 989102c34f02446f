"""Correlations made in one session and used in another: the same results, nothing sent, each once."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend.base import Backend
from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.economy import ALONE
from gpu_ss.errors import CorrelationError, NoRoom, StoreError
from gpu_ss.party import Party
from gpu_ss.plan import Plan, make_plan
from gpu_ss.prg import fresh_key
from gpu_ss.provider.ahead import even_out, make_ahead, take_up
from gpu_ss.provider.base import Provider
from gpu_ss.provider.correlation import Correlation, Mask, expand_share
from gpu_ss.provider.direct import DirectMatmul
from gpu_ss.provider.holdings import clean, holdings
from gpu_ss.provider.made import Batch, MadeProvider, Maker, SeedProvider
from gpu_ss.provider.ot import maker as maker_module
from gpu_ss.provider.ot.maker import OtMaker
from gpu_ss.provider.ot.pair import OtPair
from gpu_ss.provider.reel import Head, Purpose, Reel, from_zero, plan_digest, stored_words
from gpu_ss.provider.specs.arithmetic import Powers
from gpu_ss.provider.store import Shelf, Store
from gpu_ss.simulate import Simulation, simulate
from net import Channel, NetError, PeerGone, ProtocolError, RemoteError
from net.errors import FrameTooLarge
from tests.gpu_ss.ot.test_protocols import NAMES, clear
from tests.support.ot import DealtReceiver, DealtSender
from tests.support.protocols import host
from tests.support.runs import RUNS_BY_NAME, N

CONTEXT = b"c" * 32
X = np.random.default_rng(5).normal(0, 3, N)


def alone(rank: int, backend: Backend, channel: Channel, inner: Provider) -> Provider:
    """Nothing from a dealer; the OTs are made up, they have their own tests."""
    sender = DealtSender(backend, channel, 1 + rank)
    receiver = DealtReceiver(backend, channel, 2 - rank)
    maker = OtMaker(rank, backend, OtPair(rank, backend, channel, sender, receiver))
    return MadeProvider(backend, SeedProvider(rank, backend, fresh_key()), [maker], ALONE)


class Pair:
    """Two parties with a store each, that meet in session after session."""

    def __init__(self, folder: Path, limit: int = 1 << 30) -> None:
        self.stores = [Store(folder / str(rank), limit) for rank in (0, 1)]

    def shelf(self, party: Party) -> Shelf:
        return self.stores[party.rank].shelf("the other one")

    def session(self, run: Callable[[Party, Shelf], Any]) -> Simulation[Any]:
        return simulate(lambda party: run(party, self.shelf(party)), extend=alone)

    def files(self) -> list[list[str]]:
        return [sorted(p.name for p in store._root.glob("*/*")) for store in self.stores]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def plan_of(name: str) -> Plan:
    return make_plan(0, lambda party: RUNS_BY_NAME[name](party, X), economy=ALONE)


def purpose_of(plan: Plan, context: bytes = CONTEXT) -> Purpose:
    return Purpose(plan_digest(from_zero(plan.specs, plan.first)), context, "test")


def make(pair: Pair, name: str, count: int = 1, context: bytes = CONTEXT) -> None:
    plan = plan_of(name)
    for _ in range(count):
        pair.session(lambda p, shelf: make_ahead(p, shelf, purpose_of(plan, context), plan.specs))


def use(party: Party, shelf: Shelf, name: str) -> Any:
    """Run from the store, if it has something; (whether it had, the result)."""
    plan = plan_of(name).moved(party.provider.taken)
    stored = take_up(party, shelf, purpose_of(plan), plan.specs)
    if not stored:
        party.provider.prepare(plan.specs)
    return stored, RUNS_BY_NAME[name](party, X)


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


def test_parties_that_mean_different_plans_stop(pair: Pair) -> None:
    purposes = [purpose_of(plan_of("mul")), purpose_of(plan_of("relu"))]
    with pytest.raises((CorrelationError, RemoteError), match=r"CorrelationError|another plan"):
        pair.session(
            lambda p, shelf: make_ahead(p, shelf, purposes[p.rank], from_zero(plan_of("mul").specs, 0))
        )
    assert pair.files() == [[], []]


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


def test_a_session_that_breaks_off_leaves_nothing(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of("mul")

    def broken(self: object, *args: object) -> None:
        raise CorrelationError("broken off")

    monkeypatch.setattr(OtMaker, "make", broken)
    with pytest.raises((CorrelationError, RemoteError, PeerGone)):
        pair.session(lambda p, shelf: make_ahead(p, shelf, purpose_of(plan), plan.specs))
    assert pair.files() == [[], []]


def test_a_run_that_is_not_the_plan_is_refused(pair: Pair) -> None:
    make(pair, "mul")
    plan = plan_of("mul")

    def run(party: Party, shelf: Shelf) -> Any:
        assert take_up(party, shelf, purpose_of(plan), plan.specs)
        return RUNS_BY_NAME["relu"](party, X)

    with pytest.raises((CorrelationError, RemoteError), match=r"planned as|CorrelationError"):
        pair.session(run)


class Multiplier(Maker):
    """Computes products directly; notes what it is asked to make ready."""

    kinds = (DirectMatmul,)

    def __init__(self) -> None:
        self.readied: list[int] = []

    def make(self, batch: Batch, progress: Any) -> list[tuple[int, tuple[()]]]:
        self.readied += batch.of(self.kinds)
        return [(number, ()) for number in batch.of(self.kinds)]

    @property
    def direct(self) -> bool:
        return True

    def compute(self, spec: Any, *operands: Any) -> tuple[Any, int]:
        return operands[0], 0


def test_products_computed_directly_are_made_ready_where_they_are_used() -> None:
    """Nothing of them is stored; their keys are exchanged in the session that uses the rest."""
    specs: list[Correlation] = [Mask((5,), 64), DirectMatmul(1, 2, 3, 4, 64), Mask((7,), 9)]
    maker = Multiplier()
    provider = MadeProvider(ReferenceBackend(), SeedProvider(0, ReferenceBackend(), fresh_key()), [maker])
    kept: list[int] = []
    list(provider.record([bytes(32)], specs, lambda k, number, arrays: kept.append(number)))
    assert maker.readied == kept == []
    provider.take(Mask((1,), 64))
    head = Head(bytes(16), 0, Purpose(plan_digest(specs), CONTEXT), 3, stored_words(0, specs))
    seed = fresh_key()
    provider.adopt(Reel(head, seed, np.empty(0, np.uint64)), specs)
    assert maker.readied == [2]
    first = provider.take(specs[0])
    assert provider.compute(specs[1], "operand") == ("operand", 0)  # type: ignore[arg-type]
    last = provider.take(specs[2])
    for place, found in ((0, first), (2, last)):
        (wanted,) = expand_share(0, specs[place], place, ReferenceBackend(), seed)
        assert np.array_equal(found.only, wanted)
    after = provider.take(Mask((5,), 64))
    assert not np.array_equal(after.only, first.only), "the session's own masks again"


def test_a_second_reel_waits_for_the_first() -> None:
    specs: list[Correlation] = [Mask((5,), 64)]
    provider = MadeProvider(ReferenceBackend(), SeedProvider(0, ReferenceBackend(), fresh_key()), [])
    head = Head(bytes(16), 0, Purpose(plan_digest(specs), CONTEXT), 1, 0)
    reel = Reel(head, fresh_key(), np.empty(0, np.uint64))
    provider.adopt(reel, specs)
    with pytest.raises(CorrelationError, match="not used up"):
        provider.adopt(reel, specs)


def test_providers_that_cannot() -> None:
    def with_dealer(party: Party) -> Any:
        return list(party.provider.record([bytes(32)], [], lambda k, number, arrays: None))

    with pytest.raises(CorrelationError, match="no correlations for later"):
        simulate(with_dealer)

    def in_front_of_a_dealer(rank: int, backend: Backend, channel: Channel, inner: Provider) -> Provider:
        return MadeProvider(backend, inner, [])

    with pytest.raises(CorrelationError, match="masks of a dealer"):
        simulate(with_dealer, extend=in_front_of_a_dealer)


PLAN = plan_of("mul")
PURPOSE = purpose_of(PLAN)


@pytest.mark.parametrize(
    ("tag", "frames", "error"),
    [
        ("store/make", [bytes(32), bytes(32), b"x" * 16], CorrelationError),
        ("store/make", [PURPOSE.plan, bytes(32), b"x" * 16], CorrelationError),
        ("store/make", [PURPOSE.plan, CONTEXT, b"x" * 15], CorrelationError),
        ("store/make", [PURPOSE.plan, CONTEXT, b"x" * 32], FrameTooLarge),
        ("store/make", [PURPOSE.plan], CorrelationError),
        ("store/take", [bytes(16)], ProtocolError),
    ],
)
def test_malformed_wishes_stop_the_session(
    pair: Pair, tag: str, frames: list[bytes], error: type[Exception]
) -> None:
    raised: list[BaseException] = []

    def run(party: Party, shelf: Shelf) -> Any:
        if party.rank == 0:
            party.channel.send(tag, frames)
            party.channel.recv("nothing", [])
        try:
            make_ahead(party, shelf, PURPOSE, PLAN.specs)
        except Exception as found:
            raised.append(found)
            raise

    with pytest.raises((CorrelationError, NetError)):
        pair.session(run)
    assert [type(found) for found in raised] == [error]
    assert pair.files() == [[], []]


@pytest.mark.parametrize("frames", [[bytes(15)], [bytes(16), bytes(16)], []])
def test_malformed_lists_stop_the_session(pair: Pair, frames: list[bytes]) -> None:
    def run(party: Party, shelf: Shelf) -> Any:
        if party.rank == 0:
            party.channel.send("store/mine", frames)
            party.channel.recv("nothing", [])
        with pytest.raises(CorrelationError, match="malformed"):
            even_out(party, shelf, CONTEXT)

    with pytest.raises(PeerGone):
        pair.session(run)


def test_an_id_that_is_not_there_is_answered(pair: Pair) -> None:
    """A peer may name what it likes: it gets a no, and nothing of others."""
    make(pair, "mul")
    plan = plan_of("mul")

    def run(party: Party, shelf: Shelf) -> Any:
        if party.rank == 1:
            return take_up(party, shelf, purpose_of(plan), plan.specs)
        party.channel.send("store/take", [b"y" * 16])
        answer = bytes(party.channel.recv("store/taken", [1])[0])
        party.channel.send("store/take", [bytes(16)])
        return answer

    assert pair.session(run).results == (b"\0", False)
    assert [len(names) for names in pair.files()] == [1, 1]


WINDOWED: list[Correlation] = [
    spec for k in range(8) for spec in (Mask((600,), 20), Powers(2 * k, 600, 3, 20))
]


def test_memory_is_that_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a window has made is handed over, and forgotten, before the next one begins: however long a plan is."""
    monkeypatch.setattr(maker_module, "WINDOW", 3 * 1200)
    made: dict[int, list[weakref.ref[Any]]] = {0: [], 1: []}
    most: dict[int, int] = {0: 0, 1: 0}

    def run(party: Party) -> None:
        def keep(k: int, number: int, arrays: Any) -> None:
            made[party.rank].append(weakref.ref(arrays[0]))
            alive = sum(reference() is not None for reference in made[party.rank])
            most[party.rank] = max(most[party.rank], alive)

        assert list(party.provider.record([fresh_key()], WINDOWED, keep)) == [0]

    simulate(run, extend=alone)
    assert [len(references) for references in made.values()] == [8, 8]
    assert max(most.values()) <= 4, "those of a window, and the one before that is being replaced"


def test_what_waits_in_a_session_is_packed() -> None:
    """20 bits for each number, and no more."""

    def run(party: Party) -> tuple[int, list[Any]]:
        party.provider.prepare(WINDOWED)
        waiting = sum(int(a.nbytes) for made in party.provider._ready.values() for a in made._arrays)  # type: ignore[attr-defined]
        return waiting, [host(party.provider.take(spec).only) for spec in WINDOWED]

    (bytes0, left), (bytes1, right) = simulate(run, extend=alone).results
    assert bytes0 == bytes1 == 8 * stored_words(0, WINDOWED) == 8 * 8 * (2 * 600 * 20 // 64)
    for k in range(0, 16, 2):
        mask, powers = ((left[at] + right[at]) & np.uint64(2**20 - 1) for at in (k, k + 1))
        assert np.array_equal(powers, np.stack([mask**2, mask**3]) & np.uint64(2**20 - 1))
