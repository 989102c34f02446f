"""What goes wrong with a backend as a whole."""

from gpu_ss.errors import SharingError


class BackendError(SharingError):
    """A backend cannot be used here; the message says what to install or set."""


class MissingKernelsWarning(UserWarning):
    """The slow NumPy backend was chosen because nothing faster works here."""


class KernelsMissingError(BackendError):
    """Nothing is compiled here for this processor."""
