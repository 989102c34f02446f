"""Merging ciphertexts: many results with few useful coefficients become one whose coefficients are all useful.

For a power of two S ("spread"), the sum of phi(c) over the automorphisms phi: X -> X^(k 2N / S + 1) is S times
the part of c at the multiples of S (a trace). One step combines two ciphertexts x and y with the automorphism
sigma: X -> X^(N / s + 1), for the distances s = S/2, S/4, .., 1:

    (x + X^s y) + sigma(x - X^s y)

keeps twice what x has at multiples of 2 s, puts what y has there s places further, and drops odd multiples of
s otherwise. After all steps, the member that is number j of M lies at places S/M j modulo S, S times as large,
and nothing is left of the coefficients that were not at multiples of S. The caller divides by S beforehand
(modulo q), so the noise of the results is as it was.

sigma(x) belongs to the key sigma(s). A switching key of the client leads back to s: for each prime p_i of the
level an encryption of P sigma(s) modulo p_i, and of 0 modulo the others, P the special prime. The residues of
the a part modulo the p_i, of least magnitude, are its digits; the sum of digits times keys, divided by P, belongs
to s (Bajard and others, SAC 2016; Chen, Dai, Kim, Song, ACNS 2021 for the merging).

Cost of a step for each pair, D the primes of the level: D (D + 1) + 2 (D + 1) transforms. Switching keys are
encryptions under s of a function of s, as everywhere in this field: circular security is assumed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt

import numpy as np

from gpu_ss.prg import Prg, fresh_key
from gpu_ss.ring import Array
from he_bridge.params import ERROR_VARIANCE, ParameterSet
from he_bridge.ring import PolyRing
from he_bridge.rlwe import SecretKey

#: Pairs whose digits are transformed at once: 8 to 11 MB; so many times `blocks_at_once`.
_PAIRS = 4


@dataclass(frozen=True, repr=False)
class SwitchingKey:
    """From sigma(s) back to s for one distance: b parts as values [switching primes, D, N], a from the seed."""

    shift: int
    seed: bytes
    b: Array

    def __repr__(self) -> str:
        return f"SwitchingKey(shift={self.shift})"

    def both(self, ring: PolyRing) -> Array:
        """b and a parts [switching primes, 2 D, N]."""
        a = ring.at(ring.params.switching).public_uniform(self.seed, self.b.shape[1])
        return ring.backend.xp.concatenate([self.b, a], axis=1)


def switching_key(secret: SecretKey, shift: int, prg: Prg) -> SwitchingKey:
    """A new key for the automorphism X -> X^(N / shift + 1); only the holder of s can make it."""
    params = secret.ring.params
    ring = secret.ring.at(params.switching)
    count, seed = len(params.level), fresh_key()
    gadget = ring.backend.xp.zeros((len(ring.primes), count, ring.degree), np.uint32)
    for i, p in enumerate(params.level):
        gadget[i, i] = np.uint32(params.special[0] % p)
    noisy = ring.multiply_add(
        gadget, secret.turned(shift)[: len(ring.primes)], ring.values(ring.errors(prg, count))
    )
    return SwitchingKey(shift, seed, secret.mask(ring.public_uniform(seed, count), noisy))


def shifts(spread: int) -> Iterator[int]:
    """The distances of all steps, in order: spread / 2, .., 2, 1."""
    while spread > 1:
        spread //= 2
        yield spread


def switches(members: int, spread: int) -> int:
    """Keys switched to merge that many ciphertexts, a power of two."""
    return sum(max(1, members * shift // spread) for shift in shifts(spread))


def switching_sigma(params: ParameterSet, spread: int) -> float:
    """Standard deviation of the noise that all steps add to a result.

    One switch: D digits, uniform within p/2, times errors, divided by P; and the rounding of that. Every later step
    doubles it: the variance is that of one switch times 1 + 4 + 16 + .. = (spread^2 - 1) / 3.
    """
    digits = sum(p * p / 12 for p in params.level) * params.degree * ERROR_VARIANCE / params.special[0] ** 2
    return sqrt((digits + params.rounding_sigma**2) * (spread * spread - 1) / 3)


def merge(ring: PolyRing, keys: dict[int, Array], x: Array, groups: int, spread: int) -> Array:
    """Ciphertexts at the level, coefficients [primes, 2 * members * groups, N], merged to [primes, 2 groups, N].

    The polynomials are all b parts, then all a parts; of each, groups side by side for the first member, and so
    on. members is a power of two, at most `spread`. keys: `SwitchingKey.both` by distance.
    """
    backend = ring.backend
    for shift in shifts(spread):
        if x.shape[1] == 2 * groups:  # one member is left: its partner is zero
            padded = backend.xp.zeros((len(x), 4 * groups, ring.degree), np.uint32)
            padded[:, :groups], padded[:, 2 * groups : 3 * groups] = x[:, :groups], x[:, groups:]
            x = padded
        kept, turned = backend.merged(x, shift, ring.params.level)
        x = _switched(ring, keys[shift], turned, kept)
    return x


def _switched(ring: PolyRing, key: Array, turned: Array, kept: Array) -> Array:
    """`kept` plus (0, turned), the latter under sigma(s), all under s: coefficients [level, 2 H, N]."""
    backend, primes = ring.backend, ring.params.switching
    half, step = turned.shape[1], _PAIRS * backend.blocks_at_once
    out = backend.xp.empty((len(primes), 2, half, ring.degree), np.uint32)
    for start in range(0, half, step):
        some = backend.xp.ascontiguousarray(turned[:, start : start + step])
        digits = backend.ntt(backend.digits(some, primes), primes)
        products = backend.intt(backend.inner_products(key, digits, None, primes), primes)
        out[:, :, start : start + step] = products.reshape(len(primes), 2, -1, ring.degree)
    return backend.drop_prime(out.reshape(len(primes), 2 * half, ring.degree), primes, kept)
