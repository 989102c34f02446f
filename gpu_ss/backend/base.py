"""What share arithmetic asks of the machine beyond plain array operators.

Arrays are C-contiguous arrays of uint64 words of the backend's array library `xp` (NumPy or CuPy). Of a word
that holds a ring element only the low `bits` bits count; the bits above are ignored on input. Sums, products,
XOR and the like are written with operators on the arrays themselves.

Every operation is exact, and gives the same words on every backend: `reference` defines them, `cpu` and
`cuda` compute them faster. An operation never changes its arguments.
"""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Callable, Hashable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar

import numpy as np

from gpu_ss.backend.errors import OutOfMemory
from gpu_ss.backend.fields import Fields
from gpu_ss.backend.oblivious import Oblivious
from gpu_ss.backend.operations import Operations
from gpu_ss.backend.product import Factor
from gpu_ss.backend.slots import Slots
from gpu_ss.backend.transfers import Transfers
from gpu_ss.ring import WORD, Array

_WORD = np.dtype(np.uint64)


class Backend(Operations, Fields, Slots, Oblivious, Transfers):
    """A place to compute: its arrays, and the operations below on them."""

    name: ClassVar[str]
    #: The array namespace: `numpy` or `cupy`.
    xp: Any

    @property
    @abstractmethod
    def details(self) -> dict[str, str]:
        """What exactly computes here (instruction set, threads, device, versions), for people to read."""

    # Memory

    @abstractmethod
    def asarray(self, host: np.ndarray[Any, Any]) -> Array:
        """A host array as a C-contiguous array of this backend; may share memory on the CPU."""

    def asarrays(self, hosts: Sequence[np.ndarray[Any, Any]]) -> list[Array]:
        """Several flat host arrays of words, in as few moves as pay."""
        return [self.asarray(host) for host in hosts]

    @abstractmethod
    def to_host(self, array: Array) -> np.ndarray[Any, Any]:
        """An array of this backend as a host array; may share memory on the CPU."""

    def to_hosts(self, arrays: Sequence[Array]) -> tuple[list[np.ndarray[Any, Any]], Callable[[int], None]]:
        """Several flat arrays on the host, on their way there: the function waits until that many bytes have come.

        They come in order, from the first array on. Nothing may be read before it has been waited for, and both the
        arrays and what is on the host must be kept until all of it has come.
        """
        return [self.to_host(array) for array in arrays], lambda count: None

    @abstractmethod
    def empty(self, shape: int | tuple[int, ...]) -> Array:
        """Words of that shape, not initialised."""

    @abstractmethod
    def zeros(self, shape: int | tuple[int, ...]) -> Array:
        """Zero words of that shape."""

    def spare_bytes(self) -> int:
        """How much may be brought here ahead of its use; on the CPU, where nothing is brought, all there is."""
        return sys.maxsize

    def constant(self, make: Callable[..., np.ndarray[Any, Any]], *key: Hashable) -> Array:
        """The public array make(*key), which is always the same, brought here once and kept: not to be changed."""
        return self.asarray(make(*key))

    def table(self, numbers: tuple[int, ...]) -> Array:
        """Some public integers modulo 2^64 as an array [n], kept: not to be changed."""
        return self.constant(_words_of, numbers)

    def out_of_memory(self, error: Exception) -> OutOfMemory | None:
        """What to tell people if `error` says that memory is used up; None if it says something else."""
        if isinstance(error, MemoryError):
            return OutOfMemory("out of memory: use a smaller batch or shorter texts")
        return None

    def taking_turns(self) -> AbstractContextManager[None]:
        """While the parties of one machine compute one after the other: each may use all of its cores."""
        return nullcontext()

    def give_back(self) -> None:
        """Give memory that freed arrays have left back to the system: after a large piece of work."""
        return

    @abstractmethod
    def synchronize(self) -> None:
        """Return when everything asked for so far is computed (for timing; results wait by themselves)."""

    @abstractmethod
    def activate(self) -> None:
        """Make this backend's device the calling thread's current one: once in every thread that uses it."""

    # Randomness and layout

    @abstractmethod
    def keystream(self, key: bytes, nonce: int, first_block: int, n_words: int) -> Array:
        """`n_words` words of the ChaCha20 keystream from block `first_block` on.

        ChaCha20 as first published: 32 bytes of key, a 64-bit block counter in state words 12 and 13, a
        64-bit nonce in words 14 and 15, 20 rounds. `first_block` is a multiple of 16. Blocks come in groups
        of 16: word k of 8 (state words 2k and 2k+1) of block 16g+b is word 128g + 16k + b of a result that
        starts at block 0. This layout is part of the protocol: parties and dealer expand the same seeds.
        """

    @abstractmethod
    def keystreams(self, key: bytes, nonces: Sequence[int], groups: Sequence[int]) -> Array:
        """The first `groups` groups of 128 words of each nonce's `keystream`, one after the other: [128 sum]."""

    @abstractmethod
    def pack(self, x: Array, bits: int) -> Array:
        """The low `bits` bits of n = x.size elements without gaps: [ceil(n*bits/64)] words.

        A little-endian bit string: bit i of element e is bit e*bits + i, and that is bit (e*bits + i) % 64 of
        word (e*bits + i) // 64. Bits after the last element are zero. `x` has any shape; 1 <= bits <= 64.
        """

    @abstractmethod
    def unpack(self, words: Array, bits: int, n: int) -> Array:
        """The inverse of `pack`: [n] elements below 2^bits from at least ceil(n*bits/64) words."""

    @abstractmethod
    def to_planes(self, x: Array, bits: int) -> Array:
        """Bit planes [bits, ceil(n/64)] of n = x.size elements of any shape.

        Bit i of element e is bit e % 64 of planes[i, e // 64]; bits after the last element are zero. One word
        operation on planes then works on one bit of 64 elements.
        """

    @abstractmethod
    def difference_planes(self, x: Array, thresholds: Sequence[int], bits: int) -> Array:
        """to_planes(x - t, bits) for each threshold t, side by side: [bits, T * ceil(n/64)].

        Bits after the last element of each t are zero.
        """

    @abstractmethod
    def from_planes(self, planes: Array, n: int) -> Array:
        """The inverse of `to_planes`: [n] elements below 2^bits from planes [bits, ceil(n/64)].

        Bits after the last element are ignored.
        """

    # Ring arithmetic

    @abstractmethod
    def matmul(self, a: Array, b: Array | Factor, bits: int = WORD) -> Array:
        """Matrix product modulo 2^bits: a[..., M, K], b[..., K, N] -> [..., M, N].

        Leading dimensions broadcast as in NumPy; a matrix that all products share is not copied for each. Any
        side may be 0 or 1. Operands that are not contiguous are copied. Above the low `bits` bits of the result
        nothing is defined, and backends differ: fewer bits take a GPU less time.
        """

    def factor(self, b: Array) -> Factor:
        """A matrix that `matmul` is to take as b many times; its words must not change."""
        return Factor(b)

    @abstractmethod
    def beaver_combine(self, x_open: Array, y_open: Array, a: Array, b: Array, c: Array, lead: bool) -> Array:
        """This party's share of x*y modulo 2^64, element by element, with one multiplication triple.

        Opened were X = x + a and Y = y + b; `a`, `b` and `c` are this party's shares of the masks and of a*b.
        From x*y = (X - a)(Y - b) the share is c - X*b - Y*a, plus X*Y at the one party whose `lead` is true.
        All arrays have one shape.
        """

    # Argument checks shared by the implementations

    def _check_words(self, **arrays: Array) -> None:
        """Every argument is an array of words of this backend."""
        kind = self.xp.ndarray
        for name, array in arrays.items():
            if not isinstance(array, kind):
                found = f"{type(array).__module__}.{type(array).__qualname__}"
                raise TypeError(f"{name} must be an array of the {self.name} backend, not {found}")
            if array.dtype != _WORD:
                raise TypeError(f"{name} must hold uint64 words, not {array.dtype}")

    def _check_operands(self, **arrays: Array) -> None:
        """Every argument is a C-contiguous array of words of this backend."""
        kind = self.xp.ndarray
        for array in arrays.values():
            if not (isinstance(array, kind) and array.dtype == _WORD and array.flags.c_contiguous):
                self._check_words(**arrays)
                raise ValueError(f"{' and '.join(arrays)} must be C-contiguous")

    def _check_same_shape(self, **arrays: Array) -> None:
        """Every argument is a C-contiguous array of words of this backend, all of one shape."""
        kind = self.xp.ndarray
        shape: tuple[int, ...] | None = None
        for array in arrays.values():
            if not (isinstance(array, kind) and array.dtype == _WORD and array.flags.c_contiguous):
                self._check_operands(**arrays)
            if shape is None:
                shape = array.shape
            elif array.shape != shape:
                shapes = {name: array.shape for name, array in arrays.items()}
                raise ValueError(f"operands must have one shape, not {shapes}")


def _words_of(numbers: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Integers modulo 2^64."""
    return np.array([number % (1 << WORD) for number in numbers], np.uint64)
