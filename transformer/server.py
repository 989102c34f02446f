"""The server's side of private inference: its weights never leave it except under masks."""

from __future__ import annotations

import time
from collections.abc import Callable

from gpu_ss.backend import get_backend
from gpu_ss.party import Party
from gpu_ss.provider.store import Store
from gpu_ss.session import MATERIAL_LIMIT, Opener, joined
from net import Channel, PeerGone, ProtocolError, handshake
from transformer.encoder import Encoder
from transformer.inference import Request, infer
from transformer.model import (
    MEMORY_LIMIT,
    InferencePlan,
    ModelCard,
    PrivateModel,
    check_request,
    plan_for,
    plan_within,
)
from transformer.session import (
    AskStock,
    Clock,
    Prepare,
    Progress,
    Query,
    StockCard,
    Timing,
    agreement,
    hear_wish,
    no_progress,
    say,
    telling_why,
)
from transformer.setup import from_words, set_up
from transformer.stock import Stock, check_storable, label_of, model_tag, most_together


class Server:
    """A model, and where its dealer is (None: there is none). `serve` one client's session after the other.

    store: where correlations that are prepared ahead are kept, if this server does so. Raises ModelError if they
    would come from a dealer, StoreError if the store cannot be used.
    """

    def __init__(
        self,
        model: PrivateModel,
        dealer: Opener | None,
        backend: str = "auto",
        material_limit_bytes: int = MATERIAL_LIMIT,
        progress: Progress = no_progress,
        log: Callable[[str], None] = lambda line: None,
        store: Store | None = None,
        memory_limit_bytes: int = MEMORY_LIMIT,
    ) -> None:
        self._memory_limit = memory_limit_bytes
        if store is not None:
            check_storable(model.card.terms)
        self._store = store
        self._tag = None if store is None else model_tag(model, store)
        self._model = model
        self._dealer = dealer
        self._backend = get_backend(backend)
        self._limit = material_limit_bytes
        self._progress = progress
        self._log = log

    def serve(self, channel: Channel) -> int:
        """One session, to its end. Returns the number of queries answered."""
        with channel, telling_why(channel):
            card = self._model.card
            handshake(channel, agreement(card.terms.trust, card.terms.profile))
            say(channel, "card", card)
            with joined(1, channel, self._dealer, self._backend, self._limit, card.terms.extension) as party:
                session = _Session(
                    self._set_up(party, card), party, card, self._progress, self._log, self._memory_limit
                )
                return session.run(self._store, self._tag)

    def _set_up(self, party: Party, card: ModelCard) -> Encoder:
        start = time.perf_counter()
        with party.channel.traffic.phase("setup"):
            party.provider.prepare(plan_for(card, Request(batch=1, length=1)).setup.specs)
            model = set_up(party, card.numbers, from_words(self._model.words), card.terms)
        self._log(f"{party.channel.peer}: set up in {time.perf_counter() - start:.1f} s")
        return model


class _Session:
    """A client's wishes, one after the other."""

    def __init__(
        self,
        model: Encoder,
        party: Party,
        card: ModelCard,
        progress: Progress,
        log: Callable[[str], None],
        memory_limit: int,
    ) -> None:
        self._memory_limit = memory_limit
        self._model = model
        self._party = party
        self._channel = party.channel
        self._card = card
        self._stock: Stock | None = None
        self._progress = progress
        self._write = log

    def run(self, store: Store | None, tag: str | None) -> int:
        """Until the client leaves; the number of queries answered. `tag`: of the model, in the store."""
        answered = 0
        while True:
            try:
                wish = hear_wish(self._channel)
            except PeerGone:
                return answered
            if isinstance(wish, AskStock):
                self._meet(store, tag)
            elif isinstance(wish, Prepare):
                self._prepare(wish.shape, wish.queries)
            else:
                say(self._channel, "timing", self._answer(wish))
                answered += 1

    def _meet(self, store: Store | None, tag: str | None) -> None:
        if self._stock is not None:
            raise ProtocolError(f"{self._channel.peer} asks for the store twice; run the same version")
        say(self._channel, "stock", StockCard(tag=tag))
        if store is not None and tag is not None:
            with self._channel.traffic.phase("stock"):
                self._stock = Stock(self._party, store, self._card, tag)

    def _prepare(self, request: Request, queries: int) -> None:
        self._plan(request)
        if queries > most_together(request):
            raise ProtocolError(
                f"{queries} queries of {label_of(request)} tokens are too many to be prepared at once"
            )
        start, stock = time.perf_counter(), self._known_stock()
        before, made = stock.evicted, 0
        with self._channel.traffic.phase("prepare"):
            for head in stock.make(request, queries, self._offline):
                made += 1
                seconds = time.perf_counter() - start
                self._say(
                    f"prepared {label_of(request)} tokens in {seconds:.1f} s, {head.file_bytes / 1e6:.1f} MB"
                )
                start = time.perf_counter()
        if stock.evicted > before:
            self._say(
                f"removed {stock.evicted - before} stored queries of another model or other terms: no room"
            )
        if not made:
            self._say(f"no room to prepare {label_of(request)} tokens")

    def _plan(self, request: Request) -> InferencePlan:
        """The plan of a query that this model and this machine accept."""
        check_request(request, self._card)
        return plan_within(self._card, request, self._memory_limit)

    def _known_stock(self) -> Stock:
        if self._stock is None:
            raise ProtocolError(
                f"{self._channel.peer} uses a store that was not agreed; run the same version"
            )
        return self._stock

    def _answer(self, query: Query) -> Timing:
        party, clock, request = self._party, Clock(), query.shape
        found = self._plan(request)
        plan = found.query.moved(party.provider.taken)
        with clock.phase(self._channel, "offline"):
            stored = query.stored and self._known_stock().take_up(request, plan, self._offline)
            if not stored:
                party.provider.prepare(plan.specs, self._offline)
            self._channel.exchange("ready", [b"server"], [6])
        with clock.phase(self._channel, "online"):
            infer(party, self._model, request, None, self._card.terms.privacy)
        timing = Timing(
            offline_s=clock.seconds["offline"],
            online_s=clock.seconds["online"],
            dealer_bytes=found.dealer_bytes,
        )
        self._say(
            f"{label_of(request)} tokens, offline {timing.offline_s:.2f} s{' (stored)' if stored else ''}, "
            f"online {timing.online_s:.2f} s"
        )
        return timing

    def _say(self, line: str) -> None:
        self._write(f"{self._channel.peer}: {line}")

    def _offline(self, done: int, total: int) -> None:
        self._progress("offline", done, total)
