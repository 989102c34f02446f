"""Figures of a report: a plot, its legend, and the same numbers as a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from markupsafe import Markup

from bench.report import svg
from bench.report.results import OURS, Origin, Result
from bench.report.svg import Bar, Format, Series
from bench.units import count, seconds, sides, size, times

Value = Callable[[Result], float | None]


@dataclass(frozen=True)
class Table:
    """Heads, and a row of entries for each result; all but the first `names` columns are numbers.

    `minor`: heads of columns that paper has no room for.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    names: int = 1
    minor: frozenset[str] = frozenset()

    def style(self, index: int) -> str:
        """The classes of a column's entries."""
        words = ["num"] * (index >= self.names) + ["minor"] * (self.heads[index] in self.minor)
        return " ".join(words)


@dataclass(frozen=True)
class Figure:
    """What the page shows as one card."""

    title: str
    note: str
    drawing: Markup
    table: Table
    legend: Sequence[tuple[Markup, str]] = ()


@dataclass(frozen=True)
class Names:
    """Labels and colours of series, the same on the whole page."""

    labels: Mapping[Origin, str]
    _given: dict[str, int] = field(default_factory=dict)

    def series(self, origin: Origin) -> Series:
        """That of everything from this origin."""
        return self.named(self.labels[origin])

    def of(self, result: Result) -> str:
        """Origin and network, for a bar."""
        network = "" if result.network == "none" else f", {result.network}"
        return f"{self.labels[result.origin]}{network}"

    def named(self, label: str) -> Series:
        """The series of this label; colours go round in order of appearance."""
        return Series(label, self._given.setdefault(label, len(self._given)))


def _legend(series: Iterable[Series]) -> list[tuple[Markup, str]]:
    return [(svg.swatch(one), one.label) for one in dict.fromkeys(series)]


def workloads(results: Sequence[Result]) -> dict[Result, str]:
    """A name for each result's workload: its row's name, with the shape where one name has several."""
    rests: dict[str, set[tuple[int, ...]]] = {}
    for result in results:
        rests.setdefault(result.name, set()).add(result.shape[1:])
    return {
        r: f"{r.name} {'x'.join(map(str, r.shape[1:]))}" if len(rests[r.name]) > 1 else r.name
        for r in results
    }


def at_one_size(results: Sequence[Result]) -> list[Result]:
    """Of each family the size that most origins have, the largest of those."""
    origins: dict[tuple[object, int], set[Origin]] = {}
    for r in results:
        origins.setdefault((r.family, r.size), set()).add(r.origin)
    best: dict[object, tuple[int, int]] = {}
    for (family, elements), found in origins.items():
        best[family] = max(best.get(family, (0, 0)), (len(found), elements))
    return [r for r in results if r.size == best[r.family][1]]


def dot_figure(
    title: str, note: str, results: Sequence[Result], value: Value, written: Format, names: Names
) -> Figure | None:
    """A mark for each workload and origin that has a positive value."""
    called = workloads(results)
    rows: dict[str, dict[Series, float]] = {}
    lines = []
    for r in results:
        found = value(r)
        if found:
            series = names.series(r.origin)
            rows.setdefault(called[r], {})[series] = found
            lines.append([called[r], sides(r.shape), series.label, written(found)])
    if not rows:
        return None
    return _dotted(title, note, rows, written, Table(["row", "shape", "measured", title], lines, names=3))


def _dotted(
    title: str,
    note: str,
    rows: Mapping[str, Mapping[Series, float]],
    written: Format,
    table: Table,
    one: bool = False,
) -> Figure:
    legend = _legend(series for row in rows.values() for series in row)
    return Figure(title, note, svg.dots(rows, title, written, one), table, legend)


def speedup_figure(title: str, note: str, results: Sequence[Result], names: Names) -> Figure | None:
    """How many times less time, both phases together, our rows take than others' of the same workload."""
    called = workloads(results)
    rows: dict[str, dict[Series, float]] = {}
    lines = []
    for ours, other, ratio in speedups(results):
        series = names.named(f"{names.labels[ours.origin]} over {names.labels[other.origin]}")
        rows.setdefault(called[ours], {})[series] = ratio
        lines.append([called[ours], sides(ours.shape), series.label, times(ratio)])
    if not rows:
        return None
    return _dotted(
        title, note, rows, times, Table(["row", "shape", "speed-up", "times"], lines, names=3), one=True
    )


