"""What the compiled operations are built on: one way to run a kernel."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from gpu_ss.backend.base import Backend


class Launcher(Backend):
    """A backend with kernels, those of `signatures.KERNELS`."""

    @abstractmethod
    def _launch(self, kernel: str, n: int, *args: Any) -> None:
        """Run `kernel` on `n` > 0 items; `args` are its arguments but the last, which is `n`."""
