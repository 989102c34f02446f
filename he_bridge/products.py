"""The products two parties make alone: by weights, of matrices, element by element, each with its own engines.

    client = ClientProducts(backend, channel)            server = ServerProducts(backend, channel)
    w = client.hold(None, (k, n), 64)                    w = server.hold(words, (k, n), 64)
    (c,) = now(client.by_weights(a, rows, (w,), 64))     (c,) = now(server.by_weights(None, rows, (w,), 64))

Both sides call the same methods in the same order. Most give a product to be made (`turns`), now or among others.
Results are additive shares modulo 2^bits of the products of the operands, also where these are shares themselves.
Which engine makes a product is decided from public shapes (`choice`, `slot_sets`); an engine, and with it a key
pair, is made when it is first needed, on both sides at the same point, and stays for the session. Keys would come
between the messages of products under way: `open_...` first has everything there that such products need.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np

from gpu_ss.backend.base import Backend
from gpu_ss.field import Field
from gpu_ss.ring import Array
from he_bridge import choice, matmul, slot_sets, tenseal_fields
from he_bridge.errors import ParameterError
from he_bridge.field_sets import params_of
from he_bridge.field_slots import FieldClient, FieldServer
from he_bridge.field_steps import FieldEngine, Step, Vectors
from he_bridge.linear import Layer, RowBatchClient, RowBatchServer, Weights
from he_bridge.matmul import BOTH, MatrixProductClient, MatrixProductServer, Terms
from he_bridge.pace import Progress, Work, silent
from he_bridge.packed import PackedClient, PackedServer, PackedWeights
from he_bridge.packing import Shape
from he_bridge.params import ParameterSet
from he_bridge.slot_sets import TripleParams
from he_bridge.slots import TripleClient, TripleServer
from he_bridge.tenseal_fields import SealFieldClient, SealFieldServer
from he_bridge.tenseal_io import Words
from he_bridge.tenseal_linear import ScalarWeights, SealRowBatchClient, SealRowBatchServer
from he_bridge.turns import Product, row, whole
from he_bridge.wire import DIGEST_BYTES
from net import Channel

_SLOT_CALL = 1 << 24  # elements of one call in slots
_PIECE = 1e6  # any size: pieces of a product count alike in its progress

#: Who multiplies by weights and in fields: the project's own engines, or TenSEAL.
Engine = Literal["native", "tenseal"]
#: How a product with weights is made: a parameter set of the own engines, or the bits of TenSEAL's.
Way = ParameterSet | int
Handles = tuple[int, ...]
LinearClient = RowBatchClient | PackedClient | SealRowBatchClient
Integers = np.ndarray[tuple[int, ...], np.dtype[np.int64]]


class Products(ABC):
    """One party's side."""

    def __init__(self, backend: Backend, channel: Channel, engine: Engine = "native") -> None:
        self._engine = engine
        self._backend = backend
        self._channel = channel
        self._shapes: list[tuple[int, ...]] = []
        self._matrices: dict[ParameterSet, MatrixProductClient | MatrixProductServer] = {}
        self._slots: dict[TripleParams, TripleClient | TripleServer] = {}
        self._fields: dict[Field, FieldEngine] = {}

    def hold(self, words: Array | None, shape: tuple[int, ...], bits: int) -> int:
        """Note a weight, in clear at the server (words of a ring of `bits`); its handle."""
        self._shapes.append(shape)
        return len(self._shapes) - 1

    # Weights

    def open_weights(self, rows: int, weights: Handles, bits: int) -> None:
        """Have the engine of `by_weights`, and the digest of the weights."""
        self._begin(rows, weights, bits)

    @abstractmethod
    def _begin(self, rows: int, weights: Handles, bits: int) -> tuple[Any, Any]:
        """The engine, and what it knows of the weights."""

    @abstractmethod
    def ready_weights(self, rows: int, weights: Handles, bits: int) -> None:
        """Exchange everything that `by_weights` will need besides the product: keys, digests."""

    @abstractmethod
    def by_weights(
        self, a: Array | None, rows: int, weights: Handles, bits: int, progress: Progress = silent
    ) -> Product[list[Array]]:
        """Shares of A W for each weight W, A [rows, k] at the client (None at the server): [rows, columns] each.

        A weight of one dimension counts as a diagonal matrix. A may be words of 32 bits, if the ring has no more.
        """

    def shape(self, rows: int, weights: Handles) -> Shape:
        """The one product that makes all of these: matrices side by side, diagonals at the right end."""
        return shape_of(rows, [self._shapes[w] for w in weights])

    def _way(self, shape: Shape, bits: int) -> Way:
        return bits if self._engine == "tenseal" else choice.linear_set(shape, bits)

    def _cut(self, c: Array, weights: Handles) -> list[Array]:
        """The columns of each weight."""
        found: dict[int, Array] = {}
        start = 0
        for place in _order([self._shapes[w] for w in weights]):
            stop = start + self._shapes[weights[place]][-1]
            found[place] = self._backend.xp.ascontiguousarray(c[:, start:stop])
            start = stop
        return [found[place] for place in range(len(weights))]

    # Matrices

    def open_matrices(self, bits: int) -> None:
        """Have the engine of `multiply`."""
        self._matrix_engine(bits)

    def ready_matrices(self, shape: Shape, bits: int) -> None:
        """Exchange the keys that `multiply` will need."""
        engine = self._matrix_engine(bits)
        for piece in pieces(shape, bits):
            engine.ready(piece)

    def multiply(
        self, a: Array, b: Array, bits: int, terms: Terms = BOTH, progress: Progress = silent
    ) -> Product[Array]:
        """Shares of A B for shared A [batch, m, k], B [batch, k, n]; terms as `matmul`. [batch, m, n].

        What would not be hidden well enough as a whole is made in several calls.
        """
        engine, params = self._matrix_engine(bits), matmul.matrix_params(bits)
        shape = Shape(len(a), a.shape[1], a.shape[2], b.shape[2])
        every = matmul.cut(params, shape, bits)
        work = Work(progress, _PIECE * len(every))

        def piece(batch: slice, rows: slice, inner: slice, columns: slice) -> Product[Array]:
            left, right = a[batch, rows, inner], b[batch, inner, columns]
            return engine.product(left, right, bits, terms, work.part(_PIECE))

        def combine(found: Iterator[Array]) -> Array:
            out = self._backend.zeros((shape.batch, shape.rows, shape.outputs))
            for (batch, rows, _, columns), part in zip(every, found, strict=True):
                out[batch, rows, columns] += part
            return out

        return row([piece(*each) for each in every]).then(combine)

    def _matrix_engine(self, bits: int) -> MatrixProductClient | MatrixProductServer:
        params = matmul.matrix_params(bits)
        if params not in self._matrices:
            self._matrices[params] = self._new_matrices(params)
        return self._matrices[params]

    @abstractmethod
    def _new_matrices(self, params: ParameterSet) -> MatrixProductClient | MatrixProductServer:
        """The engine of a set."""

    # Elements

    def inner_products(self, a: Array, b: Array | None, bits: int, progress: Progress = silent) -> Array:
        """Shares of sum_j a_j b_j for shared a, b [pairs, n]; of squares without b. [n]."""

        def call(some: slice, show: Progress) -> Words:
            left, right = a[:, some], None if b is None else b[:, some]
            engine = self._slot_engine(slot_sets.choose(left.shape[1], len(a), bits))
            host = self._backend.to_host(left), None if right is None else self._backend.to_host(right)
            return engine.inner_products(*host, bits, show)

        return self._in_calls(call, a.shape[1], progress)

    def crossed(self, own: Array, bits: int, progress: Progress = silent) -> Array:
        """Shares of u v for u [n] at the client and v [n] at the server, each its `own`. [n]."""

        def call(some: slice, show: Progress) -> Words:
            words = self._backend.to_host(own[some])
            engine = self._slot_engine(slot_sets.choose(int(words.size), 1, bits))
            return engine.crossed(words, bits, show)

        return self._in_calls(call, int(own.size), progress)

    def _in_calls(self, call: Callable[[slice, Progress], Words], n: int, progress: Progress) -> Array:
        """Consecutive elements, as many at a time as one call of the slots hides and memory bears."""
        every = [slice(start, min(n, start + _SLOT_CALL)) for start in range(0, n, _SLOT_CALL)]
        work = Work(progress, _PIECE * len(every))
        return self._backend.asarray(np.concatenate([call(some, work.part(_PIECE)) for some in every]))

    def _slot_engine(self, params: TripleParams) -> TripleClient | TripleServer:
        """TenSEAL computes on the CPU."""
        if params not in self._slots:
            self._slots[params] = self._new_slots(params)
        return self._slots[params]

    @abstractmethod
    def _new_slots(self, params: TripleParams) -> TripleClient | TripleServer:
        """The engine of a set."""

    # Elements of a field

    def open_field(self, field: Field) -> None:
        """Have the engine of a field."""
        self._field_engine(field)

    def in_field(
        self, field: Field, steps: Sequence[Step], vectors: Vectors, progress: Progress = silent
    ) -> Product[list[Array]]:
        """Shares of the sums of products that the steps name, see `field_steps`: one call."""
        return self._field_engine(field).product(steps, vectors, progress)

    def _field_engine(self, field: Field) -> FieldEngine:
        if field not in self._fields:
            self._fields[field] = self._new_field(field)
        return self._fields[field]

    @abstractmethod
    def _new_field(self, field: Field) -> FieldEngine:
        """The engine of a field."""


