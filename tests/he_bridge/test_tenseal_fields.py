"""Products in fields through TenSEAL: what it hides, hostile peers, and that it makes what the own engine makes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fastlmpi[he]'")

from gpu_ss.field import FIELD53, FIELD60, Field
from gpu_ss.provider.correlation import FieldMask
from gpu_ss.provider.specs.fields import FieldProduct, FieldRowProduct, FieldRowSquareSum
from he_bridge import field_sets
from he_bridge.errors import CiphertextError, ParameterError
from he_bridge.field_slots import FieldClient, FieldServer
from he_bridge.field_steps import SLOTS, Step
from he_bridge.remainders import below, os_words
from he_bridge.tenseal_bfv import Bfv, BfvParams, Evaluator, KeyHolder
from he_bridge.tenseal_fields import (
    SETS,
    SealFieldClient,
    SealFieldParams,
    SealFieldServer,
    params_of,
    step_bytes,
)
from net import NetError
from tests.he_bridge.fields import ONE, assert_made, check_sums, exchanged, random_elements
from tests.he_bridge.lattice import Words, opened

FIELDS = [FIELD53, FIELD60]


def engines(field: Field) -> Any:
    params = params_of(field)
    return partial(SealFieldClient, params=params), partial(SealFieldServer, params=params)


def pair(own: Any, steps: Any, field: Field = FIELD53, tamper: Any = None) -> list[list[Words]]:
    return exchanged([opened()] * 2, engines(field), own, steps, tamper)


@pytest.mark.parametrize("field", FIELDS)
def test_both_engines_make_the_same_sums(field: Field) -> None:
    """Of the same vectors, with the extremes among them; and each sends what it is said to."""
    names = [("a", k) for k in range(3)]
    steps = [
        Step(tuple(names[:2]), (tuple((a, a) for a in names[:2]), ((names[0], names[1]),)), (names[0],)),
        Step((names[2],), (((names[0], names[2]), (names[2], names[0])),)),
    ]
    own = [
        {a: random_elements(field, SLOTS, seed=k + 9 * rank) for k, a in enumerate(names)} for rank in (0, 1)
    ]
    params = field_sets.params_of(field)
    native = partial(FieldClient, params=params), partial(FieldServer, params=params)
    sums = []
    for chosen in (native, engines(field)):
        client, server = exchanged([opened()] * 2, chosen, own, [steps, steps])
        check_sums(field, own, steps, (client, server))
        sums.append([field.add(x, y) for x, y in zip(client, server, strict=True)])
    assert all(np.array_equal(x, y) for x, y in zip(*sums, strict=True))


def test_the_engine_is_chosen_by_name() -> None:
    """All kinds of products through TenSEAL, and the bytes of its steps."""
    p = FIELD53.prime
    specs = [
        FieldMask((3, 7), p),
        FieldMask((3,), p),
        FieldMask((10,), p, 0),
        FieldMask((10,), p, 1),
        FieldRowProduct(0, 1, 3, 7, p),
        FieldRowSquareSum(0, 3, 7, p),
        FieldProduct(2, 3, 10, p),
    ]

    sent = assert_made(*specs, engine="tenseal")
    params = params_of(FIELD53)
    key = Bfv(params.bfv, p).public_key_bytes() + 32
    rows = step_bytes(params, Step((("b", 0), ("a", 0)), ((), ())))
    assert sent - key == rows + step_bytes(params, ONE[0])


# What is hidden


def test_sets() -> None:
    for field, params in SETS.items():
        assert params.bfv.fresh_bits + params.bfv.special <= 218
        for products, least in ((1, 50.7), (2, 50.2), (16, 48.7)):
            margins = params.check(products)
            assert margins.privacy_bits > least
            assert margins.decryption_bits > 54
        assert 42 < params.check_call({2: 100, 16: 10}) < 45
        with pytest.raises(ParameterError, match="replies in one call"):
            params.check_call({16: 2000})
        with pytest.raises(ParameterError, match="has no 8192 slots"):
            SealFieldParams(Field(field.prime - 2), params.bfv).check(1)
    with pytest.raises(ParameterError, match="no parameters"):
        params_of(Field(97))
    weak = BfvParams(8192, (31, 31), (42, 41, 30), 17, 53)
    with pytest.raises(ParameterError, match="circuit privacy"):
        SealFieldParams(FIELD53, weak).check(16)


@pytest.mark.parametrize("field", FIELDS)
def test_the_noise_is_as_small_as_is_counted(field: Field) -> None:
    """What SEAL measures of a sum of sixteen products, before anything is dropped.

    The noise is near Gaussian; the largest of 8192 coefficients lies between 2.5 and 7 deviations but once in
    2^40 times. Privacy counts with the deviation for the worst operands, that is |v| = p / 2 throughout; uniform
    ones have a third of their square.
    """
    params = params_of(field)
    bfv = Bfv(params.bfv, field.prime)
    holder = KeyHolder(bfv)
    evaluator = Evaluator(bfv, holder.public_key())
    vectors = [below(os_words, field.prime, SLOTS) for _ in range(32)]
    ciphers = [evaluator.factor(c) for c in evaluator.load(holder.encrypt(vectors[:16]), 16)]
    total = evaluator.dot([(c, evaluator.operand(v)) for c, v in zip(ciphers, vectors[16:], strict=True)])
    assert total is not None
    budget = holder._decryptor.invariant_noise_budget(total._seal)
    modulus = math.log2(math.prod(bfv.primes[:-1]))
    largest = modulus - math.log2(field.prime) - 1 - budget  # log2, rounded up by less than 1
    deviation = math.log2(math.sqrt((10.5 + 1 / 12) * SLOTS * 16 / 3)) + field.bits - 1
    assert deviation + math.log2(2.5) < largest < deviation + math.log2(7) + 1


def test_replies_are_uniform() -> None:
    """What the client decrypts are random elements, also where all is zero."""
    zeros = {("a", 0): np.zeros(SLOTS, np.uint64)}
    (client,), (server,) = pair([zeros, zeros], [ONE, ONE])
    assert len(np.unique(client)) > SLOTS - 5
    assert (FIELD53.add(client, server) == 0).all()
    assert abs((client > FIELD53.prime // 2).mean() - 0.5) < 6.5 / math.sqrt(4 * SLOTS)


def test_places_left_are_filled() -> None:
    """The bound on the noise wants uniform vectors: the client's places past its elements are random."""
    sent: list[Words] = []
    encrypt = KeyHolder.encrypt

    def watched(self: KeyHolder, vectors: Sequence[Words]) -> bytes:
        sent.extend(vectors)
        return encrypt(self, vectors)

    ones = {("a", 0): np.ones(10, np.uint64)}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeyHolder, "encrypt", watched)
        pair([ones, ones], [ONE, ONE])
    assert sent[0][:10].tolist() == [1] * 10
    assert len(np.unique(sent[0][10:])) > SLOTS - 20


# Peers

ONES = {("a", 0): np.ones(3, np.uint64)}


def test_both_must_ask_alike() -> None:
    with pytest.raises(CiphertextError, match="not at step 0 of 1"):
        pair([ONES, ONES], [[*ONE, *ONE], ONE])


@pytest.mark.parametrize("tag", ["he.field.up", "he.field.key"])
def test_damaged_messages(tag: str) -> None:
    """Residues above their primes, and messages of another length, end with an error that names no secret."""
    for change in (lambda frame: b"\xff" * len(frame), lambda frame: bytes(frame)[:-8]):

        def tamper(ends: Any, change: Any = change) -> None:
            send = ends[0].send

            def damaged(sent: str, frames: Any, **options: Any) -> None:
                send(sent, [*frames[:-1], change(frames[-1])] if sent == tag else frames, **options)

            ends[0].send = damaged

        with pytest.raises((CiphertextError, NetError)):
            pair([ONES, ONES], [ONE, ONE], tamper=tamper)
