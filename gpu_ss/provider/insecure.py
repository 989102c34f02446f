"""INSECURE: both parties know both seeds and make every correlation themselves. Tests and labelled benches only.

It shows that a protocol is right and what its online phase costs, without a third process. It hides
nothing: never use it with data that matters.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpu_ss.backend.base import Backend
from gpu_ss.provider.base import Provider
from gpu_ss.provider.correlation import Correlation, expand_share
from gpu_ss.provider.dealing import DealingEngine, unpack_corrections
from gpu_ss.ring import Array


class InsecureProvider(Provider):
    """Both seeds in one place. See the module's warning."""

    def __init__(self, rank: int, backend: Backend, key0: bytes, key1: bytes) -> None:
        super().__init__()
        self._rank = rank
        self._backend = backend
        self._key = (key0, key1)[rank]
        self._engine = DealingEngine(backend, key0, key1)
        self.correction_bytes = 0

    def own(self, number: int, spec: Correlation) -> Array | None:
        return expand_share(self._rank, spec, number, self._backend, self._key)[0]

    def _expand(self, number: int, spec: Correlation) -> Sequence[Array | None]:
        arrays = expand_share(self._rank, spec, number, self._backend, self._key)
        self.correction_bytes += spec.correction_bytes
        if self._rank == 0:
            return arrays
        return unpack_corrections(self._backend, spec, arrays, self._engine.deal(number, spec))
