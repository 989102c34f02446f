"""Plots as inline SVG: lines on logarithmic axes, dots by row, stacked bars.

All are WIDTH wide and scale with their column, so that letters stay readable on a phone; colours, marks and fonts
are classes of the page's style sheet. Text is escaped by `element`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import ceil, floor, log10

from markupsafe import Markup, escape

WIDTH = 360
COLOURS = 8
RADIUS = 4.5
LINES_HEIGHT = 236
ROW_HEIGHT, BAR_HEIGHT = 22, 40
NAMES_WIDTH = 118  # of dot plots' rows
MOST_TICKS = 6
LABEL_CHARACTERS = 51  # of a bar

Format = Callable[[float], str]


@dataclass(frozen=True)
class Series:
    """What is drawn in one colour and mark, and what the legend calls it."""

    label: str
    number: int

    @property
    def style(self) -> str:
        return f"c{self.number % COLOURS}"


@dataclass(frozen=True)
class Bar:
    """A bar: its name, its segments from left to right (value, class, name), and what is written beside it."""

    label: str
    segments: Sequence[tuple[float, str, str]]
    text: str


def element(name: str, *children: str, **attributes: object) -> Markup:
    """An element; `_` in attributes is `-`, a final one is dropped (class_). Children but Markup are text."""
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_short(value))}"' for key, value in attributes.items()
    )
    inside = "".join(str(escape(child)) for child in children)
    return Markup(f"<{name}{written}>{inside}</{name}>")  # noqa: S704 - every part is escaped


def _short(value: object) -> object:
    return f"{value:.1f}" if isinstance(value, float) else value


def _drawing(height: float, described: str, *children: str) -> Markup:
    return element(
        "svg", element("title", described), *children,
        viewBox=f"0 0 {WIDTH} {height:.0f}", role="img", aria_label=described,
    )  # fmt: skip


def _text(text: str, x: float, y: float, style: str) -> Markup:
    return element("text", text, x=x, y=y, class_=style)


def mark(series: Series, x: float, y: float, told: str = "") -> Markup:
    """The series' mark at a point, with its value for a pointer."""
    r = RADIUS
    shapes = [
        f"M{x - r:.1f} {y:.1f}a{r} {r} 0 1 0 {2 * r} 0a{r} {r} 0 1 0 {-2 * r} 0Z",
        _path((x - r, y - r), (x + r, y - r), (x + r, y + r), (x - r, y + r)),
        _path((x, y - 1.3 * r), (x + 1.2 * r, y + 0.9 * r), (x - 1.2 * r, y + 0.9 * r)),
        _path((x, y - 1.4 * r), (x + 1.4 * r, y), (x, y + 1.4 * r), (x - 1.4 * r, y)),
        _path((x, y + 1.3 * r), (x + 1.2 * r, y - 0.9 * r), (x - 1.2 * r, y - 0.9 * r)),
    ]
    told_by = [element("title", told)] if told else []
    return element("path", *told_by, d=shapes[series.number % len(shapes)], class_=f"mark {series.style}")


def _path(*corners: tuple[float, float], close: str = "Z") -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners) + close


class LogAxis:
    """From values to places between two ends, with ticks at round numbers."""

    def __init__(self, values: Sequence[float], start: float, end: float) -> None:
        low, high = log10(min(values)), log10(max(values))
        if high - low < 0.5:  # one value, or nearly: room around it
            low, high = low - 0.3, high + 0.3
        self._low, self._high = low, high
        self._start, self._end = start, end

    def __call__(self, value: float) -> float:
        share = (log10(value) - self._low) / (self._high - self._low)
        return self._start + share * (self._end - self._start)

    @property
    def ticks(self) -> list[float]:
        """Powers of ten, or 1, 2 and 5 of each where fewer than two would fit."""
        exponents = range(floor(self._low), ceil(self._high) + 1)
        decades = [10.0**e for e in exponents if self._low - 1e-9 <= e <= self._high + 1e-9]
        if len(decades) >= 2:
            return decades[:: ceil(len(decades) / MOST_TICKS)]
        finer = [digit * 10.0**e for e in exponents for digit in (1, 2, 5)]
        return [tick for tick in finer if self._low - 1e-9 <= log10(tick) <= self._high + 1e-9]


