"""Counters, phases, snapshots and differences."""

from __future__ import annotations

import pytest

from net import Direction, Totals, Traffic
from net.traffic import Row


def sample() -> Traffic:
    traffic = Traffic()
    traffic.count(Direction.SENT, "hello", 10, 1)
    with traffic.phase("online"):
        traffic.count(Direction.SENT, "open", 100, 2)
        traffic.count(Direction.RECEIVED, "open", 200, 2)
        traffic.count_round()
        with traffic.phase("inner"):
            traffic.count(Direction.SENT, "open", 5, 2)
    return traffic


def test_totals() -> None:
    report = sample().report()
    assert report.sent == Totals(3, 115, 5)
    assert report.received == Totals(1, 200, 2)
    assert report.sent.bytes == 120
    assert report.rounds == 1


def test_table_keeps_the_order_of_appearance() -> None:
    assert sample().report().table() == [
        Row("setup", "hello", Totals(1, 10, 1), Totals()),
        Row("online", "open", Totals(1, 100, 2), Totals(1, 200, 2)),
        Row("inner", "open", Totals(1, 5, 2), Totals()),
    ]


def test_by_tag_and_by_phase() -> None:
    report = sample().report()
    assert report.by_tag["open"] == (Totals(2, 105, 4), Totals(1, 200, 2))
    assert report.phase("online").sent == Totals(1, 100, 2)
    assert report.phase("online").rounds == 1
    assert report.phase("never").sent == Totals()


def test_the_difference_of_two_snapshots() -> None:
    traffic = sample()
    before = traffic.report()
    with traffic.phase("online"):
        traffic.count(Direction.SENT, "open", 1, 2)
        traffic.count_round()
    difference = traffic.report() - before
    assert difference.table() == [Row("online", "open", Totals(1, 1, 2), Totals())]
    assert difference.rounds_by_phase == {"online": 1}
    assert (traffic.report() - traffic.report()).table() == []


def test_a_snapshot_does_not_change() -> None:
    traffic = sample()
    report = traffic.report()
    traffic.count(Direction.SENT, "open", 1, 2)
    assert report.sent == Totals(3, 115, 5)
    with pytest.raises(TypeError):
        report.counters["x"] = Totals()  # type: ignore[index]


def test_a_phase_ends_with_its_block_whatever_happens() -> None:
    traffic = Traffic()
    with pytest.raises(KeyError), traffic.phase("online"):
        raise KeyError
    assert traffic.current_phase == "setup"
