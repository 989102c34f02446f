"""Products in fields by encryption: against their definitions, what they send and hide, and hostile peers."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fastlmpi[he]'")

from gpu_ss.field import FIELD53, FIELD60, Field
from gpu_ss.party import Party
from gpu_ss.provider.correlation import Correlation, Dealing, FieldMask, combine
from gpu_ss.provider.specs.fields import FieldProduct, FieldRowProduct, FieldRowSquareSum
from gpu_ss.simulate import simulate
from he_bridge.errors import CiphertextError, ParameterError
from he_bridge.field_products import SLOTS, units
from he_bridge.field_sets import SETS, FieldParams, params_of
from he_bridge.field_slots import FieldClient, FieldServer, Step
from he_bridge.prices import made_bytes
from he_bridge.provider import with_products
from he_bridge.remainders import below, os_words
from he_bridge.tenseal_bfv import Bfv, BfvParams, Evaluator, KeyHolder
from net import NetError, memory_pair
from tests.he_bridge.field_party import ROWS, SCORES
from tests.he_bridge.lattice import Words, opened
from tests.support.parties import run_pair

FIELDS = [FIELD53, FIELD60]
ONE = [Step((("a", 0),), (((("a", 0), ("a", 0)),),))]


def assert_made(*specs: Correlation) -> int:
    """What was made is what a dealer would deal for these masks; payload bytes, both ways."""

    def run(party: Party) -> Any:
        party.provider.prepare(specs)
        sent = party.channel.traffic.report().sent.payload
        return [party.provider.take(spec).only for spec in specs], sent

    simulation = simulate(run, extend=with_products, timeout_s=60)
    (left, sent0), (right, sent1) = simulation.results
    clear = [
        combine(opened(), spec.outputs()[0], a, b) for spec, a, b in zip(specs, left, right, strict=True)
    ]
    dealing = Dealing(opened(), [], [], lambda number: clear[number])
    for spec, found in zip(specs, clear, strict=True):
        if not spec.is_mask:
            (expected,) = spec.deal(dealing)
            assert np.array_equal(found, expected), spec
    for a, spec in zip(left, specs, strict=True):
        assert a is None or int(a.max()) < spec.outputs()[0].prime
    return int(sent0 + sent1)


def keys_bytes(field: Field) -> int:
    return Bfv(params_of(field).bfv, field.prime).public_key_bytes() + 32


@pytest.mark.parametrize("field", FIELDS)
def test_every_kind(field: Field) -> None:
    p = field.prime
    assert_made(
        FieldMask((3, 7), p),
        FieldMask((3,), p),
        FieldMask((3,), p),
        FieldMask((10,), p, 0),
        FieldMask((10,), p, 1),
        FieldRowProduct(0, 1, 3, 7, p),
        FieldRowSquareSum(0, 3, 7, p),
        FieldRowProduct(0, 2, 3, 7, p),
        FieldProduct(3, 4, 10, p),
        FieldProduct(3, 4, 10, p),
    )


@pytest.mark.parametrize(("rows", "n"), [(128, 200), (4100, 18), (8200, 1), (1, 9000)])
def test_rows_of_all_sizes(rows: int, n: int) -> None:
    """Several vectors, several steps, several groups of rows; and what it sends is what it is said to cost."""
    p = FIELD60.prime
    specs = [
        FieldMask((rows, n), p),
        FieldMask((rows,), p),
        FieldRowSquareSum(0, rows, n, p),
        FieldRowProduct(0, 1, rows, n, p),
    ]
    made = [spec for spec in specs if not spec.is_mask]
    assert assert_made(*specs) - keys_bytes(FIELD60) == made_bytes(made)


def test_flat_products_share_vectors() -> None:
    p, n = FIELD53.prime, SLOTS // 2
    specs = [
        *(FieldMask((n,), p, owner) for owner in (0, 1, 0, 1)),
        FieldProduct(0, 1, n, p),
        FieldProduct(2, 3, n, p),
        FieldProduct(0, 3, n, p),
        FieldProduct(2, 1, n, p),
    ]
    made = [spec for spec in specs if not spec.is_mask]
    assert assert_made(*specs) - keys_bytes(FIELD53) == made_bytes(made)


@pytest.mark.parametrize(
    ("rows", "n"), [(1, 1), (128, 768), (1536, 64), (12288, 64), (5000, 3), (4096, 3000)]
)
def test_layouts_cover_a_matrix_once(rows: int, n: int) -> None:
    seen = np.zeros((rows, n), int)
    for unit in units(rows, n):
        height = unit.rows.stop - unit.rows.start
        for columns in unit.columns:
            assert height * (columns.stop - columns.start) <= SLOTS
            seen[unit.rows, columns] += 1
        steps = unit.steps(True, 2)
        assert sum(len(unit.columns_of(step)) for step in steps) == len(unit.columns)
        params_of(FIELD60).check_call({16: 2 * len(steps), 2: 2 * len(unit.columns)})
    assert (seen == 1).all()


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
            FieldParams(Field(field.prime - 2), params.bfv).check(1)
    with pytest.raises(ParameterError, match="no parameters"):
        params_of(Field(97))
    weak = BfvParams(8192, (31, 31), (42, 41, 30), 17, 53)
    with pytest.raises(ParameterError, match="circuit privacy"):
        FieldParams(FIELD53, weak).check(16)


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
    zeros = np.zeros(SLOTS, np.uint64)
    client, server = exchanged(lambda name: zeros, lambda name: zeros)
    assert len(np.unique(client[0])) > SLOTS - 5
    assert (FIELD53.add(client[0], server[0]) == 0).all()
    assert abs((client[0] > FIELD53.prime // 2).mean() - 0.5) < 6.5 / math.sqrt(4 * SLOTS)


def test_places_left_are_filled() -> None:
    """The bound on the noise wants uniform vectors: the client's places past its elements are random."""
    sent: list[Words] = []
    encrypt = KeyHolder.encrypt

    def watched(self: KeyHolder, vectors: Sequence[Words]) -> bytes:
        sent.extend(vectors)
        return encrypt(self, vectors)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(KeyHolder, "encrypt", watched)
        exchanged(lambda name: np.ones(10, np.uint64), lambda name: np.ones(10, np.uint64))
    assert sent[0][:10].tolist() == [1] * 10
    assert len(np.unique(sent[0][10:])) > SLOTS - 20


