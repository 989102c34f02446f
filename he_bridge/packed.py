"""Products of a client's secret matrix with weights in clear at the server, for few rows at a time.

The client holds X [rows, K], words of Z_2^ring_bits, the server integer weights W [K, n]. Afterwards the client
holds X W + S and the server S, uniform: shares of a linear layer of one query, or with a random X a correlation
as `linear` makes them for 8192 rows at once. The packing is that of `packing`, with one product.

    client: share = PackedClient(backend, channel, LIN64P).correlate(layer, x)          # X W + S
    server: share = PackedServer(backend, channel, LIN64P).correlate(weights, rows)     # S

Cost of 128 x 768 x 768 under LIN64P: 12 fresh ciphertexts of 154 KB, 768 results merged by 756 key switches to
12 replies of 142 KB: 1.84 MB and 1.71 MB; and once for a session 0.9 MB for each of 6 switching keys. Weights are
transformed as they are needed: keeping them would take 32 KB for each of tiles * results * primes polynomials,
1.5 GB for this product, to save a sixth of the time.

What is revealed. To the server: nothing beyond ring-LWE (128 bits, circular security assumed); rows, K and n are
public. To the client: X W + S, uniform, and the weights' trace in the noise up to the distance that
`PackedWeights.margins` states for a call; weights for which this exceeds 2^-40 are refused. Both follow the
protocol: a client with crafted keys or ciphertexts is not stopped here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ss.backend.base import Backend
from gpu_ss.ring import Array
from he_bridge import packing
from he_bridge.errors import ParameterError
from he_bridge.evaluation import Evaluator, Owner, Task, reply_spans, spans
from he_bridge.linear import Layer, narrowest, signed_integers
from he_bridge.pace import Progress, counter, silent
from he_bridge.packing import Layout, PackedMargins, Shape
from he_bridge.params import ParameterSet, check
from he_bridge.turns import Product, Turn, now
from net import Channel

#: What a byte on the wire costs in nanoseconds when a layout is chosen: 25 Mbit/s, an uplink.
BYTE_NS = 320.0


class PackedWeights:
    """A weight matrix [K, n] of signed integers at the server: 2 bytes for each if they are small, on its backend.

    The digest is keyed, so it confirms no guess of the weights; give the same 1 to 64 secret bytes to have the same
    digest again. diagonals: so many square blocks at the right end have nothing but a diagonal, which both parties
    know; the tiles without weights are left out.
    """

    def __init__(
        self,
        backend: Backend,
        params: ParameterSet,
        weights: NDArray[Any],
        digest_key: bytes | None = None,
        diagonals: int = 0,
    ) -> None:
        check(params)
        integers = signed_integers(weights)
        if weights.ndim != 2 or 0 in weights.shape:
            raise ParameterError(
                f"weights must be a matrix [inputs, outputs] that is not empty, not {weights.shape}"
            )
        _check_diagonals(integers, diagonals)
        self.layer = Layer.of(integers, digest_key, diagonals)
        self.integers = backend.asarray(narrowest(integers))
        self.params = params
        self._squares = (integers.astype(np.float64) ** 2).sum(axis=0)
        self._margins: dict[tuple[int, float], PackedMargins] = {}
        self.margins(1)

    def __repr__(self) -> str:
        return f"PackedWeights(inputs={self.layer.inputs}, outputs={self.layer.outputs}, <hidden>)"

    def margins(self, rows: int, byte_ns: float = BYTE_NS) -> PackedMargins:
        """Of one call with that many rows. Raises ParameterError if the weights must not be used for it."""
        found = self._margins.get((rows, byte_ns))
        if found is None:
            products = []
            for _, _, layout in calls(self.params, self.layer.shape(rows), byte_ns):
                starts = np.arange(0, self.layer.outputs, layout.columns)
                products.append((layout, np.sqrt(np.add.reduceat(self._squares, starts))))
            found = self._margins[rows, byte_ns] = packing.margins(self.params, products)
        return found


class PackedClient:
    """The client's end: owns the keys of this session. `correlate` in the server's order.

    byte_ns, the same at both ends: how dear a byte is; less makes larger and quicker messages.
    """

    def __init__(
        self, backend: Backend, channel: Channel, params: ParameterSet, byte_ns: float = BYTE_NS
    ) -> None:
        self._end = Owner(backend, channel, params)
        self._params = params
        self._byte_ns = byte_ns

    def __repr__(self) -> str:
        return f"PackedClient({self._params.name}, <hidden>)"

    def ready(self, layer: Layer, rows: int) -> None:
        """Sends the switching keys of such a call, as far as they were not sent before."""
        for _, _, layout in calls(self._params, layer.shape(rows), self._byte_ns):
            self._end.ready(layout)

    def correlate(
        self, layer: Layer, x: Array, progress: Progress = silent, bits: int | None = None
    ) -> Array:
        """X W + S [rows, n] modulo 2^bits (None: as the set's ring) for words X [rows, K]. Raises NetError."""
        return now(self.product(layer, x, progress, bits))

    def product(
        self, layer: Layer, x: Array, progress: Progress = silent, bits: int | None = None
    ) -> Product[Array]:
        """`correlate`, to be made among other products."""
        if x.ndim != 2 or x.shape[1] != layer.inputs:
            raise ValueError(f"X must be [rows, {layer.inputs}], not {x.shape}")
        every = calls(self._params, layer.shape(len(x)), self._byte_ns)
        step = _steps(progress, every)

        def turn(start: int, stop: int, layout: Layout) -> Turn[Array]:
            task = Task(layout, layer.digest, bits)
            return self._end.turn(task, x[None, start:stop], step)

        return Product([turn(*call) for call in every], partial(_rows, self._end.ring.backend))


class PackedServer:
    """The server's end: knows the client's public and switching keys. `correlate` in the client's order."""

    def __init__(
        self, backend: Backend, channel: Channel, params: ParameterSet, byte_ns: float = BYTE_NS
    ) -> None:
        self._end = Evaluator(backend, channel, params)
        self._params = params
        self._byte_ns = byte_ns

    def __repr__(self) -> str:
        return f"PackedServer({self._params.name}, <hidden>)"

    def ready(self, layer: Layer, rows: int) -> None:
        """Receives the switching keys of such a call, as far as they are not here yet."""
        for _, _, layout in calls(self._params, layer.shape(rows), self._byte_ns):
            self._end.ready(layout)

    def correlate(
        self, weights: PackedWeights, rows: int, progress: Progress = silent, bits: int | None = None
    ) -> Array:
        """S [rows, n], uniform words modulo 2^bits. Raises NetError, ParameterError before any message."""
        return now(self.product(weights, rows, progress, bits))

    def product(
        self, weights: PackedWeights, rows: int, progress: Progress = silent, bits: int | None = None
    ) -> Product[Array]:
        """`correlate`, to be made among other products."""
        if weights.params != self._params:
            raise ParameterError(f"these weights were checked for {weights.params.name}")
        weights.margins(rows, self._byte_ns)
        backend, layer = self._end.ring.backend, weights.layer
        every = calls(self._params, layer.shape(rows), self._byte_ns)
        step = _steps(progress, every)

        def turn(layout: Layout) -> Turn[Array]:
            def operand(product: int, groups: slice, tiles: slice) -> Array:
                return layout.weights(backend, weights.integers, product, groups, tiles)

            return self._end.turn(Task(layout, layer.digest, bits), operand, step)

        return Product([turn(layout) for _, _, layout in every], partial(_rows, backend))


def _rows(backend: Backend, parts: Iterator[Array]) -> Array:
    """The one product [rows, n] of each part, row below row."""
    found = [part[0] for part in parts]
    return found[0] if len(found) == 1 else backend.xp.concatenate(found)


def _check_diagonals(weights: NDArray[Any], diagonals: int) -> None:
    """What lies off a diagonal would be left out of products. Raises ParameterError."""
    side = len(weights)
    start = weights.shape[1] - diagonals * side
    for k in range(diagonals):
        block = weights[:, start + k * side : start + (k + 1) * side]
        if start < 0 or np.count_nonzero(block) != np.count_nonzero(np.diagonal(block)):
            raise ParameterError(f"the last {diagonals} blocks of {side} columns are not all diagonal")


def calls(params: ParameterSet, shape: Shape, byte_ns: float = BYTE_NS) -> list[tuple[int, int, Layout]]:
    """The rows of a product, at most N at a time, and the layout of each part."""
    return [
        (start, stop, packing.choose(params, replace(shape, rows=stop - start), byte_ns))
        for start, stop in spans(shape.rows, params.degree)
    ]


def _steps(progress: Progress, every: list[tuple[int, int, Layout]]) -> Callable[[], None]:
    return counter(progress, sum(len(list(reply_spans(layout))) for _, _, layout in every))
