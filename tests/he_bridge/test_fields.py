"""Products in fields by encryption: against their definitions, what they send and hide, and hostile peers."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_ss.field import FIELD53, FIELD60, Field
from gpu_ss.party import Party
from gpu_ss.prg import Prg, fresh_key
from gpu_ss.provider.correlation import Correlation, Dealing, FieldMask, combine
from gpu_ss.provider.specs.fields import FieldProduct, FieldRowProduct, FieldRowSquareSum
from gpu_ss.simulate import simulate
from he_bridge import rlwe
from he_bridge.errors import CiphertextError, ParameterError
from he_bridge.field_products import SLOTS, units
from he_bridge.field_ring import FieldRing
from he_bridge.field_sets import SETS, FieldParams, params_of
from he_bridge.field_slots import FieldClient, FieldServer, step_bytes
from he_bridge.field_steps import Step
from he_bridge.params import A_DIGITS, B_DIGITS, LIN64P, MAT64, ParameterSet
from he_bridge.prices import made_bytes
from he_bridge.provider import with_products
from he_bridge.ring import SEED_BYTES
from he_bridge.wire import HEADER_BYTES
from net import NetError
from tests.he_bridge.field_party import ROWS, SCORES
from tests.he_bridge.fields import ONE, check_sums, exchanged, noise, random_elements, reply_noise
from tests.he_bridge.lattice import Words, opened
from tests.support.backends import EVERY_BACKEND
from tests.support.parties import run_pair

FIELDS = [FIELD53, FIELD60]


def assert_made(*specs: Correlation, backends: Sequence[str] = ("cpu", "cpu")) -> int:
    """What was made is what a dealer would deal for these masks; payload bytes, both ways."""

    def run(party: Party) -> Any:
        party.provider.prepare(specs)
        sent = party.channel.traffic.report().sent.payload
        found = [party.provider.take(spec).only for spec in specs]
        return [None if x is None else np.array(party.backend.to_host(x)) for x in found], sent

    simulation = simulate(
        run, extend=with_products, timeout_s=60, backends=tuple(opened(name) for name in backends)
    )
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
    params = params_of(field).encryption
    return HEADER_BYTES + SEED_BYTES + params.degree * params.wire_bits(params.primes) // 8


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("field", FIELDS)
def test_every_kind(field: Field, backend: str) -> None:
    """The server on each backend, and the client on another one."""
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
        backends=(backend, "cpu") if field is FIELD53 else ("cpu", backend),
    )


@pytest.mark.parametrize(("rows", "n"), [(128, 200), (4100, 18), (8200, 1), (1, 9000), (1536, 7)])
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


@pytest.mark.parametrize(("n", "overhead"), [(SLOTS // 2, 14), (4 * SLOTS, 0), (5 * SLOTS + 5, 17)])
def test_flat_products_share_vectors(n: int, overhead: int) -> None:
    """Foreseen are full steps of sixteen vectors: of others the header and what is left of the last vector."""
    p, params = FIELD53.prime, params_of(FIELD53)
    specs = [
        *(FieldMask((n,), p, owner) for owner in (0, 1, 0, 1)),
        FieldProduct(0, 1, n, p),
        FieldProduct(2, 3, n, p),
        FieldProduct(0, 3, n, p),
        FieldProduct(2, 1, n, p),
    ]
    made = [spec for spec in specs if not spec.is_mask]
    sent, vectors = assert_made(*specs) - keys_bytes(FIELD53), -(-4 * n // SLOTS)
    steps = -(-vectors // 16)
    assert sent == steps * (2 * HEADER_BYTES + SEED_BYTES) + vectors * (params.up_bytes + params.down_bytes)
    each = params.up_bytes + params.down_bytes
    assert 0 <= sent - made_bytes(made) <= (vectors - 4 * n / SLOTS) * (each + 11) + overhead * 11
    assert made_bytes([FieldProduct(0, 1, 16 * SLOTS, p)]) == step_bytes(
        params, Step((("a", 0),) * 16, ((),) * 16)
    )


@pytest.mark.parametrize(
    ("rows", "n"), [(1, 1), (128, 768), (1536, 64), (12288, 64), (5000, 3), (4096, 3000)]
)
def test_layouts_cover_a_matrix_once(rows: int, n: int) -> None:
    seen = np.zeros((rows, n), int)
    for unit in units(rows, n):
        for columns in unit.columns:
            assert unit.height * (columns.stop - columns.start) <= SLOTS
            seen[unit.rows, columns] += 1
        steps = unit.steps(True, 2)
        spans = [unit.columns_of(step) for step in steps]
        assert [k for span in spans for k in range(span.start, span.stop)] == list(
            range(unit.columns[0].start, unit.columns[-1].stop)
        )
        params_of(FIELD60).check_call({16: 2 * len(steps), 2: 2 * len(unit.columns)})
    assert (seen == 1).all()


# Exchanges


def engines(field: Field) -> Any:
    params = params_of(field)
    return partial(FieldClient, params=params), partial(FieldServer, params=params)


def pair(
    own: Any, steps: Any, field: Field = FIELD53, tamper: Any = None, backend: str = "cpu", times: int = 1
) -> list[list[Words]]:
    backends = [opened(backend)] * 2
    return exchanged(backends, engines(field), own, steps, tamper, times)


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("field", FIELDS)
def test_sums_over_the_whole_range(field: Field, backend: str) -> None:
    """Steps that keep vectors for later ones, vectors of several lengths, sums of one to sixteen products."""
    a, b, c = ("a", 0), ("b", 0), ("c", 5)
    steps = [
        Step((a, b), (((a, b), (b, a)), ((b, b),)), kept=(b,)),
        Step((c,), (((c, a),) * 16, ((b, c), (c, b), (c, c))), kept=(b,)),
    ]
    own = [
        {name: random_elements(field, n, seed=rank + n) for name, n in ((a, SLOTS), (b, SLOTS), (c, 77))}
        for rank in (0, 1)
    ]
    own[1][a][:] = field.prime // 2  # the worst operand
    check_sums(field, own, steps, pair(own, [steps, steps], field, backend=backend))


def test_exchanges_follow_each_other() -> None:
    own = [{("a", 0): random_elements(FIELD53, SLOTS, seed=rank)} for rank in (0, 1)]
    check_sums(FIELD53, own, ONE, pair(own, [ONE, ONE], times=3))
    assert pair(own, [[], []]) == [[], []]


# What is hidden


def test_sets() -> None:
    for field, params in SETS.items():
        for products, least in ((1, 52.7), (2, 52.2), (16, 50.7)):
            margins = params.check(products)
            assert margins.privacy_bits > least
            assert margins.decryption_bits > 54
        assert 44 < params.check_call({2: 100, 16: 10}) < 48
        with pytest.raises(ParameterError, match="replies in one call"):
            params.check_call({16: 40000})
        with pytest.raises(ParameterError, match="has no 8192 slots"):
            FieldParams(Field(field.prime - 2), params.encryption).check(1)
        with pytest.raises(ParameterError, match="no set for"):
            FieldParams({FIELD53: FIELD60, FIELD60: FIELD53}[field], params.encryption).check(1)
    with pytest.raises(ParameterError, match="no parameters"):
        params_of(Field(97))


def set60(kept: tuple[int, ...], dropped: tuple[int, ...], bits: int = 60) -> FieldParams:
    return FieldParams(FIELD60, ParameterSet("test", 8192, kept, dropped, bits))


def test_weak_sets_are_refused() -> None:
    long, short = LIN64P.chain, MAT64.chain
    with pytest.raises(ParameterError, match=r"circuit privacy 2\^-2[67]"):
        set60(short[:3], short[3:6]).check(1)
    with pytest.raises(ParameterError, match="secure"):
        set60(long[:3], (*long[3:], short[0], short[1])).check(1)
    with pytest.raises(ParameterError, match="wrongly"):
        set60(short[:2], short[2:]).check(1)
    with pytest.raises(ParameterError, match="too many primes"):
        set60(short[:5], short[5:]).check(1)


@pytest.mark.parametrize("field", FIELDS)
def test_the_noise_is_as_small_as_is_counted(field: Field) -> None:
    """Of a sum of sixteen products of uniform vectors, and of replies, which have nothing but roundings."""
    session = Session(field, 16)
    ring, backend = session.ring, session.ring.backend
    fresh = noise(ring, session.secret, ring.coefficients(session.b), ring.coefficients(session.a))
    assert fresh.astype(float).std() == pytest.approx(ring.params.error_sigma, rel=0.02)
    factors = ring.factors(backend.asarray(random_elements(field, 16, SLOTS, seed=4)))
    sums = [[(i, i) for i in range(16)]]
    b, a = backend.product_sums(session.b, session.a, factors, sums, ring.primes)
    total = noise(ring, session.secret, ring.coefficients(b), ring.coefficients(a)).astype(float)
    expected = ring.params.error_sigma * math.sqrt(16 * SLOTS) * field.prime / math.sqrt(12)
    assert total.std() == pytest.approx(expected, rel=0.06)
    mask = field.draw(session.prg, (1, SLOTS), backend)
    seen = reply_noise(ring, session.secret, rlwe.reply(ring, session.public, b, a, mask, session.prg))
    assert seen.std() == pytest.approx(expected_rounding(ring), rel=0.05)
    assert abs(seen).max() < 0.5


def expected_rounding(ring: FieldRing) -> float:
    """Deviation of what is left of digits: b's rounding, and a's times s."""
    unit = ring.field.prime / 2.0**ring.field.bits
    return unit * float(np.hypot(2.0**-B_DIGITS / 12**0.5, ring.params.rounding_sigma * 2.0**-A_DIGITS))


class Session:
    """A client's ciphertexts at an evaluator, before any reply."""

    def __init__(self, field: Field, count: int) -> None:
        backend = opened()
        self.ring = params_of(field).ring(backend)
        self.prg = Prg(backend)
        self.secret, self.public = rlwe.keygen(self.ring, self.prg)
        plaintexts = self.ring.plaintexts(backend.asarray(random_elements(field, count, SLOTS)))
        seed = fresh_key()
        self.b = rlwe.encrypt(self.ring, self.secret, plaintexts, seed, self.prg)
        self.a = self.ring.public_uniform(seed, count)


