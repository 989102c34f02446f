"""Correlations prepared ahead of queries and kept on disk by both parties: what a session knows about them.

A client that has a store asks the server whether it has one too (`wish` stock). The answer names the server's model
by a tag; from then on both mean the same `context`, and the session can prepare, and take up, what belongs to it.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from gpu_ss.party import Party
from gpu_ss.plan import Plan
from gpu_ss.provider.ahead import even_out, make_sets, take_up
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.reel import DIGEST_BYTES, Head, Purpose, from_zero, plan_digest, stored_bytes
from gpu_ss.provider.store import Shelf, Store
from net import Channel
from transformer.errors import InputError
from transformer.inference import Request
from transformer.model import ModelCard, PrivateModel, plan_for, weights_digest
from transformer.session import agreement
from transformer.terms import Terms

TAG_BYTES = 16
#: Texts' tokens that are prepared at once: as many as a ciphertext of products with weights has places.
_TOKENS_TOGETHER = 8192

#: Called while correlations are made: (done, in all).
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Stored:
    """A query's correlations as they are kept: numbered from 0, and what they are for."""

    specs: tuple[Correlation, ...]
    plan: bytes


@lru_cache(maxsize=32)
def stored_plan(card: ModelCard, request: Request) -> Stored:
    """What is kept for a query of that shape."""
    query = plan_for(card, request).query
    specs = from_zero(query.specs, query.first)
    return Stored(tuple(specs), plan_digest(specs))


def stored_sizes(card: ModelCard, request: Request) -> tuple[int, int]:
    """Bytes on the disk of client and server."""
    specs = stored_plan(card, request).specs
    return stored_bytes(0, specs), stored_bytes(1, specs)


def label_of(request: Request) -> str:
    """A query's shape for people."""
    return f"{request.batch} x {request.length}"


def most_together(request: Request) -> int:
    """How many queries of a shape are prepared at once, since that is cheaper."""
    return max(1, _TOKENS_TOGETHER // (request.batch * request.length))


def check_storable(terms: Terms) -> None:
    """Raises InputError if correlations under these terms cannot be kept."""
    if terms.trust != "two-party":
        raise InputError("a store needs trust two-party: a dealer makes correlations for one session only")


def model_tag(model: PrivateModel, store: Store) -> str:
    """Tells models apart for those who have stored correlations with them, and nobody else anything.

    It is keyed with the store's secret, so it does not confirm a guess of the weights.
    """
    digest = weights_digest(model.words, model.numbers).encode()
    return hashlib.blake2b(digest, key=store.key(), digest_size=TAG_BYTES).hexdigest()


def context_of(card: ModelCard, tag: str) -> bytes:
    """Digest of everything that stored correlations depend on besides their plan."""
    content = {
        "agreement": dict(agreement(card.terms.trust).fields),
        "terms": card.terms.model_dump(mode="json"),
        "model": tag,
    }
    text = json.dumps(content, sort_keys=True).encode()
    return hashlib.blake2b(text, digest_size=DIGEST_BYTES).digest()


def shelf_for(store: Store, channel: Channel) -> Shelf:
    """The shelf of whoever is at the other end: of a key, where one was proven."""
    return store.shelf(channel.peer_key or f"without a key: {channel.peer}")


class Stock:
    """One party's stored correlations in a session with a peer that has stored its part."""

    def __init__(self, party: Party, store: Store, card: ModelCard, tag: str) -> None:
        """Both parties at the same time: what only one has left is removed first."""
        self._party = party
        self._card = card
        self._context = context_of(card, tag)
        self._shelf = shelf_for(store, party.channel)
        even_out(party, self._shelf, self._context)

    def make(self, request: Request, queries: int, progress: Progress) -> Iterator[Head]:
        """See `make_sets`."""
        specs = stored_plan(self._card, request).specs
        return make_sets(self._party, self._shelf, self._purpose(request), specs, queries, progress)

    def take_up(self, request: Request, plan: Plan, progress: Progress) -> bool:
        """Use stored correlations for `plan`, the next one of the session, if there are some; whether it is so."""
        return take_up(self._party, self._shelf, self._purpose(request), plan.specs, progress)

    @property
    def evicted(self) -> int:
        """How many queries' correlations for another model, or under other terms, have made room."""
        return self._shelf.evicted

    def held(self) -> Counter[str]:
        """How many queries of which shape (`label_of`) can be answered from the store."""
        heads = self._shelf.all_heads()
        return Counter(head.purpose.label for head in heads if head.purpose.context == self._context)

    def length_for(self, request: Request) -> int | None:
        """The shortest length not below the request's for which there is something in the store."""
        shapes = [label.split(" x ") for label in self.held()]
        return min(
            (
                int(length)
                for batch, length in shapes
                if int(batch) == request.batch and int(length) >= request.length
            ),
            default=None,
        )

    def _purpose(self, request: Request) -> Purpose:
        return Purpose(stored_plan(self._card, request).plan, self._context, label_of(request))
