"""Encryption for products in a field: one BFV instance whose plaintext modulus is the field's prime.

Nothing has to be masked statistically: the mask of a reply is uniform modulo the prime, so what the key holder
decrypts is uniform. What remains is the noise of the reply. The key holder's operands are its parts of masks,
uniform modulo the prime (unused places are filled with random elements), so `BfvParams.check` may count with the
mean of the noise. -log2 of the statistical distance for each reply of 8192 places, at most 2^-40 for a whole call:

    field      kept + dropped    up, down        one product   two products   sixteen
    FIELD53    62 + 124 bits     190, 127 KB     50.8          50.3           48.8
    FIELD60    69 + 132 bits     206, 141 KB     51.8          51.3           49.8

With the special prime the moduli have 203 and 218 bits, of the 218 that are 128-bit secure. A wrong decryption has
a probability below 2^-54 for each reply.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from gpu_ss.field import FIELD53, FIELD60, Field
from he_bridge.errors import ParameterError
from he_bridge.tenseal_bfv import MIN_BITS, BfvParams, Margins


@dataclass(frozen=True)
class FieldParams:
    """A field with the encryption for it."""

    field: Field
    bfv: BfvParams

    def check(self, products: int) -> Margins:
        """The margins of a reply that is a sum of so many products, slot by slot. ParameterError if too small."""
        if (self.field.prime - 1) % (2 * self.bfv.degree) or self.bfv.plain_bits != self.field.bits:
            raise ParameterError(f"{self.field} has no {self.bfv.degree} slots")
        numbers, half = float(self.bfv.degree * products), 2.0 ** (self.field.bits - 1)
        norms = numbers * half, math.sqrt(numbers) * half
        return self.bfv.check(*norms, coefficients=self.bfv.degree, uniform=True)

    def check_call(self, replies: dict[int, int]) -> float:
        """-log2 of the statistical distance of a call: how many replies of how many products. See `check`."""
        checked = [(self.check(products), count) for products, count in replies.items()]
        privacy = -math.log2(sum(count * 2.0**-margins.privacy_bits for margins, count in checked))
        wrong = -math.log2(sum(count * 2.0**-margins.decryption_bits for margins, count in checked))
        if min(privacy, wrong) < MIN_BITS:
            raise ParameterError(
                f"{sum(replies.values())} replies in one call: 2^-{min(privacy, wrong):.1f}, "
                f"2^-{MIN_BITS} is required"
            )
        return privacy

    @property
    def up_bytes(self) -> int:
        """Bytes of an operand."""
        return self.bfv.degree * self.bfv.fresh_bits // 8

    @property
    def down_bytes(self) -> int:
        """Bytes of a reply."""
        return 2 * self.bfv.degree * sum(self.bfv.kept) // 8


SETS = {
    FIELD53: FieldParams(FIELD53, BfvParams(8192, (31, 31), (42, 41, 41), 17, 53)),
    FIELD60: FieldParams(FIELD60, BfvParams(8192, (35, 34), (44, 44, 44), 17, 60)),
}


def params_of(field: Field) -> FieldParams:
    """The set of a field; ParameterError if there is none."""
    if field not in SETS:
        raise ParameterError(f"no parameters for products in {field}")
    return SETS[field]
