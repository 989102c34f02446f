"""The options that commands share, and what is wrong with the values people give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

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
Repeats = Annotated[int, typer.Option(min=1, help="Counted runs, after one warm-up.")]
Network = Annotated[
    str, typer.Option(help="none, lan, lan10, wan, wan80 or MBIT_S,RTT_MS: an emulated link.")
]
Out = Annotated[Path | None, typer.Option(help="Append the JSON lines to this file.")]
Only = Annotated[str | None, typer.Option(help="Row names, separated by commas.")]
Elements = Annotated[
    int | None, typer.Option(min=1, help="About so many elements per row instead of the default.")
]
Model = Annotated[
    Path | None, typer.Option(help="Folder of a real model: its sizes and weights instead of random ones.")
]
Hidden = Annotated[int, typer.Option(min=2, help="Hidden size.")]
Heads = Annotated[int, typer.Option(min=1, help="Attention heads.")]
Ffn = Annotated[int, typer.Option(min=1, help="Inner size of the feed-forward block.")]
Layers = Annotated[int, typer.Option(min=1, help="Encoder layers.")]
Seq = Annotated[int, typer.Option(min=1, help="Tokens per text.")]
Batch = Annotated[int, typer.Option(min=1, help="Texts per query.")]
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


def picked(only: str | None, names: Sequence[str]) -> list[str]:
    """The names of `--only`, or all; BadParameter for one that does not exist."""
    if only is None:
        return list(names)
    wanted = [name.strip() for name in only.split(",") if name.strip()]
    unknown = [name for name in wanted if name not in names]
    if unknown or not wanted:
        raise typer.BadParameter(f"there is no row {', '.join(unknown)!r}; there are {', '.join(names)}")
    return wanted
