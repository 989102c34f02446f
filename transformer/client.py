"""The client's side of private inference: its text never leaves it except as masked shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from gpu_ss.errors import StoreError
from gpu_ss.provider.reel import Head
from gpu_ss.provider.store import Store
from gpu_ss.session import Opener, joined
from net import ProtocolError, handshake
from transformer.architecture import Architecture
from transformer.background import Background
from transformer.encoder import Encoder
from transformer.errors import InputError, MalformedModel
from transformer.inference import Request, Tokens, infer
from transformer.model import MEMORY_LIMIT, ModelCard, PrivateModel, check_request, plan_within
from transformer.session import (
    AskStock,
    Clock,
    Prepare,
    Progress,
    Query,
    RunReport,
    StockCard,
    Timing,
    agreement,
    ask_for,
    hear,
    no_progress,
)
from transformer.setup import from_words, nothing, set_up
from transformer.stock import Stock, check_storable, label_of, most_together
from transformer.terms import ProfileName, TrustMode


@dataclass(frozen=True)
class Answer:
    """Outputs of a query by name, and what it cost."""

    outputs: dict[str, NDArray[np.float64]] = field(repr=False)
    report: RunReport


class Client:
    """A session with a server. Use as a context manager; `ask` any number of queries."""

    def __init__(
        self,
        server: Opener,
        dealer: Opener | None,
        backend: str = "auto",
        own_model: PrivateModel | None = None,
        progress: Progress = no_progress,
        store: Store | None = None,
        memory_limit_bytes: int = MEMORY_LIMIT,
        profile: ProfileName = "precise",
    ) -> None:
        """`dealer`: None for a session of the two parties alone; the server must be set up for the same.
        `own_model`: this side's copy of the model, needed when the server's weights are public.
        `store`: correlations prepared ahead, to be added to and used; without a dealer only. `profile`: must be the
        server's."""
        trust: TrustMode = "two-party" if dealer is None else "dealer"
        self._progress = progress
        self._memory_limit = memory_limit_bytes
        self._clock = Clock()
        self._background: Background | None = None
        with ExitStack() as stack:
            self._server = stack.enter_context(server())
            handshake(self._server, agreement(trust, profile))
            self.card = hear(self._server, "card", ModelCard)
            agreed, stated = (trust, profile), (self.card.terms.trust, self.card.terms.profile)
            if agreed != stated:
                raise ProtocolError(f"the server agreed to {agreed} and states {stated}")
            self._party = stack.enter_context(
                joined(0, self._server, dealer, backend, extend=self.card.terms.extension)
            )
            self._model = self._set_up(own_model)
            self._stock = None if store is None else self._meet(store)
            self._stack = stack.pop_all()

    def _set_up(self, own: PrivateModel | None) -> Encoder:
        numbers = self.card.numbers

        def progress(done: int, total: int) -> None:
            self._progress("setup", done, total)

        with self._clock.phase(self._server, "setup"):
            if not self.card.terms.public:
                return set_up(self._party, numbers, nothing, self.card.terms, progress)
            if own is None or own.card.digest != self.card.digest:
                raise MalformedModel(
                    "the server's weights are public and this side needs the same ones: give --model with the "
                    f"model {self.card.name!r}" + ("" if own is None else "; the one given differs")
                )
            return set_up(self._party, numbers, from_words(own.words), self.card.terms)

    def _meet(self, store: Store) -> Stock | None:
        """The stored correlations of this session; None if the server keeps none."""
        check_storable(self.card.terms)
        ask_for(self._server, AskStock(kind="stock"))
        tag = hear(self._server, "stock", StockCard).tag
        if tag is None:
            return None
        with self._server.traffic.phase("stock"):
            return Stock(self._party, store, self.card, tag)

    @property
    def stock(self) -> Stock:
        """The stored correlations of this session. Raises StoreError if one side has no store."""
        if self._stock is None:
            raise StoreError("nothing can be prepared ahead: start client and server with a store")
        return self._stock

    def prepare(self, request: Request, queries: int = 1) -> list[Head]:
        """Make the correlations of queries of that shape, and keep them for later sessions.

        What many queries need alike is made at once, which is cheaper; each is kept when it is complete. Raises
        StoreError if there is no store at one side, or no room for more; what was made before that stays.
        """
        self._pause()
        made: list[Head] = []
        while len(made) < queries:
            self._progress("prepare", len(made), queries)
            most = min(queries - len(made), most_together(request))
            for head in self._make_ahead(request, most, self._offline):
                made.append(head)
                self._progress("prepare", len(made), queries)
        return made

    def prepare_in_background(self, request: Request, queries: int) -> Background:
        """Keep the correlations of so many queries of that shape in the store, made whenever the session is idle.

        A thread makes them from now on, and again after each `ask`, which waits for the set that is being made and
        uses it. Progress is shown as stage "ahead". Ends when the session is closed, which throws away what is not
        finished, or a store is full (see `Background.full`). Raises StoreError if there is no store at one side.
        """
        check_request(request, self.card)
        self._pause()
        stock = self.stock

        def make(step: Callable[[], None]) -> None:
            def progress(done: int, total: int) -> None:
                step()
                self._progress("ahead", done, total)

            for _ in self._make_ahead(request, 1, progress):
                pass

        self._background = Background(
            make, lambda: stock.held()[label_of(request)] < queries, self._server.hand_over
        )
        self._background.start()
        return self._background

    def _pause(self) -> None:
        """The session is needed here."""
        if self._background is not None:
            self._background.pause()

    def _make_ahead(
        self, request: Request, queries: int, progress: Callable[[int, int], None]
    ) -> Iterator[Head]:
        """At least one; fewer than wanted where there is no room."""
        check_request(request, self.card)
        plan_within(self.card, request, self._memory_limit)
        stock, shape = self.stock, {"batch": request.batch, "length": request.length}
        ask_for(self._server, Prepare(kind="prepare", queries=queries, **shape))
        with self._server.traffic.phase("prepare"):
            yield from stock.make(request, queries, progress)

    def about_store(self, request: Request, stored: bool) -> str:
        """Where the correlations of a query came from, and what to do if not from the store: a line for people."""
        if self._stock is None:
            return "The server keeps no store: the correlations were made for this query."
        if stored:
            left = self._stock.held()[label_of(request)]
            return f"The correlations came from the store, which has those of {left} more such queries."
        longer = self._stock.length_for(request)
        advice = "" if longer is None else f" There are some for {longer} tokens: use --pad-to {longer}."
        return f"The store has none for {label_of(request)} tokens: they were made for this query.{advice}"

    def ask(self, tokens: Tokens) -> Answer:
        """Run one query. The server learns its padded shape and nothing else."""
        self._pause()
        answer = self._ask(tokens)
        if self._background is not None:
            self._background.start()
        return answer

    def _ask(self, tokens: Tokens) -> Answer:
        request = tokens.request
        check_tokens(tokens, self.card)
        party, channel, clock = self._party, self._server, Clock()
        before = channel.traffic.report()
        planned = plan_within(self.card, request, self._memory_limit)
        ask_for(channel, Query(batch=request.batch, length=request.length, stored=self._stock is not None))
        plan = planned.query.moved(party.provider.taken)
        with clock.phase(channel, "offline"):
            stored = self._stock is not None and self._stock.take_up(request, plan, self._offline)
            if not stored:
                party.provider.prepare(plan.specs, self._offline)
            channel.exchange("ready", [b"client"], [6])
        rounds = 0

        def watch(tag: str) -> None:
            nonlocal rounds
            rounds += 1
            self._progress("online", rounds, plan.rounds)

        party.watch = watch
        with clock.phase(channel, "online"):
            outputs = infer(party, self._model, request, tokens, self.card.terms.privacy)
        other = hear(channel, "timing", Timing)
        spent = channel.traffic.report() - before
        report = RunReport(
            setup_s=self._clock.seconds["setup"],
            offline_s=max(clock.seconds["offline"], other.offline_s),
            online_s=max(clock.seconds["online"], other.online_s),
            setup=channel.traffic.report().phase("setup"),
            offline=spent.phase("offline"),
            online=spent.phase("online"),
            dealer_bytes=other.dealer_bytes,
            plan=plan,
            stored=stored,
        )
        return Answer({k: v for k, v in outputs.items() if v is not None}, report)

    def _offline(self, done: int, total: int) -> None:
        self._progress("offline", done, total)

    def close(self) -> None:
        """End the session."""
        if self._background is not None:
            self._background.abandon()
        self._stack.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._background is not None:
            self._background.abandon()
        self._stack.__exit__(kind, error, trace)


