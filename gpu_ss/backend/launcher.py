"""What the compiled operations are built on: one way to run a kernel."""

from __future__ import annotations

from abc import abstractmethod
from functools import cached_property
from typing import Any

from gpu_ss.backend.base import Backend
from gpu_ss.ring import Array


class Launcher(Backend):
    """A backend with kernels, those of `signatures.KERNELS`."""

    def table(self, numbers: tuple[int, ...]) -> Array:
        if numbers not in self._tables:
            table = super().table(numbers)
            self.synchronize()  # other threads may use it on other streams
            self._tables[numbers] = table
        return self._tables[numbers]

    @cached_property
    def _tables(self) -> dict[tuple[int, ...], Array]:
        return {}

    @abstractmethod
    def _launch(self, kernel: str, n: int, *args: Any) -> None:
        """Run `kernel` on `n` > 0 items; `args` are its arguments but the last, which is `n`."""