def fitted(own: Words, seen: Words, numbers: Words) -> float:
    """Correlation between numbers [C, K] and the least-squares fit of noise [C, N] by own errors [K, N]."""
    found = np.linalg.lstsq(own.T, seen.T, rcond=None)[0]
    return float(np.corrcoef(found.reshape(-1), numbers.T.reshape(-1))[0, 1])


def test_replies_do_not_tell_the_servers_numbers() -> None:
    """Vectors of one element throughout are factors of the client's errors: read off at full modulus, not here."""
    count, results = 16, 64
    session = Session(FIELD60, count)
    ring, backend = session.ring, session.ring.backend
    own = noise(ring, session.secret, ring.coefficients(session.b), ring.coefficients(session.a))
    numbers = np.random.default_rng(8).integers(0, FIELD60.prime, (results, count), dtype=np.uint64)
    factors = ring.factors(backend.asarray(np.repeat(numbers.reshape(-1, 1), SLOTS, axis=1)))
    sums = [[(i, c * count + i) for i in range(count)] for c in range(results)]
    b, a = backend.product_sums(session.b, session.a, factors, sums, ring.primes)
    half = FIELD60.prime // 2
    signed = (numbers.astype(object) + half) % FIELD60.prime - half
    signed = (signed / 2.0**60).astype(float)

    mask = FIELD60.draw(session.prg, (results, SLOTS), backend)
    masked = ring.add_message(ring.coefficients(b), mask)  # masked, but at full modulus
    leak = noise(ring, session.secret, masked, ring.coefficients(a)) / 2.0**60
    assert fitted(own.astype(float), leak.astype(float), signed) > 0.999

    seen = reply_noise(ring, session.secret, rlwe.reply(ring, session.public, b, a, mask, session.prg))
    assert abs(fitted(own.astype(float), seen, signed)) < 0.15


