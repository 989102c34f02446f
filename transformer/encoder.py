"""The private forward pass of a BERT encoder: rank-blind, reads like the model.

Every function is a protocol step (a generator, see gpu_ss.party). Scales and rings are those of
`architecture.Numbers`; t are normalised rows without gamma and beta, which live in the weights.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from gpu_ss.functions.activation import activation, relu
from gpu_ss.functions.layernorm import unit_rows
from gpu_ss.functions.rows import NARROW, Rows, opened_rows, scaled_rows
from gpu_ss.functions.softmax import (
    INVERSE_RING,
    PROBABILITY_FRAC,
    inverse_sums,
    softmax_weights,
    with_mask,
)
from gpu_ss.party import Party, Steps, together
from gpu_ss.protocols.arith import matmul
from gpu_ss.protocols.io import add_private, add_public
from gpu_ss.protocols.trunc import extend, truncate
from gpu_ss.protocols.weights import Held, Static, affine
from gpu_ss.ring import RING64, Ring
from gpu_ss.values import AShare, Private, Public
from transformer.architecture import Numbers

READ_RING = Ring(48)  # activations at Numbers.ACTIVATION fractional bits


@dataclass(frozen=True)
class Encoder:
    """An encoder both parties are set up for: weights (opened or public) and biases by name."""

    numbers: Numbers
    weights: Mapping[str, Static | Held | Public]
    biases: Mapping[str, Private | Public]

    def biased(self, party: Party, x: AShare, name: str, rows: int | None = None) -> AShare:
        """x + bias (its first `rows` rows), the bias being private or public."""
        bias = self.biases[f"{name}.bias" if f"{name}.bias" in self.biases else name]
        ring, frac = x.ring, x.frac_bits
        data = bias.data
        if data is not None and rows is not None:
            data = data[:rows]
        if isinstance(bias, Public):
            return add_public(party, x, data)
        return add_private(party, x, Private(data, bias.owner, x.shape, ring, frac))


@dataclass(frozen=True, slots=True)
class Inputs:
    """Shared inputs of a batch.

    keep [batch, length]: 1 for tokens, 0 for padding (0 fractional bits). embedded [batch, length, hidden]: the
    summed rows of the embedding table, at scale EMBEDDING.
    """

    keep: AShare
    embedded: AShare


def encode(party: Party, model: Encoder, inputs: Inputs) -> Steps[AShare]:
    """Normalised rows t of the last layer: [batch, length, hidden]."""
    t = yield from embed(party, model, inputs.embedded)
    for i in range(model.numbers.arch.layers):
        t = yield from layer(party, model, str(i), t, inputs.keep)
    return t


def embed(party: Party, model: Encoder, embedded: AShare) -> Steps[AShare]:
    """Positions added, then LayerNorm; the table's rows are centred already."""
    numbers = model.numbers
    x = model.biased(party, embedded, "position", rows=embedded.shape[1])
    return (
        yield from unit_rows.steps(
            party, x, numbers.arch.eps, numbers.unit_frac, RING64, _embedding_frac(numbers), centred=True
        )
    )


def _embedding_frac(numbers: Numbers) -> int:
    """Centred embedding rows keep their own scale as long as their norm fits."""
    half = (numbers.log_hidden + 1) // 2
    return min(numbers.EMBEDDING, 30 - numbers.ranges.embedding - half)


def layer(party: Party, model: Encoder, name: str, t: AShare, keep: AShare) -> Steps[AShare]:
    """One encoder layer: attention, feed-forward, each with its residual and LayerNorm."""
    t = yield from attention_block(party, model, name, t, keep)
    return (yield from ffn_block(party, model, name, t))


def attention_block(party: Party, model: Encoder, name: str, t: AShare, keep: AShare) -> Steps[AShare]:
    """unit_rows(t' + attention(t') W_O), t' being t with its gamma and beta."""
    numbers = model.numbers
    weights = model.weights
    qkv, skip = yield from affine.steps(party, t, [weights[f"{name}.qkv"], weights[f"{name}.skip"]])
    qkv = yield from _read(party, numbers, model.biased(party, qkv, f"{name}.qkv"))
    attended = yield from attention(party, numbers, qkv, keep)
    (x,) = yield from affine.steps(party, attended, [weights[f"{name}.output"]])
    x = model.biased(party, x, f"{name}.output") + skip.narrowed(x.ring)
    return (yield from _normalised(party, numbers, x))


