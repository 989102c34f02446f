"""Exceptions of the model floor. Messages say what to do; none contains text, weights or shares.

ModelError
|-- ModelNotFound       no such folder, no weights in it, or the hub cannot be reached
|-- UnsupportedModel    an architecture, activation or feature that is not built
|-- MalformedModel      files that do not fit together: missing tensors, wrong shapes, not finite
|-- RangeTooSmall       the model's own bounds exceed what the fixed-point plan can hold
|-- WidthsExceeded      a query left the calibrated bounds: nothing of its result was revealed
`-- InputError          texts that are empty, too long, or do not fit the model
"""


class ModelError(RuntimeError):
    """Base of everything `transformer` raises on purpose."""


class ModelNotFound(ModelError, FileNotFoundError):
    """There is no such model here."""


class UnsupportedModel(ModelError):
    """The model needs something that is not built."""


class MalformedModel(ModelError):
    """The model's files do not fit together."""


class RangeTooSmall(ModelError):
    """A bound proven from the weights exceeds the plan's range."""


class WidthsExceeded(ModelError):
    """A number of a query exceeds its calibrated bound."""


class InputError(ModelError, ValueError):
    """The input cannot be run on this model."""