class ClientProducts(Products):
    """Rank 0: has the secret keys and, of products with weights, the mask."""

    def __init__(self, backend: Backend, channel: Channel, engine: Engine = "native") -> None:
        super().__init__(backend, channel, engine)
        self._linear: dict[Way, LinearClient] = {}
        self._layers: dict[tuple[Handles, Way], Layer] = {}

    def ready_weights(self, rows: int, weights: Handles, bits: int) -> None:
        engine, layer = self._begin(rows, weights, bits)
        if isinstance(engine, PackedClient):
            engine.ready(layer, rows)

    def by_weights(
        self, a: Array | None, rows: int, weights: Handles, bits: int, progress: Progress = silent
    ) -> Product[list[Array]]:
        if a is None:
            raise ParameterError("the mask of a product with the server's weights belongs to the client")
        engine, layer = self._begin(rows, weights, bits)
        words = a.reshape(rows, layer.inputs)
        found: Product[Array]
        if isinstance(engine, PackedClient):
            found = engine.product(layer, words.astype(np.uint64, copy=False), progress, bits)
        elif isinstance(engine, RowBatchClient):
            found = whole(lambda: engine.correlate(layer, words, progress, bits))
        else:
            host = self._backend.to_host(words.astype(np.uint64, copy=False))
            found = whole(lambda: engine.correlate(layer, host, progress)).then(self._backend.asarray)
        return found.then(lambda c: self._cut(c, weights))

    def _begin(self, rows: int, weights: Handles, bits: int) -> tuple[LinearClient, Layer]:
        shape = self.shape(rows, weights)
        way = self._way(shape, bits)
        if way not in self._linear:
            self._linear[way] = self._new_linear(way)
        if (weights, way) not in self._layers:
            (digest,) = self._channel.recv("he.layer", [DIGEST_BYTES], round=False)
            layer = Layer(shape.inputs, shape.outputs, bytes(digest), shape.diagonals)
            self._layers[weights, way] = layer
        return self._linear[way], self._layers[weights, way]

    def _new_linear(self, way: Way) -> LinearClient:
        if isinstance(way, int):
            return SealRowBatchClient(self._channel, way)
        kind = PackedClient if way.special else RowBatchClient
        return kind(self._backend, self._channel, way)

    def _new_matrices(self, params: ParameterSet) -> MatrixProductClient:
        return MatrixProductClient(self._backend, self._channel, params)

    def _new_slots(self, params: TripleParams) -> TripleClient:
        return TripleClient(self._channel, params)

    def _new_field(self, field: Field) -> FieldEngine:
        if self._engine == "tenseal":
            return SealFieldClient(self._backend, self._channel, tenseal_fields.params_of(field))
        return FieldClient(self._backend, self._channel, params_of(field))


