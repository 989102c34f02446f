"""`fastlmpi accuracy`: profiles beside the clear-text model."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from transformer.commands import settings_of, to_be_written
from transformer.options import (
    JsonFile,
    Model,
    Quiet,
    TaskName,
    Texts,
)


def accuracy(
    model: Model = None,
    profile: Annotated[str, typer.Option(help="Profiles, separated by commas, or all.")] = "precise,fastlmpi",
    text: Texts = None,
    texts: Annotated[Path | None, typer.Option(help="File with one text a line.")] = None,
    labelled: Annotated[Path | None, typer.Option(help="File with lines LABEL, tab, TEXT.")] = None,
    private: Annotated[int, typer.Option(min=0, help="How many of the texts also run privately.")] = 0,
    task: TaskName = None,
    trust: Annotated[str, typer.Option(help="dealer or two-party, for costs and private runs.")] = "dealer",
    backend: Annotated[str, typer.Option(help="cpu, cuda or reference, of the private runs.")] = "cpu",
    json_file: JsonFile = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write a plot (PNG) to this file.", callback=to_be_written)
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Compare profiles with the clear-text model: error by layer, classes, accuracy, bytes, rounds, time.

    All texts are emulated in clear, which is fast; --private N runs the first N of them between processes too.
    """
    from transformer.accuracy import asked, chosen_profiles, study
    from transformer.accuracy_report import plot as draw
    from transformer.accuracy_report import show, write_json
    from transformer.programs import progress_bars

    given = {"model": model, "task": task, "trust": trust, "backend": backend}
    question = asked(settings_of(None, given), text, texts, labelled, private)
    with progress_bars(quiet) as progress:
        found = study(question, chosen_profiles(profile), progress)
    show(found, Console(markup=False))
    if json_file is not None:
        write_json(found, json_file)
    if plot is not None:
        draw(found, plot)
