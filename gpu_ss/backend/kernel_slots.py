"""The launches of the kernels on polynomials modulo a prime with slots (slots.cu, packing.cu)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from math import prod

import numpy as np

from gpu_ss.backend import primes as tables
from gpu_ss.backend.kernel_lattice import ALL, LatticeKernels
from gpu_ss.backend.primes import Primes
from gpu_ss.backend.slots import Pairs, Slots
from gpu_ss.ring import WORD, Array


class SlotKernels(LatticeKernels, Slots):
    """See `Slots`."""

    def slot_values(self, x: Array, prime: int) -> Array:
        return self._slots("slots_forward", x, prime)

    def slot_coefficients(self, x: Array, prime: int) -> Array:
        return self._slots("slots_inverse", x, prime)

    def _slots(self, kernel: str, x: Array, prime: int) -> Array:
        _, size = self._check_elements(x, prime)
        log_size = size.bit_length() - 1
        table = self.constant(tables.slot_table, prime, size)
        if not x.size:
            return self.empty(x.shape)
        for first, stages, items in self._passes(kernel == "slots_forward", x.size, log_size, 0):
            out = self.empty(x.shape)
            self._launch(kernel, items, x, out, table, prime, log_size, first, stages)
            x = out
        return x

    def scale_up_elements(self, x: Array, prime: int, add: Array, primes: Primes) -> Array:
        self._check_sampling(x, add, primes)
        return self._element_residues(x, prime, prod(primes) % prime, 0, add, primes)

    def centred_elements(self, x: Array, prime: int, primes: Primes) -> Array:
        self._check_sampling(x, None, primes)
        return self._element_residues(x, prime, 1, 1, None, primes)

    def _element_residues(
        self, x: Array, prime: int, factor: int, constant: int, add: Array | None, primes: Primes
    ) -> Array:
        polys, size = self._check_elements(x, prime)
        out = self._residues((len(primes), polys, size))
        if out.size:
            constants = self.constant(tables.element_scaling, primes, prime, constant)
            keep, more = (0, x.view(np.uint32)) if add is None else (ALL, add)
            sizes = (prime, factor, tables.wide_quotient(factor, prime), polys, keep, size)
            self._launch("element_residues", out.size, x, more, out, self._moduli(primes), constants, *sizes)
        return out

    def decode_elements(self, x: Array, y: Array, prime: int, primes: Primes) -> Array:
        out = self.empty(self._check_decoded(x, y, prime, primes))
        if out.size:
            inverses = self.constant(tables.inverses, primes)
            scales = self.constant(tables.element_scales, primes, prime)
            sizes = (len(primes), prime, (1 << WORD) // prime)
            self._launch(
                "decode_elements", out.size, x, y, out, self._moduli(primes), inverses, scales, *sizes
            )
        return out

    def product_sums(
        self, b: Array, a: Array, y: Array, sums: Sequence[Pairs], primes: Primes
    ) -> tuple[Array, Array]:
        left, right, size = self._check_sums(b, a, y, sums, primes)
        shape = (len(primes), len(sums), size)
        out_b, out_a = self._residues(shape), self._residues(shape)
        if out_b.size:
            starts = accumulate((len(pairs) for pairs in sums), initial=0)
            index = self.table((*starts, *(number for pairs in sums for pair in pairs for number in pair)))
            arrays = (b, a, y, out_b, out_a, self._moduli(primes), index)
            self._launch("product_sums", out_b.size, *arrays, left, right, len(sums), size)
        return out_b, out_a
