"""Memory of the backends that compute on the CPU: NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.ring import Array


class HostMemory(Backend):
    """Arrays are NumPy arrays, and moving them is free."""

    xp = np

    def asarray(self, host: np.ndarray[Any, Any]) -> Array:
        return np.require(host, requirements=["C_CONTIGUOUS", "ALIGNED"])

    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        return np.asarray(array)

    def empty(self, shape: int | tuple[int, ...]) -> Array:
        return np.empty(shape, np.uint64)

    def zeros(self, shape: int | tuple[int, ...]) -> Array:
        return np.zeros(shape, np.uint64)

    def synchronize(self) -> None:
        """Nothing runs in the background here."""

    def activate(self) -> None:
        """There is no device to choose here."""
