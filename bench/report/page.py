"""The page: sections of figures and tables made from rows, filled into page.html.

It asks nothing of the network and runs no script (its content security policy says so); everything from a results
file is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from bench.prices import Prices
from bench.report import figures as plots
from bench.report import svg
from bench.report.columns import all_rows
from bench.report.cost import cost_of, note_of
from bench.report.figures import Figure, Names, Table
from bench.report.results import Family, Result, labels, latest, short
from bench.units import count, number, seconds, sides, size

HERE = Path(__file__).parent
TITLES = {
    "model": "Whole models",
    "layer": "One encoder layer",
    "protocols": "Protocols",
    "kernels": "Kernels",
}
NOTES = {
    "model": "From the client's tokens to its outputs, weights private to the server.",
    "layer": "One layer of a BERT-type encoder, weights private to the server.",
    "protocols": "Each protocol alone, between two processes.",
    "kernels": "The building blocks alone, in one process, on operands of an encoder layer.",
}
SHAPES = {
    "layer": "texts x tokens x hidden x heads x inner",
    "model": "texts x tokens x layers x hidden x heads x inner x words",
}
FASTER = "The other's time over ours, both phases; right of the line ours is faster."
MOST_CARDS = 6


@dataclass(frozen=True)
class Card:
    """A result at a glance."""

    title: str
    figure: str
    lines: Sequence[str]
    style: str


@dataclass(frozen=True)
class Group:
    """Figures under one heading; without a title under none."""

    title: str
    figures: Sequence[Figure]


def group(title: str, figures: Iterable[Figure | None]) -> Group:
    """The figures that there is something to show in."""
    return Group(title, [figure for figure in figures if figure is not None])


@dataclass(frozen=True)
class Section:
    """Everything about one bench."""

    ident: str
    title: str
    note: str
    groups: Sequence[Group]
    table: Table
    cards: Sequence[Card] = ()


def page(results: Sequence[Result], title: str, prices: Prices) -> str:
    """The whole page as HTML."""
    names = Names(labels(r.origin for r in results))
    sections = [
        _section(f"bench-{index}", bench, [r for r in results if r.bench == bench], names, prices)
        for index, bench in enumerate(_benches(results))
    ]
    environment = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    style = Markup((HERE / "page.css").read_text(encoding="utf-8"))  # noqa: S704 - our own
    made = environment.get_template("page.html").render(
        title=title, style=style, sections=sections, origins=_origins(results), rows=len(results)
    )
    return made.encode(errors="replace").decode()  # half a surrogate pair is no text


def _benches(results: Iterable[Result]) -> list[str]:
    """Those we know in their order, then others."""
    found = dict.fromkeys(r.bench for r in results)
    return [bench for bench in TITLES if bench in found] + [bench for bench in found if bench not in TITLES]


def _origins(results: Sequence[Result]) -> Table:
    """Who measured what, where."""
    counted: dict[tuple[str, ...], int] = {}
    for r in results:
        o = r.origin
        key = (o.system, o.trust, o.backend, short(o.machine), short(o.device), o.commit, r.file)
        counted[key] = counted.get(key, 0) + 1
    heads = ["system", "trust", "backend", "machine", "device", "version", "file", "rows"]
    return Table(heads, [[*key, str(rows)] for key, rows in counted.items()], names=7)


def _section(ident: str, bench: str, results: Sequence[Result], names: Names, prices: Prices) -> Section:
    shown = latest(results)
    makers = {"model": _whole_groups, "layer": _whole_groups, "kernels": _kernel_groups}
    make = makers.get(bench, _protocol_groups)
    made = [found for found in make(shown, names, prices) if found.figures]
    cards = _cards(shown, names) if bench in ("model", "layer") else []
    note = NOTES.get(bench, "Rows of a bench that this version does not know.")
    if bench in SHAPES:
        note += f" Shapes are {SHAPES[bench]}."
    return Section(ident, TITLES.get(bench, bench), note, made, all_rows(results, names, prices), cards)


def _by_network(results: Iterable[Result]) -> list[tuple[str, list[Result]]]:
    found: dict[str, list[Result]] = {}
    for r in results:
        found.setdefault(r.network, []).append(r)
    return list(found.items())


def _protocol_groups(results: Sequence[Result], names: Names, prices: Prices) -> Iterator[Group]:
    """Times by network; what does not depend on it once; curves over sizes."""
    networks = _by_network(results)
    for network, rows in networks:
        chosen = plots.at_one_size(rows)
        made = [
            plots.dot_figure(
                "Time, online", "Wall seconds of the slower party; further left is faster.",
                chosen, lambda r: r.online_s, seconds, names,
            ),
            plots.dot_figure(
                "Time, offline and online", "What is prepared before a query counted too.",
                chosen, lambda r: r.total_s, seconds, names,
            ) if any(r.offline_s for r in chosen) else None,
            plots.speedup_figure("Speed-up", FASTER, rows, names),
        ]  # fmt: skip
        yield group("" if len(networks) == 1 else f"Network {network}", made)
    chosen = plots.at_one_size(networks[0][1])
    yield group(
        "Communication and work",
        [
            plots.dot_figure("Bytes, online", "Both directions.", chosen, lambda r: r.online_bytes, size, names),
            plots.dot_figure(
                "Bytes, offline and online", "Both directions, a dealer's included.",
                chosen, lambda r: r.total_bytes, size, names,
            ),
            plots.dot_figure(
                "Rounds, online", "Messages that wait for each other.",
                chosen, lambda r: r.number("rounds"), count, names,
            ),
            plots.dot_figure(
                "CPU seconds", "Of both parties and both phases.",
                chosen, lambda r: r.number("cpu_s"), seconds, names,
            ),
            plots.dot_figure(
                "Items per second, online", "Elements, or oblivious transfers.",
                chosen, lambda r: r.number("items_per_s"), count, names,
            ),
            plots.dot_figure("Cost", note_of(prices), chosen, partial(cost_of, prices), number, names),
        ],
    )  # fmt: skip
    yield group("Time against size", _size_figures(results, lambda r: r.total_s, names))


def _size_figures(results: Sequence[Result], value: plots.Value, names: Names) -> list[Figure | None]:
    families: dict[Family, list[Result]] = {}
    for r in results:
        families.setdefault(r.family, []).append(r)
    return [
        plots.size_figure(_called(family), "", "elements", rows, value, (count, seconds), names)
        for family, rows in families.items()
    ]


def _called(family: Family) -> str:
    rest = f" {sides(family.rest)}" if family.rest else ""
    return f"{family.name}{rest}{_over(family.network)}"


def _whole_groups(results: Sequence[Result], names: Names, prices: Prices) -> Iterator[Group]:
    """Of layers and models: a group for each shape, and one for the shapes that differ in their texts alone."""
    shapes: dict[tuple[str, tuple[int, ...]], list[Result]] = {}
    for r in results:
        shapes.setdefault((r.name, r.shape[1:]), []).append(r)
    for (name, rest), rows in shapes.items():
        batches = sorted({r.size for r in rows})
        for batch in batches:
            same = [r for r in rows if r.size == batch]
            yield group(f"{name} {sides(rest)}, {_texts(batch)}", _whole_figures(same, names, prices))
        first = _by_network(rows)[0][1]
        yield group(
            f"{name} {sides(rest)}, by number of texts",
            [
                plots.size_figure(
                    "Time of a query", "Offline and online together.", "texts",
                    first, lambda r: r.total_s, (count, seconds), names,
                ),
                plots.size_figure(
                    "Texts per second", "Online.", "texts",
                    first, lambda r: r.size / r.online_s if r.online_s else None, (count, number), names,
                ),
                plots.size_figure(
                    "Memory", "The most that the client had.", "texts",
                    first, lambda r: r.number("peak_memory_bytes_rank0"), (count, size), names,
                ),
            ],
        )  # fmt: skip


def _whole_figures(rows: Sequence[Result], names: Names, prices: Prices) -> list[Figure | None]:
    first = _by_network(rows)[0][1]
    return [
        plots.phase_figure(
            "Time", "Offline (pale) and online, wall seconds of the slower party.",
            rows, lambda r: (r.offline_s, r.online_s), seconds, names,
        ),
        plots.parts_figure("Time by part", "Online; the work that follows a message counts with it.", rows, names),
        plots.speedup_figure("Speed-up", FASTER, rows, names),
        plots.phase_figure(
            "Bytes", "Offline (pale, a dealer's included) and online, both directions.",
            first, lambda r: (r.number("offline_bytes"), r.online_bytes), size, names,
        ),
        plots.bar_figure(
            "Rounds", "Online messages that wait for each other.", first, lambda r: r.number("rounds"), count, names
        ),
        plots.bar_figure(
            "CPU seconds", "Core-seconds of both parties in both phases.",
            first, lambda r: r.number("cpu_s"), seconds, names,
        ),
        plots.bar_figure("Cost of a query", note_of(prices), first, partial(cost_of, prices), number, names),
    ]  # fmt: skip


def _kernel_groups(results: Sequence[Result], names: Names, prices: Prices) -> Iterator[Group]:
    chosen = plots.at_one_size(results)
    kinds: list[tuple[str, str, str, svg.Format]] = [
        ("GB/s", "Operands read and results written.", "gb_per_s", number),
        ("Of a copy", "GB/s over those of a copy of 128 MiB on the same device.", "fraction_of_copy", number),
        ("Elements per second", "", "items_per_s", count),
        ("Gop/s", "Multiplications and additions of matrix products.", "gops", count),
        (
            "Of the INT8 rate",
            "Digit products over the measured rate of INT8 products.",
            "fraction_of_int8",
            number,
        ),
        ("Transforms per second", "Of one polynomial modulo one prime.", "transforms_per_s", count),
    ]

    def shown(title: str, note: str, key: str, written: svg.Format) -> Figure | None:
        return plots.dot_figure(title, note, chosen, lambda r: r.number(key), written, names)

    yield group("", [shown(*kind) for kind in kinds])
    yield group("Time against size", _size_figures(results, lambda r: r.online_s, names))


def _over(network: str) -> str:
    return "" if network == "none" else f", network {network}"


def _texts(batch: int) -> str:
    return f"{batch} text{'' if batch == 1 else 's'}"


def _cards(results: Sequence[Result], names: Names) -> list[Card]:
    """The results of the first network at a glance, ours first."""
    network, rows = _by_network(results)[0]
    timed = [r for r in rows if r.online_s is not None]
    return [
        Card(
            f"{names.labels[r.origin]}, {_texts(r.size)}{_over(network)}",
            seconds(r.online_s),
            [
                f"online{'' if r.offline_s is None else f', after {seconds(r.offline_s)} offline'}",
                f"{size(r.total_bytes) or '?'} in all, {count(r.number('rounds')) or '?'} rounds",
            ],
            names.series(r.origin).style,
        )
        for r in timed[:MOST_CARDS]
    ]
