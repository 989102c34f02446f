"""What the compiled operations are built on: one way to run a kernel."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Hashable
from functools import cached_property
from typing import Any

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.ring import Array


class Launcher(Backend):
    """A backend with kernels, those of `signatures.KERNELS`."""

    def constant(self, make: Callable[..., np.ndarray[Any, Any]], *key: Hashable) -> Array:
        found = self._kept.get((make, *key))
        if found is None:
            found = super().constant(make, *key)
            self.synchronize()  # other threads may use it on other streams
            self._kept[(make, *key)] = found
        return found

    @cached_property
    def _kept(self) -> dict[tuple[Hashable, ...], Array]:
        return {}

    @abstractmethod
    def _launch(self, kernel: str, n: int, *args: Any) -> None:
        """Run `kernel` on `n` > 0 items; `args` are its arguments but the last, which is `n`."""
