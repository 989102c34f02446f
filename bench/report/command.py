"""`fastlmpi report`: results files as one page that needs no network and no scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transformer.commands import to_be_written

Files = Annotated[
    list[Path], typer.Argument(help="JSON lines of python -m bench, of any machines and versions.")
]
Out = Annotated[Path, typer.Option(help="The page to write.", callback=to_be_written)]
Title = Annotated[str, typer.Option(help="Its title.")]
CorePrice = Annotated[
    float | None, typer.Option(min=0, help="Price of an hour of one core, for costs per query.")
]
GpuPrice = Annotated[float | None, typer.Option(min=0, help="Price of an hour of one GPU, likewise.")]


def report(
    results: Files,
    out: Out = Path("report.html"),
    title: Title = "FASTLMPI benchmarks",
    price_core_hour: CorePrice = None,
    price_gpu_hour: GpuPrice = None,
) -> None:
    """Make one page of tables and plots from results files: for a browser, a phone, or print.

    Where a row appears several times (same machine, version, workload), plots show the last, tables all of them.
    """
    from bench.prices import Prices
    from bench.report.page import page
    from bench.report.results import ReportError, read_files

    try:
        rows = read_files(results)
    except ReportError as error:
        raise typer.BadParameter(str(error), param_hint="RESULTS") from None
    out.write_text(page(rows, title, Prices(price_core_hour, price_gpu_hour)), encoding="utf-8")
    typer.echo(f"{out}: {len(rows)} rows")
