"""`fastlmpi calibrate`: narrower rings for attention's scores, measured on texts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from transformer.commands import settings_of
from transformer.options import Model, Profile, Quiet, TaskName

if TYPE_CHECKING:
    from transformer.model import PrivateModel
    from transformer.widths import Widths


def calibrate(
    file: Annotated[Path, typer.Option("--out", help="Where to write the widths (JSON).")],
    texts: Annotated[
        Path, typer.Option(help="File with one text a line: like those that will be asked about.")
    ],
    model: Model = None,
    task: TaskName = None,
    profile: Profile = None,
    margin_bits: Annotated[
        int, typer.Option(min=0, max=16, help="Bits that squared norms may exceed the largest seen.")
    ] = 1,
    quiet: Quiet = False,
) -> None:
    """Measure how large attention's queries and keys get on texts, for narrower rings (with a dealer).

    Give the file to `fastlmpi serve --widths FILE`. A query that leaves the widths is an error at the client, and
    never a wrong answer. Nothing here is private: it runs in clear, where the weights and these texts are.
    """
    from transformer.accuracy import read_texts
    from transformer.calibrate import measure_widths
    from transformer.model import PrivateModel
    from transformer.programs import progress_bars
    from transformer.terms import Terms

    settings = settings_of(None, {"model": model, "task": task, "profile": profile})
    terms = Terms(profile=settings.profile)
    loaded = PrivateModel.load(settings.model, settings.task, terms)
    with progress_bars(quiet) as progress:
        widths = measure_widths(loaded, settings.model, read_texts(texts), margin_bits, progress)
    widths.write(file)
    _show(loaded, widths, file)


def _show(model: PrivateModel, widths: Widths, file: Path) -> None:
    table = Table(title=f"{model.card.name}: bounds of the scores (log2), {widths.texts} texts")
    for column in ("layer", "proven", "calibrated"):
        table.add_column(column, justify="right")
    for i, (proven, found) in enumerate(zip(model.card.ranges.layers, widths.layers, strict=True)):
        table.add_row(str(i), str(proven.score), f"{(found.query + found.key) / 2:g}")
    console = Console(markup=False)
    console.print(table)
    console.print(
        f"written to {file}; use it with: fastlmpi serve --trust dealer --widths {file}", soft_wrap=True
    )
