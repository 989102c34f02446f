"""One call of every kernel of plaintexts with slots, on steps of vectors as encryption in a field handles them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.kernel_cases import Call, Maker, Operands, Words
from gpu_ss.backend import Backend
from gpu_ss.field import FIELD60
from gpu_ss.ring import Array
from he_bridge.field_sets import params_of

PRIME = FIELD60.prime
SET = params_of(FIELD60).encryption
DEGREE, BITS, RESIDUE_BITS = SET.degree, FIELD60.bits, 28


def _polys(elements: int) -> int:
    return max(1, elements // DEGREE)


def _elements(draw: Operands, polys: int) -> Words:
    return draw.words(polys, DEGREE) % PRIME


def _residues(draw: Operands, primes: tuple[int, ...], polys: int) -> NDArray[np.uint32]:
    words = draw.words(len(primes), polys, DEGREE, bits=32)
    return (words % np.array(primes, np.uint64)[:, None, None]).astype(np.uint32)


def _transform(operation: str) -> Maker:
    def make(draw: Operands, elements: int) -> Call:
        x = _elements(draw, _polys(elements))

        def run(backend: Backend, values: Array) -> Array:
            found: Array = getattr(backend, operation)(values, PRIME)
            return found

        return Call(x.shape, [x], run, x.size, BITS, transforms=len(x))

    return make


def _scale_up_elements(draw: Operands, elements: int) -> Call:
    polys = max(1, _polys(elements) // len(SET.primes))
    operands: list[NDArray[Any]] = [_elements(draw, polys), _residues(draw, SET.primes, polys)]
    shape = (len(SET.primes), polys, DEGREE)
    return Call(
        shape,
        operands,
        lambda backend, m, e: backend.scale_up_elements(m, PRIME, e, SET.primes),
        int(np.prod(shape)),
        RESIDUE_BITS,
    )


def _centred_elements(draw: Operands, elements: int) -> Call:
    x = _elements(draw, max(1, _polys(elements) // len(SET.primes)))
    shape = (len(SET.primes), *x.shape)
    return Call(
        shape,
        [x],
        lambda backend, m: backend.centred_elements(m, PRIME, SET.primes),
        int(np.prod(shape)),
        RESIDUE_BITS,
    )


def _decode_elements(draw: Operands, elements: int) -> Call:
    """At the modulus of replies."""
    polys = _polys(elements)
    operands = [_residues(draw, SET.kept, polys) for _ in range(2)]
    shape = (len(SET.kept), polys, DEGREE)
    return Call(
        shape,
        operands,
        lambda backend, x, y: backend.decode_elements(x, y, PRIME, SET.kept),
        polys * DEGREE,
        BITS,
    )


def _product_sums(draw: Operands, elements: int) -> Call:
    """Sums of two products, as rows times a factor of each have them; the first result is looked at."""
    count = max(2, _polys(elements) // (2 * len(SET.primes)))
    sums = [((i, 0), (0, i)) for i in range(1, count)]
    operands = [_residues(draw, SET.primes, count) for _ in range(3)]
    shape = (len(SET.primes), 2 * len(sums), DEGREE)
    return Call(
        shape,
        operands,
        lambda backend, b, a, y: backend.product_sums(b, a, y, sums, SET.primes)[0],
        int(np.prod(shape)),
        RESIDUE_BITS,
    )


SLOT_CASES: dict[str, Maker] = {
    "slot_values": _transform("slot_values"),
    "slot_coefficients": _transform("slot_coefficients"),
    "scale_up_elements": _scale_up_elements,
    "centred_elements": _centred_elements,
    "decode_elements": _decode_elements,
    "product_sums": _product_sums,
}
