"""The noise of `functions.noise` as it is defined, from new coins at every call: see `clear`."""

from __future__ import annotations

import numpy as np

from gpu_ss.functions.noise import HALF, STEP, Gaussian, Laplace, part_table
from gpu_ss.party import Party
from gpu_ss.prg import Prg
from gpu_ss.ring import Array, Ring
from gpu_ss.values import AShare


def _uniform(party: Party, shape: tuple[int, ...]) -> Array:
    """What coins are compared with: new at every call."""
    return Prg(party.backend).words(shape) & np.uint64(HALF - 1)


def clear_laplace(party: Party, n: int, noise: Laplace, ring: Ring) -> AShare:
    """n of them."""
    limits = np.array(noise.thresholds, np.uint64)[:, None]
    coins = (limits < _uniform(party, (noise.bits, 2 * n))).astype(np.uint64)
    sums = (coins << np.arange(noise.bits, dtype=np.uint64)[:, None]).sum(axis=0)
    return AShare(sums[:n] - sums[n:], ring)


def clear_gaussian(party: Party, n: int, noise: Gaussian, ring: Ring) -> AShare:
    """n of them."""
    total = np.zeros(n, np.int64)
    for j, variance in enumerate(noise.parts):
        low, limits = part_table(variance)
        coins = np.array(limits, np.uint64)[:, None] < _uniform(party, (n,))
        total += STEP**j * (low + coins.sum(axis=0))
    return AShare(total.view(np.uint64), ring)
