"""What direct products send, message by message, from their shapes alone: for plans.

Payload bytes; the keys are not among them, they are exchanged when a product is prepared.
"""

from __future__ import annotations

from collections.abc import Iterator

from gpu_ss.provider.direct import Direct, DirectAffine, DirectMatmul, Message
from gpu_ss.ring import wire_bytes
from he_bridge import choice, linear, matmul, packed, wire
from he_bridge.evaluation import BLOCK, reply_spans, spans
from he_bridge.packing import Layout, Shape
from he_bridge.params import ParameterSet
from he_bridge.products import pieces, shape_of
from he_bridge.ring import SEED_BYTES

CLIENT, SERVER = 0, 1


def messages(spec: Direct) -> Iterator[Message]:
    """The messages of a product, as `products` sends them."""
    if isinstance(spec, DirectAffine):
        shapes = [
            (spec.k,) if diagonal else (spec.k, columns)
            for columns, diagonal in zip(spec.columns, spec.diagonal, strict=True)
        ]
        shape = shape_of(spec.rows, shapes)
        params = choice.linear_set(shape, spec.bits)
        yield from _packed(params, shape) if params.special else _batched(params, shape)
    elif isinstance(spec, DirectMatmul):
        yield from matrices(Shape(spec.batch, spec.m, spec.k, spec.n), spec.bits)
    else:
        raise TypeError(f"{type(spec).__name__} is not computed here")


def _packed(params: ParameterSet, shape: Shape) -> Iterator[Message]:
    for _, _, layout in packed.calls(params, shape):
        yield from _up(params, layout, True)
        yield from _down(params, layout, True)


def matrices(shape: Shape, bits: int) -> Iterator[Message]:
    """The messages of a product of shared matrices, both cross terms."""
    params = matmul.matrix_params(bits)
    for piece in pieces(shape, bits):
        for _, layouts in matmul.parts(params, piece):
            for move in (_up, _down):
                for k, layout in enumerate(layouts):
                    yield from move(params, layout, k == 0)


def _up(params: ParameterSet, layout: Layout, lead: bool) -> Iterator[Message]:
    for first, end in spans(layout.ciphertexts, BLOCK):
        yield _inputs(params, end - first, lead and first == 0)


def _down(params: ParameterSet, layout: Layout, lead: bool) -> Iterator[Message]:
    for first, end in reply_spans(layout):
        yield _replies(params, end - first, lead and first == 0)


def _batched(params: ParameterSet, shape: Shape) -> Iterator[Message]:
    for _ in spans(shape.rows, params.degree):
        for first, end in spans(shape.inputs, linear.BLOCK):
            yield _inputs(params, end - first, first == 0)
        for first, end in spans(shape.outputs, linear.BLOCK):
            yield _replies(params, end - first, first == 0)


def _inputs(params: ParameterSet, count: int, lead: bool) -> Message:
    size = wire.HEADER_BYTES + SEED_BYTES + _residues(params, params.primes, count)
    return Message(wire.INPUTS_TAG, CLIENT, size, lead)


def _replies(params: ParameterSet, count: int, lead: bool) -> Message:
    size = wire.HEADER_BYTES + 2 * _residues(params, params.kept, count)
    return Message(wire.REPLIES_TAG, SERVER, size, lead)


def _residues(params: ParameterSet, primes: tuple[int, ...], polys: int) -> int:
    return sum(wire_bytes(polys * params.degree, p.bit_length()) for p in primes)
