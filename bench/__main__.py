"""python -m bench protocols | layer | model | kernels | compare | costs

Every row is a line of JSON on standard output; docs/benchmarks.md says what its keys mean. Protocols, layer and
model run between two processes, and a dealer unless --trust is two-party, with the product's sockets, keys and
encryption.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from enum import StrEnum
from functools import partial
from typing import Annotated, cast, get_args

import typer

from bench import kernels as kernel_bench
from bench import options, run
from bench.compare import compared
from bench.options import Sizes, numbers, picked
from bench.prices import NO_PRICES, Prices
from bench.rows import Row
from bench.setting import Setting
from gpu_ss.backend import BackendError
from gpu_ss.errors import SharingError
from net import NetError
from transformer.errors import ModelError
from transformer.terms import ProfileName, TrustMode

app = typer.Typer(
    help=__doc__,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
)


class Kind(StrEnum):
    """What `compare` can compare."""

    PROTOCOLS = "protocols"
    LAYER = "layer"
    MODEL = "model"
    KERNELS = "kernels"


def emit(rows: Iterable[Row], out: options.Out, prices: Prices = NO_PRICES) -> None:
    """Print each row as it comes, with what it costs at given prices, and append it to the file."""
    for row in rows:
        line = prices.on(row).line()
        print(line, flush=True)
        if out is not None:
            with out.open("a", encoding="utf-8") as file:
                file.write(line + "\n")


def chosen_settings(
    backend: str,
    server_backend: str | None,
    trust: str,
    networks: Sequence[str],
    profile: str = "precise",
) -> list[Setting]:
    """The settings of these options, one for each network; BadParameter says which option is wrong."""
    known = cast(TrustMode, trust), cast(ProfileName, profile)
    try:
        return [Setting(backend, server_backend, known[0], network, profile=known[1]) for network in networks]
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


def chosen_elements(text: str | None) -> list[int | None]:
    """The sizes of --elements, or the default one."""
    return [None] if text is None else [*numbers(text, "--elements")]


def by_batch(one: Sizes, batches: str) -> list[Sizes]:
    """These sizes with each number of texts."""
    return [replace(one, batch=batch) for batch in numbers(batches, "--batch")]


@app.command()
def protocols(
    backend: options.Backend = "cpu",
    server_backend: options.ServerBackend = None,
    trust: options.Trust = "dealer",
    only: options.Only = None,
    elements: options.Elements = None,
    chunk: options.Chunk = None,
    repeats: options.Repeats = 5,
    network: options.Networks = ["none"],  # noqa: B006 - typer copies it
    price_core_hour: options.CorePrice = None,
    price_gpu_hour: options.GpuPrice = None,
    out: options.Out = None,
) -> None:
    """Each protocol between two processes: time, bytes, rounds, error against float.

    More rows are measured when named by --only: products by homomorphic encryption (he_...), and oblivious
    transfer (base_ot, cot, rot, and_triple), which has no dealer whatever --trust says; its rows say two-party.
    """
    from bench import he, ot
    from bench.protocols import names

    settings = chosen_settings(backend, server_backend, trust, network)
    wanted = picked(only, [*names(), *he.NAMES, *ot.NAMES]) if only else names()
    sizes = chosen_elements(elements)
    prices = Prices(price_core_hour, price_gpu_hour)
    for setting in settings:
        emit(run.protocol_rows(setting, wanted, sizes, repeats, chunk), out, prices)


@app.command()
def layer(
    backend: options.Backend = "cpu",
    server_backend: options.ServerBackend = None,
    trust: options.Trust = "dealer",
    profile: options.Profile = "precise",
    model: options.Model = None,
    hidden: options.Hidden = 768,
    heads: options.Heads = 12,
    ffn: options.Ffn = 3072,
    seq: options.Seq = 128,
    batch: options.Batches = "1",
    repeats: options.Repeats = 3,
    network: options.Networks = ["none"],  # noqa: B006 - typer copies it
    price_core_hour: options.CorePrice = None,
    price_gpu_hour: options.GpuPrice = None,
    out: options.Out = None,
) -> None:
    """One encoder layer, weights private to the server: BERT-base's size and random weights by default.

    With --model, layer 0 of that model, and --hidden, --heads and --ffn are not used.
    """
    settings = chosen_settings(backend, server_backend, trust, network, profile)
    one = Sizes(hidden=hidden, heads=heads, ffn=ffn, seq=seq, folder=model)
    prices = Prices(price_core_hour, price_gpu_hour)
    for setting in settings:
        emit(run.layer_rows(setting, by_batch(one, batch), repeats), out, prices)


@app.command()
def model(
    backend: options.Backend = "cpu",
    server_backend: options.ServerBackend = None,
    trust: options.Trust = "dealer",
    profile: options.Profile = "precise",
    model: options.Model = None,
    hidden: options.Hidden = 768,
    heads: options.Heads = 12,
    ffn: options.Ffn = 3072,
    layers: options.Layers = 12,
    seq: options.Seq = 128,
    batch: options.Batches = "1",
    vocab: options.Vocab = 30522,
    repeats: options.Repeats = 1,
    network: options.Networks = ["none"],  # noqa: B006 - typer copies it
    price_core_hour: options.CorePrice = None,
    price_gpu_hour: options.GpuPrice = None,
    out: options.Out = None,
) -> None:
    """A whole model, from tokens to outputs, weights private to the server, compared with torch.

    Random weights of BERT-base's size by default; with --model that model, and of the sizes only --seq and
    --batch are used.
    """
    settings = chosen_settings(backend, server_backend, trust, network, profile)
    one = Sizes(hidden, heads, ffn, layers, seq, vocab=vocab, folder=model)
    prices = Prices(price_core_hour, price_gpu_hour)
    for setting in settings:
        emit(run.model_rows(setting, by_batch(one, batch), repeats), out, prices)


@app.command()
def costs(
    trust: options.Trust = "dealer",
    profile: Annotated[str, typer.Option(help="Profiles, separated by commas, or all.")] = "all",
    hidden: options.Hidden = 768,
    heads: options.Heads = 12,
    ffn: options.Ffn = 3072,
    seq: options.Seq = 128,
    batch: Annotated[int, typer.Option(min=1, help="Texts per query.")] = 1,
) -> None:
    """What a layer's functions cost in each profile by their plans, as a Markdown table: nothing is run."""
    from bench.costs import table

    names = get_args(ProfileName) if profile == "all" else profile.split(",")
    terms = [chosen_settings("cpu", None, trust, ["none"], name)[0].terms for name in names]
    for line in table(terms, hidden, heads, ffn, seq, batch):
        print(line, flush=True)