def ffn_block(party: Party, model: Encoder, name: str, t: AShare) -> Steps[AShare]:
    """unit_rows(t' + activation(t' W_1) W_2)."""
    numbers = model.numbers
    weights = model.weights
    inner, skip = yield from affine.steps(party, t, [weights[f"{name}.ffn1"], weights[f"{name}.ffn.skip"]])
    inner = yield from _read(party, numbers, model.biased(party, inner, f"{name}.ffn1"))
    hidden = Ring(numbers.hidden_bits)
    inner = yield from activate(party, numbers, inner, hidden)
    (x,) = yield from affine.steps(party, inner, [weights[f"{name}.ffn2"]])
    x = model.biased(party, x, f"{name}.ffn2") + skip.narrowed(x.ring)
    return (yield from _normalised(party, numbers, x))


def activate(party: Party, numbers: Numbers, x: AShare, ring: Ring) -> Steps[AShare]:
    """The model's activation function at scale ACTIVATION, into `ring`."""
    name = numbers.arch.activation
    if name == "relu":
        x = yield from relu.steps(party, x, numbers.compare_bits)
        return (yield from extend.steps(party, x, ring)) if ring.bits > x.ring.bits else x.narrowed(ring)
    return (yield from activation.steps(party, x, name, numbers.compare_bits, ring, numbers.ACTIVATION))


def _read(party: Party, numbers: Numbers, product: AShare) -> Steps[AShare]:
    """A product at scale PRODUCT in 64 bits, read at scale ACTIVATION: free, 48 bits are left."""
    return (yield from truncate.steps(party, product, numbers.PRODUCT - numbers.ACTIVATION, READ_RING))


def _normalised(party: Party, numbers: Numbers, x: AShare) -> Steps[AShare]:
    return (
        yield from unit_rows.steps(party, x, numbers.arch.eps, numbers.unit_frac, RING64, numbers.norm_frac)
    )


def attention(party: Party, numbers: Numbers, qkv: AShare, keep: AShare) -> Steps[AShare]:
    """softmax(Q K^T) V for all heads, keys masked by `keep`: [batch, length, hidden] in the hidden ring.

    P is never formed: the weights E multiply the values, and 1 / sum(E) the result.
    """
    q, k, v = _heads(numbers, qkv)
    batch, heads, length, size = v.shape
    score_ring = Ring(numbers.score_bits)
    scores = yield from matmul.steps(party, q.narrowed(score_ring), k.narrowed(score_ring), transposed=True)
    read = Ring(numbers.score_bits - numbers.ACTIVATION)
    scores = yield from truncate.steps(party, scores, numbers.ACTIVATION, read)
    scores = with_mask(party, scores, keep.reshape(batch, 1, 1, length))
    weights = yield from softmax_weights.steps(party, scores)
    values, inverse = yield from together(
        _weighted_values(party, weights, v), inverse_sums.steps(party, weights)
    )
    hidden = Ring(numbers.hidden_bits)
    result = yield from scaled_rows(party, values, inverse.reshape(-1), 0, numbers.ACTIVATION, hidden)
    by_head = result.reshape(batch, heads, length, size).transpose(0, 2, 1, 3)
    return by_head.reshape(batch, length, heads * size)


def _heads(numbers: Numbers, qkv: AShare) -> tuple[AShare, AShare, AShare]:
    """[batch, length, 3 hidden] as three of [batch, heads, length, head size]."""
    batch, length, _ = qkv.shape
    split = qkv.reshape(batch, length, 3, numbers.arch.heads, numbers.arch.head_size).transpose(2, 0, 3, 1, 4)
    return split[0], split[1], split[2]


def _weighted_values(party: Party, weights: AShare, v: AShare) -> Steps[Rows]:
    """E V at scale ACTIVATION, opened as rows of one head's values."""
    short = yield from truncate.steps(party, weights, weights.frac_bits - PROBABILITY_FRAC, INVERSE_RING)
    sums = yield from matmul.steps(party, short, v.narrowed(INVERSE_RING))
    rows = sums.reshape(-1, v.shape[-1])
    return (yield from opened_rows(party, rows, PROBABILITY_FRAC, INVERSE_RING, NARROW, "values"))
