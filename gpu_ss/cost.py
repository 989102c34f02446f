"""What a protocol costs, declared beside its code and compared with the channel's counters in tests."""

from __future__ import annotations

from dataclasses import dataclass

from gpu_ss.ring import wire_bytes


@dataclass(frozen=True, slots=True)
class Cost:
    """Rounds, payload bytes sent online by each rank, and correction bytes the dealer sends to rank 1."""

    rounds: int = 0
    sent0: int = 0
    sent1: int = 0
    offline: int = 0

    def __add__(self, other: Cost) -> Cost:
        """One after the other."""
        return Cost(self.rounds + other.rounds, *self._traffic(other))

    def __and__(self, other: Cost) -> Cost:
        """Side by side in the same rounds (`party.together`)."""
        return Cost(max(self.rounds, other.rounds), *self._traffic(other))

    def _traffic(self, other: Cost) -> tuple[int, int, int]:
        return self.sent0 + other.sent0, self.sent1 + other.sent1, self.offline + other.offline


FREE = Cost()


def opening(*arrays: tuple[int, int]) -> Cost:
    """One round in which both send arrays of (elements, bits)."""
    sent = sum(wire_bytes(n, bits) for n, bits in arrays)
    return Cost(rounds=1, sent0=sent, sent1=sent)


def telling(sender: int, *arrays: tuple[int, int]) -> Cost:
    """One round in which only `sender` sends arrays of (elements, bits)."""
    sent = sum(wire_bytes(n, bits) for n, bits in arrays)
    return Cost(rounds=1, sent0=sent * (sender == 0), sent1=sent * (sender == 1))
