"""Ring-LWE encryption of words modulo 2^ring_bits: keys, ciphertexts, replies.

A ciphertext (b, a) of m has b + a s = round(q m / t) + e modulo q, t = 2^ring_bits, e small. The holder of
the secret key encrypts with `a` expanded from a seed, so only b travels. The evaluator computes linear
combinations of ciphertexts, and answers with `reply` and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from gpu_ss.prg import Prg, fresh_key
from gpu_ss.ring import Array
from he_bridge.errors import HeError
from he_bridge.params import A_DIGITS, B_DIGITS
from he_bridge.ring import PolyRing

#: Every coefficient carries a result.
ALL = slice(None)
_SEAL = object()


class SecretKey:
    """A ternary polynomial s. It stays in this process: it cannot be copied, pickled, printed or sent.

    `ring` is that of fresh ciphertexts; s itself is known modulo the whole chain.
    """

    __slots__ = ("_chain", "_minus_s", "_ring", "_s")

    def __init__(self, ring: PolyRing, prg: Prg) -> None:
        self._ring = ring
        self._chain = chain = ring.at(ring.params.chain)
        self._s = chain.values(chain.ternary(prg, 1))
        minus_one = np.array(chain.primes, np.uint32) - np.uint32(1)
        self._minus_s = chain.multiply_add(self._s, chain.constants(minus_one))

    def __repr__(self) -> str:
        return f"SecretKey({self._ring.params.name}, <hidden>)"

    def __reduce_ex__(self, _: object) -> NoReturn:
        raise TypeError("a secret key does not leave its process")

    @property
    def ring(self) -> PolyRing:
        return self._ring

    def mask(self, a: Array, x: Array) -> Array:
        """x - a s, values at the modulus of a."""
        return self._chain.multiply_add(a, self._minus_s[: len(a)], x)

    def times(self, a: Array) -> Array:
        """a s, values at the modulus of a."""
        return self._chain.multiply_add(a, self._s[: len(a)])

    def turned(self, shift: int) -> Array:
        """sigma(s) for sigma: X -> X^(N / shift + 1), values modulo the chain."""
        chain = self._chain
        pair = chain.backend.xp.zeros((len(chain.primes), 4, chain.degree), np.uint32)
        pair[:, 2:3] = chain.coefficients(self._s)  # merged: where the a part of a first ciphertext is
        return chain.values(chain.backend.merged(pair, shift, chain.primes)[1])


@dataclass(frozen=True, repr=False)
class PublicKey:
    """An encryption of zero (p0, p1) as values, p1 expanded from the seed."""

    seed: bytes
    p0: Array

    def __repr__(self) -> str:
        return "PublicKey(...)"


class Reply:
    """A ciphertext of which only as many digits are left as decoding needs (`params`): words, see `scale_down`.

    b [parts, polys, places] has the coefficients that carry results, a [parts, polys, N] all. At the evaluator
    `reply` makes it, and only it can; at the client `wire` reads it from a message.
    """

    __slots__ = ("a", "b")

    def __init__(self, b: Array, a: Array, seal: object = None) -> None:
        if seal is not _SEAL:
            raise HeError("only rlwe.reply makes replies: anything else may reveal the weights")
        self.b = b
        self.a = a

    def __repr__(self) -> str:
        return f"Reply(shape={self.b.shape})"


def keygen(ring: PolyRing, prg: Prg) -> tuple[SecretKey, PublicKey]:
    """A new key pair from the client's private randomness, both at the modulus of fresh ciphertexts."""
    secret = SecretKey(ring, prg)
    return secret, public_key(secret, ring, prg)


def public_key(secret: SecretKey, ring: PolyRing, prg: Prg) -> PublicKey:
    """A public key at the modulus of `ring`, which is where `reply` works."""
    seed, error = fresh_key(), ring.values(ring.errors(prg, 1))
    return PublicKey(seed, secret.mask(ring.public_uniform(seed, 1), error))


def encrypt(ring: PolyRing, secret: SecretKey, words: Array, seed: bytes, prg: Prg) -> Array:
    """b as values for words [polys, N]; a is `ring.public_uniform(seed, polys)`. A seed is used once."""
    noisy = ring.add_message(ring.errors(prg, len(words)), words)
    return secret.mask(ring.public_uniform(seed, len(words)), ring.values(noisy))


def reply(
    ring: PolyRing, public: PublicKey, b: Array, a: Array, mask: Array, prg: Prg, places: slice = ALL
) -> Reply:
    """The only way from an evaluator's result (b, a), as values at full modulus, to the wire.

    1. Adds a fresh encryption of zero (p0 u + e0, p1 u + e1), u ternary: hides which combination of the
       client's own `a` parts this is.
    2. Adds the mask, uniform words [polys, N]: the client decrypts result + mask.
    3. Divides by the dropped primes, rounds to the digits that decoding needs, and leaves out coefficients of b
       that carry no result: what noise of the combination survives changes a rounding with a probability that
       `params.check_weights` bounds, and is otherwise gone. Without this step the client, who knows the errors
       it encrypted with, reads the weights off the noise by least squares.

    places: of the coefficients that carry results, the same in all polynomials.
    """
    polys = len(mask)
    u = ring.values(ring.ternary(prg, polys))
    p1 = ring.public_uniform(public.seed, 1)
    fresh_b = ring.coefficients(ring.multiply_add(u, public.p0, b))
    fresh_a = ring.coefficients(ring.multiply_add(u, p1, a))
    masked = ring.add_message(ring.errors(prg, polys, fresh_b), mask)
    short_b = _at(ring, ring.switched(masked), places)
    short_a = ring.switched(ring.errors(prg, polys, fresh_a))
    return Reply(ring.digits(short_b, B_DIGITS), ring.digits(short_a, A_DIGITS), _SEAL)


def received_reply(b: Array, a: Array) -> Reply:
    """The client's view of a reply that came over the wire (`wire` only)."""
    return Reply(b, a, _SEAL)


def decrypt(ring: PolyRing, secret: SecretKey, reply: Reply, places: slice = ALL) -> Array:
    """The words of a reply at its places, [polys, places]."""
    a = ring.values(ring.from_digits(reply.a, A_DIGITS))
    shift = _at(ring, ring.coefficients(secret.times(a)), places)
    return ring.message(shift, ring.from_digits(reply.b, B_DIGITS))


def _at(ring: PolyRing, x: Array, places: slice) -> Array:
    """The coefficients at these places."""
    return ring.backend.xp.ascontiguousarray(x[:, :, places])
