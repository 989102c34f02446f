"""The command line: `fastlmpi --help` lists the commands."""

from __future__ import annotations

import json
import sys
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from bench.report.command import report
from transformer.accuracy_command import accuracy
from transformer.ahead_commands import prepare, show_store
from transformer.commands import clear_errors, settings_of
from transformer.fit import fit
from transformer.options import (
    Allow,
    BackendName,
    DealerAddress,
    Device,
    DpDelta,
    DpEpsilon,
    DpMechanism,
    DpSensitivity,
    Engine,
    GpuMemory,
    JsonFile,
    Keys,
    Linear,
    Model,
    Network,
    Once,
    PadTo,
    Products,
    Profile,
    Quiet,
    ServerAddress,
    SettingsFile,
    Store,
    StoreLimit,
    TaskName,
    Texts,
    Timeout,
    Trust,
    Weights,
)

P = ParamSpec("P")
T = TypeVar("T")

HELP = """Private transformer inference between two parties.

A client has a text, a server has a model's weights. They run two processes; only the client learns the
result, and neither sees the other's data. They need nobody else. With --trust dealer a third process supplies
random numbers instead, which is much faster: it sees no input, and must not collude with either.

\b
Try it on this machine:   fastlmpi demo
On two machines:          fastlmpi keygen keys --name server   (each party once, then swap the .pub files)
                          fastlmpi serve  --server tcp://*:5701 --model DIR
                          fastlmpi query  --server tcp://SERVER:5701 --model DIR --text "..."
With a dealer:            fastlmpi dealer --dealer tcp://*:5702
                          and at both others --trust dealer --dealer tcp://DEALER:5702
A function of your own:   fastlmpi fit silu --json silu.json --plot silu.png
What works here:          fastlmpi doctor
"""

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


