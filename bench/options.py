"""The options that commands share, and what is wrong with the values people give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from transformer.commands import to_be_written

Backend = Annotated[str, typer.Option(help="cpu, cuda or reference.")]
ServerBackend = Annotated[str | None, typer.Option(help="The server's, if it is another one.")]
Trust = Annotated[
    str, typer.Option(help="Who makes correlations: a dealer, or (two-party) the parties themselves.")
]
Profile = Annotated[
    str,
    typer.Option(
        help="Whose functions for SoftMax, GeLU and LayerNorm: precise, fastlmpi, bolt, ... (docs/profiles.md)."
    ),
]
Calibrated = Annotated[
    bool,
    typer.Option("--calibrated", help="Attention's scores in rings calibrated on the rows (trust dealer)."),
]
Repeats = Annotated[int, typer.Option(min=1, help="Counted runs, after one warm-up.")]
Networks = Annotated[
    list[str],
    typer.Option(
        "--network",
        help="none, lan (1 Gbit/s, 0.3 ms), lan10 (10), wan (100 Mbit/s, 40 ms), wan80 (80 ms) or MBIT_S,RTT_MS: "
        "an emulated link. Repeat for several.",
    ),
]
Out = Annotated[Path | None, typer.Option(help="Append the JSON lines to this file.", callback=to_be_written)]
Only = Annotated[str | None, typer.Option(help="Row names, separated by commas.")]
Elements = Annotated[
    str | None,
    typer.Option(help="About so many elements per row instead of the default; several as in 1e4,1e6,1e8."),
]
Chunk = Annotated[
    int | None,
    typer.Option(
        min=1, help="Elements at a time, one chunk after the other [default: what memory has room for]."
    ),
]
TextChunk = Annotated[
    int | None,
    typer.Option(
        "--chunk",
        min=1,
        help="Texts at a time, one chunk after the other [default: what memory has room for].",
    ),
]
CorePrice = Annotated[
    float | None, typer.Option(min=0, help="Price of an hour of one core: adds `cost` to rows.")
]
GpuPrice = Annotated[float | None, typer.Option(min=0, help="Price of an hour of one GPU, likewise.")]
Model = Annotated[
    Path | None, typer.Option(help="Folder of a real model: its sizes and weights instead of random ones.")
]
Hidden = Annotated[int, typer.Option(min=2, help="Hidden size.")]
Heads = Annotated[int, typer.Option(min=1, help="Attention heads.")]
Ffn = Annotated[int, typer.Option(min=1, help="Inner size of the feed-forward block.")]
Layers = Annotated[int, typer.Option(min=1, help="Encoder layers.")]
Seq = Annotated[int, typer.Option(min=1, help="Tokens per text.")]
Batches = Annotated[str, typer.Option("--batch", help="Texts per query; several as in 1,8,64.")]
Vocab = Annotated[int, typer.Option(min=1, help="Words of the embedding table.")]


@dataclass(frozen=True)
class Sizes:
    """Of an encoder with random weights, or of a query to the model in `folder`."""

    hidden: int = 768
    heads: int = 12
    ffn: int = 3072
    layers: int = 12
    seq: int = 128
    batch: int = 1
    vocab: int = 30522
    folder: Path | None = None

    def __post_init__(self) -> None:
        if self.hidden % self.heads:
            raise typer.BadParameter(f"{self.heads} heads do not divide a hidden size of {self.hidden}")
        if self.folder is not None and not (self.folder / "config.json").is_file():
            raise typer.BadParameter(f"{self.folder} holds no config.json: give a model's folder")


def numbers(text: str, option: str) -> list[int]:
    """The whole numbers of a list like 1e4,20000; BadParameter for anything else."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or any(value < 1 or value != int(value) for value in found):
        raise typer.BadParameter(
            f"{text!r} is no list of whole numbers like 1,8 or 1e4,1e6", param_hint=option
        )
    return [int(value) for value in found]


def picked(only: str | None, names: Sequence[str]) -> list[str]:
    """The names of `--only`, or all; BadParameter for one that does not exist."""
    if only is None:
        return list(names)
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown or not wanted:
        raise typer.BadParameter(f"there is no row {', '.join(unknown)!r}; there are {', '.join(names)}")
    return wanted
