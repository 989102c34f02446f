"""One private inference: from the client's tokens to outputs only the client learns. Rank-blind."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from gpu_ss.fixed import decode, encode
from gpu_ss.functions.noise import protect
from gpu_ss.functions.privacy import Guarantee
from gpu_ss.party import Party, Steps, together
from gpu_ss.plan import Plan, make_plan
from gpu_ss.protocols.guard import all_below, gated
from gpu_ss.protocols.io import private, reveal, share
from gpu_ss.protocols.weights import affine
from gpu_ss.ring import RING64, Ring
from gpu_ss.values import AShare, Public
from transformer.architecture import Numbers
from transformer.attention import Watch, Watched
from transformer.encoder import Encoder, Inputs
from transformer.encoder import encode as encode_rows
from transformer.errors import WidthsExceeded
from transformer.heads import POOL_FRAC, run_head
from transformer.setup import set_up, shapes
from transformer.terms import Terms

CLIENT = 0
KEPT = "kept"  # the bit that says whether all numbers kept their calibrated bounds
KEPT_RING = Ring(2)
EMBED_WORDS = 1 << 25  # one-hot rows handled at a time (256 MiB)

Real = NDArray[np.float64]


class Request(BaseModel):
    """What the server learns of a query: its padded shape."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    batch: int = Field(ge=1, le=1 << 16)
    length: int = Field(ge=1, le=1 << 16)

    @property
    def shape(self) -> Request:
        """This and nothing else, of a message that says more."""
        return Request(batch=self.batch, length=self.length)


@dataclass(frozen=True)
class Tokens:
    """The client's secret: token ids, type ids, and 1 for tokens, 0 for padding; all [batch, length]."""

    ids: NDArray[np.int64]
    types: NDArray[np.int64]
    keep: NDArray[np.int64]

    def __repr__(self) -> str:
        return f"Tokens(shape={self.ids.shape}, ids=<hidden>)"

    @property
    def request(self) -> Request:
        batch, length = self.ids.shape
        return Request(batch=batch, length=length)


def infer(
    party: Party,
    model: Encoder,
    request: Request,
    tokens: Tokens | None,
    privacy: Guarantee | None = None,
) -> dict[str, Real | None]:
    """The outputs by name at the client (None at the server). `tokens` at the client only.

    privacy: noise for that guarantee is added to them, see `gpu_ss.functions.noise`.
    Raises WidthsExceeded at the client if a number left its calibrated bound; the outputs were all 0 then.
    """
    shares = party.run(_forward(party, model, request, tokens, privacy))
    found = {name: _to_real(party, *opened) for name, opened in shares.items()}
    kept = found.pop(KEPT, None)
    if kept is not None and not kept.all():
        raise WidthsExceeded(
            "this query leaves the ranges that the server's model was calibrated for, so nothing was computed and "
            "nothing was revealed; the server must calibrate with such texts, or serve without --widths"
        )
    return found


def plan_inference(rank: int, numbers: Numbers, request: Request, terms: Terms, first: int) -> Plan:
    """What a query of that shape takes, its correlations numbered from `first`."""
    setup_plan = plan_setup(rank, numbers, terms)
    model = setup_plan.model
    plan = make_plan(
        rank,
        lambda party: party.run(_forward(party, model, request, None, terms.privacy)),
        setup_plan.plan.taken,
        terms.economy,
        terms.traffic,
    )
    return plan.moved(first)


@dataclass(frozen=True)
class SetupPlan:
    """The plan of setting up a model, and the model as shapes."""

    plan: Plan
    model: Encoder


def plan_setup(rank: int, numbers: Numbers, terms: Terms) -> SetupPlan:
    """What setting up a session takes."""
    made: list[Encoder] = []

    plan = make_plan(
        rank, lambda party: made.append(set_up(party, numbers, shapes(terms), terms)), economy=terms.economy
    )
    return SetupPlan(plan, made[0])


# -- the steps --------------------------------------------------------------------------------------------


def _forward(
    party: Party, model: Encoder, request: Request, tokens: Tokens | None, privacy: Guarantee | None
) -> Steps[dict[str, tuple[AShare, Any]]]:
    arch = model.numbers.arch
    shape = (request.batch, request.length)
    keep = _secret(party, None if tokens is None else tokens.keep.astype(np.uint64), shape, RING64)
    embedded = yield from _embed(party, model, request, tokens)
    watched: list[Watched] = []
    model = replace(model, watch=_both(watched.append, model.watch))
    t = yield from encode_rows(party, model, Inputs(keep, embedded))
    pool = None
    if arch.task == "embedding":
        weights = None if tokens is None else encode(_averages(tokens, arch.pooling), RING64, POOL_FRAC)
        pool = _secret(party, weights, (request.batch, 1, request.length), RING64, POOL_FRAC)
    outputs = yield from _checked(party, run_head(party, model, t, pool), watched)
    if privacy is not None:
        noisy = yield from protect(party, list(outputs.values()), privacy)
        outputs = dict(zip(outputs, noisy, strict=True))
    opened = yield from together(*(reveal.steps(party, x, CLIENT) for x in outputs.values()))
    return {name: (x, words) for (name, x), words in zip(outputs.items(), opened, strict=True)}


