"""What an exchange of products in a field hides: margins, noise, the attack on replies that keep it, repr."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from gpu_ss.field import FIELD53, FIELD60, Field
from gpu_ss.prg import Prg, fresh_key
from he_bridge import rlwe
from he_bridge.errors import ParameterError
from he_bridge.field_ring import FieldRing
from he_bridge.field_sets import SETS, FieldParams, params_of
from he_bridge.field_slots import FieldClient, FieldServer
from he_bridge.field_steps import SLOTS
from he_bridge.params import A_DIGITS, B_DIGITS, LIN64P, MAT64, ParameterSet
from tests.he_bridge.fields import ONE, exchanged, noise, pair, random_elements, reply_noise
from tests.he_bridge.lattice import Words, opened

FIELDS = [FIELD53, FIELD60]


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
