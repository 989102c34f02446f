"""`fastlmpi report`: what is on the page, for whole rows and for broken ones, and how a real browser shows it."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bench.prices import Prices
from bench.report import figures, svg
from bench.report import results as rows_of
from bench.report.cost import cost_of
from bench.report.page import page
from bench.units import count, number, seconds, size, times
from tests.bench.test_commands import KEYS
from tests.support.browser import Browser, Page, find_browser
from transformer.cli import app

ROOT = Path(__file__).parents[2]
HOSTILE = "</title><script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
VOID = {"meta", "img", "br", "link", "input"}


def row(**values: Any) -> dict[str, Any]:
    """A row with all keys of the contract, null where not given."""
    return dict.fromkeys(KEYS) | {"bench": "protocols", "name": "mul", "shape": [1000]} | values


def timed(**values: Any) -> dict[str, Any]:
    return row(
        **{"online_s": 0.02, "offline_s": 0.5, "rounds": 3, "trust": "dealer", "backend": "cpu", "network": "none",
           "online_bytes_sent": 1000, "online_bytes_received": 2000, "offline_bytes": 4_000_000, "cpu_s": 7.2,
           "machine": "abacus", "repeats": 3} | values
    )  # fmt: skip


PARTS = {"linear": {"s": 0.2, "rounds": 4, "bytes": 5e6}, "softmax": {"s": 0.1, "rounds": 9, "bytes": 2e6}}
LAYER = {"bench": "layer", "name": "layer", "shape": [1, 128, 768, 12, 3072]}
MIXED = [
    *(timed(name=name, online_s=t, shape=[n]) for name, t in (("mul", 0.07), ("compare", 0.4)) for n in (10, 1000)),
    *(timed(name="mul", trust="two-party", online_s=n / 1e6, shape=[n]) for n in (10, 1000, 100_000)),
    timed(name="mul", backend="cuda", online_s=0.001, offline_s=0.001, device="H200"),
    timed(name="mul", system="crypten", online_s=2.08, offline_s=None),
    timed(name="mul", commit="0123456789ab", network="wan"),
    timed(name="mul", commit="ba9876543210", network="wan", machine="another"),
    timed(**LAYER, parts=PARTS, cost=0.25),
    timed(**LAYER, network="wan", online_s=2.4),
    timed(**LAYER, system="spu-cheetah", trust="two-party", online_s=130, offline_s=None),
    timed(**LAYER | {"shape": [8, 128, 768, 12, 3072]}, online_s=1.5),
    timed(bench="model", name="model", model="bert-base", shape=[1, 128, 12, 768, 12, 3072, 30522]),
    row(bench="kernels", name="copy", gb_per_s=27.3, items_per_s=1.7e9, online_s=0.01, shape=[1 << 24]),
    row(bench="kernels", name="matmul", gb_per_s=2.0, gops=48.8, online_s=0.003, shape=[128, 768, 768]),
]  # fmt: skip
BROKEN = [
    {},
    {"bench": None, "name": None, "shape": None},
    row(online_s=float("nan"), rounds="many", shape="big", online_bytes_sent=True, machine=7),
    row(online_s=-1, offline_s=float("inf"), shape=[1, "x", None, 2.5, True], parts=[1, 2]),
    row(
        bench="layer",
        name="layer",
        parts={"a": 1, "b": {"s": "x"}, "c": {"s": 1, "rounds": None}},
        online_s=0,
    ),
    row(
        bench=HOSTILE,
        name=HOSTILE,
        online_s=1,
        machine=HOSTILE,
        system=HOSTILE,
        network=HOSTILE,
        device=HOSTILE,
    ),
    row(bench="model", name="model", model=HOSTILE, online_s=1e9, shape=[]),
    row(online_s=1e-12, name="tiny\x00\x1b"),
    timed(name="x" * 3000, machine="y" * 3000),
    timed(online_s=10**400, rounds=-(10**400), shape=[10**400, -5, 2**40]),
    timed(name="huge", shape=[2**40] * 1000),
    timed(name="half a pair \ud800", machine="\ud800", note="\u2028"),
    row(bench="layer", name="layer", parts={"\ud800": {"s": 1}}, online_s=1),
]


def read(rows: list[dict[str, Any]]) -> list[rows_of.Result]:
    return [rows_of.Result(values, "rows.jsonl") for values in rows]


def written(tmp_path: Path, rows: list[dict[str, Any]]) -> Path:
    file = tmp_path / "rows.jsonl"
    file.write_text("".join(json.dumps(values) + "\n" for values in rows), encoding="utf-8")
    return file


def invoke(*argv: str) -> Result:
    return CliRunner().invoke(app, ["report", *argv])


class Outline(HTMLParser):
    """Elements in order, text by element; fails for tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    def count(self, tag: str) -> int:
        return sum(seen == tag for seen, _ in self.seen)