@app.command()
def prepare(
    backend: options.Backend = "cpu",
    server_backend: options.ServerBackend = None,
    model: options.Model = None,
    hidden: options.Hidden = 768,
    heads: options.Heads = 12,
    ffn: options.Ffn = 3072,
    layers: options.Layers = 12,
    seq: options.Seq = 128,
    batch: options.Batches = "1",
    vocab: options.Vocab = 30522,
    queries: Annotated[int, typer.Option(min=2, help="How many queries to prepare to the end.")] = 2,
    together: Annotated[
        int, typer.Option(min=1, help="Of how many queries to make at once what they need alike.")
    ] = 1,
    network: options.Networks = ["none"],  # noqa: B006 - typer copies it
    out: options.Out = None,
) -> None:
    """What two parties alone make ahead of queries, and put into stores: time, bytes, and each party's peak memory.

    Random weights of BERT-base's size by default; takes minutes for each query. The first query also makes what a
    session makes once, and what the queries prepared together need alike (--together 64: the products with weights
    of 64 queries); `first_peak_memory_bytes` beside `peak_memory_bytes` shows whether more queries need more.
    """
    one = Sizes(hidden, heads, ffn, layers, seq, vocab=vocab, folder=model)
    for setting in chosen_settings(backend, server_backend, "two-party", network):
        for sizes in by_batch(one, batch):
            emit(run.prepare_rows(setting, sizes, together, queries - 1), out)


