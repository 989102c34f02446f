"""What is dear when correlations come from a dealer, and when the two parties make them: it decides shapes.

The protocols are the same in both cases. But how a row's maximum is grouped and how a comparison's digits are
joined trades rounds and online bytes for bytes of correlations, and those that two parties make cost several
times what a dealer's cost. Both parties must have the same economy; it belongs to a session's terms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

FIELD_LEAST = 2048  # a quarter of the places of a ciphertext
OT_BITS = 0.49  # of silent OT, for one correlated OT


@dataclass(frozen=True, slots=True)
class Economy:
    """group, last_group: how many values of a row are compared with each other at once (`functions.maximum`).
    alone: whether correlations are made by the two parties, so that the bits of monomials count in full.
    byte_ns, round_ns: what the network takes for a byte and for a round.
    """

    name: str
    group: int
    last_group: int
    alone: bool
    byte_ns: float = 8.0  # 1 Gbit/s
    round_ns: float = 3e5

    def on(self, bandwidth_bit_s: float, rtt_s: float) -> Economy:
        """The same on another network."""
        return replace(self, byte_ns=8e9 / bandwidth_bit_s, round_ns=rtt_s * 1e9)

    def in_fields(self, n: int) -> bool:
        """Whether n products at once are made modulo a prime: cheap for a whole ciphertext, dear for a few."""
        return self.alone and n >= FIELD_LEAST

    def nanoseconds(self, rounds: int, size: float) -> float:
        """What rounds and bytes cost together, to compare ways to the same result."""
        return rounds * self.round_ns + size * self.byte_ns

    def and_bits(self, choices: int, products: int) -> float:
        """Bits of traffic to make this many products of mask bits, that share `choices` operands."""
        return 2 * (choices + products) + 2 * OT_BITS * choices if self.alone else products


#: Few rounds: a dealer's material counts little.
DEALT = Economy("dealt", 8, 16, alone=False)
#: Few products: a round more where it saves a good part of them.
ALONE = Economy("alone", 4, 8, alone=True)
