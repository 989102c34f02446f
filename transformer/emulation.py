"""A profile's inference emulated in clear, for large evaluation sets: the encoder's own program on a ClearParty.

Rounding, rings and tables are those of the private run; a result differs from it by what single units of truncation
do. Many times faster, because nothing is masked, sent or dealt. It needs the weights and the texts in one place.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gpu_ss.backend import Backend, get_backend
from gpu_ss.clear import ClearParty
from gpu_ss.fixed import decode
from gpu_ss.ring import RING64
from gpu_ss.values import AShare
from transformer.attention import Watched
from transformer.errors import WidthsExceeded
from transformer.inference import Tokens, infer
from transformer.model import PrivateModel
from transformer.setup import from_words, set_up

Real = NDArray[np.float64]
TOKENS_AT_ONCE = 2048


@dataclass(frozen=True)
class Emulated:
    """Outputs by name, and the normalised rows before the first layer and after each: [batch, length, hidden]."""

    outputs: dict[str, Real]
    rows: list[Real]


class Emulator:
    """A model ready to be emulated, with the tables of its terms' trust mode and the functions of its profile."""

    def __init__(self, model: PrivateModel, backend: str | Backend = "auto") -> None:
        self._model = model
        self._backend = get_backend(backend) if isinstance(backend, str) else backend
        terms = model.card.terms.model_copy(
            update={"weights": "public", "linear": "offline", "engine": "native"}
        )
        self._party = ClearParty(self._backend, terms.economy)
        self._encoder = set_up(self._party, model.numbers, from_words(model.words), terms)

    def run(self, tokens: Tokens) -> Emulated:
        """One batch. Memory grows with batch times length squared: see `batches`.

        Raises WidthsExceeded, naming layer and tensor, where a number leaves its calibrated bound.
        """
        rows: list[Real] = []

        def probe(t: AShare) -> None:
            rows.append(decode(self._backend.to_host(t.ring.reduce(t.data)), t.ring, t.frac_bits))

        encoder = replace(self._encoder, probe=probe, watch=self._check)
        found = infer(self._party, encoder, tokens.request, tokens)
        return Emulated({name: value for name, value in found.items() if value is not None}, rows)

    def _check(self, watched: Watched) -> None:
        squares = decode(self._backend.to_host(watched.squares.data), RING64, watched.squares.frac_bits)
        most = float(squares.max())
        if most >= 2.0**watched.exponent:
            raise WidthsExceeded(
                f"layer {watched.layer}, {watched.name}: a squared norm of {most:.4g} leaves the calibrated bound "
                f"2^{watched.exponent}; calibrate with such texts, or do without --widths"
            )


def batches(tokens: Tokens, at_once: int = TOKENS_AT_ONCE) -> Iterator[tuple[NDArray[np.int64], Tokens]]:
    """The same texts in parts of about so many tokens, each cut to its longest text: which they are, and they."""
    order = np.argsort(-tokens.keep.sum(axis=1), kind="stable")
    start = 0
    while start < len(order):
        length = int(tokens.keep[order[start]].sum())
        count = max(1, at_once // length)
        rows = order[start : start + count]
        arrays = (array[rows, :length] for array in (tokens.ids, tokens.types, tokens.keep))
        yield rows, Tokens(*arrays)
        start += count
