"""python -m bench kernels|protocols|layer|model|compare"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from bench.rows import Row
from bench.session import Setting, running

app = typer.Typer(
    help=__doc__,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

BackendName = Annotated[str, typer.Option(help="cpu, cuda or reference.")]
ServerBackend = Annotated[str | None, typer.Option(help="The server's, if it is another one.")]
Trust = Annotated[str, typer.Option(help="Who makes correlations: dealer.")]
Repeats = Annotated[int, typer.Option(help="Counted runs, after one warm-up.")]
Network = Annotated[
    str, typer.Option(help="none, lan, lan10, wan, wan80 or MBIT_S,RTT_MS: an emulated link.")
]
Out = Annotated[Path | None, typer.Option(help="Append the JSON lines to this file.")]
Only = Annotated[str | None, typer.Option(help="Row names, separated by commas.")]


def emit(rows: Iterable[Row], out: Path | None) -> None:
    """Print each row as it comes, and append it to the file."""
    for row in rows:
        line = row.line()
        print(line, flush=True)
        if out is not None:
            with out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


@app.command()
def protocols(
    backend: BackendName = "cpu",
    server_backend: ServerBackend = None,
    trust: Trust = "dealer",
    only: Only = None,
    elements: Annotated[int | None, typer.Option(help="Elements per row instead of the defaults.")] = None,
    repeats: Repeats = 5,
    network: Network = "none",
    out: Out = None,
) -> None:
    """Each protocol between two processes and a dealer: time, bytes, rounds, error against float."""
    from bench.protocols import ProtocolJob, names, shaped

    wanted = only.split(",") if only else names()
    setting = Setting(backend, server_backend, trust, network)
    with running(setting) as bench:
        emit((bench.measure(ProtocolJob(name, shaped(name, elements)), repeats) for name in wanted), out)


@app.command()
def layer(
    backend: BackendName = "cpu",
    server_backend: ServerBackend = None,
    trust: Trust = "dealer",
    hidden: int = 768,
    heads: int = 12,
    ffn: int = 3072,
    seq: int = 128,
    batch: int = 1,
    repeats: Repeats = 3,
    network: Network = "none",
    out: Out = None,
) -> None:
    """One encoder layer (BERT-base's by default) with random weights, private to the server."""
    from bench.layer import LayerJob

    with running(Setting(backend, server_backend, trust, network)) as bench:
        emit([bench.measure(LayerJob(hidden, heads, ffn, seq, batch), repeats)], out)


if __name__ == "__main__":
    app()