def test_replies_are_uniform() -> None:
    """What the client decrypts are random elements, also where all is zero."""
    zeros = {("a", 0): np.zeros(SLOTS, np.uint64)}
    (client,), (server,) = pair([zeros, zeros], [ONE, ONE])
    assert len(np.unique(client)) > SLOTS - 5
    assert (FIELD53.add(client, server) == 0).all()
    assert abs((client > FIELD53.prime // 2).mean() - 0.5) < 6.5 / math.sqrt(4 * SLOTS)


def test_replies_have_nothing_in_common() -> None:
    """Two replies to one sum: fresh encryption of zero, fresh mask."""
    session = Session(FIELD53, 1)
    ring = session.ring
    replies = []
    for _ in range(2):
        mask = FIELD53.draw(session.prg, (1, SLOTS), ring.backend)
        replies.append(rlwe.reply(ring, session.public, session.b, session.a, mask, session.prg))
    assert (replies[0].a == replies[1].a).mean() < 0.01
    assert (replies[0].b == replies[1].b).mean() < 0.01


def test_places_left_are_filled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The bound on the noise wants uniform vectors: the client's places past its elements are random."""
    sent: list[Words] = []
    plaintexts = FieldRing.plaintexts

    def watched(self: FieldRing, slots: Any) -> Any:
        sent.append(np.array(slots[0]))
        return plaintexts(self, slots)

    monkeypatch.setattr(FieldRing, "plaintexts", watched)
    ones = {("a", 0): np.ones(10, np.uint64)}
    pair([ones, ones], [ONE, ONE])
    (client,) = (vector for vector in sent if vector[10:].any())
    (server,) = (vector for vector in sent if not vector[10:].any())
    assert client[:10].tolist() == server[:10].tolist() == [1] * 10
    assert len(np.unique(client[10:])) > SLOTS - 20
    assert int(client.max()) < FIELD53.prime


def test_nothing_is_shown() -> None:
    backend = opened()
    found = exchanged([backend] * 2, [_Shown(FieldClient), _Shown(FieldServer)], [{}, {}], [[], []])
    assert found == [[], []]


class _Shown:
    """Makes an engine whose text is checked."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def __call__(self, backend: Any, channel: Any) -> Any:
        engine = self._kind(backend, channel, params_of(FIELD60))
        assert repr(engine) == f"{self._kind.__name__}(FIELD {FIELD60.prime}, <hidden>)"
        return engine


# Peers

ONES = {("a", 0): np.ones(3, np.uint64), ("b", 0): np.ones(3, np.uint64)}


@pytest.mark.parametrize(
    "other",
    [
        [*ONE, *ONE],
        [Step((("a", 0), ("b", 0)), ONE[0].replies)],
        [Step((("a", 0),), ONE[0].replies * 2)],
    ],
    ids=["steps", "uploads", "replies"],
)
def test_both_must_ask_alike(other: list[Step]) -> None:
    for steps in ([ONE, other], [other, ONE]):
        with pytest.raises((CiphertextError, NetError), match=r"take turns in the same order|bytes expected"):
            pair([ONES, ONES], steps)


def test_a_replayed_message_is_refused() -> None:
    """The second exchange with the messages of the first."""

    def tamper(ends: Any) -> None:
        send, first = ends[0].send, {}

        def replayed(tag: str, frames: Any, **options: Any) -> None:
            frames = first.setdefault(tag, [bytes(memoryview(f).cast("B")) for f in frames])
            send(tag, frames, **options)

        ends[0].send = replayed

    with pytest.raises(CiphertextError, match="batch counter"):
        pair([ONES, ONES], [ONE, ONE], tamper=tamper, times=2)


def damaged(end: int, tag: str, change: Any) -> Any:
    """A channel on which one end's messages of a tag arrive changed."""

    def tamper(ends: Any) -> None:
        send = ends[end].send

        def changed(sent: str, frames: Any, **options: Any) -> None:
            send(sent, change(list(frames)) if sent == tag else frames, **options)

        ends[end].send = changed

    return tamper


@pytest.mark.parametrize(("end", "tag"), [(0, "he/inputs"), (0, "he/key"), (1, "he/replies")])
def test_damaged_messages(end: int, tag: str) -> None:
    """Residues above their primes, and messages of another length, end with an error that names no secret."""
    cut = lambda frames: [*frames[:-1], bytes(memoryview(frames[-1]).cast("B"))[:-8]]  # noqa: E731
    fewer = lambda frames: frames[:-1]  # noqa: E731
    full = lambda frames: [*frames[:-1], b"\xff" * memoryview(frames[-1]).nbytes]  # noqa: E731
    header = lambda frames: [b"\0" * HEADER_BYTES, *frames[1:]]  # noqa: E731
    for change in (cut, fewer, header, *([full] if end == 0 else [])):
        with pytest.raises((CiphertextError, NetError)):
            pair([ONES, ONES], [ONE, ONE], tamper=damaged(end, tag, change))


def test_any_digits_are_some() -> None:
    """A reply has no wrong digits: what the client finds are elements, whatever comes."""
    full = lambda frames: [frames[0], *(b"\xff" * memoryview(f).nbytes for f in frames[1:])]  # noqa: E731
    for field in FIELDS:
        (client,), _ = pair([ONES, ONES], [ONE, ONE], field, damaged(1, "he/replies", full))
        assert int(client.max()) < field.prime


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