# Peers


def exchanged(
    client: Callable[[Any], Words],
    server: Callable[[Any], Words],
    steps: Sequence[Step] = ONE,
    tamper: Any = None,
) -> tuple[list[Words], list[Words]]:
    """Both ends' results of one exchange; what either raises is raised."""
    ends = memory_pair("client", "server", timeout_s=20.0)
    if tamper is not None:
        tamper(ends)
    results: list[Any] = [None, None]
    failures: list[BaseException] = []

    def work(rank: int) -> None:
        try:
            with ends[rank] as channel:
                engine = (FieldClient, FieldServer)[rank](channel, params_of(FIELD53))
                results[rank] = engine.exchange((steps, ONE)[rank], (client, server)[rank])
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    return results[0], results[1]


def test_both_must_ask_alike() -> None:
    ones = np.ones(3, np.uint64)
    other = [*ONE, *ONE]
    with pytest.raises(CiphertextError, match="not at step 0 of 1"):
        exchanged(lambda name: ones, lambda name: ones, other)


@pytest.mark.parametrize("tag", ["he.field.up", "he.field.key"])
def test_damaged_messages(tag: str) -> None:
    """Residues above their primes, and messages of another length, end with an error that names no secret."""
    ones = np.ones(3, np.uint64)
    for change in (lambda frame: b"\xff" * len(frame), lambda frame: bytes(frame)[:-8]):

        def tamper(ends: Any, change: Any = change) -> None:
            send = ends[0].send

            def damaged(sent: str, frames: Any, **options: Any) -> None:
                send(sent, [*frames[:-1], change(frames[-1])] if sent == tag else frames, **options)

            ends[0].send = damaged

        with pytest.raises((CiphertextError, NetError)):
            exchanged(lambda name: ones, lambda name: ones, tamper=tamper)


def test_two_processes(tmp_path: Path) -> None:
    """Softmax and LayerNorm of two parties alone, as planned and at the price that was foreseen."""
    run_pair("tests.he_bridge.field_party", tmp_path)
    found = np.load(tmp_path / "client.npz")
    e = np.exp(SCORES - SCORES.max(axis=1, keepdims=True))
    assert np.abs(found["softmax"] - e / e.sum(axis=1, keepdims=True)).max() < 6e-4
    centred = ROWS - ROWS.mean(axis=1, keepdims=True)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    assert np.abs(found["layernorm"] - expected).max() < 1e-4
    figures = json.loads((tmp_path / "client.json").read_text())
    assert [figures["rounds"], figures["sent"]] == figures["planned"]
    keys = sum(keys_bytes(field) for field in FIELDS)
    # the start of silent OT, some 1.3 MB, and slabs of it that are made but not used up
    assert 0 < figures["offline"] - keys - sum(figures["priced"].values()) < 4e6
