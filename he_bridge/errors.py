"""What can go wrong in the homomorphic part. No message holds shares, weights, masks or keys.

    HeError
    |-- ParameterError    a parameter set or a weight matrix is refused before anything is encrypted
    `-- CiphertextError   the peer sent something that is not what is due here (also a net.ProtocolError)

HeError itself is raised for a missing or unknown library and for misuse.
"""

from __future__ import annotations

from gpu_ss.errors import SharingError
from net.errors import ProtocolError


class HeError(SharingError):
    """Parameters that are too weak, foreign bytes that are malformed, or a missing or unknown library."""


class ParameterError(HeError, ValueError):
    """A parameter set, or weights under it, would be insecure or inexact."""

    @property
    def for_peer(self) -> str:
        """Without figures: they are those of private weights."""
        return "the other party refuses a product: it would be insecure or inexact; its log says why"


class CiphertextError(HeError, ProtocolError):
    """A message from the peer is malformed, foreign, out of turn, or holds values out of range."""
