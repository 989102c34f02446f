"""A model ready to be served or, with public weights, to be used by both sides: load, plan, look up costs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from gpu_ss.backend.native import give_back
from gpu_ss.plan import Plan
from gpu_ss.provider.specs.transfers import DigitTransfers
from gpu_ss.ring import word_count
from net.errors import printable
from transformer import hf
from transformer.architecture import Architecture, Name, Numbers, Ranges, Task
from transformer.errors import InputError
from transformer.inference import Request, plan_inference, plan_setup
from transformer.parameters import Real, Words, encode_all, fold, layout
from transformer.profiles import PROFILES, Profile
from transformer.ranges import check_fits, prove_ranges
from transformer.terms import PRIVATE, Terms
from transformer.widths import calibrated, read_widths


class ModelCard(BaseModel):
    """What a server tells a client about its model: all of it public.

    With public weights both sides hold the model and `digest` is that of its encoded weights; otherwise it is
    empty.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Name
    arch: Architecture
    ranges: Ranges
    terms: Terms = PRIVATE
    digest: str = Field(default="", max_length=64)

    @property
    def numbers(self) -> Numbers:
        profile = PROFILES[self.terms.profile]
        numbers = profile.numbers(self.arch, self.ranges)
        check_fits(numbers, profile)
        return numbers


@dataclass(frozen=True)
class InferencePlan:
    """What a query of a shape takes: the one-time set-up of a session, and the query itself.

    `setup` and `query` are gpu_ss plans: correlations, rounds, payload bytes by rank and tag.
    """

    request: Request
    terms: Terms
    setup: Plan
    query: Plan

    @property
    def dealer_bytes(self) -> int:
        """What the dealer sends to the server for the query."""
        return self.query.offline_bytes_without(self.terms.not_dealt)

    @cached_property
    def held_bytes(self) -> int:
        """Memory that the query's correlations take at each party until they are used; a dealer's are streamed.

        They are kept packed, at most one set more is being made (`OtMaker`). Into a store they go at once.
        """
        if self.terms.trust == "dealer":
            return 0
        made = (spec for spec in self.query.specs if not spec.is_mask)
        return 8 * sum(word_count(out.size, out.bits) for spec in made for out in spec.outputs())

    @property
    def made_bytes(self) -> dict[str, int]:
        """About what client and server exchange to make the query's correlations, see `Terms.made_bytes`."""
        return {way: round(size) for way, size in self.terms.made_bytes(self.query.specs).items()}

    def summary(self) -> dict[str, object]:
        """The figures people ask for."""
        (client, server), made = self.query.sent, self.made_bytes
        return {
            "batch": self.request.batch,
            "length": self.request.length,
            **self.terms.model_dump(mode="json"),
            "rounds": self.query.rounds,
            "online_bytes_client": client,
            "online_bytes_server": server,
            "dealer_bytes": self.dealer_bytes,
            "memory_bytes": self.held_bytes,
            "encryption_bytes": made["he"],
            "transfer_bytes": made["ot"],
            "setup_bytes": sum(self.setup.sent),
            "network_online_s": self.network_s(self.query.rounds, client + server),
            "network_offline_s": self.network_s(0, made["he"] + made["ot"]),
            "shares_compared": any(isinstance(spec, DigitTransfers) for spec in self.query.specs),
        }

    def network_s(self, rounds: int, size: int) -> float:
        """Seconds that rounds and bytes take on the network of the terms, one after the other."""
        return round(self.terms.economy.nanoseconds(rounds, size) / 1e9, 3)


@dataclass(frozen=True)
class PrivateModel:
    """An encoder with its weights encoded once."""

    card: ModelCard
    words: dict[str, Words]

    def __repr__(self) -> str:
        return f"PrivateModel({self.card.name!r}, words=<hidden>)"

    @staticmethod
    def load(
        name: str | Path | None = None,
        task: Task | None = None,
        terms: Terms = PRIVATE,
        widths: Path | None = None,
    ) -> PrivateModel:
        """Read a HuggingFace folder (or hub name; None: the demo model), prove its ranges, encode its weights.

        widths: a file of `fastlmpi calibrate`.
        Raises ModelNotFound, UnsupportedModel, MalformedModel, RangeTooSmall, InputError.
        """
        folder = hf.find_model(name)
        arch = hf.read_architecture(folder, task)
        profile = PROFILES[terms.profile]
        tensors = folded(folder, arch, profile)
        ranges = prove_ranges(tensors, arch, profile)
        if widths is not None:
            ranges = calibrated(ranges, read_widths(widths), tensors, arch, terms)
        numbers = profile.numbers(arch, ranges)
        words = encode_all(tensors, numbers)
        give_back()  # what held the float weights lies between what stays: as much again as the model
        digest = weights_digest(words, numbers) if terms.public else ""
        card = ModelCard(
            name=printable(folder.name, 200), arch=arch, ranges=ranges, terms=terms, digest=digest
        )
        return PrivateModel(card, words)

    @property
    def numbers(self) -> Numbers:
        return self.card.numbers

    def plan(self, batch: int = 1, length: int = 128) -> InferencePlan:
        """Correlations, rounds and bytes of a query before it starts; the run is checked against it."""
        request = Request(batch=batch, length=length)
        check_request(request, self.card)
        return plan_for(self.card, request)


def folded(folder: hf.ModelFolder, arch: Architecture, profile: Profile) -> dict[str, Real]:
    """A folder's weights as a profile's protocols use them. Raises ModelNotFound, MalformedModel."""
    weights = hf.read_weights(folder)
    hf.check_weights(weights, arch)
    return fold(weights, profile.numbers(arch, Ranges()))


MAX_TOKENS = 1 << 16  # per query
MEMORY_LIMIT = 1 << 33  # bytes of a query's correlations, without a dealer


def check_request(request: Request, card: ModelCard) -> None:
    """A query's public shape is one this model accepts."""
    if request.length > card.arch.max_length:
        raise InputError(f"{request.length} tokens are too long, at most {card.arch.max_length} fit")
    if request.batch * request.length > MAX_TOKENS:
        raise InputError(f"a query has at most {MAX_TOKENS} tokens; send smaller batches")


def plan_within(card: ModelCard, request: Request, limit_bytes: int) -> InferencePlan:
    """The plan of a query. Raises InputError unless its correlations fit in memory."""
    plan = plan_for(card, request)
    if plan.held_bytes > limit_bytes:
        raise InputError(
            f"the correlations of a query of {plan.request.batch} x {plan.request.length} tokens take "
            f"{plan.held_bytes / 1e9:.1f} GB of memory at each party, and the limit (memory_limit_mb) is "
            f"{limit_bytes / 1e9:.1f} GB; send smaller batches"
        )
    return plan


@lru_cache(maxsize=32)
def plan_for(card: ModelCard, request: Request) -> InferencePlan:
    """The plan of a query (its correlations numbered right after the set-up's)."""
    numbers, terms = card.numbers, card.terms
    setup = plan_setup(0, numbers, terms)
    query = plan_inference(0, numbers, request, terms, setup.plan.taken)
    return InferencePlan(request, terms, setup.plan, query)


def weights_digest(words: dict[str, Words], numbers: Numbers) -> str:
    """SHA-256 of the encoded tensors in layout order."""
    digest = hashlib.sha256()
    for slot in layout(numbers):
        digest.update(slot.name.encode())
        digest.update(words[slot.name].tobytes())
    return digest.hexdigest()
