"""Correlations of look-ups: XOR-shared unit vectors and the repair of the sign they leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from gpu_ss.provider.correlation import Correlation, Dealing, Out
from gpu_ss.provider.specs.bits import MaskView, bit_words, words_of
from gpu_ss.ring import Array

INDEX_BITS = 6  # unit vectors of 64 entries: one word per element


@dataclass(frozen=True)
class ExpLookup(Correlation):
    """What the exponential gadget needs of a viewed mask r = rh 2^frac + rl (see protocols/lookup.py).

    Outputs: the unit vector of rh as a word with one bit set (XOR-shared; where the shares differ is rh,
    and rank 0's bit there decides the sign sigma = +-1); then, for the look-up mask mu of `look_bits` bits,
    the gate bit mask rho and K = sigma 2^(-rl) with `scale` fractional bits, the words
    K, -K mu, K 2^look_bits msb(mu), and the same three times rho: [6, n] in Z_2^bits.
    """

    view: MaskView
    look: int
    gate: int
    frac: int
    look_bits: int
    scale: int
    bits: int

    refs: ClassVar = ("view", "look", "gate")

    def outputs(self) -> tuple[Out, ...]:
        n = self.view.n
        return (Out((n,), xor=True), Out((6, n), self.bits))

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        unit, three = unit_and_factors(self, dealing)
        bits = bit_words(dealing, self.gate, self.view.n)
        return unit, dealing.backend.xp.concatenate([three, three * bits])


@dataclass(frozen=True)
class NearLookup(Correlation):
    """ExpLookup for a gate that is a count: `gate` is a mask s of n numbers modulo 2^field.

    Outputs: the unit vector as in ExpLookup; then K, -K mu, K 2^look_bits msb(mu), each times [s = j] for all j:
    [2^field, 3, n].
    """

    view: MaskView
    look: int
    gate: int
    field: int
    frac: int
    look_bits: int
    scale: int
    bits: int

    refs: ClassVar = ("view", "look", "gate")

    def outputs(self) -> tuple[Out, ...]:
        n = self.view.n
        return (Out((n,), xor=True), Out((1 << self.field, 3, n), self.bits))

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        unit, three = unit_and_factors(self, dealing)
        s = dealing.mask(self.gate).reshape(-1)
        return unit, dealing.backend.spread(s, three, 1 << self.field)


def unit_and_factors(spec: ExpLookup | NearLookup, dealing: Dealing) -> tuple[Array, Array]:
    """The unit vector, and K, -K mu, K 2^look_bits msb(mu): [3, n]."""
    xp, r = dealing.backend.xp, spec.view.words(dealing)
    high = (r >> np.uint64(spec.frac)) & np.uint64((1 << INDEX_BITS) - 1)
    unit = (high * np.uint64(0) + np.uint64(1)) << high
    positive = (dealing.share0[0].reshape(-1) >> high) & np.uint64(1)  # type: ignore[union-attr]
    low = r & np.uint64((1 << spec.frac) - 1)
    size = dealing.backend.asarray(power_table(spec.frac, spec.scale))[low.astype(np.int64)]
    factor = xp.where(positive != 0, size, np.uint64(0) - size)
    mu = dealing.mask(spec.look).reshape(-1)
    top = (mu >> np.uint64(spec.look_bits - 1)) << np.uint64(spec.look_bits)
    return unit, xp.stack([factor, np.uint64(0) - factor * mu, factor * top])


@dataclass(frozen=True)
class UnitVectors(Correlation):
    """n random numbers r modulo 2^bits, additively shared [n], and the XOR-shared planes [2^bits, W] of [r = j]."""

    n: int
    bits: int

    def outputs(self) -> tuple[Out, ...]:
        return (
            Out((self.n,), self.bits, random=True),
            Out((1 << self.bits, words_of(self.n)), xor=True),
        )

    def deal(self, dealing: Dealing) -> Sequence[Array]:
        planes = dealing.backend.to_planes(dealing.clear[0], self.bits)
        entries = [planes[0] ^ ~np.uint64(0), planes[0]]
        for plane in planes[1:]:
            upper = [plane & entry for entry in entries]
            entries = [*(e ^ u for e, u in zip(entries, upper, strict=True)), *upper]
        return (dealing.backend.xp.stack(entries),)


def power_table(frac: int, scale: int) -> np.ndarray[tuple[int], np.dtype[np.uint64]]:
    """round(2^(-l / 2^frac) * 2^scale) for l in [0, 2^frac): public."""
    exponent = -np.arange(1 << frac, dtype=np.float64) / (1 << frac)
    return np.rint(np.exp2(exponent) * 2.0**scale).astype(np.uint64)
