"""The private forward pass of a BERT encoder: rank-blind, reads like the model.

Every function is a protocol step (a generator, see gpu_ss.party). Scales and rings are those of
`architecture.Numbers`; t are normalised rows without gamma and beta, which live in the weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from gpu_ss.party import Party, Steps
from gpu_ss.protocols.io import add_private, add_public
from gpu_ss.protocols.trunc import truncate
from gpu_ss.protocols.weights import Held, Static, affine
from gpu_ss.ring import RING64, Ring
from gpu_ss.values import AShare, Private, Public
from transformer.architecture import Numbers
from transformer.attention import Vectors, Watch, ignore
from transformer.profiles import PRECISE, Profile, relu_activation

READ_RING = Ring(48)  # activations at Numbers.ACTIVATION fractional bits
MEAN_BITS = 10  # of the constant 1/n


@dataclass(frozen=True)
class Encoder:
    """An encoder both parties are set up for: weights (opened or public) and biases by name, functions by profile.

    probe: called with the normalised rows before the first layer and after each one, where they are in clear.
    watch: called with what a query is checked for, where bounds are calibrated.
    """

    numbers: Numbers
    weights: Mapping[str, Static | Held | Public]
    biases: Mapping[str, Private | Public]
    profile: Profile = PRECISE
    probe: Callable[[AShare], None] = lambda t: None
    watch: Watch = ignore

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
    model.probe(t)
    for i in range(model.numbers.arch.layers):
        t = yield from layer(party, model, str(i), t, inputs.keep)
        model.probe(t)
    return t


def embed(party: Party, model: Encoder, embedded: AShare) -> Steps[AShare]:
    """Positions added, then LayerNorm; the table's rows are centred already, where that is part of it."""
    numbers = model.numbers
    x = model.biased(party, embedded, "position", rows=embedded.shape[1])
    bits = numbers.ranges.embedding
    return (yield from model.profile.norm(party, numbers, x, bits, RING64, _embedding_frac(numbers), True))


def _embedding_frac(numbers: Numbers) -> int:
    """Centred embedding rows keep their own scale as long as their norm fits."""
    half = (numbers.log_hidden + 1) // 2
    return min(numbers.EMBEDDING, 30 - numbers.ranges.embedding - half)


def layer(party: Party, model: Encoder, name: str, t: AShare, keep: AShare) -> Steps[AShare]:
    """One encoder layer: attention, feed-forward, each with its residual and LayerNorm."""
    t = yield from attention_block(party, model, name, t, keep)
    return (yield from ffn_block(party, model, name, t))


def attention_block(party: Party, model: Encoder, name: str, t: AShare, keep: AShare) -> Steps[AShare]:
    """norm(t' + attention(t') W_O), t' being t with its gamma and beta."""
    numbers = model.numbers.at(int(name))
    weights = model.weights
    qkv, skip = yield from affine.steps(party, t, [weights[f"{name}.qkv"], weights[f"{name}.skip"]])
    qkv = yield from _read(party, numbers, model.biased(party, qkv, f"{name}.qkv"))
    vectors = Vectors(*_heads(numbers, qkv), keep)
    attended = yield from model.profile.attention(party, numbers, vectors, model.watch)
    (x,) = yield from affine.steps(party, _joined(attended), [weights[f"{name}.output"]])
    x = model.biased(party, x, f"{name}.output") + (yield from _added(party, numbers, skip, x.ring))
    return (yield from normalised(party, model, numbers, x, RING64, centred=True))


def ffn_block(party: Party, model: Encoder, name: str, t: AShare) -> Steps[AShare]:
    """norm(t' + activation(t' W_1) W_2)."""
    numbers = model.numbers.at(int(name))
    weights = model.weights
    inner, skip = yield from affine.steps(party, t, [weights[f"{name}.ffn1"], weights[f"{name}.ffn.skip"]])
    inner = yield from _read(party, numbers, model.biased(party, inner, f"{name}.ffn1"))
    hidden = Ring(numbers.hidden_bits)
    inner = yield from activate(party, model, numbers, inner, hidden)
    (x,) = yield from affine.steps(party, inner, [weights[f"{name}.ffn2"]])
    x = model.biased(party, x, f"{name}.ffn2") + (yield from _added(party, numbers, skip, x.ring))
    return (yield from normalised(party, model, numbers, x, RING64, centred=True))


def activate(party: Party, model: Encoder, numbers: Numbers, x: AShare, ring: Ring) -> Steps[AShare]:
    """The model's activation function at scale ACTIVATION, into `ring`, as the profile has it."""
    chosen = relu_activation if numbers.arch.activation == "relu" else model.profile.activation
    return (yield from chosen(party, numbers, x, ring))


def _read(party: Party, numbers: Numbers, product: AShare) -> Steps[AShare]:
    """A product at scale PRODUCT in 64 bits, read at scale ACTIVATION: free, 48 bits are left."""
    return (yield from truncate.steps(party, product, numbers.PRODUCT - numbers.ACTIVATION, READ_RING))


def _added(party: Party, numbers: Numbers, x: AShare, ring: Ring) -> Steps[AShare]:
    """What a block began with, as it joins the result: centred like that, unless rows stay as they are."""
    if numbers.saturation is not None:
        return x.narrowed(ring)
    return (yield from _centred(party, x, ring))


def _centred(party: Party, x: AShare, ring: Ring) -> Steps[AShare]:
    """x less the mean of its rows, in a smaller ring: free up to 54 - log2 n bits.

    1/n is a constant of MEAN_BITS bits: what it is off, relative to the mean, is at most 2^-11.
    """
    n = x.shape[-1]
    shift = MEAN_BITS + (n - 1).bit_length()
    scaled = x.sum(axis=-1, keepdims=True).times(round(2.0**shift / n))
    mean = yield from truncate.steps(party, replace(scaled, frac_bits=x.frac_bits + shift), shift, ring)
    return x.narrowed(ring) - mean.map(lambda d: party.backend.xp.broadcast_to(d, x.shape))


def normalised(
    party: Party, model: Encoder, numbers: Numbers, x: AShare, ring: Ring, centred: bool
) -> Steps[AShare]:
    """LayerNorm of a block's sums as the profile has it, into `ring`: rows t. centred: whether the sums are."""
    bits, frac = numbers.bounds.norm, numbers.norm_frac
    return (yield from model.profile.norm(party, numbers, x, bits, ring, frac, centred))


def _joined(attended: AShare) -> AShare:
    """[batch, heads, length, head size] as [batch, length, hidden]."""
    batch, heads, length, size = attended.shape
    return attended.transpose(0, 2, 1, 3).reshape(batch, length, heads * size)


def _heads(numbers: Numbers, qkv: AShare) -> tuple[AShare, AShare, AShare]:
    """[batch, length, 3 hidden] as three of [batch, heads, length, head size]."""
    batch, length, _ = qkv.shape
    split = qkv.reshape(batch, length, 3, numbers.arch.heads, numbers.arch.head_size).transpose(2, 0, 3, 1, 4)
    return split[0], split[1], split[2]
