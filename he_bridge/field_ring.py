"""Polynomials whose plaintexts are elements of a field, with slots."""

from __future__ import annotations

from dataclasses import dataclass

from gpu_ss.field import FIELD60, Field
from gpu_ss.ring import Array
from he_bridge.ring import PolyRing


@dataclass(frozen=True)
class FieldRing(PolyRing):
    """The ring of a parameter set; plaintexts are polynomials modulo the field's prime, elements [polys, N].

    The order of slots is that of `Slots.slot_values`.
    """

    field: Field = FIELD60

    def slots(self, x: Array) -> Array:
        """The elements in the slots of plaintexts."""
        return self.backend.slot_values(x, self.field.prime)

    def plaintexts(self, slots: Array) -> Array:
        """The plaintexts with these elements in their slots."""
        return self.backend.slot_coefficients(slots, self.field.prime)

    def factors(self, slots: Array) -> Array:
        """What multiplies the slots of ciphertexts by these elements: centred plaintexts, as values."""
        coefficients = self.backend.centred_elements(self.plaintexts(slots), self.field.prime, self.primes)
        return self.values(coefficients)

    def add_message(self, x: Array, words: Array) -> Array:
        """x + round(q m / t) for elements m, coefficients."""
        return self.backend.scale_up_elements(words, self.field.prime, x, self.primes)

    def message(self, x: Array, y: Array) -> Array:
        """The elements that the coefficients x + y stand for, at whatever modulus these have."""
        return self.backend.decode_elements(x, y, self.field.prime, self.primes[: len(x)])
