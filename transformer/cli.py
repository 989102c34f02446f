"""The command line: `fastlmpi --help` lists the commands."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from bench.report.command import report
from gpu_ss.backend import BackendError
from gpu_ss.errors import SharingError
from net import NetError
from transformer.errors import ModelError
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


def _clear_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Errors made for people end the program with their message and exit code 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (ModelError, SharingError, NetError, BackendError) as error:
            Console(stderr=True, highlight=False, markup=False).print(f"error: {error}", soft_wrap=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except MemoryError:
            Console(stderr=True).print("error: out of memory; use a smaller batch")
            raise typer.Exit(1) from None

    return run


@app.command()
@_clear_errors
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
@_clear_errors
def keygen(
    directory: Annotated[Path, typer.Argument(help="Folder for the key files (made if needed).")],
    name: Annotated[list[str] | None, typer.Option(help="Whose keys: client, server, dealer.")] = None,
) -> None:
    """Make key pairs: NAME.key stays with its party, NAME.pub goes to the peers.

    Without --name it makes all three, which is only for trying things out on one machine.
    """
    from net import generate

    for role in name or ["client", "server", "dealer"]:
        generate(directory, role)
        typer.echo(f"{directory / f'{role}.key'} (secret, stays with the {role})")
        typer.echo(f"{directory / f'{role}.pub'} (give it to the others)")


@app.command()
@_clear_errors
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

    run_dealer(_settings(settings, locals()), once)


@app.command()
@_clear_errors
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

    run_server(_settings(settings, locals()), once)


@app.command()
@_clear_errors
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
        run_lines(_settings(settings, locals()), sys.stdin, lambda r: r.show(console), pad_to, ahead, quiet)
        return
    if ahead:
        raise typer.BadParameter("--ahead needs --lines; to prepare without asking: fastlmpi prepare")
    result = run_query(_settings(settings, locals()), text or [], compare, pad_to, quiet)
    result.show(Console(markup=False))
    if json_file is not None:
        result.write(json_file)


@app.command()
@_clear_errors
def prepare(
    queries: Annotated[int, typer.Option(min=1, help="For how many queries.")],
    length: Annotated[
        int, typer.Option(min=1, max=1 << 16, help="Padded tokens per text; ask with --pad-to the same.")
    ],
    batch: Annotated[int, typer.Option(min=1, max=1 << 16, help="Texts per query.")] = 1,
    settings: SettingsFile = None,
    keys: Keys = None,
    server: ServerAddress = None,
    model: Annotated[str | None, typer.Option(help="The model, if its weights are public.")] = None,
    weights: Weights = None,
    profile: Profile = None,
    backend: BackendName = None,
    device: Device = None,
    gpu_memory_limit_mb: GpuMemory = None,
    store: Store = None,
    store_limit_mb: StoreLimit = None,
    recv_timeout_s: Timeout = None,
    quiet: Quiet = False,
) -> None:
    """Make the correlations of later queries now, with a server that has a store too. Sends no text."""
    from transformer.inference import Request
    from transformer.programs import run_prepare

    request = Request(batch=batch, length=length)
    run_prepare(_settings(settings, locals()), queries, request, quiet).show(Console(markup=False))


@app.command("store")
@_clear_errors
def show_store(
    settings: SettingsFile = None,
    store: Store = None,
    clean: Annotated[
        bool,
        typer.Option("--clean", help="Remove what is not of the model and terms last used with each peer."),
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help="With --clean: remove everything.")] = False,
) -> None:
    """Show what a folder of prepared correlations holds, and clean it."""
    from gpu_ss.provider import holdings
    from transformer.results import megabytes
    from transformer.settings import SettingsError

    chosen = _settings(settings, locals())
    opened = chosen.open_store()
    if opened is None:
        raise SettingsError("say which store: --store FOLDER")
    console = Console(markup=False)
    if clean:
        removed = holdings.clean(opened, everything)
        console.print(
            f"Removed {removed} prepared queries. The other party removes its part when it next meets you."
        )
    table = Table(
        title=f"{chosen.store}: {megabytes(opened.used_bytes())} of {megabytes(opened.limit_bytes)}"
    )
    for column in ("peer", "model and terms", "texts x tokens", "queries", "size", ""):
        table.add_column(column)
    for found in holdings.holdings(opened):
        note = "" if found.latest else "not used last: --clean removes it"
        row = (
            found.peer[:8],
            found.context.hex()[:8],
            found.label,
            str(found.count),
            megabytes(found.size),
            note,
        )
        table.add_row(*row)
    console.print(table)


@app.command()
@_clear_errors
def plan(
    model: Model = None,
    task: TaskName = None,
    batch: Annotated[int, typer.Option(help="Texts per query.")] = 1,
    length: Annotated[int, typer.Option(help="Padded tokens per text.")] = 128,
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
    from transformer.plan_table import plan_table

    chosen = _settings(None, locals())
    loaded = PrivateModel.load(chosen.model, chosen.task, chosen.terms)
    found = loaded.plan(batch, length)
    if as_json:
        typer.echo(json.dumps(found.summary(), indent=1))
        return
    Console(markup=False).print(plan_table(loaded.card.name, found))


app.command()(_clear_errors(fit))


@app.command()
@_clear_errors
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
    plot: Annotated[Path | None, typer.Option(help="Write a plot (PNG) to this file.")] = None,
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
    question = asked(_settings(None, given), text, texts, labelled, private)
    with progress_bars(quiet) as progress:
        found = study(question, chosen_profiles(profile), progress)
    show(found, Console(markup=False))
    if json_file is not None:
        write_json(found, json_file)
    if plot is not None:
        draw(found, plot)


app.command()(report)


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


def _settings(file: Path | None, given: dict[str, Any]) -> Any:
    """Settings from the file and the options that were given (those named like a setting)."""
    from transformer.settings import Settings, load_settings

    found = load_settings(file, {k: v for k, v in given.items() if k in Settings.model_fields})
    found.apply_limits()
    return found


def main() -> None:
    """Entry point of the `fastlmpi` command."""
    sys.exit(app())


if __name__ == "__main__":
    main()
