"""Additive shares of A B where both matrices are shared: A = A0 + A1 [batch, m, k], B = B0 + B1 [batch, k, n].

    client: c0 = MatrixProductClient(backend, channel, MAT64).multiply(a0, b0)
    server: c1 = MatrixProductServer(backend, channel, MAT64).multiply(a1, b1)         # c0 + c1 = A B mod 2^bits

A B = A0 B0 + A0 B1 + A1 B0 + A1 B1. Each party has one local term. The two others are computed under the client's
key: it encrypts A0, and B0 transposed; the server multiplies by B1, and by A1 transposed, (A1 B0)^T = B0^T A1^T,
and masks the results (`packing`, `evaluation`). Several products of a batch share ciphertexts where N/m is more
than the inner dimension.

The server's operands are shares, so as long as ring elements, and the noise of a product is 2^(bits - 1) larger
than a fresh one. Wide parameters divide it away before keys are switched; the bound counts every share as if it
were largest, so nothing depends on the shares' values. Elements of a smaller ring (`bits`) are taken modulo it.

What is revealed. To the server: nothing beyond ring-LWE (128 bits, circular security assumed). To the client: its
share, uniform, and the server's operands in the noise up to a statistical distance of 2^-40 for a whole call
(`margins`), else the call is refused. Shapes are public; both follow the protocol.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cache

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.ring import Array, Ring
from he_bridge import packing
from he_bridge.errors import ParameterError
from he_bridge.evaluation import Evaluator, Operand, Owner, Step, Task, reply_spans, spans
from he_bridge.pace import Progress, counter, silent
from he_bridge.packing import Layout, PackedMargins, Shape
from he_bridge.params import MAT48, MAT64, ParameterSet
from he_bridge.turns import Product, Turn, now, together
from net import Channel

#: The cross terms: A0 B1, and A1 B0 transposed. One is zero if a matrix belongs to one party alone.
DIRECT, TURNED = 0, 1
Terms = tuple[int, ...]
BOTH: Terms = (DIRECT, TURNED)
Part = tuple[slice, tuple[Layout, Layout]]
#: A, and B transposed: this party's shares.
Operands = tuple[Array, Array]
#: Batch, rows, inner indices, columns of a part of a product.
Piece = tuple[slice, slice, slice, slice]

#: What a byte on the wire costs in nanoseconds when a layout is chosen: 200 Mbit/s.
BYTE_NS = 40.0
#: Fresh ciphertexts the evaluator holds at once: 67 MB under MAT64. A larger batch is cut into smaller ones.
_HELD = 128


def matrix_params(bits: int) -> ParameterSet:
    """The set for products modulo 2^bits."""
    return MAT48 if bits <= MAT48.ring_bits else MAT64


def margins(params: ParameterSet, shape: Shape, bits: int, byte_ns: float = BYTE_NS) -> PackedMargins:
    """Of one call. Raises ParameterError if operands of that many bits must not be multiplied."""
    return _margins(params, shape, bits, byte_ns)


@cache
def _margins(params: ParameterSet, shape: Shape, bits: int, byte_ns: float) -> PackedMargins:
    products = []
    for _, part in _parts(params, shape, byte_ns):
        for layout in part:
            columns = min(layout.columns, layout.shape.outputs)
            norm = 2.0 ** (bits - 1) * np.sqrt(layout.shape.inputs * columns)
            products.append((layout, np.full(layout.results, norm)))
    return packing.margins(params, products, bits)


def cut(params: ParameterSet, shape: Shape, bits: int, byte_ns: float = BYTE_NS) -> list[Piece]:
    """What to multiply at a time: everything, or halves of what the set refuses as a whole.

    The distance of 2^-40 is then that of each piece. Raises ParameterError for numbers that no piece can bear.
    """
    whole = (slice(0, shape.batch), slice(0, shape.rows), slice(0, shape.inputs), slice(0, shape.outputs))
    return [*_halves(params, whole, bits, byte_ns)]


def _halves(params: ParameterSet, piece: Piece, bits: int, byte_ns: float) -> Iterator[Piece]:
    sizes = [part.stop - part.start for part in piece]
    try:
        if max(sizes[1], sizes[3]) <= params.degree:
            margins(params, Shape(*sizes), bits, byte_ns)
            yield piece
            return
    except ParameterError:
        if max(sizes) == 1:
            raise
    if sizes[0] > 1 and max(sizes[1], sizes[3]) <= params.degree:
        side = 0
    elif max(sizes[1], sizes[3]) > 1:
        side = 1 if sizes[1] >= sizes[3] else 3
    else:
        side = 2
    part, middle = piece[side], piece[side].start + sizes[side] // 2
    for half in (slice(part.start, middle), slice(middle, part.stop)):
        batch, rows, inner, columns = (half if k == side else piece[k] for k in range(4))
        yield from _halves(params, (batch, rows, inner, columns), bits, byte_ns)


def parts(params: ParameterSet, shape: Shape, byte_ns: float = BYTE_NS) -> list[Part]:
    """Parts of the batch, with the layouts of A0 B1 and of B0^T A1^T."""
    return _parts(params, shape, byte_ns)


class _Party(ABC):
    """What both ends do alike."""

    _end: Owner | Evaluator

    def __init__(self, params: ParameterSet, byte_ns: float) -> None:
        self._params = params
        self._byte_ns = byte_ns

    def ready(self, shape: Shape) -> None:
        """Sends or receives the switching keys of such a call, as far as the other party has none yet."""
        for _, layouts in _parts(self._params, shape, self._byte_ns):
            for layout in layouts:
                self._end.ready(layout)

    def multiply(
        self,
        a: Array,
        b: Array,
        bits: int | None = None,
        terms: Terms = BOTH,
        progress: Progress = silent,
    ) -> Array:
        """This party's share of A B modulo 2^bits, [batch, m, n]; of `terms` alone if others are zero.

        Raises NetError, ParameterError.
        """
        return now(self.product(a, b, bits, terms, progress))

    def product(
        self,
        a: Array,
        b: Array,
        bits: int | None = None,
        terms: Terms = BOTH,
        progress: Progress = silent,
    ) -> Product[Array]:
        """`multiply`, to be made among other products."""
        shape, ring = self._begin(a, b, bits)
        every = _parts(self._params, shape, self._byte_ns)
        step = _steps(progress, every, terms)

        def crossed(some: slice, layouts: tuple[Layout, Layout]) -> Turn[list[Array]]:
            operands = a[some], b[some].transpose(0, 2, 1)
            return together([self._turn(k, operands, layouts[k], ring, step, k == terms[0]) for k in terms])

        def combine(parts: Iterator[list[Array]]) -> Array:
            out = self._end.ring.backend.matmul(a, b)
            for (some, _), part in zip(every, parts, strict=True):
                for k, cross in zip(terms, part, strict=True):
                    out[some] += cross.transpose(0, 2, 1) if k == TURNED else cross
            return ring.reduce(out)

        return Product([crossed(*part) for part in every], combine)

    @abstractmethod
    def _turn(
        self, term: int, operands: Operands, layout: Layout, ring: Ring, step: Step, lead: bool
    ) -> Turn[Array]:
        """This party's share of a cross term: A0 B1 [batch, m, n], or B0^T A1^T [batch, n, m]."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._params.name}, <hidden>)"

    def _begin(self, a: Array, b: Array, bits: int | None) -> tuple[Shape, Ring]:
        """The shape and ring of a call, checked. Raises ParameterError."""
        ring = Ring(self._params.ring_bits if bits is None else bits)
        if a.ndim != 3 or b.ndim != 3 or a.shape[::2] != (b.shape[0], a.shape[2]) or a.shape[2] != b.shape[1]:
            raise ValueError(f"there is no product of batches {a.shape} and {b.shape}")
        if ring.bits > self._params.ring_bits:
            raise ValueError(f"{self._params.name} multiplies modulo 2^{self._params.ring_bits} at most")
        batch, rows, inner = a.shape
        shape = Shape(int(batch), int(rows), int(inner), int(b.shape[2]))
        margins(self._params, shape, ring.bits, self._byte_ns)
        return shape, ring


