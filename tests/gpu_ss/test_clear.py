"""The definitions that stand for protocols on clear numbers give what those protocols give there, word for word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.backend import get_backend
from gpu_ss.clear import IDEALS, ClearParty
from gpu_ss.fixed import encode
from gpu_ss.functions import published
from gpu_ss.functions.inverse import inverse_table
from gpu_ss.functions.maximum import maximum
from gpu_ss.functions.segmented import segmented
from gpu_ss.functions.softmax import softmax_weights
from gpu_ss.functions.tables import table
from gpu_ss.party import Protocol
from gpu_ss.protocols.arith import matmul
from gpu_ss.protocols.compare import ge_public
from gpu_ss.protocols.piecewise import Evaluated, evaluate
from gpu_ss.protocols.trunc import extend
from gpu_ss.ring import RING64, Ring
from gpu_ss.values import AShare, BShare

RNG = np.random.default_rng(8)
NUMBERS = np.concatenate([np.linspace(-12, 12, 501), [1e3, -1e3, 2.0**20, -(2.0**20), 0.0, 2.0**-12]])


def clear(values: Any, ring: Ring = RING64, frac_bits: int = 12) -> AShare:
    return AShare(encode(values, ring, frac_bits), ring, frac_bits)


SCORES = clear(np.rint(RNG.normal(0, 9, (6, 37)) * 64) / 64, Ring(28))
POSITIVE = clear(np.geomspace(2.0**-12, 2.0**19, 300))
CASES: dict[str, tuple[Protocol[Any, Any], tuple[Any, ...]]] = {
    "fastlmpi": (segmented, (clear(NUMBERS), published.FASTLMPI)),
    "puma": (segmented, (clear(NUMBERS, Ring(48)), published.PUMA, 40, Ring(56), 12)),
    "gelu": (evaluate, (clear(NUMBERS), table("gelu"))),
    "reciprocal": (evaluate, (POSITIVE, inverse_table("reciprocal", 1, 1 << 36, 12))),
    "maximum": (maximum, (SCORES,)),
    "weights": (softmax_weights, (SCORES,)),
    "sign": (ge_public, (SCORES, 5)),
    "extend": (extend, (SCORES, RING64)),
    "matmul": (matmul, (clear(RNG.normal(0, 1, (3, 4, 5))), clear(RNG.normal(0, 1, (3, 6, 5))), True)),
}  # fmt: skip


def words(found: Any) -> list[Any]:
    if isinstance(found, Evaluated):
        return [part for share in (found.value, found.linear) if share is not None for part in words(share)]
    if isinstance(found, BShare):
        return [np.unpackbits(found.planes.view(np.uint8), count=found.size, bitorder="little")]
    return [found.ring.reduce(found.data)]


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_definition_is_the_protocol(name: str) -> None:
    protocol, arguments = CASES[name]
    party = ClearParty(get_backend("reference"))
    defined = party.run(IDEALS[protocol.name](party, *arguments))
    run = party.run(protocol._steps(party, *arguments))
    for a, b in zip(words(defined), words(run), strict=True):
        assert np.array_equal(a, b)
