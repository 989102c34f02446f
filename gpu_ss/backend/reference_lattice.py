"""NumPy definitions of the operations on polynomials modulo primes, written as their formulas."""

from __future__ import annotations

from math import prod

import numpy as np

from gpu_ss.backend import primes as tables
from gpu_ss.backend.lattice import Lattice
from gpu_ss.backend.primes import Primes, Table
from gpu_ss.ring import WORD, Array

_HALF_WORD = np.uint64(32)
_BITS_PER_SIDE = 21  # of a centred binomial sample


class ReferenceLattice(Lattice):
    """One prime after the other, in 64-bit and big integers."""

    def ntt(self, x: Array, primes: Primes) -> Array:
        size = self._check_residues(primes, x=x)[2]
        twiddles = tables.transform_tables(primes, size)
        rows = [forward(y.astype(np.uint64), t[0], p) for y, t, p in zip(x, twiddles, primes, strict=True)]
        return np.array(rows, np.uint32)

    def intt(self, x: Array, primes: Primes) -> Array:
        size = self._check_residues(primes, x=x)[2]
        twiddles = tables.transform_tables(primes, size)
        rows = [inverse(y.astype(np.uint64), t[2], p) for y, t, p in zip(x, twiddles, primes, strict=True)]
        return np.array(rows, np.uint32)

    def multiply_add(self, x: Array, y: Array, z: Array | None, primes: Primes) -> Array:
        self._check_factors(x, y, z, primes)
        product = x.astype(np.uint64) * y
        return _canonical(product if z is None else product + z, primes)

    def uniform_residues(self, words: Array, primes: Primes) -> Array:
        self._check_stream(words)
        p = _column(primes)
        low, high = words & np.uint64(0xFFFFFFFF), words >> _HALF_WORD
        return ((high * p + (low * p >> _HALF_WORD)) >> _HALF_WORD).astype(np.uint32)

    def binomial_residues(self, words: Array, add: Array | None, primes: Primes) -> Array:
        self._check_sampling(words, add, primes)
        bits = (words[..., None] >> np.arange(2 * _BITS_PER_SIDE, dtype=np.uint64)) & np.uint64(1)
        ones = bits.astype(np.int64)
        small = ones[..., :_BITS_PER_SIDE].sum(axis=-1) - ones[..., _BITS_PER_SIDE:].sum(axis=-1)
        return _lifted(small, add, primes)

    def ternary_residues(self, words: Array, add: Array | None, primes: Primes) -> Array:
        self._check_sampling(words, add, primes)
        small = ((words >> _HALF_WORD) * np.uint64(3) >> _HALF_WORD).astype(np.int64) - 1
        return _lifted(small, add, primes)

    def scale_up(self, words: Array, bits: int, add: Array, primes: Primes) -> Array:
        self._check_sampling(words, add, primes)
        q, t = prod(primes), 1 << bits
        scaled = (q * (words.astype(object) % t) + t // 2) // t
        return np.array([(scaled + a) % p for a, p in zip(add, primes, strict=True)], np.uint32)

    def drop_prime(self, x: Array, primes: Primes, add: Array | None = None) -> Array:
        self._check_residues(primes, x=x)
        *rest, last = primes
        if add is not None:
            self._check_summand(x, add, tuple(rest))
        centred = (x[-1].astype(np.int64) + last // 2) % last - last // 2
        rows = [
            (y.astype(np.int64) - centred) % p * pow(last, -1, p) % p for y, p in zip(x, rest, strict=False)
        ]
        return _canonical(np.array(rows, np.uint64) + (0 if add is None else add), tuple(rest))

    def ntt_of_words(self, words: Array, size: int, primes: Primes) -> Array:
        polys, terms = self._check_words_of(words, size, primes)
        residues = np.zeros((len(primes), polys, size), np.uint32)
        residues[:, :, :terms] = words.view(np.int64)[None] % _column(primes).view(np.int64)
        return self.ntt(residues, primes)

    def inner_products(self, x: Array, y: Array, add: Array | None, primes: Primes) -> Array:
        depth, results, size = self._check_inner(x, y, add, primes)
        left = x.reshape(len(primes), 2, 1, depth, size).astype(np.uint64)
        right = y.reshape(len(primes), 1, results, depth, size)
        products = left * right % _column(primes)[..., None, None]
        sums = products.sum(axis=3).reshape(len(primes), 2 * results, size)
        return _canonical(sums + (0 if add is None else add.astype(np.uint64)), primes)

    def digits(self, x: Array, primes: Primes) -> Array:
        count, polys, size = self._check_residues(primes[: len(x)], x=x)
        own = _column(primes[:count]).view(np.int64)
        centred = (x.astype(np.int64) + own // 2) % own - own // 2
        digits = centred.transpose(1, 0, 2).reshape(1, polys * count, size)
        return (digits % _column(primes).view(np.int64)).astype(np.uint32)

    def merged(self, x: Array, shift: int, primes: Primes) -> tuple[Array, Array]:
        half, size = self._check_merge(x, shift, primes)
        first, second = x.reshape(len(primes), 2, 2, half, size).astype(np.int64).transpose(2, 0, 1, 3, 4)
        moved = np.concatenate([-second[..., size - shift :], second[..., : size - shift]], axis=-1)
        targets = np.arange(size) * (size // shift + 1) % (2 * size)
        turned = np.empty_like(moved)
        turned[..., targets % size] = np.where(targets < size, 1, -1) * (first - moved)
        kept = first + moved
        kept[:, 0] += turned[:, 0]
        p = _column(primes).view(np.int64)
        both = kept.reshape(len(primes), 2 * half, size) % p, turned[:, 1] % p
        return both[0].astype(np.uint32), both[1].astype(np.uint32)

    def decode_sum(self, x: Array, y: Array, bits: int, primes: Primes) -> Array:
        self._check_residues(primes, x=x, y=y)
        q, t = prod(primes), 1 << bits
        units = np.array([q // p * pow(q // p, -1, p) for p in primes], object)[:, None, None]
        value = ((x.astype(object) + y) * units).sum(axis=0) % q
        return ((t * value + q // 2) // q % t).astype(np.uint64)

    def scale_down(self, x: Array, bits: int, primes: Primes) -> Array:
        _, rest_bits = self._check_digits(x, bits, primes)
        q = prod(primes)
        total = 1 << (2 * WORD - 1 - bits)
        for row, p in zip(x.astype(object), primes, strict=True):
            total = total + row * pow(q // p, -1, p) % p * ((1 << 2 * WORD) // p)
        digits = (total >> (2 * WORD - bits)) % (1 << bits)
        parts = [digits >> rest_bits, *([digits % (1 << rest_bits)] if rest_bits else [])]
        return np.array(parts, np.uint64)

    def residue_matmul(
        self, weights: Array, largest: int, x: Array, add: Array | None, primes: Primes
    ) -> Array:
        self._check_product(weights, largest, x, add, primes)
        integers = weights.astype(np.int64)
        depth = (1 << 63) // (max(primes) * max(largest, 1))
        total = np.zeros((len(primes), weights.shape[0], x.shape[2]), np.int64)
        for k in range(0, x.shape[1], depth):
            part = np.matmul(integers[:, k : k + depth], x[:, k : k + depth].astype(np.int64))
            total = (total + part % _column(primes).view(np.int64)) % _column(primes).view(np.int64)
        if add is None:
            return _canonical(total.astype(np.uint64), primes)
        add[...] = _canonical(total.astype(np.uint64) + add.astype(np.uint64), primes)
        return add


def forward(x: Table, twiddles: Table, p: int) -> Table:
    """Butterflies x, y -> x + w y, x - w y at half the distance each time (Cooley and Tukey)."""
    (polys, size), groups = x.shape, 1
    while groups < size:
        pairs = x.reshape(polys, groups, 2, size // (2 * groups))
        w = twiddles[groups : 2 * groups, None].astype(x.dtype)
        low, high = pairs[:, :, 0], pairs[:, :, 1] * w % p
        x = np.stack([low + high, low + p - high], axis=2) % p
        groups *= 2
    return x.reshape(polys, size)


def inverse(x: Table, twiddles: Table, p: int) -> Table:
    """Butterflies x, y -> x + y, (x - y) w at twice the distance each time (Gentleman and Sande)."""
    polys, size = x.shape
    groups = size // 2
    while groups:
        pairs = x.reshape(polys, groups, 2, size // (2 * groups))
        w = twiddles[groups : 2 * groups, None].astype(x.dtype)
        low, high = pairs[:, :, 0], pairs[:, :, 1]
        x = np.stack([low + high, (low + p - high) * w], axis=2) % p
        groups //= 2
    return np.asarray(x.reshape(polys, size) * twiddles[0] % p)


def _column(primes: Primes) -> Table:
    return np.array(primes, np.uint64)[:, None, None]


def _canonical(x: Table, primes: Primes) -> Table:
    return (x % _column(primes)).astype(np.uint32)


def _lifted(small: Table, add: Table | None, primes: Primes) -> Table:
    """Signed numbers modulo every prime, plus residues."""
    p = _column(primes).astype(np.int64)
    return ((small[None] + (0 if add is None else add.astype(np.int64))) % p).astype(np.uint32)
