"""A study for people and for programs: a table, JSON, and a plot."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from transformer.accuracy import Figures, Study


def show(study: Study, console: Console) -> None:
    """The table, and what to know about it."""
    first = study.figures[0]
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        title=f"{study.model}, {study.task}: {first.texts} texts of up to {first.length} tokens, emulated",
        caption="layers: relative error of the last hidden states; cosine: the least; error: the largest of an "
        f"output; online, offline: MB of one text, trust {study.trust}; s: to emulate all",
    )
    for column in _columns(study):
        table.add_column(column, justify="left" if column == "profile" else "right", no_wrap=True)
    for figures in study.figures:
        table.add_row(*_columns_of(figures))
    console.print(table)
    if any(f.private for f in study.figures):
        console.print(_private_table(study))
    for figures in study.figures:
        if figures.tuned:
            line = f"{figures.profile} needs a model fine-tuned to {figures.tuned}: see docs/profiles.md"
            console.print(line, soft_wrap=True)


def _mb(count: int) -> str:
    return f"{count / 1e6:.1f}"


def _columns(study: Study) -> list[str]:
    classes = study.figures[0].agreement is not None
    labels = study.figures[0].accuracy is not None
    return [
        "profile",
        "layers",
        "cosine",
        "error",
        *(["same"] if classes else []),
        *(["right (clear)"] if labels else []),
        "online",
        "offline",
        "rounds",
        "s",
    ]


def _columns_of(f: Figures) -> list[str]:
    return [
        f.profile + ("*" if f.tuned else ""),
        f"{f.layers[-1]:.1e}",
        f"{f.cosine_min:.6f}",
        f"{f.max_abs_error:.1e}",
        *([] if f.agreement is None else [f"{f.agreement:.1%}"]),
        *([] if f.accuracy is None else [f"{f.accuracy:.1%} ({f.clear_accuracy:.1%})"]),
        _mb(f.online_bytes),
        _mb(f.offline_bytes),
        str(f.rounds),
        f"{f.emulated_s:.1f}",
    ]


def _private_table(study: Study) -> Table:
    table = Table(
        box=None,
        padding=(0, 2, 0, 0),
        pad_edge=False,
        title="The first texts, private, between processes on this machine",
        caption="s, MB: online, and before that to make the correlations; rounds: of one of the queries; "
        "off: the largest difference of an output from the emulation's",
    )
    for column in ("profile", "texts", "before: s", "MB", "online: s", "MB", "rounds", "off", "same"):
        table.add_column(column, justify="left" if column == "profile" else "right", no_wrap=True)
    for f in study.figures:
        if f.private is None:
            continue
        p = f.private
        row = [f"{p.offline_s:.1f}", _mb(p.offline_bytes), f"{p.online_s:.1f}", _mb(p.online_bytes)]
        agreement = "" if p.agreement is None else f"{p.agreement:.0%}"
        table.add_row(f.profile, str(p.texts), *row, str(p.rounds), f"{p.max_difference:.1e}", agreement)
    return table


def write_json(study: Study, path: Path) -> None:
    """All figures as one object."""
    path.write_text(json.dumps(asdict(study), indent=1) + "\n", encoding="utf-8")


def plot(study: Study, path: Path) -> None:
    """A PNG: the hidden states' error by layer, and the largest error of outputs against online bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    layers, costs = figure.subplots(1, 2)
    for f in study.figures:
        (line,) = layers.plot(range(len(f.layers)), f.layers, marker="o", markersize=3, label=f.profile)
        costs.plot(f.online_bytes / 1e6, f.max_abs_error, "o", color=line.get_color())
        costs.annotate(f.profile, (f.online_bytes / 1e6, f.max_abs_error), fontsize=8)
    layers.set(xlabel="layer", ylabel="relative error of hidden states", yscale="log", title=study.model)
    layers.legend(fontsize=8)
    costs.set(xlabel="MB online, one text", ylabel="largest error of outputs", yscale="log")
    figure.savefig(path, dpi=140, format="png")
