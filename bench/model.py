"""A whole model, from the client's tokens to its outputs: the row `model`."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from bench.job import BatchJob
from bench.rows import Row
from gpu_ss.party import Party
from gpu_ss.plan import Plan
from transformer import hf
from transformer.encoder import Encoder
from transformer.inference import Request, Tokens, infer, plan_inference, plan_setup
from transformer.model import PrivateModel, check_request
from transformer.reference import load_reference, run_reference
from transformer.setup import from_words, nothing, set_up
from transformer.terms import ProfileName, Terms

SEED = 13
CLIENT = 0


class ModelJob(BatchJob):
    """The product's set-up and inference, weights private to the server, on random tokens."""

    bench = "model"
    name = "model"

    def __init__(
        self, folder: str, seq: int, batch: int, profile: ProfileName = "precise", chunks: int = 1
    ) -> None:
        self._folder, self._profile = folder, profile
        self._model = PrivateModel.load(folder, None, Terms(profile=profile))
        arch, numbers = self._model.card.arch, self._model.numbers
        self.held_bytes = 2 * sum(words.nbytes for words in self._model.words.values())
        self.batch, self._length = batch, seq
        self.shape = (batch, seq, arch.layers, arch.hidden, arch.heads, arch.ffn, arch.vocab)
        self.ring_bits, self.frac_bits = numbers.at(0).hidden_bits, numbers.ACTIVATION
        self._encoders: list[Encoder] = []
        self._plans: dict[tuple[int, int], tuple[Plan, Plan]] = {}
        self.cut(chunks)
        check_request(self._request, self._model.card)

    @property
    def _request(self) -> Request:
        return Request(batch=self.texts, length=self._length)

    def describe(self) -> dict[str, Any]:
        return {
            "folder": self._folder, "seq": self._length, "batch": self.batch, "profile": self._profile,
            "chunks": self.chunks,
        }  # fmt: skip

    def _both_plans(self, rank: int) -> tuple[Plan, Plan]:
        if (rank, self.texts) not in self._plans:
            numbers = self._model.numbers
            setup = plan_setup(rank, numbers, self.terms).plan
            self._plans[rank, self.texts] = (
                setup,
                plan_inference(rank, numbers, self._request, self.terms, setup.taken),
            )
        return self._plans[rank, self.texts]

    def plan_setup(self, rank: int) -> Plan:
        return self._both_plans(rank)[0]

    def plan(self, rank: int) -> Plan:
        return self._both_plans(rank)[1]

    def set_up(self, party: Party) -> None:
        source = nothing if party.rank == CLIENT else from_words(self._model.words)
        self._encoders = [set_up(party, self._model.numbers, source, self.terms)]

    def _tokens(self) -> Tokens:
        arch = self._model.card.arch
        shape = (self._request.batch, self._request.length)
        ids = np.random.default_rng(SEED).integers(0, arch.vocab, shape)
        return Tokens(ids, np.zeros(shape, np.int64), np.ones(shape, np.int64))

    def run(self, party: Party) -> Any:
        tokens = self._tokens() if party.rank == CLIENT else None
        return infer(party, self._encoders[0], self._request, tokens)

    def errors(self, party: Party, result: Any) -> tuple[float, float] | None:
        """The outputs beside torch's, all of them together."""
        if party.rank != CLIENT:
            return None
        arch = self._model.card.arch
        clear = run_reference(load_reference(hf.find_model(self._folder), arch), arch, self._tokens())
        error = np.concatenate([np.abs(result[name] - clear[name]).reshape(-1) for name in clear])
        return float(error.max()), float(error.mean())

    def decorate(self, row: Row) -> Row:
        card = self._model.card
        return replace(row, extra=row.extra | {"model": card.name, "task": card.arch.task})
