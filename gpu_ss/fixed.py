"""Fixed point: a real x is stored as round(x * 2^frac_bits) in a ring, two's complement."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gpu_ss.errors import RangeError
from gpu_ss.ring import Array, Ring

_GUARD = 30  # fractional bits while powers are multiplied up


def encode(values: ArrayLike, ring: Ring, frac_bits: int) -> NDArray[np.uint64]:
    """Real numbers to ring words, rounded to the nearest unit of 2^-frac_bits.

    Raises RangeError when a value is not finite or leaves [-2^(bits-2), 2^(bits-2)) units: one bit less
    than the ring could hold, the headroom that truncation and comparison need.
    """
    real = np.asarray(values, dtype=np.float64)
    scaled = np.rint(np.ldexp(real, frac_bits))
    limit = 2.0 ** (ring.bits - 2) if ring.bits > 1 else 2.0
    if not np.all(np.abs(scaled) < limit):  # also false for NaN
        raise RangeError(
            f"a value is not finite or is at least {limit / 2.0**frac_bits:g} in magnitude, more than "
            f"{ring.bits} bits with {frac_bits} fractional bits can hold; use a larger ring or fewer "
            "fractional bits"
        )
    return scaled.astype(np.int64, order="C").view(np.uint64)


def decode(words: NDArray[np.uint64], ring: Ring, frac_bits: int) -> NDArray[np.float64]:
    """Ring words to real numbers (exact up to the 53 bits of a float64)."""
    real: NDArray[np.float64] = np.ldexp(ring.signed(words).astype(np.float64), -frac_bits)
    return real


def own_power(x: Array, frac: int, bits: int, sign: int = 1) -> Array:
    """2^(sign l / 2^frac) with `bits` fractional bits (up to 24), for the low `frac` bits l of a party's own words.

    A product of constants, each taken or not by masks: nothing is addressed by a secret. Error below 0.51 units.
    """
    one = 1 << _GUARD
    power = (x & np.uint64(0)) | np.uint64(one)
    for k in range(frac):
        taken = np.uint64(0) - ((x >> np.uint64(k)) & np.uint64(1))
        more = np.uint64((round(2.0 ** (_GUARD + sign * 2.0 ** (k - frac))) - one) % 2**64)
        power = (power * (np.uint64(one) + (more & taken)) + np.uint64(one // 2)) >> np.uint64(_GUARD)
    return (power + np.uint64(1 << (_GUARD - bits - 1))) >> np.uint64(_GUARD - bits)
