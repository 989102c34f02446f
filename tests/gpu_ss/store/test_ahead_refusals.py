"""What stops two parties that make or use correlations ahead: nothing is left behind, and nothing used twice."""

from __future__ import annotations

from typing import Any

import pytest

from gpu_ss.errors import CorrelationError
from gpu_ss.party import Party
from gpu_ss.provider.ahead import even_out, make_ahead, take_up
from gpu_ss.provider.ot.maker import OtMaker
from gpu_ss.provider.reel import from_zero
from gpu_ss.provider.store import Shelf
from net import NetError, PeerGone, ProtocolError, RemoteError
from net.errors import FrameTooLarge
from tests.support.runs import RUNS_BY_NAME
from tests.support.stores import CONTEXT, Pair, X, make, plan_of, purpose_of

PLAN = plan_of("mul")
PURPOSE = purpose_of(PLAN)


def test_parties_that_mean_different_plans_stop(pair: Pair) -> None:
    purposes = [purpose_of(plan_of("mul")), purpose_of(plan_of("relu"))]
    with pytest.raises((CorrelationError, RemoteError), match=r"CorrelationError|another plan"):
        pair.session(
            lambda p, shelf: make_ahead(p, shelf, purposes[p.rank], from_zero(plan_of("mul").specs, 0))
        )
    assert pair.files() == [[], []]


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