def speedups(results: Sequence[Result]) -> list[tuple[Result, Result, float]]:
    """(row of ours, row it is compared with, ratio of their total times): the same workload, trust and machine,
    by another system on any backend, or by ours on the CPU where the row is of a GPU."""
    found = []
    for ours in results:
        if ours.origin.system != OURS:
            continue
        for other in results:
            same = (ours.family, ours.size) == (other.family, other.size)
            same = same and (ours.origin.trust, ours.origin.machine) == (
                other.origin.trust,
                other.origin.machine,
            )
            foreign = other.origin.system != ours.origin.system
            slower_device = other.origin.backend == "cpu" != ours.origin.backend
            if same and (foreign or slower_device) and ours.total_s and other.total_s:
                found.append((ours, other, other.total_s / ours.total_s))
    return found


def size_figure(
    title: str,
    note: str,
    axis: str,
    results: Sequence[Result],
    value: Value,
    formats: tuple[Format, Format],
    names: Names,
) -> Figure | None:
    """A curve for each origin over the sizes of one family; none if there is but one size."""
    curves: dict[Series, list[tuple[float, float]]] = {}
    lines = []
    for r in sorted(results, key=lambda r: r.size):
        found = value(r)
        if found and r.size:
            series = names.series(r.origin)
            curves.setdefault(series, []).append((float(r.size), found))
            lines.append([series.label, formats[0](r.size), formats[1](found)])
    if len({x for curve in curves.values() for x, _ in curve}) < 2:
        return None
    table = Table(["measured", axis, title], lines)
    return Figure(title, note, svg.lines(curves, (title, axis), formats), table, _legend(curves))


Phases = tuple[float | None, float | None]


def phase_figure(
    title: str,
    note: str,
    results: Sequence[Result],
    phases: Callable[[Result], Phases],
    written: Format,
    names: Names,
) -> Figure | None:
    """A bar for each origin: (offline, online) one after the other, offline pale."""
    items, lines = [], []
    for r in results:
        offline, online = phases(r)
        if online is None:
            continue
        series, label = names.series(r.origin), names.of(r)
        parts = [(offline or 0.0, f"{series.style} pale", "offline"), (online, series.style, "online")]
        told = [(value, style, f"{word}: {written(value)}") for value, style, word in parts if value]
        text = f"{written(offline)} + {written(online)}" if offline else written(online)
        items.append(Bar(label, told, text))
        total = written((offline or 0.0) + online)
        lines.append([label, "" if offline is None else written(offline), written(online), total])
    if not items:
        return None
    return Figure(
        title, note, svg.bars(items, title), Table(["measured", "offline", "online", "together"], lines)
    )


def bar_figure(
    title: str, note: str, results: Sequence[Result], value: Value, written: Format, names: Names
) -> Figure | None:
    """One bar for each origin that has a value."""
    items, lines = [], []
    for r in results:
        found = value(r)
        if found is not None:
            series = names.series(r.origin)
            items.append(Bar(series.label, [(found, series.style, written(found))], written(found)))
            lines.append([series.label, written(found)])
    if not items:
        return None
    return Figure(title, note, svg.bars(items, title), Table(["measured", title], lines))


def parts_figure(title: str, note: str, results: Sequence[Result], names: Names) -> Figure | None:
    """A bar for each origin, in pieces by part of the layer."""
    rows = [r for r in results if r.parts]
    if not rows:
        return None
    known = list(dict.fromkeys(name for r in rows for name in r.parts))
    series = {name: Series(name, number) for number, name in enumerate(known)}
    items, lines = [], []
    for r in rows:
        label = names.of(r)
        segments = [
            (part["s"], series[name].style, f"{name}: {seconds(part['s'])}") for name, part in r.parts.items()
        ]
        items.append(Bar(label, segments, seconds(sum(part["s"] for part in r.parts.values()))))
        lines += [
            [label, name, seconds(part["s"]), count(part.get("rounds")), size(part.get("bytes"))]
            for name, part in r.parts.items()
        ]
    table = Table(["measured", "part", "online", "rounds", "bytes"], lines, names=2)
    legend = [(svg.patch(one), one.label) for one in series.values()]
    return Figure(title, note, svg.bars(items, title), table, legend)
