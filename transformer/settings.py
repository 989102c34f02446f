"""Settings of the programs: from one TOML file, from the command line, or the defaults here.

LOCAL ones may differ between the parties (backend, threads, timeouts, limits, addresses); what both must
agree on is fixed by the version and the model and checked in the handshake. There are no security knobs.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gpu_ss.functions.privacy import Guarantee, Mechanism
from gpu_ss.provider.store import Store
from net import KeyPair, PublicKey, ZmqSettings, load_authorised, load_keys, load_public
from transformer.errors import ModelError
from transformer.terms import (
    Engine,
    LinearMode,
    Network,
    ProductsMode,
    ProfileName,
    Terms,
    TrustMode,
    WeightsMode,
)

Backend = Literal["auto", "cpu", "cuda", "reference"]
Seconds = Annotated[float, Field(gt=0, le=1e6)]


class SettingsError(ModelError, ValueError):
    """A setting is unknown or has a bad value."""


class Settings(BaseModel):
    """All settings; each program uses those it needs, so one file can serve all parties.

    keys: folder with this party's ROLE.key and the peers' .pub files. server, dealer: addresses, for those who
    connect tcp://HOST:PORT, for the one who listens e.g. tcp://*:5701. allow: .pub files or folders of the
    clients a server accepts (default: client.pub of `keys`). model: folder or hub name (default: the demo
    model). trust: dealer or two-party; weights: private, released-table or public; products: dealer or he; linear:
    offline or direct; engine: native or tenseal; network: lan, wan or MBIT_S,RTT_MS; see terms.py.
    profile: whose functions for SoftMax, GeLU and LayerNorm, the same at client and server (profiles.py).
    device: number of the GPU to use, for backend cuda or auto; gpu_memory_limit_mb: how much of its memory
    (default: all). recv_timeout_s: how long to wait for a sign of life of a peer that neither speaks nor hangs up.
    material_limit_mb: how much of a query's correlations the server keeps in memory before it starts, with a
    dealer; memory_limit_mb: how large they may be without one, else the query is refused. store: folder for
    correlations prepared ahead of queries (default:
    none are); store_limit_mb: how much of the disk they may take, of all peers together. dp_epsilon, dp_delta,
    dp_sensitivity, dp_mechanism: noise on what a query reveals, see `gpu_ss.functions.privacy.Guarantee`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: Path = Path("keys")
    server: str = "tcp://127.0.0.1:5701"
    dealer: str = "tcp://127.0.0.1:5702"
    allow: tuple[Path, ...] = ()
    model: str | None = None
    task: Literal["features", "embedding", "classification", "masked-lm"] | None = None
    trust: TrustMode = "two-party"
    weights: WeightsMode = "private"
    products: ProductsMode | None = None
    linear: LinearMode = "offline"
    engine: Engine = "native"
    network: Network = "lan"
    dp_mechanism: Mechanism = "gaussian"
    dp_epsilon: float | None = Field(default=None, gt=0, le=64)
    dp_delta: float = Field(default=1e-6, gt=0, lt=0.5)
    dp_sensitivity: float | None = Field(default=None, gt=0, le=2.0**20)
    profile: ProfileName = "precise"
    backend: Backend = "auto"
    device: int | None = Field(default=None, ge=0)
    gpu_memory_limit_mb: int | None = Field(default=None, ge=1)
    threads: int | None = Field(default=None, ge=1)
    connect_timeout_s: Seconds = 30.0
    recv_timeout_s: Seconds = 300.0
    material_limit_mb: int = Field(default=2048, ge=1)
    memory_limit_mb: int = Field(default=8192, ge=1)
    store: Path | None = None
    store_limit_mb: int = Field(default=10_000, ge=1)

    @property
    def terms(self) -> Terms:
        """What the server offers, or the client accepts."""
        products = self.products or ("he" if self.trust == "two-party" else "dealer")
        return Terms(
            trust=self.trust,
            weights=self.weights,
            products=products,
            linear=self.linear,
            engine=self.engine,
            network=self.network,
            privacy=self.privacy,
            profile=self.profile,
        )

    @property
    def privacy(self) -> Guarantee | None:
        """The guarantee asked for, if one is."""
        if self.dp_epsilon is None or self.dp_sensitivity is None:
            return None
        return Guarantee(
            mechanism=self.dp_mechanism,
            epsilon=self.dp_epsilon,
            delta=self.dp_delta,
            sensitivity=self.dp_sensitivity,
        )

    @property
    def backend_name(self) -> str:
        """The backend with its device, as `get_backend` takes it."""
        return self.backend if self.device is None else f"cuda:{self.device}"

    @model_validator(mode="after")
    def _consistent(self) -> Settings:
        if self.device is not None and self.backend not in ("auto", "cuda"):
            raise ValueError(f"a device is for backend cuda, not for {self.backend}")
        if self.store is not None and self.terms.trust != "two-party":
            raise ValueError(
                "a store needs trust two-party: a dealer's correlations are for one session only"
            )
        if (self.dp_epsilon is None) != (self.dp_sensitivity is None):
            raise ValueError("noise needs both dp_epsilon and dp_sensitivity; see docs/threat-model.md")
        return self

    def open_store(self) -> Store | None:
        """The store of correlations, if there is one. Raises StoreError if it cannot be used."""
        return None if self.store is None else Store(self.store, self.store_limit_mb * 1_000_000)

    @property
    def zmq(self) -> ZmqSettings:
        """Timeouts of the sockets."""
        return ZmqSettings(
            connect_timeout_s=self.connect_timeout_s,
            recv_timeout_s=self.recv_timeout_s,
            send_timeout_s=self.recv_timeout_s,
        )

    def own_keys(self, role: str) -> KeyPair:
        """This party's key pair."""
        return load_keys(self.keys / f"{role}.key")

    def peer_key(self, role: str) -> PublicKey:
        """The public key of a peer."""
        return load_public(self.keys / f"{role}.pub")

    def clients(self) -> tuple[PublicKey, ...]:
        """Who may use the server."""
        return load_authorised(*(self.allow or (self.keys / "client.pub",)))

    def visitors(self) -> tuple[PublicKey, ...]:
        """Who may use the dealer: the clients and the server."""
        return load_authorised(*(self.allow or (self.keys / "client.pub", self.keys / "server.pub")))

    def apply_limits(self) -> None:
        """Limit the CPU backend's threads and the CUDA backend's memory (before their first use)."""
        for variable, limit in (
            ("FASTLMPI_THREADS", self.threads),
            ("FASTLMPI_GPU_MEMORY_MB", self.gpu_memory_limit_mb),
        ):
            if limit is not None:
                os.environ[variable] = str(limit)


def load_settings(file: Path | None, overrides: dict[str, Any]) -> Settings:
    """Settings from a TOML file (if given) with the command line's values on top."""
    values: dict[str, Any] = {}
    if file is not None:
        try:
            values = tomllib.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise SettingsError(f"there is no settings file {file}") from None
        except (OSError, tomllib.TOMLDecodeError) as error:
            raise SettingsError(f"{file}: {error}") from None
    values |= {k: v for k, v in overrides.items() if v not in (None, [], ())}
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "terms"
        what = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            what = f"there is no such setting; there are {', '.join(Settings.model_fields)}"
        raise SettingsError(f"setting {where!r}: {what[:1].lower()}{what[1:]}") from None