def _both(first: Watch, second: Watch) -> Watch:
    def watch(watched: Watched) -> None:
        first(watched)
        second(watched)

    return watch


def _checked(
    party: Party, head: Steps[dict[str, AShare]], watched: list[Watched]
) -> Steps[dict[str, AShare]]:
    """The head's outputs; where bounds are calibrated all 0 unless every number kept them, and a bit that says so.

    The check runs beside the head. A number that leaves its bound makes wrong what comes after it and nothing
    before, so the first one to do so is found for certain.
    """
    if not watched:
        return (yield from head)
    outputs, kept = yield from together(
        head, all_below.steps(party, [w.squares for w in watched], [w.exponent for w in watched])
    )
    shares = yield from gated.steps(party, kept, *outputs.values())
    return dict(zip(outputs, shares, strict=True)) | {KEPT: kept.narrowed(KEPT_RING)}


def _secret(
    party: Party, words: NDArray[np.uint64] | None, shape: tuple[int, ...], ring: Ring, frac_bits: int = 0
) -> AShare:
    """A client's tensor as shares (zeros at the server; shapes only when planning)."""
    if party.rank != CLIENT:
        return share(party, private(party, CLIENT, None, shape, ring, frac_bits))
    data = party.backend.zeros(shape) if words is None else party.backend.asarray(words)
    return share(party, private(party, CLIENT, data, shape, ring, frac_bits))


def _averages(tokens: Tokens, pooling: str | None) -> Real:
    """Weights [batch, 1, length] that sum to 1 over the tokens that are pooled."""
    if pooling == "cls":
        first = np.zeros(tokens.keep.shape)
        first[:, 0] = 1.0
        return first[:, None, :]
    keep = tokens.keep.astype(np.float64)
    return np.asarray((keep / keep.sum(axis=1, keepdims=True))[:, None, :], np.float64)


def _embed(party: Party, model: Encoder, request: Request, tokens: Tokens | None) -> Steps[AShare]:
    """Summed token and type rows of the table: [batch, length, hidden] at scale EMBEDDING."""
    numbers = model.numbers
    table, ring = model.weights["embedding"], Ring(numbers.embedding_bits)
    if isinstance(table, Public):
        return _look_up(party, numbers, table, request, tokens)
    columns = table.shape[0]
    total = request.batch * request.length
    step = max(1, EMBED_WORDS // columns)
    parts = []
    for start in range(0, total, step):
        rows = min(step, total - start)
        words = None if tokens is None else _one_hot(tokens, numbers, start, rows, columns)
        one_hot = _secret(party, words, (rows, columns), ring)
        (part,) = yield from affine.steps(party, one_hot, [table])
        parts.append(part.data)
    data = parts[0] if len(parts) == 1 else party.backend.xp.concatenate(parts)
    return AShare(data.reshape(request.batch, request.length, numbers.arch.hidden), ring, numbers.EMBEDDING)


def _one_hot(tokens: Tokens, numbers: Numbers, start: int, rows: int, columns: int) -> NDArray[np.uint64]:
    """Rows `start`.. of the one-hot matrix: a one for the token, and one for its type."""
    result = np.zeros((rows, columns), np.uint64)
    where = np.arange(rows)
    result[where, tokens.ids.reshape(-1)[start : start + rows]] = 1
    if numbers.arch.types:
        result[where, numbers.arch.vocab + tokens.types.reshape(-1)[start : start + rows]] = 1
    return result


def _look_up(
    party: Party, numbers: Numbers, table: Public, request: Request, tokens: Tokens | None
) -> AShare:
    """With a public or released table the client looks its rows up by itself."""
    shape = (request.batch, request.length, numbers.arch.hidden)
    ring = Ring(numbers.embedding_bits)
    words = None
    if tokens is not None:
        rows = party.backend.to_host(table.data)
        words = rows[tokens.ids]
        if numbers.arch.types:
            words = words + rows[numbers.arch.vocab + tokens.types]
    return _secret(party, words, shape, ring, numbers.EMBEDDING)


def _to_real(party: Party, x: AShare, words: Any) -> Real | None:
    if words is None or party.rank != CLIENT:
        return None
    return decode(party.backend.to_host(words), x.ring, x.frac_bits)
