"""Correlations for fixed linear layers, made ahead of time for many rows at once (RowBatch).

The client holds random R [rows, K], the server integer weights W [K, C]. Afterwards the client holds
R W + S and the server S, uniform, modulo 2^ring_bits. Online the client then sends X - R, and the two hold
shares of X W (the preprocessing of Delphi, ePrint 2020/050).

One ciphertext carries one column of R: row i is coefficient i. So output column c is sum_k W_kc ciphertext_k,
with the weights as plain integers: no transforms of weights, no rotations, no keys but one. Cost of a batch of
N rows: K encryptions, 2 K C N products for each prime in float64 matrix products, C replies; on the wire 153
bits for each of N K numbers and 139 for each of N C (LIN64). Fewer rows than N cost hardly less than N.

What is revealed. To the server: nothing beyond ring-LWE (128 bits), K and C are public. To the client: R W + S,
uniform, and the weights' trace in the noise up to the distance that `Weights.margins` states. Both parties follow
the protocol: a client with a crafted key or crafted ciphertexts is not stopped here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ss.backend.base import Backend
from gpu_ss.prg import Prg, fresh_key
from gpu_ss.ring import Array, Ring
from he_bridge import rlwe, wire
from he_bridge.errors import ParameterError
from he_bridge.pace import Progress, counter, silent
from he_bridge.packing import Shape
from he_bridge.params import (
    Margins,
    ParameterSet,
    check,
    check_batches,
    check_weights,
    largest_magnitude,
)
from he_bridge.ring import PolyRing
from he_bridge.wire import DIGEST_BYTES, Header, Kind
from net import Channel

#: Ciphertexts of one message, 2.6 MB: encryption, network and evaluation overlap, and memory stays bounded.
BLOCK = 16
#: Ciphertexts the evaluator multiplies at once where it need not keep all: 100 MB of residues. Whole blocks.
GROUP = 256


@dataclass(frozen=True)
class Layer:
    """What the client knows of a weight matrix: its shape, and a digest that ties messages to it.

    diagonals: so many square blocks at its right end have nothing but a diagonal.
    """

    inputs: int
    outputs: int
    digest: bytes
    diagonals: int = 0

    @staticmethod
    def of(weights: NDArray[np.int64], digest_key: bytes | None, diagonals: int) -> Layer:
        """That of a matrix. The digest is keyed, so it confirms no guess; without a key it is a new one."""
        key = fresh_key() if digest_key is None else digest_key
        digest = hashlib.blake2b(weights.data, key=key, digest_size=DIGEST_BYTES).digest()
        return Layer(weights.shape[0], weights.shape[1], digest, diagonals)

    def shape(self, rows: int) -> Shape:
        """Of a product with that many rows."""
        return Shape(1, rows, self.inputs, self.outputs, self.diagonals)


def signed_integers(weights: NDArray[Any]) -> NDArray[np.int64]:
    """The same numbers as little-endian words. Raises ParameterError for other kinds of numbers."""
    if weights.dtype.kind not in "iu" or weights.dtype == np.uint64:
        raise ParameterError(f"weights must be signed integers, not {weights.dtype}")
    return np.ascontiguousarray(weights, "<i8")


def narrowest(integers: NDArray[np.int64]) -> NDArray[Any]:
    """The same numbers in the smallest type that holds all of them."""
    bound = largest_magnitude(integers)
    kind = next(
        kind for kind in (np.int16, np.int32, np.int64) if bound <= np.iinfo(kind).max or kind is np.int64
    )
    return np.ascontiguousarray(integers, kind)


class Weights:
    """A checked weight matrix [K, C] of signed integers, at the server.

    The digest is keyed, so it confirms no guess of the weights; give the same 1 to 64 secret bytes to have the
    same digest again. `margins` says how far the weights are from being refused.
    """

    def __init__(
        self,
        backend: Backend,
        params: ParameterSet,
        weights: NDArray[Any],
        digest_key: bytes | None = None,
        diagonals: int = 0,
    ) -> None:
        integers = signed_integers(weights)
        self.margins: Margins = check_weights(params, integers)
        self.layer = Layer.of(integers, digest_key, diagonals)
        self.largest = largest_magnitude(integers)
        self.transposed = backend.asarray(narrowest(integers.T))

    def __repr__(self) -> str:
        return f"Weights(inputs={self.layer.inputs}, outputs={self.layer.outputs}, <hidden>)"


@dataclass
class _Turns:
    """Numbers the batches of a session: a message of an earlier batch is refused."""

    params: ParameterSet
    counter: int = 0

    def next_batch(self, layer: Layer, rows: int, bits: int | None) -> _Batch:
        self.counter += 1
        return _Batch(self.params, layer, rows, self.counter, bits)


@dataclass(frozen=True)
class _Batch:
    """One batch of at most N rows, and the headers of its messages."""

    params: ParameterSet
    layer: Layer
    rows: int
    counter: int
    bits: int | None

    @property
    def places(self) -> slice:
        """The coefficients that carry results."""
        return slice(0, self.rows)

    def header(self, kind: Kind, first: int, count: int) -> Header:
        shape = (self.rows, self.layer.inputs, self.layer.outputs)
        return Header(kind, self.params.digest, self.layer.digest, self.counter, *shape, first, count)


class RowBatchClient:
    """The client's end: owns the keys of this session. `correlate` for each layer, in the server's order."""

    def __init__(self, backend: Backend, channel: Channel, params: ParameterSet) -> None:
        check(params)
        self._ring = PolyRing(backend, params)
        self._channel = channel
        self._prg = Prg(backend)
        self._turns = _Turns(params)
        self._secret, public = rlwe.keygen(self._ring, self._prg)
        wire.send_public_key(channel, self._ring, public)

    def __repr__(self) -> str:
        return f"RowBatchClient({self._ring.params.name}, <hidden>)"

    def correlate(
        self, layer: Layer, r: Array, progress: Progress = silent, bits: int | None = None
    ) -> Array:
        """R W + S [rows, C] modulo 2^bits (None: as the set's ring) for words R [rows, K]. Raises NetError."""
        if r.ndim != 2 or r.shape[1] != layer.inputs:
            raise ValueError(f"R must be [rows, {layer.inputs}], not {r.shape}")
        out = self._ring.backend.empty((len(r), layer.outputs))
        step = _steps(self._ring.params, layer, len(r), progress)
        for start, stop in _spans(len(r), self._ring.degree):
            batch = self._turns.next_batch(layer, stop - start, bits)
            self._offer(batch, r[start:stop], step)
            self._finish(batch, out[start:stop], step)
        return out

    def _offer(self, batch: _Batch, r: Array, step: Callable[[], None]) -> None:
        """Sends the columns of R, encrypted."""
        for first, end in _spans(batch.layer.inputs, BLOCK):
            words = self._ring.backend.zeros((end - first, self._ring.degree))
            words[:, : batch.rows] = r[:, first:end].T
            seed = fresh_key()
            b = rlwe.encrypt(self._ring.of(batch.bits), self._secret, words, seed, self._prg)
            header = batch.header(Kind.INPUTS, first, end - first)
            wire.send_inputs(self._channel, self._ring, header, seed, b, round=first == 0)
            step()

    def _finish(self, batch: _Batch, out: Array, step: Callable[[], None]) -> None:
        """Decrypts the replies into `out`."""
        ring = self._ring.of(batch.bits)
        for first, end in _spans(batch.layer.outputs, BLOCK):
            header = batch.header(Kind.REPLIES, first, end - first)
            message = wire.recv_replies(self._channel, ring, header, batch.rows, round=first == 0)
            replies = wire.unpack_replies(ring, [message], [header.count], batch.rows)
            out[:, first:end] = rlwe.decrypt(ring, self._secret, replies, batch.places).T
            step()


class RowBatchServer:
    """The server's end: knows the client's public key. `correlate` for each layer, in the client's order."""

    def __init__(self, backend: Backend, channel: Channel, params: ParameterSet) -> None:
        check(params)
        self._ring = PolyRing(backend, params)
        self._channel = channel
        self._prg = Prg(backend)
        self._turns = _Turns(params)
        self._public = wire.recv_public_key(channel, self._ring)
        self._step: Callable[[], None] = lambda: None

    def correlate(
        self, weights: Weights, rows: int, progress: Progress = silent, bits: int | None = None
    ) -> Array:
        """S [rows, C], uniform words modulo 2^bits. Raises NetError, ParameterError before any message."""
        params = self._ring.params
        check_batches(params, weights.margins, len(list(_spans(rows, params.degree))))
        out = self._ring.backend.empty((rows, weights.layer.outputs))
        self._step = _steps(self._ring.params, weights.layer, rows, progress)
        for start, stop in _spans(rows, self._ring.degree):
            batch = self._turns.next_batch(weights.layer, stop - start, bits)
            self._evaluate(batch, weights, out[start:stop])
        return out

    def _evaluate(self, batch: _Batch, weights: Weights, out: Array) -> None:
        """Receives ciphertexts, multiplies, replies.

        Whichever side is shorter is kept whole: with few inputs all of them, while outputs are made a group at a
        time; with few outputs all sums, while inputs are added up a group at a time.
        """
        inputs, outputs = batch.layer.inputs, batch.layer.outputs
        if inputs <= outputs:
            everything = self._part(batch, weights, slice(0, inputs))
            for first, end in _spans(outputs, GROUP):
                self._reply(batch, first, everything.product(slice(first, end)), out)
        else:
            total = None
            for first, end in _spans(inputs, GROUP):
                total = self._part(batch, weights, slice(first, end)).product(slice(0, outputs), total)
            if total is not None:
                self._reply(batch, 0, total, out)

    def _part(self, batch: _Batch, weights: Weights, inputs: slice) -> _Sum:
        return _Sum(self._ring, weights, inputs, self._inputs(batch, inputs.start, inputs.stop))

    def _inputs(self, batch: _Batch, first: int, end: int) -> tuple[Array, Array]:
        """Ciphertexts first .. end - 1: b and a as values, [primes, end - first, N]."""
        empty = self._ring.backend.xp.empty
        shape = (len(self._ring.primes), end - first, self._ring.degree)
        b, a = empty(shape, np.uint32), empty(shape, np.uint32)
        for start, stop in _spans(end - first, BLOCK):
            header = batch.header(Kind.INPUTS, first + start, stop - start)
            leads = first + start == 0
            found = wire.recv_inputs(self._channel, self._ring, header, round=leads)
            b[:, start:stop], a[:, start:stop] = found
            self._step()
        return b, a

    def _reply(self, batch: _Batch, first: int, result: tuple[Array, Array], out: Array) -> None:
        """Masks and sends the results for columns from `first` on; the masks go to `out`."""
        ring, contiguous = self._ring.of(batch.bits), self._ring.backend.xp.ascontiguousarray
        b, a = result
        for start, stop in _spans(b.shape[1], BLOCK):
            mask = Ring(ring.ring_bits).reduce(self._prg.words((stop - start, ring.degree)))
            parts = (contiguous(b[:, start:stop]), contiguous(a[:, start:stop]))
            replies = rlwe.reply(ring, self._public, *parts, mask, self._prg, batch.places)
            header = batch.header(Kind.REPLIES, first + start, stop - start)
            packed = wire.PackedReplies(ring, replies)
            wire.send_replies(self._channel, header, packed, round=first + start == 0)
            self._step()
            out[:, first + start : first + stop] = mask[:, : batch.rows].T


@dataclass
class _Sum:
    """Ciphertexts of some inputs, to be combined with the weights of some outputs."""

    ring: PolyRing
    weights: Weights
    inputs: slice
    parts: tuple[Array, Array] = field(repr=False)

    def product(self, outputs: slice, add: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
        """sum_k W_kc ciphertext_k for outputs c, both parts [primes, outputs, N]; `add` grows by it, if given."""
        backend, primes = self.ring.backend, self.ring.primes
        w = backend.xp.ascontiguousarray(self.weights.transposed[outputs, self.inputs], np.float64)
        b, a = (
            backend.residue_matmul(w, self.weights.largest, x, more, primes)
            for x, more in zip(self.parts, add or (None, None), strict=True)
        )
        return b, a


def _steps(params: ParameterSet, layer: Layer, rows: int, progress: Progress) -> Callable[[], None]:
    """A step for each message of a call."""
    messages = -(-layer.inputs // BLOCK) + -(-layer.outputs // BLOCK)
    return counter(progress, -(-rows // params.degree) * messages)


def _spans(total: int, step: int) -> Iterator[tuple[int, int]]:
    """0 .. total in pieces of at most `step`."""
    for start in range(0, total, step):
        yield start, min(start + step, total)
