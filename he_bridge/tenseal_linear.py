"""Correlations for linear layers through TenSEAL: `RowBatchClient` and `RowBatchServer` on a known library.

The client holds R [rows, K] modulo 2^bits, bits <= 59, the server integers W [K, C]; afterwards the client holds
R W + S and the server S, uniform, modulo 2^bits, exactly. As in `linear`, column k of R is one ciphertext and its
rows are the coefficients; output c is sum_k W[k, c] Enc(R[:, k]) with scalars, no transforms and no rotations:

    client                                            server
      Enc(R[:, k]) for k < K                ------>     sum_k W[k, c] Enc(R[:, k]) + S[:, c], S uniform
      R W + S                               <------     masked, re-randomised, switched (`Evaluator.release`)

For comparison with the project's own engine and for those who want to rely on SEAL. It stops at 59 bits because
SEAL's plaintext modulus does, and runs on one core (TenSEAL holds the interpreter's lock).

What is revealed. To the server: nothing beyond RLWE (128 bits); rows, K and C are public. To the client: R W + S,
which is uniform, and through the noise at most 2^-40 for all columns of a batch together; `ScalarWeights` checks
this against the norms of the columns of W. The time taken depends on which weights are zero. Semi-honest parties.

Cost for a batch of up to 8192 rows with bits = 59: 169 kB up for each k, 141 kB down for each c, 0.16 ms of CPU
for each weight that is not zero, 0.5 MiB of memory at the server for each k. One round trip for each batch.
Source: as `linear`; noise: see `tenseal_bfv`.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import numpy.typing as npt

from he_bridge.errors import CiphertextError, ParameterError
from he_bridge.linear import Layer
from he_bridge.slots import Generator, os_words
from he_bridge.tenseal_bfv import Bfv, BfvParams, Cipher, KeyHolder, Margins, receive_keys, send_keys
from he_bridge.tenseal_io import Words
from he_bridge.wire import DIGEST_BYTES
from net.channel import Channel

Integers = npt.NDArray[np.int64]

MAX_BITS = 59
DEGREE = 8192
GROUP = 16
"""Ciphertexts in a message: 2.7 MB up, 2.3 MB down."""

_KEY_TAG, _UP_TAG, _DOWN_TAG = "he.seal.key", "he.seal.up", "he.seal.down"
_HEADER = struct.Struct("<5Q")


def scalar_params(bits: int) -> BfvParams:
    """Sizes for shares modulo 2^bits: bits + 10 stay for decryption, 96 are dropped against the noise."""
    if not 1 <= bits <= MAX_BITS:
        raise ParameterError(f"shares of {bits} bits: this engine has 1 to {MAX_BITS}")
    kept = max(bits + 10, 40)
    return BfvParams(DEGREE, (kept - kept // 2, kept // 2), (48, 48), 17, bits)


class ScalarWeights:
    """A checked weight matrix [K, C] of signed integers, at the server; ParameterError if noise would show it.

    Magnitudes are limited by `margins`, and below 2^(bits-1). digest_key as for `linear.Weights`.
    """

    def __init__(self, bits: int, weights: Integers, digest_key: bytes | None = None) -> None:
        if weights.dtype != np.int64 or weights.ndim != 2:
            raise ParameterError(f"weights must be an int64 matrix, not {weights.dtype} {weights.shape}")
        size = np.abs(weights.astype(np.float64))
        if size.max(initial=0.0) >= 2.0 ** (bits - 1):
            raise ParameterError(f"weights must be below 2^{bits - 1} in magnitude")
        l1, l2 = size.sum(axis=0).max(initial=0.0), np.sqrt((size**2).sum(axis=0).max(initial=0.0))
        params = scalar_params(bits)
        self.margins: Margins = params.check(float(l1), float(l2), DEGREE * max(1, weights.shape[1]))
        self.integers = np.ascontiguousarray(weights)
        key = os_words((4,)).tobytes() if digest_key is None else digest_key
        digest = hashlib.blake2b(self.integers.tobytes(), key=key, digest_size=DIGEST_BYTES).digest()
        self.layer = Layer(weights.shape[0], weights.shape[1], digest)
        self.bits = bits

    def __repr__(self) -> str:
        return f"ScalarWeights(inputs={self.layer.inputs}, outputs={self.layer.outputs}, <hidden>)"


class _Party:
    def __init__(self, channel: Channel, bits: int) -> None:
        self._bfv = Bfv(scalar_params(bits), 1 << bits)
        self._channel = channel
        self._bits = bits
        self._mask = np.uint64((1 << bits) - 1)
        self._batches = 0

    def __repr__(self) -> str:
        return f"{type(self).__name__}(bits={self._bits}, <hidden>)"

    def _header(self, layer: Layer, rows: int) -> bytes:
        """What both must agree on before a batch; batches are numbered."""
        self._batches += 1
        shape = (rows, layer.inputs, layer.outputs, self._bits)
        return _HEADER.pack(self._batches, *shape) + layer.digest


class SealRowBatchClient(_Party):
    """Has the secret key. Sends the public one (0.4 MB) when it is made."""

    def __init__(self, channel: Channel, bits: int = MAX_BITS) -> None:
        super().__init__(channel, bits)
        self._key = KeyHolder(self._bfv)
        send_keys(channel, _KEY_TAG, [self._key])

    def correlate(self, layer: Layer, r: Words) -> Words:
        """R W + S [rows, C] modulo 2^bits for words R [rows, K], which must be fresh and uniform.

        Raises CiphertextError for malformed messages, NetError if the channel fails.
        """
        if r.dtype != np.uint64 or r.ndim != 2 or r.shape[1] != layer.inputs:
            raise ValueError(f"R must be uint64 [rows, {layer.inputs}], not {r.dtype} {r.shape}")
        out = np.empty((len(r), layer.outputs), np.uint64)
        for span in _spans(len(r), DEGREE):
            self._offer(layer, r[span])
            self._finish(out[span])
        return out

    def _offer(self, layer: Layer, r: Words) -> None:
        """Sends the columns of R, encrypted."""
        padded = np.zeros((layer.inputs, DEGREE), np.uint64)
        padded[:, : len(r)] = r.T & self._mask
        self._channel.send(_UP_TAG, [self._header(layer, len(r))])
        for span in _spans(layer.inputs, GROUP):
            self._channel.send(_UP_TAG, [self._key.encrypt(list(padded[span]))], round=False)
            self._channel.flush()

    def _finish(self, out: Words) -> None:
        """Decrypts the replies into `out`."""
        for span in _spans(out.shape[1], GROUP):
            count = span.stop - span.start
            sizes = [self._bfv.reply_bytes(count)]
            (frame,) = self._channel.recv(_DOWN_TAG, sizes, round=span.start == 0)
            out[:, span] = self._key.decrypt(frame, count)[:, : len(out)].T


class SealRowBatchServer(_Party):
    """Has the weights. Receives the public key when it is made."""

    def __init__(self, channel: Channel, bits: int = MAX_BITS, generator: Generator = os_words) -> None:
        super().__init__(channel, bits)
        self._generator = generator
        (self._evaluator,) = receive_keys(channel, _KEY_TAG, [self._bfv])

    def correlate(self, weights: ScalarWeights, rows: int) -> Words:
        """S [rows, C], uniform modulo 2^bits. Raises as the client's."""
        if weights.bits != self._bits:
            raise ParameterError(f"weights checked for {weights.bits} bits, shares have {self._bits}")
        out = np.empty((rows, weights.layer.outputs), np.uint64)
        for span in _spans(rows, DEGREE):
            self._evaluate(weights, out[span])
        return out

    def _evaluate(self, weights: ScalarWeights, out: Words) -> None:
        """Receives ciphertexts, multiplies, replies; the masks go to `out`."""
        header = self._header(weights.layer, len(out))
        (found,) = self._channel.recv(_UP_TAG, [len(header)])
        if bytes(found) != header:
            ours, theirs = (_HEADER.unpack_from(h) for h in (header, found))
            raise CiphertextError(
                "the parties are not at the same layer: batch, rows, inputs, outputs, bits are "
                f"{ours} here and {theirs} at the client, or the weights differ"
            )
        ciphers: list[Cipher] = []
        for span in _spans(weights.layer.inputs, GROUP):
            count = span.stop - span.start
            (frame,) = self._channel.recv(_UP_TAG, [self._bfv.fresh_bytes(count)], round=False)
            ciphers += self._evaluator.load(frame, count)
        for span in _spans(weights.layer.outputs, GROUP):
            columns = weights.integers[:, span].T
            results = [self._evaluator.scalar_sum(ciphers, column) for column in columns]
            masks = self._generator((len(columns), DEGREE)) >> np.uint64(64 - self._bits)
            replies = self._evaluator.release(results, masks)
            self._channel.send(_DOWN_TAG, [replies], round=span.start == 0)
            out[:, span] = masks[:, : len(out)].T
        self._channel.flush()


def _spans(total: int, step: int) -> list[slice]:
    """0 .. total in pieces of at most `step`."""
    return [slice(start, min(start + step, total)) for start in range(0, total, step)]