@app.command()
def kernels(
    backend: options.Backend = "cpu",
    only: options.Only = None,
    elements: options.Elements = None,
    repeats: options.Repeats = 5,
    out: options.Out = None,
) -> None:
    """The backend's kernels alone, in this process: bytes per second, and beside a plain copy."""
    wanted = picked(only, kernel_bench.names())
    for size in chosen_elements(elements):
        emit(kernel_bench.kernel_rows(backend, wanted, size or kernel_bench.ELEMENTS, repeats), out)


@app.command()
def compare(
    kinds: Annotated[list[Kind] | None, typer.Argument(help="[default: protocols layer]")] = None,
    backends: Annotated[
        str, typer.Option(help="Backends, separated by commas; the first is what others are compared with.")
    ] = "cpu,cuda",
    trust: options.Trust = "dealer",
    profile: options.Profile = "precise",
    only: options.Only = None,
    elements: options.Elements = None,
    chunk: options.Chunk = None,
    model: options.Model = None,
    hidden: options.Hidden = 768,
    heads: options.Heads = 12,
    ffn: options.Ffn = 3072,
    layers: options.Layers = 12,
    seq: options.Seq = 128,
    batch: options.Batches = "1",
    vocab: options.Vocab = 30522,
    repeats: options.Repeats = 3,
    network: options.Networks = ["none"],  # noqa: B006 - typer copies it
    price_core_hour: options.CorePrice = None,
    price_gpu_hour: options.GpuPrice = None,
    out: options.Out = None,
) -> None:
    """The same rows on both backends. Without a GPU, the CPU side only.

    `speedup` is the first backend's online time over the other's, `total_speedup` the same with offline time.
    --elements is for protocols and kernels, the sizes for layer and model.
    """
    one = Sizes(hidden, heads, ffn, layers, seq, vocab=vocab, folder=model)
    sizes, counts = by_batch(one, batch), chosen_elements(elements)
    sides = backends.split(",")
    settings = {side: chosen_settings(side, None, trust, network, profile) for side in sides}
    names = chosen_names(kinds or [Kind.PROTOCOLS, Kind.LAYER], only)

    def rows(kind: Kind, side: str) -> Iterator[Row]:
        if kind is Kind.KERNELS:
            for count in counts:
                yield from kernel_bench.kernel_rows(
                    side, names[kind], count or kernel_bench.ELEMENTS, repeats
                )
            return
        for setting in settings[side]:
            if kind is Kind.PROTOCOLS:
                yield from run.protocol_rows(setting, names[kind], counts, repeats, chunk)
            else:
                make = run.layer_rows if kind is Kind.LAYER else run.model_rows
                yield from make(setting, sizes, repeats)

    for kind in names:
        emit(compared(sides, partial(rows, kind)), out, Prices(price_core_hour, price_gpu_hour))


def chosen_names(kinds: Sequence[Kind], only: str | None) -> dict[Kind, list[str]]:
    """The rows to compare, by kind; a kind of which `only` names none is left out."""
    from bench.protocols import names

    known = {
        Kind.PROTOCOLS: names(), Kind.KERNELS: kernel_bench.names(), Kind.LAYER: ["layer"], Kind.MODEL: ["model"]
    }  # fmt: skip
    wanted = picked(only, [name for kind in kinds for name in known[kind]])
    by_kind = {kind: [name for name in known[kind] if name in wanted] for kind in kinds}
    return {kind: found for kind, found in by_kind.items() if found}


def main() -> None:
    """Errors made for people end the program with their message and exit code 1."""
    try:
        app()
    except (NetError, BackendError, SharingError, ModelError) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