@app.command()
@clear_errors
def demo(
    model: Model = None,
    text: Texts = None,
    task: TaskName = None,
    backend: Annotated[str, typer.Option(help="auto, cpu, cuda or reference.")] = "cpu",
    trust: Trust = None,
    weights: Annotated[str, typer.Option(help="private, released-table or public.")] = "private",
    products: Products = None,
    linear: Linear = None,
    engine: Engine = None,
    network: Network = None,
    profile: Profile = None,
    pad_to: PadTo = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Run client and server on this machine, on real text, and compare with the clear-text model."""
    from transformer.demo import run_demo

    result = run_demo(
        model, text, task, backend, trust, weights, products, linear, engine, network, profile, pad_to, quiet
    )
    result.show(Console(markup=False))
    if json_file is not None:
        result.write(json_file)


@app.command()
@clear_errors
def keygen(
    directory: Annotated[Path, typer.Argument(help="Folder for the key files (made if needed).")],
    name: Annotated[list[str] | None, typer.Option(help="Whose keys: client, server, dealer.")] = None,
) -> None:
    """Make key pairs: NAME.key stays with its party, NAME.pub goes to the peers.

    Without --name it makes all three, which is only for trying things out on one machine.
    """
    from net import generate

    for role in name or ["client", "server", "dealer"]:
        try:
            generate(directory, role)
        except ValueError as error:
            raise typer.BadParameter(str(error), param_hint="--name") from None
        typer.echo(f"{directory / f'{role}.key'} (secret, stays with the {role})")
        typer.echo(f"{directory / f'{role}.pub'} (give it to the others)")


@app.command()
@clear_errors
def dealer(
    settings: SettingsFile = None,
    keys: Keys = None,
    dealer: DealerAddress = None,
    allow: Allow = None,
    backend: BackendName = None,
    device: Device = None,
    gpu_memory_limit_mb: GpuMemory = None,
    recv_timeout_s: Timeout = None,
    once: Once = False,
) -> None:
    """Serve correlated random numbers to clients and their server. Sees shapes, never data."""
    from transformer.programs import run_dealer

    run_dealer(settings_of(settings, locals()), once)


@app.command()
@clear_errors
def serve(
    settings: SettingsFile = None,
    keys: Keys = None,
    server: ServerAddress = None,
    dealer: DealerAddress = None,
    allow: Allow = None,
    model: Model = None,
    task: TaskName = None,
    trust: Trust = None,
    weights: Weights = None,
    products: Products = None,
    linear: Linear = None,
    engine: Engine = None,
    network: Network = None,
    dp_epsilon: DpEpsilon = None,
    dp_delta: DpDelta = None,
    dp_sensitivity: DpSensitivity = None,
    dp_mechanism: DpMechanism = None,
    profile: Profile = None,
    backend: BackendName = None,
    device: Device = None,
    gpu_memory_limit_mb: GpuMemory = None,
    store: Store = None,
    store_limit_mb: StoreLimit = None,
    recv_timeout_s: Timeout = None,
    once: Once = False,
) -> None:
    """Serve a model to clients, one after the other. The weights stay here (or are public by choice)."""
    from transformer.programs import run_server

    run_server(settings_of(settings, locals()), once)


@app.command()
@clear_errors
def query(
    text: Texts = None,
    settings: SettingsFile = None,
    keys: Keys = None,
    server: ServerAddress = None,
    dealer: DealerAddress = None,
    model: Annotated[
        str | None, typer.Option(help="Folder or hub name with the tokenizer (and config).")
    ] = None,
    compare: Annotated[bool, typer.Option(help="Also run --model in clear here and compare.")] = False,
    trust: Trust = None,
    weights: Weights = None,
    dp_epsilon: DpEpsilon = None,
    dp_delta: DpDelta = None,
    dp_sensitivity: DpSensitivity = None,
    dp_mechanism: DpMechanism = None,
    profile: Profile = None,
    backend: BackendName = None,
    device: Device = None,
    gpu_memory_limit_mb: GpuMemory = None,
    pad_to: PadTo = None,
    store: Store = None,
    recv_timeout_s: Timeout = None,
    json_file: JsonFile = None,
    lines: Annotated[
        bool, typer.Option("--lines", help="Read texts from standard input: a query a line, in one session.")
    ] = False,
    ahead: Annotated[
        int,
        typer.Option(
            min=0,
            max=1000,
            help="With --lines: while waiting for a line, keep so many queries prepared in --store.",
        ),
    ] = 0,
    quiet: Quiet = False,
) -> None:
    """Ask a server about texts it will not see."""
    from transformer.programs import run_lines, run_query

    if lines:
        if text or compare or json_file:
            raise typer.BadParameter("texts come from standard input here: no --text, --compare or --json")
        console = Console(markup=False)
        texts = TextIOWrapper(sys.stdin.buffer, "utf-8", errors="surrogateescape")
        chosen = settings_of(settings, locals())
        if run_lines(chosen, texts, lambda r: r.show(console), pad_to, ahead, quiet):
            raise typer.Exit(1)
        return
    if ahead:
        raise typer.BadParameter("--ahead needs --lines; to prepare without asking: fastlmpi prepare")
    result = run_query(settings_of(settings, locals()), text or [], compare, pad_to, quiet)
    result.show(Console(markup=False))
    if json_file is not None:
        result.write(json_file)


app.command()(clear_errors(prepare))
app.command("store")(clear_errors(show_store))


@app.command()
@clear_errors
def plan(
    model: Model = None,
    task: TaskName = None,
    batch: Annotated[int, typer.Option(min=1, max=1 << 16, help="Texts per query.")] = 1,
    length: Annotated[int, typer.Option(min=1, max=1 << 16, help="Padded tokens per text.")] = 128,
    trust: Trust = None,
    weights: Annotated[str, typer.Option(help="private, released-table or public.")] = "private",
    products: Products = None,
    linear: Linear = None,
    engine: Engine = None,
    network: Network = None,
    dp_epsilon: DpEpsilon = None,
    dp_delta: DpDelta = None,
    dp_sensitivity: DpSensitivity = None,
    dp_mechanism: DpMechanism = None,
    profile: Profile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a query of that shape will cost: rounds and bytes, before anything runs."""
    from transformer.model import PrivateModel
    from transformer.results import plan_table

    chosen = settings_of(None, locals())
    loaded = PrivateModel.load(chosen.model, chosen.task, chosen.terms)
    found = loaded.plan(batch, length)
    if as_json:
        typer.echo(json.dumps(found.summary(), indent=1))
        return
    Console(markup=False).print(plan_table(loaded.card.name, found))


app.command()(clear_errors(fit))
app.command()(clear_errors(accuracy))


app.command()(clear_errors(report))


@app.command()
def doctor() -> None:
    """Say what this machine has, what works, and what to install. Exit code 1 if a needed part is broken."""
    from transformer.doctor import broken, examine

    findings = examine()
    table = Table(title="fastlmpi doctor")
    for column in ("", "part", "found", "advice"):
        table.add_column(column)
    for f in findings:
        mark = "ok" if f.ok else ("BROKEN" if f.needed else "--")
        table.add_row(mark, f.what, f.detail, "" if f.ok else f.advice)
    Console(markup=False).print(table)
    failed = broken(findings)
    if failed:
        Console(stderr=True).print("needed and broken: " + ", ".join(f.what for f in failed))
        raise typer.Exit(1)


def main() -> None:
    """Entry point of the `fastlmpi` command."""
    sys.exit(app())


if __name__ == "__main__":
    main()
