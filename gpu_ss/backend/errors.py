"""What goes wrong with a backend as a whole."""

from gpu_ss.errors import SharingError


class BackendError(SharingError):
    """A backend cannot be used here; the message says what to install or set."""


class OutOfMemory(BackendError):
    """What is to be computed does not fit into the memory there is; the message says how much that is."""

    @property
    def for_peer(self) -> str:
        """Without this machine's figures."""
        return "it ran out of memory: use a smaller batch or shorter texts"


class MissingKernelsWarning(UserWarning):
    """The slow NumPy backend was chosen because nothing faster works here."""


class KernelsMissingError(BackendError):
    """Nothing is compiled here for this processor."""
