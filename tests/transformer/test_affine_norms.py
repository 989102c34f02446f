"""THE-X's LayerNorm: on a model distilled to it, and on one that is not, whose rows saturate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_ss.economy import ALONE
from gpu_ss.provider.insecure import InsecureProvider
from gpu_ss.ring import RING64, Ring
from tests.support.float_profiles import float_rows
from tests.support.models import make_model, random_tokens
from tests.support.protocols import both, real, real_share
from tests.transformer.test_models import run_private
from transformer import hf
from transformer.architecture import Architecture, Bounds, Ranges
from transformer.inference import Tokens
from transformer.model import PrivateModel
from transformer.parameters import fold
from transformer.profiles import PROFILES, SATURATION
from transformer.reference import cosines, load_reference, tokens_only
from transformer.terms import Terms

LIMIT = 2.0**SATURATION
THE_X = PROFILES["the-x"]
ARCH = Architecture(
    layers=1, hidden=8, heads=2, ffn=16, vocab=2, max_length=8, types=0, eps=1e-12, activation="gelu",
    task="features",
)  # fmt: skip


def distilled(folder: Path, tokens: Tokens) -> tuple[Path, Any]:
    """A model whose LayerNorms' gamma and beta are those of the best affine map, and its teacher's states.

    Each is fitted to what the LayerNorm makes of the inputs that the maps before it give, on these tokens.
    """
    import torch

    class Affine(torch.nn.Module):
        def __init__(self, norm: Any) -> None:
            super().__init__()
            self.norm = norm

        def forward(self, x: Any) -> Any:
            x = x.detach()
            y, keep = self.norm(x).detach(), torch.tensor(tokens.keep, dtype=torch.bool)
            inputs, outputs = x[keep], y[keep]
            spread = inputs - inputs.mean(dim=0)
            slope = (spread * outputs).sum(dim=0) / (spread**2).sum(dim=0)
            self.norm.weight.data = slope
            self.norm.bias.data = outputs.mean(dim=0) - slope * inputs.mean(dim=0)
            return slope * x + self.norm.bias.data

    make_model(folder, initializer_range=0.1, hidden_act="relu")
    found = hf.find_model(folder)
    model = load_reference(found, hf.read_architecture(found))
    inputs = {"input_ids": tokens.ids, "token_type_ids": tokens.types, "attention_mask": tokens.keep}
    batch = {name: torch.tensor(value) for name, value in inputs.items()}
    with torch.no_grad():
        teacher = model(**batch).last_hidden_state.numpy().astype(np.float64)
        norms = [name for name, module in model.named_modules() if isinstance(module, torch.nn.LayerNorm)]
        originals = {name: model.get_submodule(name) for name in norms}
        for name, norm in originals.items():
            model.set_submodule(name, Affine(norm))
        model(**batch)
        for name, norm in originals.items():
            model.set_submodule(name, norm)
    model.save_pretrained(folder)
    return folder, teacher


def test_a_model_distilled_to_affine_norms(tmp_path: Path) -> None:
    """Private against float64, nothing saturates, and the states are like the teacher's (ReLU and softmax)."""
    tokens = random_tokens(24, 9)
    folder, teacher = distilled(tmp_path / "model", tokens)
    model = PrivateModel.load(folder, None, Terms(profile="the-x"))
    outputs, _ = run_private(model, tokens)
    weights = hf.read_weights(hf.find_model(folder))
    rows = float_rows(model, "the-x", fold(weights, model.numbers), tokens) * model.numbers.row_factor
    assert np.abs(rows).max() < 0.9 * LIMIT
    last = "encoder.layer.1.output.LayerNorm"
    gamma, beta = (np.asarray(weights[f"{last}.{part}"], np.float64) for part in ("weight", "bias"))
    private = tokens_only(outputs["last_hidden_state"], tokens.keep)
    assert np.abs(private - tokens_only(rows * gamma + beta, tokens.keep)).max() < 1e-2
    assert min(cosines(private, tokens_only(teacher, tokens.keep))) > 0.8


@pytest.mark.parametrize("alone", [False, True], ids=["dealt", "alone"])
def test_rows_saturate(alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Over the whole range: the same to a unit inside, the limit exactly outside."""
    if alone:
        monkeypatch.setattr(InsecureProvider, "economy", ALONE)
    numbers = THE_X.numbers(ARCH, Ranges(head=Bounds(norm=10)))
    x = np.array(
        [0, 1, -1, 0.25, LIMIT, -LIMIT, LIMIT - 0.01, 0.01 - LIMIT, 17, -17, 100, -100, 1023, -1023, 3, -3]
    )
    x = np.concatenate([x, np.random.default_rng(3).normal(0, 20, 240)]).reshape(-1, 8)
    ring = Ring(numbers.hidden_bits)
    run = both(
        lambda p: p.run(THE_X.norm(p, numbers, real_share(p, x, ring, numbers.PRODUCT), 10, RING64, 0, False))
    )
    found, unit = real(run) * numbers.row_factor, 2.0**-numbers.ACTIVATION
    assert np.abs(found - np.clip(x, -LIMIT, LIMIT)).max() <= unit
    assert np.array_equal(
        np.abs(found)[np.abs(x) > LIMIT + unit], np.full((np.abs(x) > LIMIT + unit).sum(), LIMIT)
    )
    assert np.linalg.norm(real(run), axis=-1).max() <= 1, "what all ranges are proven from"


def test_small_sums_need_no_comparison() -> None:
    """Sums of embeddings that are proven small: one conversion of rings."""
    numbers = THE_X.numbers(ARCH, Ranges())
    x = np.random.default_rng(4).uniform(-4, 4, (6, 8))
    ring = Ring(numbers.embedding_bits)
    run = both(
        lambda p: p.run(
            THE_X.norm(p, numbers, real_share(p, x, ring, numbers.EMBEDDING), SATURATION, RING64, 0, True)
        )
    )
    assert np.abs(real(run) * numbers.row_factor - x).max() <= 2.0**-numbers.ACTIVATION
    assert run.traffic[0].rounds == 1
