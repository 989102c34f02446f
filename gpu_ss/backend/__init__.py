"""Where share arithmetic is computed: NumPy, compiled CPU kernels, CUDA. Same words everywhere."""

from gpu_ss.backend.base import Backend
from gpu_ss.backend.choice import Availability, available, get_backend
from gpu_ss.backend.errors import BackendError, MissingKernelsWarning

__all__ = ["Availability", "Backend", "BackendError", "MissingKernelsWarning", "available", "get_backend"]
