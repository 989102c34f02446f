"""Exceptions of the share arithmetic.

    SharingError
    |-- RingMismatch        operands live in different rings or scales
    |-- RangeError          a public or private clear value does not fit its ring and scale
    |-- CorrelationError    correlated randomness is missing, exhausted, malformed or out of order
    |-- StoreError          correlations cannot be kept on disk: no room, no rights
    |   `-- NoRoom          no room for more; nothing was begun, and the session goes on
    |-- FitError            a function cannot be approximated as asked, or a table is not usable
    `-- PlanError           a run asked for something else than its plan said

No message ever contains a share, a mask or a secret value; shapes, rings and names are public.
"""


class SharingError(RuntimeError):
    """Base of everything `gpu_ss` raises on purpose."""

    @property
    def for_peer(self) -> str:
        """What the other party may read of it."""
        return str(self)


class RingMismatch(SharingError, TypeError):
    """Operands of one operation have different rings or scales."""


class RangeError(SharingError, ValueError):
    """A clear value does not fit the fixed-point format it is to be stored in."""


class CorrelationError(SharingError):
    """The provider cannot give the correlation that was asked for."""


class StoreError(SharingError):
    """Correlations cannot be kept on disk."""

    @property
    def for_peer(self) -> str:
        """Without paths, and without the sizes of what belongs to others."""
        return "the store is full or cannot be used; the log there says why"


class NoRoom(StoreError):
    """There is no room for more correlations. Nothing was begun, and the session goes on."""


class PlanError(SharingError):
    """What a run does differs from what its plan announced."""


class FitError(SharingError, ValueError):
    """A function cannot be approximated as asked."""