# -- text -------------------------------------------------------------------------------------------------


def check_texts(texts: Sequence[str | tuple[str, str]]) -> None:
    """There is something to ask about. Raises InputError."""
    if not texts:
        raise InputError("there is no text; give at least one")
    for number, text in enumerate(texts, 1):
        joined_text = "".join(text)
        if not joined_text.strip():
            raise InputError(f"text {number} is empty")
        if not joined_text.isascii() and any("\ud800" <= c <= "\udfff" for c in joined_text):
            raise InputError(f"text {number} is no text: it holds bytes that are not UTF-8")


class HasArchitecture(Protocol):
    """A model card, or anything else that knows what texts fit."""

    @property
    def arch(self) -> Architecture: ...


def tokenize(
    texts: Sequence[str | tuple[str, str]], tokenizer: Any, card: HasArchitecture, pad_to: int | None = None
) -> Tokens:
    """Token arrays of the texts (or pairs), padded to the longest or to `pad_to` tokens.

    The padded length is all the server sees of their lengths. Raises InputError for empty or too long texts.
    """
    check_texts(texts)
    encoded = tokenizer(
        list(texts), padding=True, return_tensors="np", return_token_type_ids=True, verbose=False
    )
    ids, keep = encoded["input_ids"], encoded["attention_mask"]
    types = encoded.get("token_type_ids", np.zeros_like(ids))
    longest = ids.shape[1]
    limit = min(card.arch.max_length, pad_to or card.arch.max_length)
    if longest > limit:
        number = int(keep.sum(axis=1).argmax()) + 1
        raise InputError(f"text {number} has {longest} tokens, at most {limit} fit; shorten or split it")
    if pad_to:
        extra = ((0, 0), (0, pad_to - longest))
        pad = getattr(tokenizer, "pad_token_id", None) or 0
        ids = np.pad(ids, extra, constant_values=pad)
        types, keep = np.pad(types, extra), np.pad(keep, extra)
    return Tokens(ids.astype(np.int64), types.astype(np.int64), keep.astype(np.int64))


def load_tokenizer(path: Path) -> Any:
    """The tokenizer of a model folder."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, trust_remote_code=False)
    except Exception as error:
        raise MalformedModel(
            f"{path} has no usable tokenizer ({type(error).__name__}): it needs tokenizer.json, or vocab.txt and a "
            'tokenizer_config.json such as {"tokenizer_class": "BertTokenizer", "do_lower_case": true}'
        ) from None


def check_tokens(tokens: Tokens, card: ModelCard) -> None:
    """The tokens fit the model. Messages name no token."""
    arch = card.arch
    if tokens.ids.shape[1] > arch.max_length:
        raise InputError(f"{tokens.ids.shape[1]} tokens are too long, at most {arch.max_length} fit")
    if tokens.ids.min() < 0 or tokens.ids.max() >= arch.vocab:
        raise InputError(f"token ids do not fit a vocabulary of {arch.vocab}: is this the model's tokenizer?")
    if arch.types and (tokens.types.min() < 0 or tokens.types.max() >= arch.types):
        raise InputError(f"type ids do not fit {arch.types} types")
    if not set(np.unique(tokens.keep)) <= {0, 1} or not tokens.keep.any(axis=1).all():
        raise InputError("the mask must hold ones and zeros, with at least one token per text")
