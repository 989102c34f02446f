"""Each step of profile `fastlmpi` over its whole range, with a dealer's economy and alone."""

from __future__ import annotations

from collections.abc import Callable
from math import erfc, sqrt
from typing import Any

import numpy as np
import pytest

from gpu_ss.economy import ALONE
from gpu_ss.functions.activation import by_lines
from gpu_ss.functions.layernorm import unit_rows
from gpu_ss.plan import make_plan
from gpu_ss.provider.insecure import InsecureProvider
from gpu_ss.ring import RING64, Ring
from tests.support.protocols import both, check_cost, real, real_share, shape_share
from transformer.architecture import Architecture, Bounds, Numbers, Ranges
from transformer.attention import Vectors, ignore
from transformer.encoder import READ_RING
from transformer.profiles import PROFILES

RNG = np.random.default_rng(5)
FASTLMPI = PROFILES["fastlmpi"]
ARCH = Architecture(
    layers=1, hidden=64, heads=2, ffn=128, vocab=2, max_length=64, types=0, eps=1e-12, activation="gelu",
    task="features",
)  # fmt: skip
NUMBERS = Numbers(arch=ARCH, ranges=Ranges(layers=(Bounds(score=12, value=6, activation=10, norm=12),))).at(0)
READ = 2.0**-NUMBERS.ACTIVATION
HIDDEN = Ring(NUMBERS.hidden_bits)


@pytest.fixture(params=["dealer", "alone"])
def trust(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "alone":
        monkeypatch.setattr(InsecureProvider, "economy", ALONE)
    return str(request.param)


def gelu(x: Any) -> Any:
    return np.array([0.5 * v * erfc(-v / sqrt(2)) for v in x])


def test_gelu(trust: str) -> None:
    """The fit's error and units of reading (the slope is 1.13) and of the result; exact outside."""
    most = 2.0 ** (NUMBERS.compare_bits - 2) * READ - READ
    x = np.concatenate([np.linspace(-12, 12, 2003), [0.0, READ, -READ, most, -most, 100.0, -100.0]])
    x = np.rint(x / READ) * READ
    found = real(
        both(lambda p: p.run(FASTLMPI.activation(p, NUMBERS, real_share(p, x, READ_RING, 12), HIDDEN)))
    )
    assert np.abs(found - gelu(x)).max() < (2.5e-4 + 1.6 * READ if trust == "alone" else 4.8e-4 + 2.5 * READ)
    outside = np.abs(x) > 4.01
    slack = 0 if trust == "alone" else READ
    assert np.abs(found - np.maximum(x, 0))[outside].max() <= slack


@pytest.mark.parametrize(("ring", "out"), [(Ring(48), Ring(58)), (Ring(16), Ring(30)), (Ring(48), Ring(20))])
def test_gelu_by_lines_costs_what_it_declares(ring: Ring, out: Ring) -> None:
    x = np.linspace(-3.9, 3.9, 200)
    args = ("gelu", 24, out, 12)
    run = both(lambda p: by_lines(p, real_share(p, x, ring, 12), *args))
    assert (run.results[0].ring, run.results[0].frac_bits) == (out, 12)
    assert np.abs(real(run) - gelu(x)).max() < 2.5e-4 + 2.6 * READ
    check_cost(by_lines, run, shape_share(x.shape, ring, 12), *args)


def test_gelu_of_a_bert_layer_takes_20_mb_at_most() -> None:
    def run(party: Any) -> Any:
        x = real_share(party, np.zeros(1), READ_RING, 12)
        wide = x.map(lambda d: party.backend.zeros((128 * 3072,)))
        return party.run(FASTLMPI.activation(party, NUMBERS, wide, HIDDEN))

    assert sum(make_plan(0, run, economy=ALONE).sent) <= 20e6


# -- SoftMax, with the products around it ----------------------------------------------------------------------


def equal(q: Any, k: Any, keep: Any) -> None:
    q[:] = 0


def one_hot(q: Any, k: Any, keep: Any) -> None:
    """Each query meets one key at +900, all others at -900."""
    q[:], k[:] = 0, 0
    q[..., 0] = 30
    k[..., 0] = -30
    k[..., 7, 0] = 30


def far_below(q: Any, k: Any, keep: Any) -> None:
    q[:], k[:] = 0, 0
    q[..., 0], k[..., 0] = 30, -30


def padded(q: Any, k: Any, keep: Any) -> None:
    """Keys of padding would win by far, were they not masked; one row of the batch has a single token."""
    keep[0, 20:], keep[1, 1:] = 0, 0
    k[0, :, 20:] *= 20


@pytest.mark.parametrize("case", [equal, one_hot, far_below, padded], ids=lambda f: f.__name__)
def test_softmax(trust: str, case: Callable[..., None]) -> None:
    shape = (2, 2, 33, 32)
    q, k, v = (RNG.normal(0, s, shape) for s in (1.0, 1.0, 2.0))
    keep = np.ones((2, 33))
    case(q, k, keep)
    q, k, v = (np.rint(x / READ) * READ for x in (q, k, v))

    def run(party: Any) -> Any:
        shares = [real_share(party, x, READ_RING, 12, seed) for seed, x in enumerate((q, k, v))]
        vectors = Vectors(*shares, real_share(party, keep, RING64, 0, 9))
        return party.run(FASTLMPI.attention(party, NUMBERS, vectors, ignore))

    scores = q @ k.swapaxes(-1, -2)
    scores = np.where(keep[:, None, None] > 0, scores, -np.inf)
    e = np.exp2(scores - scores.max(axis=-1, keepdims=True))
    p = e / e.sum(axis=-1, keepdims=True)
    # weights: units of the exponents and 1/S, relative; their rounding to 2^-16 by row sums of |v|; result's units
    bound = 5e-4 * (p @ np.abs(v)) + 2.0**-16 * np.abs(v).sum(axis=-2, keepdims=True) * 2 + 3 * READ
    assert (np.abs(real(both(run)) - p @ v) < bound).all()


# -- LayerNorm ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("deviation", [1e-2, 1.0, 1e3])
def test_layernorm(trust: str, deviation: float) -> None:
    """Relative to the norm 1e-3, whatever the row's mean."""
    x = RNG.normal(0, deviation, (40, 64)) + RNG.normal(0, 3 * deviation, (40, 1))
    found = real(both(lambda p: unit_rows(p, real_share(p, x, RING64, 20), 1e-12, 24, centred_frac=14)))
    centred = x - x.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(centred, axis=1, keepdims=True)
    # two units of a centred entry, or four in a field, over the norm
    assert np.abs(found - centred / norm).max() < 4e-4 + (4 * 2.0**-14 / norm).max()


def test_constant_rows(trust: str) -> None:
    """0, up to a unit of a centred entry over sqrt(n eps)."""
    x = np.full((40, 64), 1.0) * np.array([0.0, 5.0, -300.0, 2.0**-20] * 10)[:, None]
    eps = 1e-3
    found = real(both(lambda p: unit_rows(p, real_share(p, x, RING64, 20), eps, 24)))
    assert np.abs(found).max() <= 2 * 2.0**-16 / sqrt(64 * eps) * 1.001
