"""Correlations for linear layers through TenSEAL: `RowBatchClient` and `RowBatchServer` on a known library.

The client holds R [rows, K] modulo 2^bits, the server integers W [K, C]; afterwards the client holds R W + S and
the server S, uniform, modulo 2^bits, exactly. As in `linear`, column k of R is one ciphertext and its rows are the
coefficients; output c is sum_k W[k, c] Enc(R[:, k]) with scalars, no transforms and no rotations:

    client                                            server
      Enc(R[:, k]) for k < K                ------>     sum_k W[k, c] Enc(R[:, k]) + S[:, c]
      R W + S                               <------     masked, re-randomised, switched (`Evaluator.release`)

For comparison with the project's own engine and for those who want to rely on SEAL. It runs on one core (TenSEAL
holds the interpreter's lock).

SEAL's plaintext modulus ends at 59 bits: up to there S is uniform modulo 2^bits. In larger rings R W is computed
over the integers, modulo a product T of four primes of 42 bits (an encryption for each); S is then uniform in a
range of 2^168, which hides R W < 2^64 sum_k |W[k, c]| up to their ratio.

What is revealed. To the server: nothing beyond RLWE (128 bits); rows, K and C are public. To the client: R W + S,
and through the noise and, in large rings, the mask, at most 2^-40 for all columns of a batch together;
`ScalarWeights` checks this against the columns of W. The time taken depends on which weights are zero. Semi-honest
parties.

Cost for a batch of up to 8192 rows with bits = 59: 169 kB up for each k, 141 kB down for each c, 0.16 ms of CPU
for each weight that is not zero, 0.5 MiB of memory at the server for each k. One round trip for each batch. Above
59 bits: 606 kB, 426 kB, 0.5 ms and 1.5 MiB.
Source: as `linear`; noise: see `tenseal_bfv`; remainders: see `slots`.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from he_bridge.errors import CiphertextError, ParameterError
from he_bridge.linear import Layer
from he_bridge.margins import MIN_BITS, Margins
from he_bridge.pace import Progress, counter, silent
from he_bridge.remainders import Generator, Remainders, os_words
from he_bridge.tenseal_bfv import (
    Bfv,
    BfvParams,
    Cipher,
    KeyHolder,
    receive_keys,
    send_keys,
)
from he_bridge.tenseal_io import Words, batching_primes
from net.channel import Channel

Integers = npt.NDArray[np.int64]

MAX_BITS = 59
"""Of one plaintext modulus."""
DEGREE = 8192
GROUP = 16
"""Ciphertexts in a message: 2.7 MB up, 2.3 MB down."""
_PRIMES, _PRIME_BITS = 4, 42

_KEY_TAG, _UP_TAG, _DOWN_TAG = "he.seal.key", "he.seal.up", "he.seal.down"
_HEADER = struct.Struct("<5Q")


def scalar_params(bits: int) -> BfvParams:
    """Sizes for shares modulo 2^bits: 10 bits more stay for decryption, 96 are dropped against the noise."""
    if not 1 <= bits <= 64:
        raise ParameterError(f"shares of {bits} bits: this engine has 1 to 64")
    if bits > MAX_BITS:
        return BfvParams(DEGREE, (_PRIME_BITS + 10,), (48, 48), 17, _PRIME_BITS)
    kept = max(bits + 10, 40)
    return BfvParams(DEGREE, (kept - kept // 2, kept // 2), (48, 48), 17, bits)


class ScalarWeights:
    """A checked weight matrix [K, C] of signed integers, at the server; ParameterError if noise would show it.

    Magnitudes are limited by `margins`, and below 2^(bits-1). digest_key as for `linear.Weights`.
    """

    def __init__(
        self, bits: int, weights: Integers, digest_key: bytes | None = None, diagonals: int = 0
    ) -> None:
        if weights.dtype != np.int64 or weights.ndim != 2:
            raise ParameterError(f"weights must be an int64 matrix, not {weights.dtype} {weights.shape}")
        params = scalar_params(bits)
        size = np.abs(weights.astype(np.float64))
        if size.max(initial=0.0) >= 2.0 ** (params.plain_bits - 1):
            raise ParameterError(f"weights must be below 2^{params.plain_bits - 1} in magnitude")
        l1, l2 = size.sum(axis=0).max(initial=0.0), np.sqrt((size**2).sum(axis=0).max(initial=0.0))
        outputs = DEGREE * max(1, weights.shape[1])
        if bits > MAX_BITS:
            _check_mask(float(l1), outputs)
            outputs *= _PRIMES
        self.margins: Margins = params.check(float(l1), float(l2), outputs)
        self.integers = np.ascontiguousarray(weights)
        self.layer = Layer.of(self.integers, digest_key, diagonals)
        self.bits = bits

    def __repr__(self) -> str:
        return f"ScalarWeights(inputs={self.layer.inputs}, outputs={self.layer.outputs}, <hidden>)"


def _check_mask(l1: float, outputs: int) -> None:
    """Raises ParameterError unless a mask hides so many results of a large ring; the noise has the other half."""
    hidden = _PRIMES * _PRIME_BITS - 1 - 65 - math.log2(max(1.0, l1)) - math.log2(outputs)
    if hidden < MIN_BITS + 1:
        raise ParameterError(f"parameters too weak: mask 2^-{hidden:.1f}, 2^-{MIN_BITS + 1} is required")


class _Masks:
    """Results and masks as residues: the only modulus 2^bits, or some primes."""

    def __init__(self, bits: int) -> None:
        self._ones = np.uint64((1 << bits) - 1)
        self._bits = bits
        self.moduli = [1 << bits] if bits <= MAX_BITS else batching_primes(DEGREE, _PRIME_BITS, _PRIMES)
        self._remainders = None if bits <= MAX_BITS else Remainders(self.moduli)
        # Results lie around zero: added to a mask so that the sum is never negative, and below the product.
        self._middle = math.prod(self.moduli) // self.moduli[-1] // 2

    def reduce(self, words: Words) -> Words:
        """Words [n] for each modulus."""
        kept = words & self._ones
        return kept[None] if self._remainders is None else self._remainders.reduce(kept)

    def draw(self, generator: Generator, n: int) -> tuple[Words, Words]:
        """Uniform masks as residues [moduli, n], and as words modulo 2^bits."""
        if self._remainders is None:
            words = generator((n,)) >> np.uint64(64 - self._bits)
            return words[None], words
        digits = self._remainders.draw(generator, n)
        moduli = np.array(self.moduli, np.uint64)[:, None]
        shift = np.array([self._middle % p for p in self.moduli], np.uint64)[:, None]
        residues = (self._remainders.residues(digits) + shift) % moduli
        return residues, (self._remainders.words(digits) + np.uint64(self._middle % 2**64)) & self._ones

    def words(self, residues: Words) -> Words:
        """Masked results [moduli, n] modulo 2^bits."""
        if self._remainders is None:
            return np.asarray(residues[0])
        return np.asarray(self._remainders.words(self._remainders.digits(residues)) & self._ones)


class _Party:
    def __init__(self, channel: Channel, bits: int) -> None:
        params = scalar_params(bits)
        self._masks = _Masks(bits)
        self._instances = [Bfv(params, modulus) for modulus in self._masks.moduli]
        self._channel = channel
        self._bits = bits
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
        self._keys = [KeyHolder(bfv) for bfv in self._instances]
        send_keys(channel, _KEY_TAG, self._keys)

    def correlate(self, layer: Layer, r: Words, progress: Progress = silent) -> Words:
        """R W + S [rows, C] modulo 2^bits for words R [rows, K], which must be fresh and uniform.

        Raises CiphertextError for malformed messages, NetError if the channel fails.
        """
        if r.dtype != np.uint64 or r.ndim != 2 or r.shape[1] != layer.inputs:
            raise ValueError(f"R must be uint64 [rows, {layer.inputs}], not {r.dtype} {r.shape}")
        out = np.empty((len(r), layer.outputs), np.uint64)
        step = counter(progress, len(_spans(len(r), DEGREE)) * len(_spans(layer.outputs, GROUP)))
        for span in _spans(len(r), DEGREE):
            self._offer(layer, r[span])
            self._finish(out[span], step)
        return out

    def _offer(self, layer: Layer, r: Words) -> None:
        """Sends the columns of R, encrypted."""
        padded = np.zeros((layer.inputs, DEGREE), np.uint64)
        padded[:, : len(r)] = r.T
        self._channel.send(_UP_TAG, [self._header(layer, len(r))])
        for span in _spans(layer.inputs, GROUP):
            columns = [self._masks.reduce(column) for column in padded[span]]
            frames = [key.encrypt([column[i] for column in columns]) for i, key in enumerate(self._keys)]
            self._channel.send(_UP_TAG, frames, round=False)
            self._channel.flush()

    def _finish(self, out: Words, step: Callable[[], None]) -> None:
        """Decrypts the replies into `out`."""
        for span in _spans(out.shape[1], GROUP):
            count = span.stop - span.start
            sizes = [bfv.reply_bytes(count) for bfv in self._instances]
            frames = self._channel.recv(_DOWN_TAG, sizes, round=span.start == 0)
            found = [key.decrypt(frame, count) for key, frame in zip(self._keys, frames, strict=True)]
            for place in range(count):
                words = self._masks.words(np.stack([residues[place] for residues in found]))
                out[:, span.start + place] = words[: len(out)]
            step()


class SealRowBatchServer(_Party):
    """Has the weights. Receives the public key when it is made."""

    def __init__(self, channel: Channel, bits: int = MAX_BITS, generator: Generator = os_words) -> None:
        super().__init__(channel, bits)
        self._generator = generator
        self._evaluators = receive_keys(channel, _KEY_TAG, self._instances)

    def correlate(self, weights: ScalarWeights, rows: int, progress: Progress = silent) -> Words:
        """S [rows, C], uniform modulo 2^bits. Raises as the client's."""
        if weights.bits != self._bits:
            raise ParameterError(f"weights checked for {weights.bits} bits, shares have {self._bits}")
        batches = len(_spans(rows, DEGREE))
        if weights.margins.privacy_bits - math.log2(max(1, batches)) < MIN_BITS:
            raise ParameterError(f"{batches} batches would hide these weights by less than 2^-{MIN_BITS}")
        out = np.empty((rows, weights.layer.outputs), np.uint64)
        step = counter(progress, len(_spans(rows, DEGREE)) * len(_spans(weights.layer.outputs, GROUP)))
        for span in _spans(rows, DEGREE):
            self._evaluate(weights, out[span], step)
        return out

    def _evaluate(self, weights: ScalarWeights, out: Words, step: Callable[[], None]) -> None:
        """Receives ciphertexts, multiplies, replies; the masks go to `out`."""
        header = self._header(weights.layer, len(out))
        (found,) = self._channel.recv(_UP_TAG, [len(header)])
        if bytes(found) != header:
            ours, theirs = (_HEADER.unpack_from(h) for h in (header, found))
            raise CiphertextError(
                "the parties are not at the same layer: batch, rows, inputs, outputs, bits are "
                f"{ours} here and {theirs} at the client, or the weights differ"
            )
        ciphers = self._received(weights.layer.inputs)
        for span in _spans(weights.layer.outputs, GROUP):
            columns = weights.integers[:, span].T
            drawn = [self._masks.draw(self._generator, DEGREE) for _ in columns]
            replies = []
            for i, evaluator in enumerate(self._evaluators):
                results = [evaluator.scalar_sum(ciphers[i], column) for column in columns]
                replies.append(evaluator.release(results, np.stack([residues[i] for residues, _ in drawn])))
            self._channel.send(_DOWN_TAG, replies, round=span.start == 0)
            out[:, span] = np.stack([words[: len(out)] for _, words in drawn], axis=1)
            step()
        self._channel.flush()

    def _received(self, inputs: int) -> list[list[Cipher]]:
        """The ciphertexts of a batch, for each instance."""
        ciphers: list[list[Cipher]] = [[] for _ in self._instances]
        for span in _spans(inputs, GROUP):
            count = span.stop - span.start
            sizes = [bfv.fresh_bytes(count) for bfv in self._instances]
            frames = self._channel.recv(_UP_TAG, sizes, round=False)
            for mine, evaluator, frame in zip(ciphers, self._evaluators, frames, strict=True):
                mine += evaluator.load(frame, count)
        return ciphers


def _spans(total: int, step: int) -> list[slice]:
    """0 .. total in pieces of at most `step`."""
    return [slice(start, min(start + step, total)) for start in range(0, total, step)]
