"""`fastlmpi prepare` and `fastlmpi store`: correlations made ahead of queries."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from transformer.commands import settings_of
from transformer.options import (
    BackendName,
    Device,
    GpuMemory,
    Keys,
    Profile,
    Quiet,
    ServerAddress,
    SettingsFile,
    Store,
    StoreLimit,
    Timeout,
    Weights,
)


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
    run_prepare(settings_of(settings, locals()), queries, request, quiet).show(Console(markup=False))


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

    chosen = settings_of(settings, locals())
    if chosen.store is not None and not chosen.store.is_dir():
        raise SettingsError(f"there is no store {chosen.store}")
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
