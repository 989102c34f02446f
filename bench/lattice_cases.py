"""One call of every lattice kernel, on blocks of ciphertexts as encryption handles them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.kernel_cases import Call, Maker, Operands
from gpu_ss.ring import Array
from he_bridge.params import LIN64

PRIMES, DEGREE, BITS = LIN64.primes, LIN64.degree, LIN64.ring_bits
LARGEST = 1 << 15  # weights


def _polys(elements: int) -> int:
    return max(1, elements // (len(PRIMES) * DEGREE))


def _residues(draw: Operands, polys: int) -> NDArray[Any]:
    words = draw.words(len(PRIMES), polys, DEGREE, bits=32)
    return (words % np.array(PRIMES, np.uint64)[:, None, None]).astype(np.uint32)


def _on_residues(count: int, run: Callable[..., Array]) -> Maker:
    """A kernel of `count` arrays of residues."""

    def make(draw: Operands, elements: int) -> Call:
        polys = _polys(elements)
        shape = (len(PRIMES), polys, DEGREE)
        return Call(shape, [_residues(draw, polys) for _ in range(count)], run, int(np.prod(shape)), 30)

    return make


def _on_words(per_prime: bool, run: Callable[..., Array]) -> Maker:
    """A kernel that makes residues of words."""

    def make(draw: Operands, elements: int) -> Call:
        polys = _polys(elements)
        shape = (len(PRIMES), polys, DEGREE)
        words = draw.words(*(shape if per_prime else shape[1:]))
        return Call(shape, [words], run, int(np.prod(shape)))

    return make


def _scale_up(draw: Operands, elements: int) -> Call:
    polys = _polys(elements)
    operands = [draw.words(polys, DEGREE), _residues(draw, polys)]
    shape = (len(PRIMES), polys, DEGREE)
    return Call(shape, operands, lambda b, m, e: b.scale_up(m, BITS, e, PRIMES), int(np.prod(shape)))


def _decode_sum(draw: Operands, elements: int) -> Call:
    """At the modulus of replies."""
    kept, polys = len(LIN64.kept), _polys(elements)
    operands = [np.ascontiguousarray(_residues(draw, polys)[:kept]) for _ in range(2)]
    shape = (kept, polys, DEGREE)
    return Call(shape, operands, lambda b, x, y: b.decode_sum(x, y, BITS, LIN64.kept), int(np.prod(shape)))


def _scale_down(draw: Operands, elements: int) -> Call:
    """To the digits of replies."""
    kept, polys = len(LIN64.kept), _polys(elements)
    shape = (kept, polys, DEGREE)
    operands = [np.ascontiguousarray(_residues(draw, polys)[:kept])]
    return Call(shape, operands, lambda b, x: b.scale_down(x, BITS + 10, LIN64.kept), int(np.prod(shape)))


def _residue_matmul(draw: Operands, elements: int) -> Call:
    polys, columns = _polys(elements), 64
    weights = draw.words(columns, polys, bits=16).astype(np.float64) - LARGEST
    residues = _residues(draw, polys)
    products = len(PRIMES) * columns * polys * DEGREE
    return Call(
        (len(PRIMES), columns, polys, DEGREE),
        [weights, residues],
        lambda b, w, x: b.residue_matmul(w, LARGEST, x, None, PRIMES),
        residues.size,
        30,
        products,
    )


def _ntt_of_words(draw: Operands, elements: int) -> Call:
    """Polynomials of 64 terms."""
    polys, terms = _polys(elements), 64
    shape = (len(PRIMES), polys, DEGREE)
    return Call(
        shape, [draw.words(polys, terms)], lambda b, w: b.ntt_of_words(w, DEGREE, PRIMES), int(np.prod(shape))
    )


def _inner_products(draw: Operands, elements: int) -> Call:
    """Sums of as many products as there are primes."""
    depth, polys = len(PRIMES), _polys(elements)
    operands = [_residues(draw, 2 * depth), _residues(draw, depth * polys)]
    shape = (depth, depth * polys, DEGREE)
    return Call(
        shape, operands, lambda b, x, y: b.inner_products(x, y, None, PRIMES), int(np.prod(shape)), 30
    )


def _merged(draw: Operands, elements: int) -> Call:
    """Both results; the first is looked at."""
    polys = -(-_polys(elements) // 4) * 4
    shape = (len(PRIMES), polys, DEGREE)
    operands = [_residues(draw, polys)]
    return Call(shape, operands, lambda b, x: b.merged(x, 32, PRIMES)[0], int(np.prod(shape)), 30)


LATTICE: dict[str, Maker] = {
    "ntt_of_words": _ntt_of_words,
    "inner_products": _inner_products,
    "digits": _on_residues(1, lambda b, x: b.digits(x, PRIMES)),
    "merged": _merged,
    "ntt": _on_residues(1, lambda b, x: b.ntt(x, PRIMES)),
    "intt": _on_residues(1, lambda b, x: b.intt(x, PRIMES)),
    "multiply_add": _on_residues(3, lambda b, x, y, z: b.multiply_add(x, y, z, PRIMES)),
    "uniform_residues": _on_words(True, lambda b, x: b.uniform_residues(x, PRIMES)),
    "binomial_residues": _on_words(False, lambda b, x: b.binomial_residues(x, None, PRIMES)),
    "ternary_residues": _on_words(False, lambda b, x: b.ternary_residues(x, None, PRIMES)),
    "scale_up": _scale_up,
    "drop_prime": _on_residues(1, lambda b, x: b.drop_prime(x, PRIMES)),
    "decode_sum": _decode_sum,
    "scale_down": _scale_down,
    "residue_matmul": _residue_matmul,
}