class ServerProducts(Products):
    """Rank 1: has the weights, and evaluates."""

    def __init__(self, backend: Backend, channel: Channel, engine: Engine = "native") -> None:
        super().__init__(backend, channel, engine)
        self._linear: dict[Way, Any] = {}
        self._words: list[tuple[Array, int]] = []
        self._checked: dict[tuple[Handles, Way], Weights | PackedWeights | ScalarWeights] = {}

    def hold(self, words: Array | None, shape: tuple[int, ...], bits: int) -> int:
        self._words.append((words, bits))
        return super().hold(words, shape, bits)

    def ready_weights(self, rows: int, weights: Handles, bits: int) -> None:
        engine, checked = self._begin(rows, weights, bits)
        if isinstance(engine, PackedServer):
            engine.ready(checked.layer, rows)

    def by_weights(
        self, a: Array | None, rows: int, weights: Handles, bits: int, progress: Progress = silent
    ) -> Product[list[Array]]:
        engine, checked = self._begin(rows, weights, bits)
        masks: Product[Array]
        if isinstance(checked, PackedWeights):
            masks = engine.product(checked, rows, progress, bits)
        elif isinstance(checked, Weights):
            masks = whole(lambda: engine.correlate(checked, rows, progress, bits))
        else:
            masks = whole(lambda: engine.correlate(checked, rows, progress)).then(self._backend.asarray)
        return masks.then(lambda s: self._cut(self._backend.xp.negative(s, out=s), weights))

    def _begin(
        self, rows: int, weights: Handles, bits: int
    ) -> tuple[Any, Weights | PackedWeights | ScalarWeights]:
        """The engine, and the weights as it wants them: checked when they are first used."""
        shape = self.shape(rows, weights)
        way = self._way(shape, bits)
        if way not in self._linear:
            self._linear[way] = self._new_linear(way)
        if (weights, way) not in self._checked:
            checked = self._check(way, weights, shape.diagonals)
            self._checked[weights, way] = checked
            self._channel.send("he.layer", [checked.layer.digest], round=False)
        return self._linear[way], self._checked[weights, way]

    def _new_linear(self, way: Way) -> RowBatchServer | PackedServer | SealRowBatchServer:
        if isinstance(way, int):
            return SealRowBatchServer(self._channel, way)
        kind = PackedServer if way.special else RowBatchServer
        return kind(self._backend, self._channel, way)

    def _check(self, way: Way, weights: Handles, diagonals: int) -> Weights | PackedWeights | ScalarWeights:
        matrix = self.matrix(weights)
        if isinstance(way, int):
            return ScalarWeights(way, matrix, diagonals=diagonals)
        kind = PackedWeights if way.special else Weights
        return kind(self._backend, way, matrix, diagonals=diagonals)

    def matrix(self, weights: Handles) -> Integers:
        """Weights side by side in the order of `shape`, signed."""
        order = _order([self._shapes[w] for w in weights])
        parts = [self._integers(weights[place]) for place in order]
        dense = [np.diag(part) if part.ndim == 1 else part for part in parts]
        return dense[0] if len(dense) == 1 else np.concatenate(dense, axis=1)

    def _integers(self, weight: int) -> Integers:
        words, bits = self._words[weight]
        left = np.uint64(64 - bits)
        return (self._backend.to_host(words) << left).view(np.int64) >> left.astype(np.int64)

    def _new_matrices(self, params: ParameterSet) -> MatrixProductServer:
        return MatrixProductServer(self._backend, self._channel, params)

    def _new_slots(self, params: TripleParams) -> TripleServer:
        return TripleServer(self._channel, params)

    def _new_field(self, field: Field) -> FieldEngine:
        if self._engine == "tenseal":
            return SealFieldServer(self._backend, self._channel, tenseal_fields.params_of(field))
        return FieldServer(self._backend, self._channel, params_of(field))


def pieces(shape: Shape, bits: int) -> list[Shape]:
    """The products of matrices that are made one after the other for one of this shape."""
    found = matmul.cut(matmul.matrix_params(bits), shape, bits)
    return [Shape(*(part.stop - part.start for part in piece)) for piece in found]


def shape_of(rows: int, shapes: Sequence[tuple[int, ...]]) -> Shape:
    """The product of [rows, k] with weights of these shapes."""
    columns, diagonals = sum(shape[-1] for shape in shapes), sum(len(shape) == 1 for shape in shapes)
    return Shape(1, rows, shapes[0][0], columns, diagonals)


def _order(shapes: list[tuple[int, ...]]) -> list[int]:
    """Matrices first, diagonals last."""
    return sorted(range(len(shapes)), key=lambda place: len(shapes[place]) == 1)
