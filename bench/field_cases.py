"""One call of every kernel of prime fields, at the prime and the row lengths of two parties alone."""

from __future__ import annotations

from bench.kernel_cases import SIDE, Call, Maker, Operands, Words
from gpu_ss.field import FIELD53

PRIME = FIELD53.prime


def _elements(draw: Operands, *shape: int) -> Words:
    return draw.words(*shape) % PRIME


def _field_reduce(draw: Operands, n: int) -> Call:
    operands = [draw.words(n), draw.words(n)]
    return Call(
        (n,), operands, lambda backend, high, low: backend.field_reduce(high, low, PRIME), n, FIELD53.bits
    )


def _field_multiply_add(draw: Operands, n: int) -> Call:
    operands = [_elements(draw, n) for _ in range(3)]
    return Call(
        (n,), operands, lambda backend, *xyz: backend.field_multiply_add(*xyz, PRIME), n, FIELD53.bits
    )


def _field_dots(draw: Operands, n: int) -> Call:
    shape = (max(1, n // SIDE), SIDE)
    operands = [_elements(draw, *shape) for _ in range(2)]
    return Call(
        shape, operands, lambda backend, x, y: backend.field_dots(x, y, PRIME), shape[0] * SIDE, FIELD53.bits
    )


FIELDS: dict[str, Maker] = {
    "field_reduce": _field_reduce,
    "field_multiply_add": _field_multiply_add,
    "field_dots": _field_dots,
}