class MatrixProductClient(_Party):
    """The client's end: owns the keys of this session. `multiply` in the server's order.

    byte_ns, the same at both ends: how dear a byte is; less makes larger and quicker messages.
    """

    _end: Owner

    def __init__(
        self, backend: Backend, channel: Channel, params: ParameterSet = MAT64, byte_ns: float = BYTE_NS
    ) -> None:
        super().__init__(params, byte_ns)
        self._end = Owner(backend, channel, params)

    def _turn(
        self, term: int, operands: Operands, layout: Layout, ring: Ring, step: Step, lead: bool
    ) -> Turn[Array]:
        return self._end.turn(_task(term, layout, ring), ring.reduce(operands[term]), step, lead)


class MatrixProductServer(_Party):
    """The server's end: knows the client's public and switching keys. `multiply` in the client's order."""

    _end: Evaluator

    def __init__(
        self, backend: Backend, channel: Channel, params: ParameterSet = MAT64, byte_ns: float = BYTE_NS
    ) -> None:
        super().__init__(params, byte_ns)
        self._end = Evaluator(backend, channel, params)

    def _turn(
        self, term: int, operands: Operands, layout: Layout, ring: Ring, step: Step, lead: bool
    ) -> Turn[Array]:
        operand = self._operand(layout, operands[1 - term].transpose(0, 2, 1), ring)
        return self._end.turn(_task(term, layout, ring), operand, step, lead).then(_negative)

    def _operand(self, layout: Layout, w: Array, ring: Ring) -> Operand:
        backend, unused = self._end.ring.backend, np.uint64(64 - ring.bits)

        def words(product: int, groups: slice, tiles: slice) -> Array:
            found = layout.weights(backend, w[product], product, groups, tiles) << unused
            return (found.view(np.int64) >> unused.astype(np.int64)).view(np.uint64)  # signed

        return words


def _task(number: int, layout: Layout, ring: Ring) -> Task:
    """A cross term."""
    return Task(layout, b"cross term %d" % number, ring.bits)


def _negative(words: Array) -> Array:
    return np.uint64(0) - words


def _steps(progress: Progress, every: list[Part], terms: Terms) -> Step:
    return counter(progress, sum(len(list(reply_spans(layouts[k]))) for _, layouts in every for k in terms))


@cache
def _parts(params: ParameterSet, shape: Shape, byte_ns: float) -> list[Part]:

    def layouts(batch: int) -> tuple[Layout, Layout]:
        direct = Shape(batch, shape.rows, shape.inputs, shape.outputs)
        turned = Shape(batch, shape.outputs, shape.inputs, shape.rows)
        return packing.choose(params, direct, byte_ns), packing.choose(params, turned, byte_ns)

    most = max(layout.ciphertexts for layout in layouts(shape.batch))
    pieces = min(shape.batch, -(-most // _HELD))
    step = -(-shape.batch // pieces)
    return [(slice(start, stop), layouts(stop - start)) for start, stop in spans(shape.batch, step)]
