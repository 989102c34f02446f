"""The server's side of private inference: its weights never leave it except under masks."""

from __future__ import annotations

import time
from collections.abc import Callable

from gpu_ss.backend import get_backend
from gpu_ss.party import Party
from gpu_ss.session import MATERIAL_LIMIT, Opener, joined
from net import Channel, PeerGone, handshake
from transformer.encoder import Encoder
from transformer.inference import Request, infer
from transformer.model import ModelCard, PrivateModel, check_request, plan_for
from transformer.session import (
    Clock,
    Progress,
    Timing,
    agreement,
    hear,
    no_progress,
    say,
    telling_why,
)
from transformer.setup import from_words, set_up


class Server:
    """A model, and where its dealer is (None: there is none). `serve` one client's session after the other."""

    def __init__(
        self,
        model: PrivateModel,
        dealer: Opener | None,
        backend: str = "auto",
        material_limit_bytes: int = MATERIAL_LIMIT,
        progress: Progress = no_progress,
        log: Callable[[str], None] = lambda line: None,
    ) -> None:
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
            handshake(channel, agreement(card.terms.trust))
            say(channel, "card", card)
            with joined(1, channel, self._dealer, self._backend, self._limit, card.terms.extension) as party:
                return self._answer_all(party, self._set_up(party, card), card)

    def _set_up(self, party: Party, card: ModelCard) -> Encoder:
        start = time.perf_counter()
        with party.channel.traffic.phase("setup"):
            party.provider.prepare(plan_for(card, Request(batch=1, length=1)).setup.specs)
            model = set_up(party, card.numbers, from_words(self._model.words), card.terms)
        self._log(f"{party.channel.peer}: set up in {time.perf_counter() - start:.1f} s")
        return model

    def _answer_all(self, party: Party, model: Encoder, card: ModelCard) -> int:
        answered = 0
        while True:
            try:
                request = hear(party.channel, "query", Request)
            except PeerGone:
                return answered
            check_request(request, card)
            timing = self._answer(party, model, card, request)
            say(party.channel, "timing", timing)
            answered += 1
            self._log(
                f"{party.channel.peer}: batch {request.batch} x {request.length} tokens, "
                f"offline {timing.offline_s:.2f} s, online {timing.online_s:.2f} s"
            )

    def _answer(self, party: Party, model: Encoder, card: ModelCard, request: Request) -> Timing:
        channel, clock = party.channel, Clock()
        found = plan_for(card, request)
        plan = found.query.moved(party.provider.taken)
        with clock.phase(channel, "offline"):
            party.provider.prepare(plan.specs, lambda done, total: self._progress("offline", done, total))
            channel.exchange("ready", [b"server"], [6])
        with clock.phase(channel, "online"):
            infer(party, model, request, None)
        return Timing(
            offline_s=clock.seconds["offline"],
            online_s=clock.seconds["online"],
            dealer_bytes=found.dealer_bytes,
        )