def lines(
    curves: Mapping[Series, Sequence[tuple[float, float]]],
    named: tuple[str, str],
    formats: tuple[Format, Format],
) -> Markup:
    """A curve for each series, both axes logarithmic. All numbers are positive. `named`: the plot, the x axis."""
    left, right, top, bottom = 62.0, WIDTH - 14.0, 12.0, LINES_HEIGHT - 40.0
    points = [point for curve in curves.values() for point in curve]
    across = LogAxis([x for x, _ in points], left + 6, right - 6)
    up = LogAxis([y for _, y in points], bottom - 6, top + 6)
    drawn: list[Markup] = []
    for tick in up.ticks:
        y = up(tick)
        drawn.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
        drawn.append(_text(formats[1](tick), left - 6, y + 4, "end"))
    for tick in across.ticks:
        x = across(tick)
        drawn.append(element("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
        drawn.append(_text(formats[0](tick), x, bottom + 16, "middle"))
    drawn.append(_text(named[1], (left + right) / 2, bottom + 33, "middle axis"))
    for series, curve in curves.items():
        places = [(across(x), up(y)) for x, y in sorted(curve)]
        drawn.append(element("path", d=_path(*places, close=""), class_=f"curve {series.style}"))
        for (x, y), (px, py) in zip(sorted(curve), places, strict=True):
            drawn.append(mark(series, px, py, f"{series.label}: {formats[1](y)} at {formats[0](x)}"))
    return _drawing(LINES_HEIGHT, named[0], *drawn)


def dots(
    rows: Mapping[str, Mapping[Series, float]], named: str, written: Format, one: bool = False
) -> Markup:
    """A row for each name with a mark per series on one logarithmic axis. `one`: a line where 1 is."""
    left, right, top = float(NAMES_WIDTH), WIDTH - 16.0, 6.0
    bottom = top + ROW_HEIGHT * len(rows)
    values = [value for row in rows.values() for value in row.values()]
    axis = LogAxis([*values, 1.0] if one else values, left + 8, right - 6)
    drawn: list[Markup] = []
    for tick in axis.ticks:
        x = axis(tick)
        drawn.append(
            element("line", x1=x, x2=x, y1=top, y2=bottom, class_="one" if one and tick == 1 else "grid")
        )
        drawn.append(_text(written(tick), x, bottom + 16, "middle"))
    for index, (name, row) in enumerate(rows.items()):
        y = top + ROW_HEIGHT * (index + 0.5)
        drawn.append(_text(_cut(name, 18), left - 6, y + 4, "end code"))
        ends = [axis(value) for value in row.values()]
        drawn.append(element("line", x1=min(ends), x2=max(ends), y1=y, y2=y, class_="reach"))
        drawn += [
            mark(series, axis(value), y, f"{name}, {series.label}: {written(value)}")
            for series, value in row.items()
        ]
    return _drawing(bottom + 26, named, *drawn)


def bars(items: Sequence[Bar], named: str) -> Markup:
    """A bar below each name, all on one scale from zero."""
    longest = max(sum(value for value, _, _ in bar.segments) for bar in items) or 1.0
    scale = (WIDTH - 4) / longest
    drawn: list[Markup] = []
    for index, bar in enumerate(items):
        y = BAR_HEIGHT * index
        room = LABEL_CHARACTERS - len(bar.text)
        drawn.append(
            element("text", element("title", bar.label), _cut(bar.label, room), x=0, y=y + 15, class_="name")
        )
        drawn.append(_text(bar.text, WIDTH - 2.0, y + 15, "end value"))
        drawn.append(element("rect", x=0, y=y + 21, width=WIDTH - 2.0, height=12, class_="track", rx=2))
        ends = [0.0]
        for value, _, _ in bar.segments:
            ends.append(ends[-1] + value * scale)
        for (start, end), (_, style, told) in zip(pairwise(ends), bar.segments, strict=True):
            width = max(end - start - 1.0, 0.8)
            drawn.append(
                element(
                    "rect",
                    element("title", told),
                    x=start,
                    y=y + 21,
                    width=width,
                    height=12,
                    class_=style,
                    rx=2,
                )
            )
    return _drawing(BAR_HEIGHT * len(items), named, *drawn)


def swatch(series: Series) -> Markup:
    """The mark of a series, for a legend."""
    return element("svg", mark(series, 7, 7), viewBox="0 0 14 14", class_="swatch", aria_hidden="true")


def patch(series: Series) -> Markup:
    """The colour of a series, for a legend of bars."""
    box = element("rect", x=1, y=1, width=12, height=12, rx=2, class_=series.style)
    return element("svg", box, viewBox="0 0 14 14", class_="swatch", aria_hidden="true")


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: max(characters - 1, 1)] + "…"
