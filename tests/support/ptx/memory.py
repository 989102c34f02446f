"""Memory as the threads of a launch see it: who touches what is checked where a GPU would go on with garbage."""

from __future__ import annotations

from typing import Any

import numpy as np

Words = np.ndarray[Any, Any]

_WINDOW = 44  # bits of an address around one array, which begins in the middle
_MANY = np.iinfo(np.int32).max
GARBAGE = 0xA5


class Fault(Exception):
    """What a GPU would not survive, or what it would do differently each time."""


class Accesses:
    """Which thread wrote, and which read, each word since the last barrier: two that do so to one word race."""

    def __init__(self, words: int) -> None:
        self._writers = np.zeros(words, np.int32)  # 1 + thread
        self._readers = np.zeros(words, np.int32)

    def read(self, at: Words, threads: Words) -> None:
        writers, readers = self._writers[at], self._readers[at]
        if ((writers != 0) & (writers != threads)).any():
            raise Fault("a thread reads what another one wrote")
        self._readers[at] = np.where((readers == 0) | (readers == threads), threads, _MANY)
        others = at[self._readers[at] != threads]  # of several that read it now
        self._readers[others] = _MANY

    def write(self, at: Words, threads: Words) -> None:
        writers, readers = self._writers[at], self._readers[at]
        if ((writers != 0) & (writers != threads)).any():
            raise Fault("two threads write the same word")
        if ((readers != 0) & (readers != threads)).any():
            raise Fault("a thread writes what another one read")
        self._writers[at] = threads
        if (self._writers[at] != threads).any():
            raise Fault("two threads write the same word")

    def forget(self, part: slice) -> None:
        self._writers[part] = self._readers[part] = 0


class Space:
    """Bytes with addresses. `start` is where they are, so far as alignment can tell."""

    def __init__(self, words: Words, start: int = 0, writable: bool = True) -> None:
        self._bytes = words.reshape(-1).view(np.uint8)
        self._grain = words.itemsize
        self._start = start
        self._writable = writable
        self._accesses = Accesses(-(-self._bytes.size // self._grain)) if writable else None

    def load(self, at: Words, size: int, count: int, threads: Words) -> list[Words]:
        """`count` neighbouring words of `size` bytes from each address on."""
        self._check(at, size * count)
        for grain in self._grains(at, size * count):
            self._accesses.read(grain, threads)  # type: ignore[union-attr]
        return [self._words(size)[at // size + k] for k in range(count)]

    def store(self, at: Words, size: int, values: list[Words], threads: Words) -> None:
        if not self._writable:
            raise Fault("a write to an array that is const")
        self._check(at, size * len(values))
        for grain in self._grains(at, size * len(values)):
            self._accesses.write(grain, threads)  # type: ignore[union-attr]
        for k, value in enumerate(values):
            self._words(size)[at // size + k] = value

    def add(self, at: Words, size: int, values: Words) -> None:
        """Atomically, so no race."""
        self._check(at, size)
        np.add.at(self._words(size), at // size, values)

    def forget(self, part: slice) -> None:
        """What was done to these bytes was before a barrier."""
        assert self._accesses
        self._accesses.forget(slice(part.start // self._grain, part.stop // self._grain))

    def _words(self, size: int) -> Words:
        return self._bytes[: self._bytes.size // size * size].view(f"u{size}")

    def _grains(self, at: Words, size: int) -> list[Words]:
        """Numbers of the words that are touched, if these are kept: parts of words are not."""
        if self._accesses is None:
            return []
        return [at // self._grain + k for k in range(size // self._grain)]

    def _check(self, at: Words, size: int) -> None:
        if ((at < 0) | (at > self._bytes.size - size)).any():
            raise Fault(f"out of bounds: byte {at.min()} to {at.max() + size} of {self._bytes.size}")
        if ((at + self._start) % size).any():
            raise Fault(f"{size} bytes at an address that is no multiple of {size}")


class Arguments:
    """The arrays of a launch, each in a window of addresses of its own."""

    def __init__(self) -> None:
        self._spaces: list[Space] = []

    def append(self, words: Words, writable: bool) -> int:
        """The address of an array."""
        owner = words
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        # Memory of CuPy begins at multiples of 512 bytes; views of it may not.
        start = (words.ctypes.data - owner.ctypes.data) % 512
        self._spaces.append(Space(words, start, writable))
        return _first_byte(len(self._spaces) - 1)

    def parts(self, addresses: Words) -> list[tuple[Space, Words, Words]]:
        """(array, bytes from its beginning on, places among the addresses) of all arrays that are touched."""
        found = []
        windows = addresses >> np.int64(_WINDOW)
        for number in np.unique(windows).tolist():
            if not 0 <= number < len(self._spaces):
                raise Fault(f"an address of no array: {addresses.min():x}")
            here = np.flatnonzero(windows == number)
            found.append((self._spaces[number], addresses[here] - _first_byte(number), here))
        return found


def _first_byte(number: int) -> int:
    """Where array `number` begins."""
    return (2 * number + 1) << (_WINDOW - 1)
