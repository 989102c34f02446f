"""One encoder layer, with random weights or those of a model: the row `layer`."""

from __future__ import annotations

from dataclasses import dataclass
from math import erf, pi, sqrt
from typing import Any

import numpy as np

from bench.job import BatchJob, Real, null_share, test_share
from gpu_ss.fixed import decode
from gpu_ss.party import Party, Steps
from gpu_ss.plan import Plan
from gpu_ss.protocols.io import reveal
from gpu_ss.ring import RING64, Ring
from gpu_ss.values import AShare
from transformer import hf
from transformer.architecture import Architecture, Numbers, Ranges
from transformer.calibrate import MARGIN_BITS, exponent, squared_norms
from transformer.encoder import Encoder, layer
from transformer.parameters import LOG2_E, Slot, Words, centred, encode_slot, fold, layer_slots
from transformer.profiles import PROFILES
from transformer.ranges import prove_layer, prove_ranges
from transformer.setup import WeightSource, from_words, nothing, set_up, shapes
from transformer.terms import ProfileName
from transformer.widths import with_scores

SEED = 7
WORD_BYTES = 8


@dataclass(frozen=True)
class OneLayer:
    """A layer's sizes, rings and folded tensors."""

    numbers: Numbers
    tensors: dict[str, Real]


def made_layer(hidden: int, heads: int, ffn: int, seq: int, profile: ProfileName = "precise") -> OneLayer:
    """A layer with random weights, of a model that takes so many tokens at most."""
    arch = Architecture(
        layers=1, hidden=hidden, heads=heads, ffn=ffn, vocab=2, max_length=max(2, seq), types=0, eps=1e-12,
        activation="gelu", task="features",
    )  # fmt: skip
    tensors, chosen = random_layer(arch), PROFILES[profile]
    return OneLayer(chosen.numbers(arch, prove_layer(tensors, arch, chosen)), tensors)


def read_layer(folder: str, profile: ProfileName) -> OneLayer:
    """Layer 0 of a model, with the ranges proven for it and a profile's functions."""
    found = hf.find_model(folder)
    arch = hf.read_architecture(found)
    weights = hf.read_weights(found)
    hf.check_weights(weights, arch)
    chosen = PROFILES[profile]
    folded = fold(weights, chosen.numbers(arch, Ranges()))
    ranges = prove_ranges(folded, arch, chosen)
    first = ranges.model_copy(update={"layers": ranges.layers[:1]})
    numbers = chosen.numbers(arch.model_copy(update={"layers": 1}), first)
    return OneLayer(numbers, {slot.name: folded[slot.name] for slot in layer_slots(numbers)})


def random_layer(arch: Architecture) -> dict[str, Real]:
    """Folded tensors of layer 0 with the spread of trained ones (scores of a few units, unit activations)."""
    rng = np.random.default_rng(SEED)
    n, m = arch.hidden, arch.ffn
    scale = LOG2_E / sqrt(arch.head_size)
    qkv = rng.normal(0, 1.2, (n, 3 * n))
    qkv[:, :n] *= scale
    tensors = {
        "0.qkv": qkv,
        "0.qkv.bias": rng.normal(0, 0.1, 3 * n),
        "0.skip": np.full(n, sqrt(n)),
        "0.output": rng.normal(0, 1 / sqrt(n), (n, n)),
        "0.output.bias": rng.normal(0, 0.1, n),
        "0.ffn1": rng.normal(0, 1.2, (n, m)),
        "0.ffn1.bias": rng.normal(0, 0.1, m),
        "0.ffn.skip": np.full(n, sqrt(n)),
        "0.ffn2": rng.normal(0, 1 / sqrt(m), (m, n)),
        "0.ffn2.bias": rng.normal(0, 0.1, n),
    }
    return {
        name: centred(value) if name.removesuffix(".bias") in ("0.output", "0.ffn2") else value
        for name, value in tensors.items()
    }


def float_layer(arch: Architecture, w: dict[str, Real], t: Real) -> Real:
    """The same layer in float64: normalised rows in, normalised rows out."""
    batch, length, n = t.shape

    def unit(x: Real) -> Real:
        centred = x - x.mean(axis=-1, keepdims=True)
        return np.asarray(centred / np.sqrt(n * (x.var(axis=-1, keepdims=True) + arch.eps)))

    qkv = (t @ w["0.qkv"] + w["0.qkv.bias"]).reshape(batch, length, 3, arch.heads, arch.head_size)
    q, k, v = qkv.transpose(2, 0, 3, 1, 4)
    p = np.exp2(q @ k.transpose(0, 1, 3, 2))
    attended = (p / p.sum(axis=-1, keepdims=True) @ v).transpose(0, 2, 1, 3).reshape(batch, length, n)
    t = unit(attended @ w["0.output"] + w["0.output.bias"] + t * w["0.skip"])
    inner = t @ w["0.ffn1"] + w["0.ffn1.bias"]
    inner = float_activation(arch.activation, inner)
    return unit(inner @ w["0.ffn2"] + w["0.ffn2.bias"] + t * w["0.ffn.skip"])


def float_activation(name: str, x: Real) -> Real:
    """The activation functions of Architecture in float64."""
    if name == "relu":
        return np.maximum(x, 0)
    if name == "gelu_tanh":
        return np.asarray(x * 0.5 * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3))))
    return np.asarray(x * 0.5 * (1 + np.vectorize(erf)(x / sqrt(2))))


