"""Options that several commands of `fastlmpi` share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from transformer.commands import to_be_written

SettingsFile = Annotated[Path | None, typer.Option(help="TOML file with any of the settings below.")]
Keys = Annotated[
    Path | None, typer.Option(help="Folder with this party's ROLE.key and the peers' .pub files.")
]
ServerAddress = Annotated[str | None, typer.Option(help="The server's address; tcp://*:PORT to listen.")]
DealerAddress = Annotated[str | None, typer.Option(help="The dealer's address; tcp://*:PORT to listen.")]
Model = Annotated[str | None, typer.Option(help="HuggingFace folder or hub name [default: demo model].")]
TaskName = Annotated[str | None, typer.Option(help="features, embedding, classification or masked-lm.")]
BackendName = Annotated[str | None, typer.Option(help="auto, cpu, cuda or reference.")]
Device = Annotated[int | None, typer.Option(help="Which GPU, if there are several [default: 0].")]
GpuMemory = Annotated[
    int | None,
    typer.Option("--gpu-memory-limit", help="MB of the GPU's memory that may be used [default: all]."),
]
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
DpMechanism = Annotated[
    str | None, typer.Option(help="Noise on the result: laplace or gaussian [default: gaussian].")
]
DpEpsilon = Annotated[
    float | None,
    typer.Option(help="Differentially private results: epsilon of one query [default: no noise]."),
]
DpDelta = Annotated[float | None, typer.Option(help="Its delta [default: 1e-6].")]
DpSensitivity = Annotated[
    float | None,
    typer.Option(help="The most all revealed numbers of a query may change, L1 (laplace) or L2 (gaussian)."),
]
Profile = Annotated[
    str | None,
    typer.Option(
        help="Whose functions for SoftMax and GeLU, the same at both parties: precise (default), fastlmpi, bolt, "
        "puma, bumblebee, secformer, mpcformer, the-x or gaussian-kernel; see docs/profiles.md."
    ),
]
Allow = Annotated[list[Path] | None, typer.Option(help=".pub files or folders of those who may connect.")]
Timeout = Annotated[float | None, typer.Option(help="Seconds without a sign of life of a peer.")]
Store = Annotated[Path | None, typer.Option(help="Folder for correlations prepared ahead of queries.")]
StoreLimit = Annotated[int | None, typer.Option(help="MB that the store may take in all [default: 10000].")]
Texts = Annotated[list[str] | None, typer.Option("--text", help="A text; repeat for a batch.")]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Write the result to this file.", callback=to_be_written)
]
PadTo = Annotated[int | None, typer.Option(min=1, help="Pad to this many tokens, to hide the length.")]
Once = Annotated[bool, typer.Option("--once", help="Stop after one session.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
