"""`fastlmpi fit`: a function in, a table for `activation`, a report and a picture out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from transformer.commands import to_be_written
from transformer.errors import InputError

MISSING = "fastlmpi fit needs scipy and matplotlib: pip install 'fastlmpi[fit]'"


def fit(
    function: Annotated[
        str,
        typer.Argument(
            help="gelu, gelu_tanh, silu, tanh, sigmoid, erf, exp, mish, softplus; or a name of yours."
        ),
    ],
    degree: Annotated[int, typer.Option(help="Degree of every piece, 1 to 4.")] = 3,
    pieces: Annotated[
        int | None, typer.Option(help="Pieces between the limits [default: the fewest that keep --error].")
    ] = None,
    span: Annotated[
        str | None, typer.Option("--range", help="LO,HI: where it matters [default: the function's own].")
    ] = None,
    norm: Annotated[str, typer.Option(help="minimax (least largest error) or squares.")] = "minimax",
    error: Annotated[float, typer.Option(help="The largest error aimed at.")] = 5e-4,
    code: Annotated[
        str | None,
        typer.Option(
            "--callable",
            help="MODULE:FUNCTION, any Python function of one number or array. It is imported from here and run.",
        ),
    ] = None,
    json_file: Annotated[
        Path | None,
        typer.Option("--json", help="Write report and table to this file.", callback=to_be_written),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(help="Draw function and errors to this file (.png).", callback=to_be_written),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No counter.")] = False,
) -> None:
    """Fit a function by continuous pieces, for evaluation on shares.

    Finds breakpoints, window and integer coefficients; says what the fit is worth, beside published ones, and what
    it costs to evaluate in a 64-bit ring. The --json file holds a table for gpu_ss.functions.activation, see
    docs/fitting.md.
    """
    found = run_fit(function, degree, pieces, parse_range(span), norm, error, code, plot, quiet)
    show(found, Console(markup=False))
    if json_file is not None:
        json_file.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def parse_range(text: str | None) -> tuple[float, float] | None:
    """LO,HI as numbers. Raises InputError."""
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--range is LO,HI, such as -8,8, not {text!r}") from None
    return low, high


def run_fit(
    name: str,
    degree: int,
    pieces: int | None,
    span: tuple[float, float] | None,
    norm: str,
    error: float,
    code: str | None,
    plot: Path | None,
    quiet: bool,
) -> dict[str, Any]:
    """Fit, measure, draw; the report. Raises FitError, InputError (what to install, unusable options)."""
    try:
        from gpu_ss.functions.fitting import library, report, search

        if plot is not None:
            from gpu_ss.functions.fitting.plot import check_format, draw
    except ModuleNotFoundError as missing:
        if missing.name is None or missing.name.split(".")[0] not in ("scipy", "matplotlib"):
            raise
        raise InputError(f"{missing.name.split('.')[0]} is not installed. {MISSING}") from None
    if plot is not None:
        check_format(plot)
    target = library.target(name, span, code)
    with _counting(quiet) as progress:
        fitted = search.fit(target, search.Wanted(degree, pieces, norm, error), progress)
    if plot is not None:
        draw(target, fitted, plot)
    return report.report(target, fitted)


def show(found: dict[str, Any], console: Console) -> None:
    """The report for people."""
    low, high = found["range"]
    limits, cost = found["limits"], found["cost"]
    console.print(
        f"{found['function']} on [{low:g}, {high:g}]: {found['pieces']} pieces of degree {found['degree']}, "
        f"{found['norm']}; symmetry: {found['symmetry']}"
    )
    console.print(
        f"beyond the pieces: {limits['left']} on the left, {limits['right']} on the right; "
        f"largest jump {found['max_jump']:.1e}"
    )
    table = Table()
    for column in ("fit", "max error", "mean error"):
        table.add_column(column, justify="left" if column == "fit" else "right")
    for name, row in {"this fit": found, **found["published"]}.items():
        table.add_row(name, f"{row['max_abs_error']:.2e}", f"{row['mean_abs_error']:.2e}")
    console.print(table)
    parts = Table()
    for column in ("from", "to", "coefficients, constant first"):
        parts.add_column(column, justify="right" if len(column) < 5 else "left")
    points = found["breakpoints"]
    for start, end, row in zip(points, points[1:], found["coefficients"], strict=False):
        parts.add_row(f"{start:.5f}", f"{end:.5f}", " ".join(f"{c:+.9g}" for c in row))
    console.print(parts)
    for trust, c in cost.items():
        sent = f"{c['online_bits_client']:.4g} bits from the client, {c['online_bits_server']:.4g} from the server"
        console.print(f"evaluated on shares, {trust}: {c['rounds']} rounds, online {sent} per element")


@contextmanager
def _counting(quiet: bool) -> Iterator[Callable[[int], None]]:
    """A line on stderr that counts the layouts tried; nothing where nobody watches."""
    console = Console(stderr=True)
    if quiet or not console.is_terminal:
        yield lambda tried: None
        return
    columns = (
        SpinnerColumn(),
        TextColumn("searching breakpoints: {task.completed:.0f} tried"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task("", total=None)
        yield lambda tried: bars.update(task, completed=tried)
