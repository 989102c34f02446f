"""What follows the encoder: hidden states, pooled vectors, class logits, vocabulary logits.

Each head returns named shares that are then revealed to the client, and to nobody else.
"""

from __future__ import annotations

from gpu_ss.functions.activation import activation
from gpu_ss.functions.layernorm import unit_rows
from gpu_ss.party import Party, Steps
from gpu_ss.protocols.arith import matmul
from gpu_ss.protocols.trunc import truncate
from gpu_ss.protocols.weights import affine
from gpu_ss.ring import RING64, Ring
from gpu_ss.values import AShare
from transformer.encoder import READ_RING, Encoder, activate, normalised
from transformer.parameters import HEAD_RING

POOL_FRAC = 14  # fractional bits of the client's averaging weights
RESULT_RING = Ring(48)
TINY = 1e-18  # keeps a zero vector from being divided by nothing


def features(party: Party, model: Encoder, t: AShare) -> Steps[dict[str, AShare]]:
    """Hidden states with gamma and beta, and the pooled first token where the model has a pooler."""
    (hidden,) = yield from affine.steps(party, t, [model.weights["final"]])
    result = {"last_hidden_state": model.biased(party, hidden, "final").narrowed(RESULT_RING)}
    if model.numbers.arch.uses_pooler:
        result["pooler_output"] = yield from pooled(party, model, t)
    return result


def pooled(party: Party, model: Encoder, t: AShare) -> Steps[AShare]:
    """tanh(first token W + b): [batch, hidden] at scale ACTIVATION."""
    numbers = model.numbers
    (x,) = yield from affine.steps(party, t[:, 0], [model.weights["pooler"]])
    x = model.biased(party, x, "pooler")
    x = yield from truncate.steps(party, x, numbers.PRODUCT - numbers.ACTIVATION, READ_RING)
    return (yield from activation.steps(party, x, "tanh", numbers.compare_bits, HEAD_RING))


def classification(party: Party, model: Encoder, t: AShare) -> Steps[dict[str, AShare]]:
    """Logits of each class from the pooled first token: [batch, labels]."""
    x = yield from pooled(party, model, t)
    (logits,) = yield from affine.steps(party, x, [model.weights["classifier"]])
    return {"logits": model.biased(party, logits, "classifier")}


def masked_lm(party: Party, model: Encoder, t: AShare) -> Steps[dict[str, AShare]]:
    """Logits over the vocabulary for every token: [batch, length, vocab]."""
    numbers = model.numbers
    (x,) = yield from affine.steps(party, t, [model.weights["transform"]])
    x = model.biased(party, x, "transform")
    x = yield from truncate.steps(party, x, numbers.PRODUCT - numbers.ACTIVATION, READ_RING)
    x = yield from activate(party, model, numbers, x, RING64)
    lifted = x.lifted(max(numbers.ACTIVATION, numbers.norm_frac))
    t = yield from normalised(party, model, numbers, lifted, HEAD_RING, centred=False)
    (logits,) = yield from affine.steps(party, t, [model.weights["decoder"]])
    return {"logits": model.biased(party, logits, "decoder")}


def sentence_embedding(party: Party, model: Encoder, t: AShare, pool: AShare) -> Steps[dict[str, AShare]]:
    """One vector per text: rows averaged by the client's secret weights `pool` [batch, 1, length], gamma and
    beta (the weights sum to 1), and unit length if the model asks for it."""
    numbers = model.numbers
    ring = Ring(numbers.unit_frac + POOL_FRAC + 3)
    mean = yield from matmul.steps(party, pool.narrowed(ring), t.narrowed(ring))
    mean = yield from truncate.steps(party, mean[:, 0], POOL_FRAC, RING64)
    (x,) = yield from affine.steps(party, mean, [model.weights["final"]])
    x = model.biased(party, x, "final")
    if numbers.arch.normalise:
        x = yield from unit_rows.steps(party, x, TINY, 22, RESULT_RING, numbers.norm_frac, centred=True)
    return {"embedding": x.narrowed(RESULT_RING)}


def run_head(party: Party, model: Encoder, t: AShare, pool: AShare | None) -> Steps[dict[str, AShare]]:
    """The head of the model's task."""
    task = model.numbers.arch.task
    if pool is not None:
        return (yield from sentence_embedding(party, model, t, pool))
    head = {"features": features, "classification": classification, "masked-lm": masked_lm}[task]
    return (yield from head(party, model, t))
