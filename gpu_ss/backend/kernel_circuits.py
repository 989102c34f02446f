"""Launches of the boolean circuits of kernels/circuits.cu."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, lru_cache

import numpy as np

from gpu_ss.backend.launcher import Launcher
from gpu_ss.backend.reference_circuits import and_subsets, node_inputs, node_subsets, number_fields
from gpu_ss.ring import WORD, Array

MOST_BITS = 9  # of a digit
MOST_PLANES = 8  # joined by `node` and `all_of`
MOST_NUMBERED = 4  # digits joined by `node_numbers`


class CircuitKernels(Launcher):
    """Work on bit planes [planes, words]; what the planes are is public and comes as small tables."""

    def digit_monomials(self, planes: Array, widths: Sequence[int]) -> Array:
        self._check_operands(planes=planes)
        table = _digit_table((*widths, 1))  # the top plane is one more digit
        *_, bits, rows = table
        words = _words(planes=(planes, bits))
        out = self.empty((rows, words))
        if words:
            digits = len(widths) + 1
            self._launch("digit_monomials", digits * words, planes, self._table(table), out, digits)
        return out

    def plane_products(self, planes: Array, subsets: Sequence[int]) -> Array:
        self._check_operands(planes=planes)
        words = _words(planes=(planes, len(planes)))
        if not all(0 < subset < 1 << len(planes) for subset in subsets):
            raise ValueError(f"not all of {tuple(subsets)} are sets of some of {len(planes)} planes")
        out = self.empty((len(subsets), words))
        if out.size:
            self._launch("plane_products", out.size, planes, self._table(tuple(subsets)), out, len(subsets))
        return out

    def digit_compare(self, c: Array, basis: Array, widths: Sequence[int], lead: np.uint64) -> Array:
        self._check_operands(c=c, basis=basis)
        table, digits = _digit_table(tuple(widths)), len(widths)
        *_, bits, rows = table
        own, words = _words(c=(c, bits)), _words(basis=(basis, rows))
        if own % words if words else own:
            raise ValueError(f"numbers of {own} words cannot be compared with some of {words} words")
        out = self.empty((2 * digits - 1, own))
        if own:
            arrays = (c, basis, self._table(table), out)
            self._launch("digit_compare", digits * own, *arrays, words, digits, int(lead))
        return out

    def node(self, opened: Array, basis: Array, arity: int, with_eq: bool, lead: np.uint64) -> Array:
        self._check_operands(opened=opened, basis=basis)
        if not 2 <= arity <= MOST_PLANES:
            raise ValueError(f"a node joins 2 to {MOST_PLANES} digits, not {arity}")
        inputs = node_inputs(arity, with_eq)
        rows = inputs + len(node_subsets(arity, with_eq))
        words = _words(opened=(opened, inputs), basis=(basis, rows))
        out = self.empty((2 if with_eq else 1, words))
        if words:
            kernel = "node_with_eq" if with_eq else "node"
            self._launch(kernel, words, opened, basis, out, arity, rows, int(lead))
        return out

    def all_of(self, opened: Array, basis: Array, lead: np.uint64) -> Array:
        self._check_operands(opened=opened, basis=basis)
        planes = len(opened)
        if not 2 <= planes <= MOST_PLANES:
            raise ValueError(f"the AND is of 2 to {MOST_PLANES} planes, not {planes}")
        words = _words(opened=(opened, planes), basis=(basis, planes + len(and_subsets(planes))))
        out = self.empty((1, words))
        if words:
            self._launch("all_of", words, opened, basis, out, planes, int(lead))
        return out

    def node_numbers(self, opened: Array, shares: Array, arity: int, field: int, lead: np.uint64) -> Array:
        self._check_operands(opened=opened, shares=shares)
        if not 1 <= arity <= MOST_NUMBERED or not 1 <= field < WORD:
            raise ValueError(f"no node of {arity} digits gives a number of {field} bits")
        rows, per = number_fields(arity, field)
        words = _words(opened=(opened, 2 * arity - 1))
        if shares.shape != (rows, WORD * words):
            raise ValueError(f"shares must have the shape {(rows, WORD * words)}, not {shares.shape}")
        out = self.empty(WORD * words)
        if words:
            self._launch("node_numbers", out.size, opened, shares, out, arity, field, per, int(lead))
        return out

    @cached_property
    def _tables(self) -> dict[tuple[int, ...], Array]:
        return {}

    def _table(self, numbers: tuple[int, ...]) -> Array:
        """Small public numbers as an array of this backend, moved there once."""
        if numbers not in self._tables:
            table = self.asarray(np.array(numbers, np.uint64))
            self.synchronize()  # other threads may use it on other streams
            self._tables[numbers] = table
        return self._tables[numbers]


@lru_cache(maxsize=256)
def _digit_table(widths: tuple[int, ...]) -> tuple[int, ...]:
    """Of each digit its width, its first bit and its first row of products; at last 0 and all bits and rows."""
    if not widths or not all(1 <= width <= MOST_BITS for width in widths):
        raise ValueError(f"digits have 1 to {MOST_BITS} bits, not {widths}")
    table, bits, rows = [], 0, 0
    for width in widths:
        table += [width, bits, rows]
        bits, rows = bits + width, rows + (1 << width) - 1
    return (*table, 0, bits, rows)


def _words(**planes: tuple[Array, int]) -> int:
    """The words per plane of arrays that are to have so many planes each."""
    (words, *others) = (array.shape[-1] if array.ndim == 2 else -1 for array, _ in planes.values())
    if words < 0 or any(other != words for other in others) or any(len(a) != k for a, k in planes.values()):
        shapes = {name: array.shape for name, (array, _) in planes.items()}
        wanted = {name: (count, "words") for name, (_, count) in planes.items()}
        raise ValueError(f"shapes must be {wanted}, not {shapes}")
    return words
