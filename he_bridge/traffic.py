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
        yield from (_packed if params.special else _batched)(params, shape, spec.bits)
    elif isinstance(spec, DirectMatmul):
        yield from matrices(Shape(spec.batch, spec.m, spec.k, spec.n), spec.bits)
    else:
        raise TypeError(f"{type(spec).__name__} is not computed here")


def _packed(params: ParameterSet, shape: Shape, bits: int) -> Iterator[Message]:
    for _, _, layout in packed.calls(params, shape):
        yield from _up(params, layout, bits, True)
        yield from _down(params, layout, bits, True)


def matrices(shape: Shape, bits: int) -> Iterator[Message]:
    """The messages of a product of shared matrices, both cross terms."""
    params = matmul.matrix_params(bits)
    for piece in pieces(shape, bits):
        for _, layouts in matmul.parts(params, piece):
            for move in (_up, _down):
                for k, layout in enumerate(layouts):
                    yield from move(params, layout, bits, k == 0)


def _up(params: ParameterSet, layout: Layout, bits: int, lead: bool) -> Iterator[Message]:
    for first, end in spans(layout.ciphertexts, BLOCK):
        yield _inputs(params, end - first, lead and first == 0)


def _down(params: ParameterSet, layout: Layout, bits: int, lead: bool) -> Iterator[Message]:
    for first, end in reply_spans(layout):
        yield _replies(params, bits, end - first, layout.wanted, lead and first == 0)


def _batched(params: ParameterSet, shape: Shape, bits: int) -> Iterator[Message]:
    for start, stop in spans(shape.rows, params.degree):
        for first, end in spans(shape.inputs, linear.BLOCK):
            yield _inputs(params, end - first, first == 0)
        for first, end in spans(shape.outputs, linear.BLOCK):
            yield _replies(params, bits, end - first, stop - start, first == 0)


def _inputs(params: ParameterSet, count: int, lead: bool) -> Message:
    residues = sum(wire_bytes(count * params.degree, p.bit_length()) for p in params.primes)
    return Message(wire.INPUTS_TAG, CLIENT, wire.HEADER_BYTES + SEED_BYTES + residues, lead)


def _replies(params: ParameterSet, bits: int, count: int, places: int, lead: bool) -> Message:
    size = wire.HEADER_BYTES + sum(wire.reply_sizes(params, bits, count, places))
    return Message(wire.REPLIES_TAG, SERVER, size, lead)
