"""How many plaintext primes, and of what size, products in slots need: frozen sets, and what each of them hides.

A cross term x of shares modulo 2^bits is below 2^(2 bits + 1), a sum of `pairs` of them below `pairs` times that.
It is masked by R, uniform below about T, the product of the plaintext primes, so that the key holder sees x + R as
an integer: within 2^(2 bits + 1) pairs / T of a distribution that does not depend on x, for each element. The noise
of a reply hides the evaluator's operands as `BfvParams.check` says. Both add up over a whole call
(`TripleMargins.bits`). So narrow rings need fewer and smaller primes, and so do short calls; `choose` takes the
first set whose distance is at most 2^-40 for the call. Bytes and microseconds of CPU (both parties, one core) for
an element, full blocks:

    set        rings    primes   elements    product     square      us (product, square)
    SLOTS32    32 bits  3 of 43  2^22        168 B       104 B       6.6, 4.6
    SLOTS48    48 bits  4 of 41  2^24        220 B       135 B       8.7, 6.2
    TRIPLES    64 bits  4 of 46  2^14        229 B       142 B       9.1, 6.4
    SLOTS64    64 bits  5 of 39  2^24        270 B       165 B       11.2, 7.8
    STRONG     64 bits  5 of 40  2^29        283 B       173 B       13.6, 9.3

A product of which one factor belongs to one party alone costs as much as a square; sums of 16 squares cost 2.9
(SLOTS32), 3.9 (SLOTS48), 4.8 us (SLOTS64) and 67, 88, 109 B for each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

from he_bridge.errors import ParameterError
from he_bridge.margins import MIN_BITS
from he_bridge.tenseal_bfv import BfvParams


@dataclass(frozen=True)
class TripleMargins:
    """-log2 of what a block of `block` elements leaks (through the mask, through the noise) or decrypts wrongly."""

    block: int
    mask_bits: float
    noise_bits: float
    decryption_bits: float

    def bits(self, n: int) -> float:
        """-log2 of the statistical distance for n elements, everything included."""
        blocks = max(1, -(-n // self.block))
        return -math.log2(blocks * (2.0**-self.mask_bits + 2.0**-self.noise_bits))

    def reliability(self, n: int) -> float:
        """-log2 of the probability that any of n elements is wrong."""
        return self.decryption_bits - math.log2(max(1, -(-n // self.block)))


_BFV46 = BfvParams(degree=8192, kept=(55,), dropped=(60, 59), special=17, plain_bits=46)


@dataclass(frozen=True)
class TripleParams:
    """`count` instances of one BFV parameter choice, with different plaintext primes."""

    bfv: BfvParams = _BFV46
    count: int = 4

    def check(self, pairs: int = 1, bits: int = 64) -> TripleMargins:
        """The margins per block of sums of so many products of words of `bits`; ParameterError below `MIN_BITS`."""
        degree, plain = self.bfv.degree, self.bfv.plain_bits
        cross = 2 * bits + 1 + math.log2(max(1, pairs))
        if not 30 <= plain <= 47:
            raise ParameterError(f"plaintext primes of {plain} bits: 30 to 47 can be handled")
        if (self.count - 1) * plain < cross + 1:
            raise ParameterError(
                f"{self.count} primes of {plain} bits leave no room for {pairs} products of {bits}-bit shares"
            )
        mask = self.count * plain - 0.01 - cross - math.log2(degree)
        if mask < MIN_BITS:
            raise ParameterError(f"parameters too weak: mask 2^-{mask:.1f}, 2^-{MIN_BITS} is required")
        # Two operands per product, each with `degree` coefficients of at most half the prime.
        size, half = 2.0 * degree * max(1, pairs), 2.0 ** (plain - 1)
        noise = self.bfv.check(size * half, math.sqrt(size) * half, self.count * degree)
        return TripleMargins(degree, mask, noise.privacy_bits, noise.decryption_bits)

    def check_call(self, n: int, pairs: int = 1, bits: int = 64) -> TripleMargins:
        """The same for n elements together, that is with a distance of at most 2^-`MIN_BITS` for all of them."""
        margins = self.check(pairs, bits)
        least = min(margins.bits(n), margins.reliability(n))
        if least < MIN_BITS:
            raise ParameterError(f"{n} products in one call: 2^-{least:.1f}, 2^-{MIN_BITS} is required")
        return margins

    @property
    def bytes(self) -> tuple[int, int]:
        """Of a block: one operand to the evaluator, and a reply."""
        up = self.count * self.bfv.degree * self.bfv.fresh_bits // 8
        return up, self.count * 2 * self.bfv.degree * sum(self.bfv.kept) // 8


def _set(plain: int, count: int, kept: int, *dropped: int) -> TripleParams:
    return TripleParams(BfvParams(8192, (kept,), dropped, 17, plain), count)


SLOTS32 = _set(43, 3, 52, 60, 60)
"""Rings up to 32 bits."""
SLOTS48 = _set(41, 4, 50, 60, 60)
"""Rings up to 48 bits."""
TRIPLES = TripleParams()
"""Mask 42 bits and noise 45 bits per block of 8192 triples modulo 2^64: for one block or two."""
SLOTS64 = _set(39, 5, 48, 60, 60)
"""Rings up to 64 bits, long calls."""
STRONG = _set(40, 5, 50, 42, 42, 42)
"""Rings up to 64 bits, very long calls and sums."""

SETS = (SLOTS32, SLOTS48, TRIPLES, SLOTS64, STRONG)


@cache
def choose(n: int, pairs: int = 1, bits: int = 64) -> TripleParams:
    """The cheapest set for n sums of `pairs` products of words of `bits`. Raises ParameterError if none will do."""
    for params in SETS:
        try:
            params.check_call(n, pairs, bits)
        except ParameterError:
            continue
        return params
    raise ParameterError(
        f"{n} sums of {pairs} products modulo 2^{bits} in one call: no parameter set hides so many; "
        "make fewer at a time"
    )
