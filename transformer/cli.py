"""The command line: fastlmpi demo | keygen | dealer | serve | query | prepare | store | plan | doctor."""

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

from gpu_ss.backend import BackendError
from gpu_ss.errors import SharingError
from net import NetError
from transformer.errors import ModelError

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
What works here:          fastlmpi doctor
"""

app = typer.Typer(
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)

SettingsFile = Annotated[Path | None, typer.Option(help="TOML file with any of the settings below.")]
Keys = Annotated[
    Path | None, typer.Option(help="Folder with this party's ROLE.key and the peers' .pub files.")
]
ServerAddress = Annotated[str | None, typer.Option(help="The server's address; tcp://*:PORT to listen.")]
DealerAddress = Annotated[str | None, typer.Option(help="The dealer's address; tcp://*:PORT to listen.")]
Model = Annotated[str | None, typer.Option(help="HuggingFace folder or hub name [default: demo model].")]
TaskName = Annotated[str | None, typer.Option(help="features, embedding, classification or masked-lm.")]
BackendName = Annotated[str | None, typer.Option(help="auto, cpu, cuda or reference.")]
Weights = Annotated[
    str | None,
    typer.Option(
        help="private to the server, released-table (the client gets the embedding table) or public."
    ),
]
Products = Annotated[
    str | None,
    typer.Option(help="Who makes the products' correlations: dealer, or he (homomorphic encryption)."),
]
Trust = Annotated[
    str | None,
    typer.Option(
        help="Who makes the correlations: two-party (client and server alone, the default) or dealer."
    ),
]
Linear = Annotated[
    str | None,
    typer.Option(help="When products by encryption are made: offline (before a query), or direct."),
]
Engine = Annotated[
    str | None,
    typer.Option(help="Who multiplies by weights under encryption: native, or tenseal (slow; small models)."),
]
Network = Annotated[
    str | None,
    typer.Option(
        help="What the link is like, to choose between rounds and bytes: lan, lan10, wan, wan80 or MBIT_S,RTT_MS."
    ),
]
Allow = Annotated[list[Path] | None, typer.Option(help=".pub files or folders of those who may connect.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds without a sign of life of a peer.")]
Store = Annotated[Path | None, typer.Option(help="Folder for correlations prepared ahead of queries.")]
StoreLimit = Annotated[int | None, typer.Option(help="MB that the store may take in all [default: 10000].")]
Texts = Annotated[list[str] | None, typer.Option("--text", help="A text; repeat for a batch.")]
JsonFile = Annotated[Path | None, typer.Option("--json", help="Write the result to this file.")]
PadTo = Annotated[int | None, typer.Option(help="Pad to this many tokens, to hide the length.")]
Once = Annotated[bool, typer.Option("--once", help="Stop after one session.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]


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
    pad_to: PadTo = None,
    json_file: JsonFile = None,
    quiet: Quiet = False,
) -> None:
    """Run client and server on this machine, on real text, and compare with the clear-text model."""
    from transformer.demo import run_demo

    result = run_demo(
        model, text, task, backend, trust, weights, products, linear, engine, network, pad_to, quiet
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
    backend: BackendName = None,
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
    backend: BackendName = None,
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
    backend: BackendName = None,
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
    from gpu_ss.provider.holdings import clean as clean_store
    from transformer.results import store_table
    from transformer.settings import SettingsError

    chosen = _settings(settings, locals())
    opened = chosen.open_store()
    if opened is None:
        raise SettingsError("say which store: --store FOLDER")
    console = Console(markup=False)
    if clean:
        removed = clean_store(opened, everything)
        console.print(
            f"Removed {removed} prepared queries. The other party removes its part when it next meets you."
        )
    console.print(store_table(str(chosen.store), opened))


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
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """What a query of that shape will cost: rounds and bytes, before anything runs."""
    from transformer.model import PrivateModel
    from transformer.results import plan_table

    chosen = _settings(None, locals())
    loaded = PrivateModel.load(chosen.model, chosen.task, chosen.terms)
    found = loaded.plan(batch, length)
    if as_json:
        typer.echo(json.dumps(found.summary(), indent=1))
        return
    Console(markup=False).print(plan_table(loaded.card.name, found))


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
    found.apply_threads()
    return found


def main() -> None:
    """Entry point of the `fastlmpi` command."""
    sys.exit(app())


if __name__ == "__main__":
    main()
