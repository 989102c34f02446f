"""The columns of the tables that show every row."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bench.prices import Prices
from bench.report.cost import cost_of
from bench.report.figures import Names, Table
from bench.report.results import Result, short
from bench.units import count, number, seconds, sides, size, times

#: Left out on paper.
MINOR = frozenset(
    {"set-up", "first offline", "memory, server", "mean error", "offline bytes", "machine", "version", "file"}
)
Entry = Callable[[Result], str]


def _columns(names: Names, prices: Prices) -> list[tuple[str, Entry]]:
    def told(key: str, written: Callable[[float | None], str]) -> Entry:
        return lambda r: written(r.number(key))

    return [
        ("row", lambda r: r.name),
        ("shape", lambda r: sides(r.shape)),
        ("measured", lambda r: names.labels[r.origin]),
        ("network", lambda r: r.network),
        ("set-up", told("setup_s", seconds)),
        ("offline", told("offline_s", seconds)),
        ("first offline", told("first_offline_s", seconds)),
        ("online", told("online_s", seconds)),
        ("least", told("online_s_min", seconds)),
        ("most", told("online_s_max", seconds)),
        ("runs", told("repeats", count)),
        ("rounds", told("rounds", count)),
        ("client sends", told("online_bytes_sent", size)),
        ("server sends", told("online_bytes_received", size)),
        ("offline bytes", told("offline_bytes", size)),
        ("dealer sends", told("dealer_bytes", size)),
        ("bytes in all", lambda r: size(r.total_bytes)),
        ("between the parties", told("party_bytes", size)),
        ("largest error", told("max_abs_error", number)),
        ("mean error", told("mean_abs_error", number)),
        ("CPU", told("cpu_s", seconds)),
        ("memory, client", told("peak_memory_bytes_rank0", size)),
        ("memory, server", told("peak_memory_bytes_rank1", size)),
        ("items/s", told("items_per_s", count)),
        ("bits per item", told("bits_per_item", number)),
        ("GB/s", told("gb_per_s", number)),
        ("of a copy", told("fraction_of_copy", number)),
        ("Gop/s", told("gops", number)),
        ("of INT8", told("fraction_of_int8", number)),
        ("speed-up", told("speedup", times)),
        ("cost", lambda r: number(cost_of(prices, r))),
        ("note", lambda r: r.text("note")),
        ("machine", lambda r: short(r.origin.machine)),
        ("version", lambda r: r.origin.commit),
        ("file", lambda r: r.file),
    ]


def all_rows(results: Sequence[Result], names: Names, prices: Prices) -> Table:
    """Every row with every column that any of them fills."""
    filled = [
        (head, entries)
        for head, entry in _columns(names, prices)
        if any(entries := [entry(r) for r in results])
    ]
    rows = list(zip(*(entries for _, entries in filled), strict=True))
    return Table([head for head, _ in filled], rows, names=4, minor=MINOR)
