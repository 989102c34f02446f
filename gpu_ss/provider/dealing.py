"""The dealer's computation: from two seeds and a list of correlations to the corrections for rank 1.

It sees shapes and its own random numbers, never an input. Masks that later correlations refer to are not
kept: they are expanded again from the seeds (a small cache saves the usual repetition).
"""

from __future__ import annotations

from collections import OrderedDict

from gpu_ss.backend.base import Backend
from gpu_ss.errors import CorrelationError
from gpu_ss.field import field_of
from gpu_ss.provider.correlation import Correlation, Dealing, Mask, Out, combine, expand_share
from gpu_ss.ring import WORD, Array

CACHE_WORDS = 1 << 25  # 256 MiB of recent masks


class DealingEngine:
    """Deals numbered correlations from the two parties' keys. Not thread-safe; one per session."""

    def __init__(self, backend: Backend, key0: bytes, key1: bytes, cache_words: int = CACHE_WORDS) -> None:
        self._backend = backend
        self._keys = (key0, key1)
        self._specs: dict[int, Correlation] = {}
        self._cache: OrderedDict[int, Array] = OrderedDict()
        self._cache_words = cache_words
        self._cached = 0

    def __repr__(self) -> str:
        return f"DealingEngine(known_masks={len(self._specs)}, keys=<hidden>)"

    def deal(self, number: int, spec: Correlation) -> list[Array]:
        """Packed correction words for rank 1, one array for each derived output of the correlation.

        Raises CorrelationError for one that refers to a mask it cannot be made of.
        """
        try:
            return self._deal(number, spec)
        except (ValueError, IndexError, TypeError) as error:  # the kernels check the shapes they are given
            raise CorrelationError(
                f"correlation {number}, a {type(spec).__name__}, cannot be made ({type(error).__name__}); "
                "run the same version everywhere"
            ) from None

    def _deal(self, number: int, spec: Correlation) -> list[Array]:
        outs = spec.outputs()
        if spec.is_mask:
            self._specs[number] = spec
            return []
        share0, clear = self._expand(number, spec)
        values = iter(spec.deal(Dealing(self._backend, clear, share0, self.mask)))
        corrections = []
        for out, mine in zip(outs, share0, strict=True):
            if not out.random:
                value = next(values)
                corrections.append(self._correction(out, value, mine))
        return corrections

    def _correction(self, out: Out, value: Array, mine: Array) -> Array:
        if out.prime:
            difference = field_of(out.prime).subtract(value.reshape(out.shape), mine)
            return self._backend.pack(difference, out.bits)
        if out.xor:
            words = value.reshape(-1) ^ mine.reshape(-1)
            return words if out.bits == WORD else self._backend.pack(words, out.bits)
        return self._backend.pack_difference(value.reshape(out.shape), mine, out.bits)

    def forget(self, before: int) -> None:
        """Masks numbered below `before` will not be referred to any more, but for those of static weights."""
        for number in [n for n, spec in self._specs.items() if n < before and not _is_static(spec)]:
            del self._specs[number]
            dropped = self._cache.pop(number, None)
            self._cached -= 0 if dropped is None else int(dropped.size)

    def mask(self, number: int) -> Array:
        """The clear words of an earlier mask, canonical in its ring."""
        if number in self._cache:
            self._cache.move_to_end(number)
            return self._cache[number]
        if number not in self._specs:
            raise CorrelationError(f"correlation {number} is not a mask this session knows")
        _, clear = self._expand(number, self._specs[number])
        words = clear[0]
        self._remember(number, words)
        return words

    def _expand(self, number: int, spec: Correlation) -> tuple[list[Array | None], list[Array | None]]:
        """Rank 0's arrays, and the clear values of the random ones."""
        share0, share1 = (
            expand_share(rank, spec, number, self._backend, key) for rank, key in enumerate(self._keys)
        )
        clear = [
            combine(self._backend, out, a, b) if out.random else None
            for out, a, b in zip(spec.outputs(), share0, share1, strict=True)
        ]
        return share0, clear

    def _remember(self, number: int, words: Array) -> None:
        self._cache[number] = words
        self._cached += int(words.size)
        while self._cached > self._cache_words and len(self._cache) > 1:
            _, dropped = self._cache.popitem(last=False)
            self._cached -= int(dropped.size)


def _is_static(spec: Correlation) -> bool:
    """Masks that rank 1 alone knows hide weights, which stay for the session."""
    return isinstance(spec, Mask) and spec.owner == 1


def unpack_corrections(
    backend: Backend, spec: Correlation, arrays: list[Array | None], words: list[Array]
) -> list[Array | None]:
    """Rank 1's arrays completed by the packed corrections, in order of the derived outputs."""
    rest = iter(words)
    return [
        array if out.random else backend.unpack(next(rest), out.bits, out.size).reshape(out.shape)
        for out, array in zip(spec.outputs(), arrays, strict=True)
    ]
