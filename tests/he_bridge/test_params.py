"""Parameter sets pass their checks, and what would be insecure or inexact is refused."""

from __future__ import annotations

from dataclasses import replace
from math import log2, prod

import numpy as np
import pytest

from he_bridge.errors import ParameterError
from he_bridge.params import LIN64, LIN64P, MAT64, SETS, ParameterSet, check, check_batches, check_weights
from tests.gpu_ss.backend.test_conformance_lattice import largest_primes
from tests.he_bridge.lattice import INSECURE32, random_weights


@pytest.mark.parametrize("params", SETS.values(), ids=SETS.keys())
def test_sets_pass(params: ParameterSet) -> None:
    check(params)


def test_sets_are_what_the_design_says() -> None:
    sizes = {name: (prod(p.chain).bit_length(), prod(p.kept).bit_length()) for name, p in SETS.items()}
    assert sizes == {
        "LIN64": (153, 78),
        "LIN64P": (180, 90),
        "LIN24P": (140, 56),
        "MAT64": (196, 84),
        "MAT48": (172, 75),
    }
    for params in SETS.values():
        primes = params.chain
        for bits in {p.bit_length() for p in primes}:
            mine = tuple(p for p in primes if p.bit_length() == bits)
            assert mine == largest_primes(bits, len(mine), params.degree)


def test_digests_tell_sets_apart() -> None:
    digests = {params.digest for params in (*SETS.values(), replace(LIN64, ring_bits=63))}
    assert len(digests) == len(SETS) + 1
    assert {len(digest) for digest in digests} == {16}


@pytest.mark.parametrize(
    ("params", "complaint"),
    [
        (replace(LIN64, special=MAT64.level[:3]), "at most 218"),
        (replace(LIN64, degree=16384), "modulo 32768"),
        (replace(INSECURE32, dropped=(*INSECURE32.dropped, *largest_primes(20, 1, 4096))), "at most 109"),
        (replace(LIN64, degree=2048), "at most 54"),
        (replace(LIN64, dropped=()), "drop some"),
        (replace(LIN64, kept=(), dropped=LIN64.primes), "keep some"),
        (replace(LIN64, kept=LIN64.kept[:2]), "decrypt wrongly"),
        (replace(LIN64, kept=(33538051, *LIN64.kept[1:])), "33538051"),
        (replace(LIN64, kept=LIN64.kept[:1] * 3), "each once"),
        (replace(LIN64, ring_bits=65), "ring_bits"),
    ],
)
def test_bad_sets_are_refused(params: ParameterSet, complaint: str) -> None:
    with pytest.raises(ParameterError, match=complaint):
        check(params)


@pytest.mark.parametrize("shape", [(768, 768), (768, 3072), (3072, 768), (1024, 4096)])
def test_full_16_bit_weights_of_bert_pass(shape: tuple[int, int]) -> None:
    margins = check_weights(LIN64, random_weights(*shape))
    assert margins.privacy_bits > 40
    assert margins.noise_room_bits > 60
    assert margins.rounding_sigmas > 11.9
    assert margins.depth == 8200


def test_margins_follow_the_formulas() -> None:
    weights = np.full((4, 3), 1000)
    margins = check_weights(LIN64, weights)
    norm = 2000.0
    assert margins.noise_bits == pytest.approx(log2(10 * np.hypot(3.253 * norm, 338.7)), abs=0.01)
    distance = 8192 * 3 * np.sqrt(2 / np.pi) * 3.253 * norm * 2.0**65 / prod(LIN64.primes)
    assert margins.privacy_bits == pytest.approx(-log2(distance), abs=0.01)


@pytest.mark.parametrize(
    ("params", "weights", "complaint"),
    [
        (LIN64, np.full((1, 1), 2**23), "exactly up to 2\\^22"),
        (LIN64, np.full((1, 1), -(2**63)), "exactly up to 2\\^22"),
        (replace(LIN64P, dropped=LIN64P.dropped[:1]), random_weights(768, 768), "hide weights"),
        (INSECURE32, random_weights(768, 768, largest=2**24), "hide weights"),
        (LIN64, np.zeros((0, 3), np.int64), "not empty"),
        (LIN64, np.zeros(3, np.int64), "matrix"),
    ],
)
def test_bad_weights_are_refused(params: ParameterSet, weights: np.ndarray, complaint: str) -> None:
    with pytest.raises(ParameterError, match=complaint):
        check_weights(params, weights)


def test_batches_add_up() -> None:
    """A call of many batches must be hidden as well as one."""
    margins = check_weights(LIN64, np.full((64, 8), 1 << 10))
    spare = int(margins.privacy_bits - LIN64.privacy_bits)
    check_batches(LIN64, margins, 1 << spare)
    with pytest.raises(ParameterError, match="fewer rows"):
        check_batches(LIN64, margins, 1 << (spare + 1))
