"""Encryption is exact, its noise is what the parameters say, replies hide the weights, keys stay put."""

from __future__ import annotations

import copy
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import he_bridge
from gpu_ss.prg import Prg, fresh_key
from he_bridge import rlwe
from he_bridge.errors import HeError
from he_bridge.params import LIN64, LIN64P, MAT64, ParameterSet
from he_bridge.ring import PolyRing
from tests.he_bridge.lattice import (
    INSECURE32,
    WatchedRing,
    Words,
    assert_rounding,
    noise,
    opened,
    random_weights,
    random_words,
    reply_noise,
)

K, C = 32, 128


class Session:
    """A client's ciphertexts of K columns, and an evaluator's combinations of them, before any reply."""

    def __init__(self, params: ParameterSet = LIN64) -> None:
        backend = opened()
        self.ring = WatchedRing(backend, params)
        self.prg = Prg(backend)
        self.secret, self.public = rlwe.keygen(self.ring, self.prg)
        self.ring.drawn.clear()
        self.words = backend.asarray(random_words(K, params.degree))
        seed = fresh_key()
        self.b = rlwe.encrypt(self.ring, self.secret, self.words, seed, self.prg)
        self.a = self.ring.public_uniform(seed, K)
        (self.errors,) = self.ring.drawn

    def combine(self, weights: Words) -> tuple[Any, Any]:
        factors = self.ring.backend.asarray(weights.T.astype(np.float64).copy())
        b, a = (
            self.ring.backend.residue_matmul(factors, 2**15, x, None, self.ring.primes)
            for x in (self.b, self.a)
        )
        return b, a


@pytest.fixture(scope="module")
def session() -> Session:
    return Session()


@pytest.mark.parametrize("params", [LIN64, LIN64P, MAT64, INSECURE32], ids=lambda p: p.name)
def test_encryption_is_exact(params: ParameterSet) -> None:
    fresh = Session(params)
    mask = fresh.prg.words((K, params.degree))
    reply = rlwe.reply(fresh.ring, fresh.public, fresh.b, fresh.a, mask, fresh.prg)
    ones = np.uint64((1 << params.ring_bits) - 1)
    assert np.array_equal(rlwe.decrypt(fresh.ring, fresh.secret, reply), (fresh.words + mask) & ones)
    some = slice(3, params.degree - 5, 7)
    reply = rlwe.reply(fresh.ring, fresh.public, fresh.b, fresh.a, mask, fresh.prg, some)
    assert reply.b.shape[-1] == len(range(3, params.degree - 5, 7))
    found = rlwe.decrypt(fresh.ring, fresh.secret, reply, some)
    assert np.array_equal(found, ((fresh.words + mask) & ones)[:, some])


def test_noise_is_what_the_parameters_say(session: Session) -> None:
    ring, params = session.ring, session.ring.params
    own = noise(session.secret, ring.coefficients(session.b), ring.coefficients(session.a))
    assert abs(own - session.errors).max() <= 1  # the rounding of q m / t
    assert own.std() == pytest.approx(params.error_sigma, rel=0.02)
    weights = random_weights(K, C)
    combined = noise(session.secret, *(ring.coefficients(x) for x in session.combine(weights)))
    norms = np.sqrt((weights.astype(float) ** 2).sum(axis=0))
    assert np.allclose(combined.std(axis=1) / norms, params.error_sigma, rtol=0.06)
    mask = session.prg.words((C, params.degree))
    reply = rlwe.reply(ring, session.public, *session.combine(weights), mask, session.prg)
    assert_rounding(params, reply_noise(ring, session.secret, reply))


def leaky_reply(session: Session, combined: tuple[Any, Any]) -> tuple[Any, Any]:
    """What must never be sent: re-randomised and masked, but at full modulus."""
    ring = session.ring
    b, a = combined
    polys = b.shape[1]
    u = ring.values(ring.ternary(session.prg, polys))
    p1 = ring.public_uniform(session.public.seed, 1)
    b = ring.coefficients(ring.multiply_add(u, session.public.p0, b))
    a = ring.coefficients(ring.multiply_add(u, p1, a))
    mask = session.prg.words((polys, ring.degree))
    return ring.add_message(b, mask), a


def fitted(errors: Words, seen: Words, weights: Words) -> float:
    """Correlation between the weights and the least-squares fit of noise [C, N] by own errors [K, N]."""
    found = np.linalg.lstsq(errors.T.astype(float), seen.T.astype(float), rcond=None)[0]
    return float(np.corrcoef(found.reshape(-1), weights.reshape(-1))[0, 1])


def test_replies_do_not_tell_the_weights(session: Session) -> None:
    weights = random_weights(K, C)
    combined = session.combine(weights)
    leak = noise(session.secret, *leaky_reply(session, combined))
    assert fitted(session.errors, leak, weights) > 0.99
    mask = session.prg.words((C, session.ring.degree))
    reply = rlwe.reply(session.ring, session.public, *combined, mask, session.prg)
    assert abs(fitted(session.errors, reply_noise(session.ring, session.secret, reply), weights)) < 0.1


def test_the_mask_is_all_that_a_reply_to_nothing_holds(session: Session) -> None:
    """Two replies to the same combination share nothing: fresh encryption of zero, fresh mask."""
    combined = session.combine(random_weights(K, 1))
    replies = []
    for _ in range(2):
        mask = session.prg.words((1, session.ring.degree))
        replies.append(rlwe.reply(session.ring, session.public, *combined, mask, session.prg))
    assert (replies[0].a[0] == replies[1].a[0]).mean() < 0.01
    assert (replies[0].b[0] == replies[1].b[0]).mean() < 0.01


def test_only_reply_makes_replies(session: Session) -> None:
    with pytest.raises(HeError, match="reveal"):
        rlwe.Reply(session.b, session.a)
    folder = Path(he_bridge.__file__).parent
    makers = {
        path.name
        for path in folder.glob("*.py")
        if re.search(r"\b(Reply\(|received_reply\()", path.read_text())
    }
    assert makers == {"rlwe.py", "wire.py"}
    assert "Reply(" not in (folder / "wire.py").read_text()


def test_the_secret_key_stays(session: Session) -> None:
    for escape in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            escape(session.secret)
    assert "hidden" in repr(session.secret)
    assert not hasattr(session.secret, "__dict__")
    assert repr(session.public) == "PublicKey(...)"


@pytest.mark.parametrize("name", ["reference", "cuda-fake"])
def test_seeds_expand_alike_everywhere(name: str) -> None:
    seed = bytes(range(32))
    expected = PolyRing(opened(), LIN64).public_uniform(seed, 3)
    backend = opened(name)
    assert np.array_equal(backend.to_host(PolyRing(backend, LIN64).public_uniform(seed, 3)), expected)
    assert expected[:, 0, 0].tolist() == FIRST_RESIDUES


#: The first residue of each prime for the seed 0, 1, 2, ...: the expansion is part of the wire contract.
FIRST_RESIDUES = [30370, 9971515, 43063063, 1811372, 26775125, 12615759]