class LayerJob(BatchJob):
    """A BERT-type encoder layer on random rows, weights private to the server.

    `folder`: layer 0 of that model; the sizes are then the model's. `calibrated`: scores in rings that hold what
    these rows make of them, with the squares that are checked; the check itself is one for all layers of a query.
    Errors are against the exact functions.
    """

    bench = "layer"
    name = "layer"

    def __init__(
        self,
        hidden: int,
        heads: int,
        ffn: int,
        seq: int,
        batch: int,
        folder: str | None = None,
        profile: ProfileName = "precise",
        chunks: int = 1,
        calibrated: bool = False,
    ) -> None:
        self._folder, self._profile, self._calibrated = folder, profile, calibrated
        made = made_layer(hidden, heads, ffn, seq, profile) if folder is None else read_layer(folder, profile)
        self._layer = made
        self._numbers = self._layer.numbers
        self._arch = self._numbers.arch
        self.held_bytes = 2 * WORD_BYTES * sum(tensor.size for tensor in self._layer.tensors.values())
        self.batch, self.shape = batch, (batch, seq, self._arch.hidden, self._arch.heads, self._arch.ffn)
        self.cut(chunks)
        if calibrated:
            self.name = "layer calibrated"
            norms = squared_norms(self._layer.tensors, self._arch, "0", self._rows())
            measured = [exponent(norm, MARGIN_BITS) for norm in norms]
            self._numbers = self._numbers.model_copy(
                update={"ranges": with_scores(self._numbers.ranges, [measured])}
            )
        self._models: list[Encoder] = []
        self._plans: dict[tuple[int, int], tuple[Plan, Plan]] = {}
        self.ring_bits, self.frac_bits = self._numbers.at(0).hidden_bits, self._numbers.ACTIVATION

    def describe(self) -> dict[str, Any]:
        batch, seq, hidden, heads, ffn = self.shape
        return {
            "hidden": hidden, "heads": heads, "ffn": ffn, "seq": seq, "batch": batch, "folder": self._folder,
            "profile": self._profile, "chunks": self.chunks, "calibrated": self._calibrated,
        }  # fmt: skip

    def _slots(self) -> list[Slot]:
        return list(layer_slots(self._numbers))

    def _both_plans(self, rank: int) -> tuple[Plan, Plan]:
        if (rank, self.texts) not in self._plans:
            made: list[Encoder] = []
            source = shapes(self.terms)
            setup = self.planned(rank, lambda party: made.append(self._set_up(party, source)))
            run = self.planned(
                rank, lambda party: party.run(self._steps(party, made[0], *self._nulls(party))), setup.taken
            )
            self._plans[rank, self.texts] = setup, run
        return self._plans[rank, self.texts]

    def plan_setup(self, rank: int) -> Plan:
        return self._both_plans(rank)[0]

    def plan(self, rank: int) -> Plan:
        return self._both_plans(rank)[1]

    def set_up(self, party: Party) -> None:
        source: WeightSource = nothing
        if party.rank == 1:
            tensors = self._layer.tensors
            words: dict[str, Words] = {s.name: encode_slot(tensors[s.name], s) for s in self._slots()}
            source = from_words(words)
        self._models = [self._set_up(party, source)]
        self._t = test_share(party, self._rows(), RING64, self._numbers.unit_frac, 1)
        self._keep = test_share(party, np.ones((self.texts, self.shape[1])), RING64, 0, 2)

    def _set_up(self, party: Party, source: WeightSource) -> Encoder:
        return set_up(party, self._numbers, source, self.terms, slots=self._slots())

    def _rows(self) -> Real:
        batch, (seq, hidden) = self.texts, self.shape[1:3]
        x = np.random.default_rng(3).normal(0, 1, (batch, seq, hidden))
        return np.asarray(x / np.linalg.norm(x, axis=-1, keepdims=True))

    def _nulls(self, party: Party) -> tuple[AShare, AShare]:
        batch, (seq, hidden) = self.texts, self.shape[1:3]
        rows = null_share(party, (batch, seq, hidden), RING64, self._numbers.unit_frac)
        return rows, null_share(party, (batch, seq), RING64, 0)

    def _steps(self, party: Party, model: Encoder, t: AShare, keep: AShare) -> Steps[AShare]:
        return layer(party, model, "0", t, keep)

    def run(self, party: Party) -> Any:
        return party.run(self._steps(party, self._models[0], self._t, self._keep))

    def clear(self) -> tuple[Real, dict[str, Real], Real]:
        """Input rows, folded tensors, and the layer's result in float64 at the scale of LayerNorm's output."""
        rows, tensors = self._rows(), self._layer.tensors
        return rows, tensors, float_layer(self._arch, tensors, rows) * sqrt(self._arch.hidden)

    def errors(self, party: Party, result: Any) -> tuple[float, float] | None:
        words = reveal(party, result, 0)
        if words is None:
            return None
        found = decode(party.backend.to_host(words), Ring(result.ring.bits), result.frac_bits)
        _, _, expected = self.clear()
        error = np.abs(found * sqrt(self._arch.hidden) - expected)
        return float(error.max()), float(error.mean())
