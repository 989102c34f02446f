"""Rows of results files, read so that none can break the page: what is missing or of another kind counts as null.

Rows of several machines, versions and systems may stand in one file; what tells them apart is their `Origin`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import isfinite, prod
from pathlib import Path
from typing import Any, NamedTuple

LONGEST_NAME = 60
MOST_SIDES, LARGEST_SIDE = 16, 1 << 48  # of a shape: the product is a float's
OURS = "fastlmpi"  # rows without a `system` are our own


class ReportError(ValueError):
    """A results file that cannot be read; the message says which, where and why."""


class Origin(NamedTuple):
    """Who measured a row, and where. The order is that in which names are lengthened to tell series apart."""

    system: str
    trust: str
    backend: str
    profile: str
    machine: str
    device: str
    commit: str


class Family(NamedTuple):
    """Workloads that differ in their size alone: elements of a protocol, texts of a layer or model."""

    bench: str
    name: str
    rest: tuple[int, ...]
    network: str


@dataclass(frozen=True, eq=False)
class Result:
    """One row."""

    values: Mapping[str, Any]
    file: str

    def text(self, key: str) -> str:
        """A string, or "" for null; numbers as they are written."""
        value = self.values.get(key)
        return "" if value is None else value if isinstance(value, str) else json.dumps(value)

    def number(self, key: str) -> float | None:
        """A finite number of 0 or more."""
        return _number(self.values.get(key))

    def sum_of(self, *keys: str) -> float | None:
        """The sum of those that are known; null if none is."""
        known = [value for value in map(self.number, keys) if value is not None]
        return sum(known) if known else None

    @property
    def bench(self) -> str:
        return self.text("bench") or "unnamed"

    @property
    def name(self) -> str:
        """Of the workload: a model's is its own."""
        return (self.text("model") if self.bench == "model" else "") or self.text("name") or self.bench

    @cached_property
    def shape(self) -> tuple[int, ...]:
        found = self.values.get("shape")
        sides = found[:MOST_SIDES] if isinstance(found, list) else []
        return tuple(side for side in sides if type(side) is int and 0 <= side < LARGEST_SIDE)

    @cached_property
    def origin(self) -> Origin:
        described = {key: self.text(key) for key in Origin._fields}
        return Origin(**described | {"system": described["system"] or OURS})

    @property
    def network(self) -> str:
        return self.text("network") or "none"

    @property
    def family(self) -> Family:
        return Family(self.bench, self.name, self.shape[1:], self.network)

    @property
    def size(self) -> int:
        """What tells the members of a family apart: elements of a protocol or kernel, texts otherwise."""
        if not self.shape:
            return 0
        return self.shape[0] if self.bench in ("layer", "model") else prod(self.shape)

    @property
    def online_s(self) -> float | None:
        return self.number("online_s")

    @property
    def offline_s(self) -> float | None:
        return self.number("offline_s")

    @property
    def total_s(self) -> float | None:
        """Both phases; null without an online time."""
        return None if self.online_s is None else self.online_s + (self.offline_s or 0.0)

    @property
    def online_bytes(self) -> float | None:
        """Both directions; all that crossed for systems that do not tell phases apart."""
        return self.sum_of("online_bytes_sent", "online_bytes_received") or self.number("total_bytes")

    @property
    def total_bytes(self) -> float | None:
        """Both directions and both phases, the dealer's included."""
        counted = self.sum_of("online_bytes_sent", "online_bytes_received", "offline_bytes")
        return counted or self.number("total_bytes")

    @cached_property
    def parts(self) -> dict[str, dict[str, float]]:
        """Of a layer: name -> seconds (`s`), `rounds`, `bytes` online."""
        found = self.values.get("parts")
        if not isinstance(found, dict):
            return {}
        kept = {}
        for name, part in found.items():
            numbers = {k: _number(v) for k, v in part.items()} if isinstance(part, dict) else {}
            if numbers.get("s") is not None:
                kept[str(name)] = {key: value for key, value in numbers.items() if value is not None}
        return kept


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        found = float(value)
    except OverflowError:
        return None
    return found if isfinite(found) and found >= 0 else None


def read_files(files: Sequence[Path]) -> list[Result]:
    """All rows in order. Raises ReportError for a file that is not JSON lines, with the line."""
    return [result for file in files for result in _read(file)]


def _read(file: Path) -> Iterable[Result]:
    try:
        lines = file.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{file} cannot be read: {error}") from None
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            values = json.loads(line)
        except (ValueError, RecursionError):
            values = None
        if not isinstance(values, dict):
            raise ReportError(f"{file}, line {number}: not a JSON object; python -m bench writes one a line")
        yield Result(values, file.name)


def latest(results: Iterable[Result]) -> list[Result]:
    """Of rows that measure the same thing the last one, in the order of first appearance."""
    return list({(result.origin, result.family, result.size): result for result in results}.values())


def labels(origins: Iterable[Origin]) -> dict[Origin, str]:
    """Names for series, no longer than it takes to tell them apart: the system, then what differs.

    Machines are named as soon as there are several, so that nobody compares them unawares.
    """
    distinct = list(dict.fromkeys(origins))
    named = {origin: origin.system for origin in distinct}
    for key in Origin._fields[1:]:
        values: dict[str, set[str]] = {}
        for origin in distinct:
            values.setdefault("" if key == "machine" else named[origin], set()).add(getattr(origin, key))
        for origin in distinct:
            rivals = values["" if key == "machine" else named[origin]]
            if len(rivals - {""}) > 1 and getattr(origin, key):
                named[origin] += f", {short(getattr(origin, key))}"
    return named


def short(text: str) -> str:
    """A machine's or device's name without what says nothing, cut to what a legend has room for."""
    for noise in ("(R)", "(TM)", ", Linux"):
        text = text.replace(noise, "")
    text = " ".join(text.split())
    return text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"