def test_the_page_holds_the_numbers_and_asks_for_nothing(tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = invoke(str(written(tmp_path, MIXED)), "--out", str(out), "--title", "Ours & theirs")
    assert done.exit_code == 0, done.output
    assert f"{len(MIXED)} rows" in done.stdout
    text = out.read_text(encoding="utf-8")
    outline = Outline(text)
    assert outline.texts["title"][0] == "Ours & theirs"
    assert outline.texts["h2"] == ["Whole models", "One encoder layer", "Protocols", "Kernels", "Machines"]
    for tag in ("script", "link", "img", "iframe", "object"):
        assert not outline.count(tag)
    assert not re.search(r"(?:src|href)=\"(?!#)|url\(|@import|https?:", text)
    policy = {attrs.get("content") for tag, attrs in outline.seen if tag == "meta"}
    assert "default-src 'none'; style-src 'unsafe-inline'" in policy
    entries = set(outline.texts["td"])
    for entry in ("70 ms", "2.08 s", "4 MB", "wan", "0.25", "27.3", "48.8", "abacus", "0123456789ab"):
        assert entry in entries, entry


def test_every_plot_has_a_name_and_a_table() -> None:
    outline = Outline(page(read(MIXED), "t", Prices()))
    drawings = [attrs for tag, attrs in outline.seen if tag == "svg" and attrs.get("role") == "img"]
    assert len(drawings) == outline.count("figure") == outline.count("details") > 20
    assert all(attrs["aria-label"] for attrs in drawings)
    assert outline.count("table") == outline.count("caption") == outline.count("figure") + 5
    assert outline.count("h1") == 1


@pytest.mark.parametrize("rows", [[], BROKEN, *([one] for one in BROKEN), BROKEN + MIXED])
def test_any_rows_make_a_page(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    out = tmp_path / "page.html"
    done = invoke(str(written(tmp_path, rows)), "--out", str(out))
    assert done.exit_code == 0, repr(done.exception)
    outline = Outline(out.read_text(encoding="utf-8"))
    assert not outline.count("script") and not outline.count("img")
    assert not any(key.startswith("on") for _, attrs in outline.seen for key in attrs)
    assert not re.search(r"\bnan\b|\binf\b|None", "".join(outline.texts.get("td", [])))


def test_files_that_are_no_rows_are_named(tmp_path: Path) -> None:
    file = written(tmp_path, [timed()])
    file.write_text(file.read_text() + "\n[1, 2]\n")
    for content, message in ((file, "line 3"), (tmp_path / "absent.jsonl", "cannot be read")):
        done = invoke(str(content), "--out", str(tmp_path / "page.html"))
        assert done.exit_code == 2
        assert message in " ".join(done.stderr.split())
    assert not (tmp_path / "page.html").exists()


def test_series_are_named_by_what_differs() -> None:
    same = {"trust": "dealer", "machine": "abacus"}
    found = read([row(**same), row(**same, backend="cuda"), row(**same, system="crypten", backend="cpu")])
    named = rows_of.labels(r.origin for r in found)
    assert list(named.values()) == ["fastlmpi", "fastlmpi", "crypten"], "null is no difference"
    found = read([row(**same, backend="cpu"), row(**same, backend="cuda", device="Some(R) Device")])
    assert list(rows_of.labels(r.origin for r in found).values()) == ["fastlmpi, cpu", "fastlmpi, cuda"]
    found = read([row(machine="abacus"), row(system="crypten", machine="another")])
    assert list(rows_of.labels(r.origin for r in found).values()) == ["fastlmpi, abacus", "crypten, another"]
    assert rows_of.short("Some(R) Chip,  2 cores, Linux") == "Some Chip, 2 cores"


def test_the_last_of_equal_rows_is_shown() -> None:
    found = rows_of.latest(read([timed(online_s=1), timed(online_s=2, network="wan"), timed(online_s=3)]))
    assert [r.online_s for r in found] == [3, 2]


def test_speedups_compare_like_with_like() -> None:
    ours = timed(online_s=0.5, offline_s=0.5)
    others = [
        timed(system="crypten", online_s=4.0, offline_s=None),
        timed(system="crypten", online_s=5.0, trust="two-party"),
        timed(system="crypten", online_s=6.0, machine="another"),
        timed(system="crypten", online_s=7.0, shape=[2000]),
        timed(system="crypten", online_s=8.0, network="wan"),
        timed(system="crypten", online_s=None),
    ]
    gpu = timed(backend="cuda", online_s=0.1, offline_s=0.1)
    found = figures.speedups(read([ours, *others, gpu]))
    assert [(a.origin.backend, b.origin.system, ratio) for a, b, ratio in found] == [
        ("cpu", "crypten", pytest.approx(4)),
        ("cuda", "fastlmpi", pytest.approx(5)),
        ("cuda", "crypten", pytest.approx(20)),
    ]


def test_one_size_of_each_family_is_compared() -> None:
    found = read([timed(shape=[n]) for n in (10, 100, 1000)] + [timed(shape=[100], system="crypten")])
    assert [r.size for r in figures.at_one_size(found)] == [100, 100]


def test_costs() -> None:
    (known,) = read([timed(cpu_s=3600, gpu_s=7200, cost=9.5)])
    (unknown,) = read([row()])
    assert cost_of(Prices(), known) == 9.5
    assert cost_of(Prices(0.05, 2.0), known) == pytest.approx(0.05 + 4)
    assert cost_of(Prices(0.05), known) == pytest.approx(0.05)
    assert cost_of(Prices(0.05, 2.0), unknown) is None is cost_of(Prices(), unknown)


def test_axes_have_round_ticks() -> None:
    assert svg.LogAxis([0.002, 3], 0, 100).ticks == pytest.approx([0.01, 0.1, 1])
    assert svg.LogAxis([3, 4], 0, 100).ticks == pytest.approx([2, 5])
    axis = svg.LogAxis([1, 100], 10, 110)
    assert [axis(1), axis(10), axis(100)] == pytest.approx([10, 60, 110])
    assert len(svg.LogAxis([1e-9, 1e9], 0, 1).ticks) <= svg.MOST_TICKS + 1


def test_numbers_are_written_for_people() -> None:
    assert [seconds(1234.5), seconds(0.25), size(1.5e12), size(999)] == [
        "1234 s",
        "250 ms",
        "1.5 TB",
        "999 B",
    ]
    assert [count(8.85e6), count(40), count(None), number(0.123)] == ["8.85 M", "40", "", "0.12"]
    assert [times(12.34), times(None)] == ["12.3 ×", ""]


needs_browser = pytest.mark.skipif(find_browser() is None, reason="no Chromium or Chrome on PATH")
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
#: Drawings that have no size, or of which a letter or mark lies outside the card.
OUTSIDE = """[...document.querySelectorAll('figure')].filter(figure => {
  const card = figure.getBoundingClientRect(), drawing = figure.querySelector(':scope > svg');
  if (!drawing || drawing.getBoundingClientRect().height < 30) return true;
  return [...drawing.querySelectorAll('text, path, rect')].some(part => {
    const box = part.getBoundingClientRect();
    return box.left < card.left - 1 || box.right > card.right + 1 || box.bottom > card.bottom;
  });
}).map(figure => figure.querySelector('h4').textContent)"""
LETTERS = (
    "Math.min(...[...document.querySelectorAll('figure text')].map(t => t.getBoundingClientRect().height))"
)
CONTRAST = """(() => {
  const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = c => {const [r, g, b] = c.match(/[0-9.]+/g).map(Number).map(channel);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b};
  const card = light(getComputedStyle(document.querySelector('figure')).backgroundColor);
  const kinds = ['figure text', '.legend span', 'figcaption p', 'td', 'figure h4'];
  return Math.min(...kinds.map(kind => {
    const style = getComputedStyle(document.querySelector(kind));
    const ink = light(kind.endsWith('text') ? style.fill : style.color);
    return (Math.max(ink, card) + 0.05) / (Math.min(ink, card) + 0.05)}));
})()"""


@needs_browser
def test_in_a_browser(tmp_path: Path) -> None:
    """Phone and desktop, light and dark, and on paper; the rows of this repository and broken ones among them."""
    kept = rows_of.read_files(sorted((ROOT / "bench" / "results").glob("*.jsonl")))
    file = tmp_path / "page.html"
    file.write_text(page(kept + read(MIXED + BROKEN), "Benchmarks", Prices(0.04, 2.5)), encoding="utf-8")
    shots = set()
    with Browser(str(find_browser())) as browser:
        for width, dark in ((390, False), (390, True), (1280, False), (1280, True)):
            shown = browser.open(file.as_uri(), width, dark)
            shots.add(shown.screenshot(tmp_path / f"{width}-{dark}.png"))
            check_view(shown, width)
            assert shown.requests == [file.as_uri()]
            assert shown.complaints == []
        paper = shown.pdf(tmp_path / "page.pdf")
        assert tables_on_paper(shown)
    assert len(shots) == 4, "dark is not light"
    assert paper.startswith(b"%PDF")


def check_view(shown: Page, width: int) -> None:
    """Nothing is wider than the window or its card; letters can be read; wide tables scroll by themselves."""
    assert shown.evaluate("innerWidth") == width
    assert shown.evaluate(OVERFLOW) == 0
    assert shown.evaluate("document.querySelectorAll('figure').length") > 20
    assert shown.evaluate(OUTSIDE) == []
    assert shown.evaluate(LETTERS) > 9.5
    assert shown.evaluate(CONTRAST) > 4.5
    assert shown.evaluate("getComputedStyle(document.querySelector('.scroll')).overflowX") == "auto"
    scrolls = "[...document.querySelectorAll('.scroll')].some(s => s.scrollWidth > s.clientWidth)"
    assert shown.evaluate(scrolls)


def tables_on_paper(shown: Page) -> bool:
    """Whether tables that are folded on the screen are open in print."""
    shown.call("Emulation.setEmulatedMedia", media="print")
    found: bool = shown.evaluate(
        "[...document.querySelectorAll('details table')].every(t => t.getBoundingClientRect().height > 10)"
        " && getComputedStyle(document.querySelector('nav')).display == 'none'"
    )
    return found
