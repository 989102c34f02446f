"""Markdown tables of results files: what docs/benchmarks.md shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.units import number, seconds, sides, size

Result = dict[str, Any]


@dataclass(frozen=True)
class Column:
    """A table's column: its head, and a row's entry."""

    head: str
    entry: Callable[[Result], str]


NAME = Column("row", lambda r: f"`{r['name']}`")
SHAPE = Column("shape", lambda r: sides(r["shape"]))
NETWORK = Column("network", lambda r: str(r["network"]))
OFFLINE = Column("offline", lambda r: seconds(r["offline_s"]))
ONLINE = Column("online", lambda r: seconds(r["online_s"]))
SPREAD = Column("least to most", lambda r: f"{seconds(r['online_s_min'])} to {seconds(r['online_s_max'])}")
ROUNDS = Column("rounds", lambda r: "" if r["rounds"] is None else str(r["rounds"]))
SENT = Column("client sends", lambda r: size(r["online_bytes_sent"]))
RECEIVED = Column("server sends", lambda r: size(r["online_bytes_received"]))
DEALER = Column("dealer sends", lambda r: size(r["dealer_bytes"]))
BETWEEN = Column("offline, both ways", lambda r: size(r["offline_bytes"]))
FIRST = Column("first offline", lambda r: seconds(r.get("first_offline_s")))
CPU = Column("CPU", lambda r: seconds(r.get("cpu_s")))
MEMORY = Column("memory", lambda r: size(r.get("peak_memory_bytes_rank0")))
SERVER_MEMORY = Column("memory, server", lambda r: size(r.get("peak_memory_bytes_rank1")))
TOGETHER = Column("queries together", lambda r: str(r.get("together")))
FIRST_BYTES = Column("first offline, both ways", lambda r: size(r.get("first_offline_bytes")))
OTS = Column("OTs/s", lambda r: number(r.get("items_per_s") if r["offline_s"] is None else None))
BITS = Column("bits per OT", lambda r: number(r.get("bits_per_item")))
SETUP = Column("set-up", lambda r: seconds(r["setup_s"]))
MAX_ERROR = Column("largest error", lambda r: number(r["max_abs_error"]))
MEAN_ERROR = Column("mean error", lambda r: number(r["mean_abs_error"]))
RUNS = Column("runs", lambda r: str(r["repeats"]))
SPEEDUP = Column("speedup", lambda r: number(r.get("speedup")))
SYSTEM = Column("system", lambda r: str(r.get("system", "fastlmpi")))
TOTAL = Column("bytes, both ways", lambda r: size(r.get("total_bytes")))
AMONG_PARTIES = Column("between the parties", lambda r: size(r.get("party_bytes")))
PRICE = Column("cost", lambda r: number(r.get("cost")))
INT8 = Column("of INT8", lambda r: number(r.get("fraction_of_int8")))
TRANSFORMS = Column("transforms/s", lambda r: number(r.get("transforms_per_s")))
#: Shown where a row fills them.
EXTRA = {
    "bits_per_item": (OTS, BITS),
    "speedup": (SPEEDUP,),
    "cost": (PRICE,),
    "fraction_of_int8": (INT8,),
    "transforms_per_s": (TRANSFORMS,),
}
COST = (ROUNDS, SENT, RECEIVED, DEALER, MAX_ERROR, MEAN_ERROR, RUNS)

COLUMNS: dict[str, tuple[Column, ...]] = {
    "protocols": (NAME, SHAPE, NETWORK, OFFLINE, ONLINE, SPREAD, *COST),
    "layer": (SHAPE, NETWORK, SETUP, OFFLINE, ONLINE, SPREAD, *COST),
    "model": (
        Column("model", lambda r: str(r.get("model"))), SHAPE, NETWORK, SETUP, OFFLINE, ONLINE, SPREAD, *COST
    ),
    "prepare": (SHAPE, TOGETHER, OFFLINE, SERVER_MEMORY, FIRST_BYTES, RUNS),
    "kernels": (
        NAME,
        SHAPE,
        Column("time", lambda r: seconds(r["online_s"])),
        SPREAD,
        Column("GB/s", lambda r: number(r["gb_per_s"])),
        Column("of a copy", lambda r: number(r["fraction_of_copy"])),
        Column("elements/s", lambda r: number(r["items_per_s"])),
        Column("Gop/s", lambda r: number(r["gops"])),
    ),
}  # fmt: skip
#: Without a dealer: what the parties do and say to each other offline instead of what a dealer sends.
ALONE = {OFFLINE: (OFFLINE, FIRST, BETWEEN, CPU, MEMORY), DEALER: ()}
#: Of other systems, which do everything online and whose traffic is counted as a whole.
FOREIGN = {
    NAME: (SYSTEM, NAME),
    OFFLINE: (CPU, MEMORY),
    SENT: (TOTAL, AMONG_PARTIES),
    RECEIVED: (),
    DEALER: (),
}
SHAPES = {
    "layer": "texts x tokens x hidden x heads x inner",
    "model": "texts x tokens x layers x hidden x heads x inner x words",
    "prepare": "texts x tokens x layers x hidden x heads x inner x words, of each query",
}


def read_results(file: Path) -> list[Result]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]


def section(file: Path) -> str:
    """One results file as a section: its machine, and a table for each bench."""
    results = read_results(file)
    parts = [f"## {file.stem}"]
    for bench, columns in COLUMNS.items():
        rows = [row for row in results if row["bench"] == bench]
        foreign = [row for row in rows if "system" in row]
        dealt = [row for row in rows if row["trust"] != "two-party" and row not in foreign]
        alone = [row for row in rows if row["trust"] == "two-party" and row not in foreign]
        if dealt:
            parts += [f"### {bench}", _heading(bench, dealt), _table(dealt, columns), *_by_part(dealt)]
        if alone:
            kept = _replaced(columns, ALONE)
            parts += [
                f"### {bench}, two parties alone",
                _heading(bench, alone),
                _table(alone, kept),
                *_by_part(alone),
            ]
        if foreign:
            kept = _replaced(columns if NAME in columns else [NAME, *columns], FOREIGN)
            parts += [f"### {bench}, other systems", _heading(bench, foreign), _table(foreign, kept)]
    return "\n\n".join(parts)


def _replaced(columns: Sequence[Column], others: Mapping[Column, Sequence[Column]]) -> list[Column]:
    return [new for column in columns for new in others.get(column, (column,))]


def _by_part(rows: Sequence[Result]) -> list[str]:
    """Where the online time of layers and models goes, if the rows say so."""
    lines = [
        [
            sides(row["shape"]),
            str(row["network"]),
            name,
            seconds(part["s"]),
            str(part["rounds"]),
            size(part["bytes"]),
        ]
        for row in rows
        for name, part in row.get("parts", {}).items()
    ]
    heads = ["shape", "network", "part", "online", "rounds", "both ways"]
    return ["By part of the model, online:", _markdown(heads, lines)] if lines else []


def _heading(bench: str, rows: Sequence[Result]) -> str:
    """Where these rows come from: every machine, device and commit among them."""

    def all_of(key: str) -> str:
        return "; ".join(dict.fromkeys(str(row[key]) for row in rows))

    shape = f" Shape: {SHAPES[bench]}." if bench in SHAPES else ""
    where = f"Machine: {all_of('machine')}. Backend {all_of('backend')}: {all_of('device')}."
    notes = "".join(f" Note: {note}." for note in dict.fromkeys(row.get("note") for row in rows) if note)
    return f"{where} Commit {all_of('commit')}.{shape}{notes}"


def _table(rows: Sequence[Result], columns: Sequence[Column]) -> str:
    columns = [
        *columns,
        *(c for key, extra in EXTRA.items() for c in extra if any(row.get(key) is not None for row in rows)),
    ]
    heads = [column.head for column in columns]
    return _markdown(heads, [[column.entry(row) for column in columns] for row in rows])


def _markdown(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
