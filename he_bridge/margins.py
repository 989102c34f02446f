"""How far replies of an engine are from what is refused: what noise tells, and how often they decrypt wrongly."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf, log2

from he_bridge.errors import ParameterError

#: Least statistical distance (as -log2) and least reliability, of a reply and of all replies of a call.
MIN_BITS = 40


@dataclass(frozen=True, slots=True)
class Margins:
    """-log2 of: leak of a reply through its noise, wrong decryption of any coefficient of it."""

    privacy_bits: float
    decryption_bits: float


def sufficient(privacy_bits: float, decryption_bits: float) -> Margins:
    """These margins of a reply. ParameterError below `MIN_BITS`."""
    for name, bits in (("circuit privacy", privacy_bits), ("decryption", decryption_bits)):
        if not bits >= MIN_BITS:
            raise ParameterError(f"parameters too weak: {name} 2^-{bits:.1f}, 2^-{MIN_BITS} is required")
    return Margins(privacy_bits, decryption_bits)


def call_privacy(check: Callable[[int], Margins], replies: Mapping[int, int]) -> float:
    """-log2 of the statistical distance of a call: how many replies of how many products.

    check: the margins of a reply that is a sum of so many products. ParameterError if the distance, or the
    probability that any reply decrypts wrongly, is above 2^-MIN_BITS.
    """
    if not replies:
        return inf
    checked = [(check(products), count) for products, count in replies.items()]
    privacy = -log2(sum(count * 2.0**-margins.privacy_bits for margins, count in checked))
    wrong = -log2(sum(count * 2.0**-margins.decryption_bits for margins, count in checked))
    if min(privacy, wrong) < MIN_BITS:
        raise ParameterError(
            f"{sum(replies.values())} replies in one call: 2^-{min(privacy, wrong):.1f}, 2^-{MIN_BITS} is required"
        )
    return privacy
