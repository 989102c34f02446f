"""What client and server say to each other around the computation: agreement, model card, queries.

Order of a session: handshake; the server's model card; the client's session name (under which both got their
keys from the dealer); set-up of the weights; then any number of wishes: queries, and what is to be prepared for
later ones. Everything here is public.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from gpu_ss.backend import BackendError
from gpu_ss.errors import SharingError
from gpu_ss.functions import tables
from gpu_ss.plan import Plan
from gpu_ss.provider.store import MAX_REELS
from gpu_ss.session import PROTOCOL_VERSION, package_version
from net import Agreement, Channel, NetError, ProtocolError, TrafficReport
from transformer.errors import ModelError
from transformer.inference import Request
from transformer.terms import ProfileName

MAX_CONTROL_BYTES = 1 << 20

M = TypeVar("M", bound=BaseModel)

#: Progress of a stage: (stage name, done, total).
Progress = Callable[[str, int, int], None]


def no_progress(stage: str, done: int, total: int) -> None:
    """Shows nothing."""


def agreement(trust: str = "dealer", profile: ProfileName = "precise") -> Agreement:
    """What must be the same at both parties; the handshake names a field that is not."""
    return Agreement(
        {
            "protocol": PROTOCOL_VERSION,
            "package": package_version(),
            "trust": trust,
            "profile": profile,
            "tables": tables.digest(),
        }
    )


def say(channel: Channel, tag: str, message: BaseModel) -> None:
    """Send a small public message."""
    channel.send(tag, [message.model_dump_json().encode()], round=False)


def hear(channel: Channel, tag: str, kind: type[M]) -> M:
    """Receive a small public message; anything else than a well-formed one is a ProtocolError."""
    frames = channel.recv_any(tag, MAX_CONTROL_BYTES, round=False)
    try:
        return kind.model_validate_json(b"".join(bytes(f) for f in frames))
    except ValidationError as error:
        raise ProtocolError(
            f"message {tag!r} from {channel.peer} is malformed ({error.error_count()} errors); "
            "run the same version on both sides"
        ) from None


@contextmanager
def telling_why(channel: Channel) -> Iterator[None]:
    """Errors of the block that are made for people (and hold no secrets) are told to the peer before it ends."""
    try:
        yield
    except (SharingError, ModelError, NetError, BackendError) as error:
        channel.send_error(error.for_peer if isinstance(error, SharingError) else str(error))
        raise


class Query(Request):
    """A wish: answer a query. stored: take its correlations from the stores, if both have some."""

    stored: bool = False


class Prepare(Request):
    """A wish: make the correlations of so many queries of that shape, and store them."""

    kind: Literal["prepare"]
    queries: int = Field(ge=1, le=MAX_REELS)


class AskStock(BaseModel):
    """A wish: say whether you have a store, for which model; to be answered by `StockCard`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["stock"]


class Wish(RootModel[Query | Prepare | AskStock]):
    """What a client may ask of a server that is set up. Each kind forbids the fields of the others."""


def ask_for(channel: Channel, wish: Query | Prepare | AskStock) -> None:
    """Tell the server."""
    say(channel, "query", Wish(wish))


def hear_wish(channel: Channel) -> Query | Prepare | AskStock:
    """What the client wants next. Raises PeerGone if it has left."""
    return hear(channel, "query", Wish).root


class StockCard(BaseModel):
    """The server's answer: the tag of its model among those it has stored correlations with (None: no store)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tag: str | None = Field(pattern="^[0-9a-f]{32}$")


class Timing(BaseModel):
    """Seconds one party spent, told to the other at the end of a query."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    offline_s: float = Field(ge=0)
    online_s: float = Field(ge=0)
    dealer_bytes: int = Field(ge=0)


@dataclass
class Clock:
    """Seconds per phase, measured beside the channel's traffic phases."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def phase(self, channel: Channel, name: str) -> Iterator[None]:
        """Time and traffic of the block belong to this phase."""
        start = time.perf_counter()
        with channel.traffic.phase(name):
            yield
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class RunReport:
    """What a query cost: seconds of the slower party, this party's counters, and the plan they must equal."""

    setup_s: float
    offline_s: float
    online_s: float
    setup: TrafficReport
    offline: TrafficReport
    online: TrafficReport
    dealer_bytes: int
    plan: Plan
    #: Whether the correlations came from the stores.
    stored: bool = False

    @property
    def rounds(self) -> int:
        return self.online.rounds
