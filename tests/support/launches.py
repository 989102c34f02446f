"""Counts what a party asks a GPU for, on the stand-in for CuPy: kernels, array operations, moves."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from tests.support import fake_cuda, fake_cupy

#: What only looks at memory another way asks a GPU for nothing.
_VIEWS = frozenset(
    ("reshape", "transpose", "squeeze", "broadcast_to", "expand_dims", "swapaxes", "moveaxis", "view")
)


class Launches:
    """Counters of the threads that have called `watch`, by kind: kernels by name, operations by CuPy's."""

    def __init__(self) -> None:
        self.kernels: Counter[str] = Counter()
        self.operations: Counter[str] = Counter()
        self._watched = threading.local()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Count what this thread asks for."""
        self._watched.on = True
        try:
            yield
        finally:
            self._watched.on = False

    def note(self, counter: Counter[str], name: str) -> None:
        if getattr(self._watched, "on", False):
            counter[name] += 1


@contextmanager
def counted() -> Iterator[Launches]:
    """Counts for the duration of the block."""
    found = Launches()
    run, call, index = fake_cuda.RawKernel.__call__, fake_cupy._call, fake_cupy.ndarray.__getitem__

    def launch(kernel: Any, *args: Any, **kwargs: Any) -> None:
        found.note(found.kernels, kernel._name)
        run(kernel, *args, **kwargs)

    def operate(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        result = call(function, *args, **kwargs)
        name = getattr(function, "__name__", str(function))
        if not (name in _VIEWS or _same_memory(result, args)):
            found.note(found.operations, name)
        return result

    def pick(array: Any, key: Any) -> Any:
        result = index(array, key)
        if not _same_memory(result, (array,)):
            found.note(found.operations, "getitem")
        return result

    fake_cuda.RawKernel.__call__ = launch  # type: ignore[method-assign]
    fake_cupy._call, fake_cupy.ndarray.__getitem__ = operate, pick  # type: ignore[method-assign]
    try:
        yield found
    finally:
        fake_cuda.RawKernel.__call__ = run  # type: ignore[method-assign]
        fake_cupy._call, fake_cupy.ndarray.__getitem__ = call, index  # type: ignore[method-assign]


def _same_memory(result: Any, args: tuple[Any, ...]) -> bool:
    """Whether a result is a view of an argument."""
    arrays = [arg._array for arg in args if isinstance(arg, fake_cupy.ndarray)]
    return isinstance(result, fake_cupy.ndarray) and any(np.shares_memory(result._array, a) for a in arrays)
