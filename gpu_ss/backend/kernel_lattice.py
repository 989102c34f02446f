"""The launches of the kernels on polynomials modulo primes (ntt.cu, residues.cu)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from math import prod

import numpy as np

from gpu_ss.backend import primes as tables
from gpu_ss.backend.errors import BackendError
from gpu_ss.backend.lattice import exact_depth
from gpu_ss.backend.launcher import Launcher
from gpu_ss.backend.primes import LEAST_DEGREE, Primes
from gpu_ss.ring import WORD, Array

_STAGES = 3  # of a transform that one GPU launch does in registers
_SLAB_WORDS = 1 << 20  # float64 words of a slab of residues: 8 MiB
ALL = 0xFFFFFFFFFFFFFFFF
#: The kernels that transform a polynomial by a block of threads, for those that do some stages each.
_WHOLE = {"ntt_forward": "whole_forward", "ntt_inverse": "whole_inverse"}


class LatticeKernels(Launcher):
    """`Lattice` by kernels, and by float64 matrix products of the array library."""

    #: Whether one launch does all stages of a transform (CPU), or a few (GPU).
    _transforms_at_once = False
    #: Up to which degree `blocks_ntt.cu` transforms a polynomial by a block of threads: on GPUs.
    _most_whole_degree = 0

    def ntt(self, x: Array, primes: Primes) -> Array:
        return self._transform("ntt_forward", x, primes, self._check_residues(primes, x=x)[2])

    def intt(self, x: Array, primes: Primes) -> Array:
        return self._transform("ntt_inverse", x, primes, self._check_residues(primes, x=x)[2])

    def multiply_add(self, x: Array, y: Array, z: Array | None, primes: Primes) -> Array:
        shape = self._check_factors(x, y, z, primes)
        out = self._residues(shape)
        if out.size:
            keep, more = (0, x) if z is None else (ALL, z)
            sizes = (shape[1], y.shape[1], keep, shape[2])
            self._launch("multiply_add", out.size, x, y, more, out, self._moduli(primes), *sizes)
        return out

    def uniform_residues(self, words: Array, primes: Primes) -> Array:
        self._check_stream(words)
        if words.ndim != 3 or len(words) != len(primes):
            raise ValueError(f"words must be [primes, polys, N], not {words.shape}")
        out = self._residues(words.shape)
        if out.size:
            self._launch("uniform_residues", out.size, words, out, self._moduli(primes), *words.shape[1:])
        return out

    def binomial_residues(self, words: Array, add: Array | None, primes: Primes) -> Array:
        return self._sample("binomial_residues", words, add, primes)

    def ternary_residues(self, words: Array, add: Array | None, primes: Primes) -> Array:
        return self._sample("ternary_residues", words, add, primes)

    def _sample(self, kernel: str, words: Array, add: Array | None, primes: Primes) -> Array:
        shape = self._check_sampling(words, add, primes)
        out = self._residues(shape)
        if out.size:
            keep, more = (0, words.view(np.uint32)) if add is None else (ALL, add)
            self._launch(kernel, out.size, words, more, out, self._moduli(primes), shape[1], keep, shape[2])
        return out

    def scale_up(self, words: Array, bits: int, add: Array, primes: Primes) -> Array:
        _, polys, size = self._check_sampling(words, add, primes)
        out = self._residues(add.shape)
        if out.size:
            constants = self.constant(tables.scaling, primes, bits)
            q = prod(primes) % (1 << WORD)
            sizes = (q, WORD - bits, polys, size)
            self._launch("scale_up", out.size, words, add, out, self._moduli(primes), constants, *sizes)
        return out

    def drop_prime(self, x: Array, primes: Primes, add: Array | None = None) -> Array:
        count, polys, size = self._check_residues(primes, x=x)
        out = self._residues((count - 1, polys, size))
        if add is not None:
            self._check_summand(x, add, primes[:-1])
        if out.size:
            constants = self.constant(tables.dropping, primes)
            keep, more = (0, x) if add is None else (ALL, add)
            sizes = (count, polys, keep, size)
            self._launch("drop_prime", out.size, x, more, out, self._moduli(primes), constants, *sizes)
        return out

    def ntt_of_words(self, words: Array, size: int, primes: Primes) -> Array:
        polys, terms = self._check_words_of(words, size, primes)
        small = self._residues((len(primes), polys, terms))
        if small.size:
            constants = self.constant(tables.signing, primes)
            arguments = (words, small, self._moduli(primes), constants, polys, terms)
            self._launch("signed_residues", small.size, *arguments)
        return self._transform("ntt_forward", small, primes, size)

    def inner_products(self, x: Array, y: Array, add: Array | None, primes: Primes) -> Array:
        depth, results, size = self._check_inner(x, y, add, primes)
        out = self._residues((len(primes), 2 * results, size))
        if out.size:
            keep, more = (0, x) if add is None else (ALL, add)
            sizes = (results, depth, keep, size)
            self._launch("inner_products", out.size // 2, x, y, more, out, self._moduli(primes), *sizes)
        return out

    def digits(self, x: Array, primes: Primes) -> Array:
        count, polys, size = self._check_residues(primes[: len(x)], x=x)
        tables.check(primes, LEAST_DEGREE)
        out = self._residues((len(primes), polys * count, size))
        if out.size:
            self._launch("digits", out.size, x, out, self._moduli(primes), count, polys, size)
        return out

    def merged(self, x: Array, shift: int, primes: Primes) -> tuple[Array, Array]:
        half, size = self._check_merge(x, shift, primes)
        kept = self._residues((len(primes), 2 * half, size))
        turned = self._residues((len(primes), half, size))
        sizes = (half, shift, pow(size // shift + 1, -1, 2 * size), size)
        for kernel, out in (("merge_kept", kept), ("merge_turned", turned)):
            if out.size:
                self._launch(kernel, out.size, x, out, self._moduli(primes), *sizes)
        return kept, turned

    def decode_sum(self, x: Array, y: Array, bits: int, primes: Primes) -> Array:
        shape = self._check_residues(primes, x=x, y=y)
        out = self.empty(shape[1:])
        if out.size:
            inverses = self.constant(tables.inverses, primes)
            scales = self.constant(tables.scales, primes, bits)
            sizes = (len(primes), (1 << bits) - 1)
            self._launch("decode_sum", out.size, x, y, out, self._moduli(primes), inverses, scales, *sizes)
        return out

    def scale_down(self, x: Array, bits: int, primes: Primes) -> Array:
        shape, rest_bits = self._check_digits(x, bits, primes)
        out = self.empty((2 if rest_bits else 1, *shape))
        if out.size:
            inverses = self.constant(tables.inverses, primes)
            scales = self.constant(tables.scales, primes, WORD)
            half = divmod(1 << (2 * WORD - 1 - bits), 1 << WORD)
            sizes = (len(primes), *half, max(0, WORD - bits), rest_bits)
            arguments = (x, out, self._moduli(primes), inverses, scales, *sizes)
            self._launch("scale_down", out[0].size, *arguments)
        return out

    def residue_matmul(
        self, weights: Array, largest: int, x: Array, add: Array | None, primes: Primes
    ) -> Array:
        columns, inner, size = self._check_product(weights, largest, x, add, primes)
        self._check_float64()
        depth, more = exact_depth(max(primes), largest), add is not None
        total = self._residues((len(primes), columns, size)) if add is None else add
        if not inner and not more:
            total[...] = 0
        for k in range(0, inner, depth):
            factor = self.xp.ascontiguousarray(weights[:, k : k + depth])
            for p, part, result in zip(primes, x[:, k : k + depth], total, strict=True):
                self._product_modulo(factor, part, result, more, p)
            more = True
        return total

    def _product_modulo(self, weights: Array, x: Array, out: Array, more: bool, p: int) -> None:
        """out = weights x modulo p, `more` to add it, a slab of columns at a time, which fits a cache."""
        (inner, size), columns = x.shape, weights.shape[0]
        width = min(size, max(64, _SLAB_WORDS // max(inner, columns) // 64 * 64))
        slab_space, product_space = self._floats(inner * width), self._floats(columns * width)
        for start in range(0, size, width):
            part = min(width, size - start)
            slab = slab_space[: inner * part].reshape(inner, part)
            product = product_space[: columns * part].reshape(columns, part)
            self._launch("centred_columns", slab.size, x, slab, p, size, start, part)
            self.xp.matmul(weights, slab, out=product)
            sizes = (p, ALL if more else 0, size, start, part)
            self._launch("reduced_columns", product.size, product, out, *sizes)

    def _transform(self, kernel: str, x: Array, primes: Primes, size: int) -> Array:
        """x [primes, polys, n] transformed to `size` places; forward, n may be smaller than that."""
        count, polys, terms = x.shape
        log_size, log_source = tables.check(primes, size), terms.bit_length() - 1
        table = self.constant(tables.transform_tables, primes, size)
        elements = count * polys * size
        if not elements:
            return self._residues((count, polys, size))
        if size <= self._most_whole_degree:
            out = self._residues((count, polys, size))
            of_whole = (polys, log_size, log_source)
            self._launch(_WHOLE[kernel], count * polys, x, out, table, self._moduli(primes), *of_whole)
            return out
        forward, begin = kernel == "ntt_forward", log_size - log_source
        for first, stages, items in self._passes(forward, elements, log_size, begin):
            out = self._residues((count, polys, size))
            sizes = (polys, log_size, log_source, first, stages)
            self._launch(kernel, items, x, out, table, self._moduli(primes), *sizes)
            x, log_source = out, log_size
        return x

    def _passes(
        self, forward: bool, elements: int, log_size: int, begin: int
    ) -> Iterator[tuple[int, int, int]]:
        """(first stage, stages, items) of each launch, for the stages from `begin` on."""
        if self._transforms_at_once:
            yield begin, log_size - begin, elements >> log_size
            return
        starts = range(begin, log_size, _STAGES)
        for first in starts if forward else reversed(starts):
            count = min(_STAGES, log_size - first)
            yield first, count, elements >> count

    def _residues(self, shape: tuple[int, ...]) -> Array:
        """Uninitialised uint32 words; N is even, so they fill whole words."""
        return self.empty((prod(shape) + 1) // 2).view(np.uint32)[: prod(shape)].reshape(shape)

    def _floats(self, count: int) -> Array:
        return self.empty(count).view(np.float64)

    def _moduli(self, primes: Primes) -> Array:
        return self.constant(tables.moduli, primes)

    def _check_float64(self) -> None:
        """BackendError where float64 products are not exact: libraries may emulate them with fewer bits."""
        if not self._float64_adds_exactly:
            raise BackendError(f"float64 matrix products of the {self.name} backend are not exact")

    @cached_property
    def _float64_adds_exactly(self) -> bool:
        """At the bound: 2^10 products of odd numbers near 2^28 and 2^15 add up to just below 2^53."""
        x, y = (1 << 28) - 1, (1 << 15) - 1
        left, right = np.full((16, 1024), float(x)), np.full((1024, 16), float(y))
        product = self.xp.matmul(self.asarray(left), self.asarray(right))
        return bool((self.to_host(product) == float(1024 * x * y)).all())
