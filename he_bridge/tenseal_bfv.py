"""BFV through TenSEAL for vectors held as numpy arrays: a key holder, an evaluator, what passes between them.

`Bfv` is one parameter choice. `KeyHolder` (the client) encrypts vectors and decrypts replies; `Evaluator` (the
server) multiplies by its own numbers. Vectors have `degree` elements modulo `plain_modulus`: SIMD slots if that is
a batching prime, polynomial coefficients otherwise.

Circuit privacy. The noise of a result is a linear function of the evaluator's numbers, and the key holder
can read it. `Evaluator.release` is therefore the only way out of an evaluator: it adds a mask, adds a fresh
public-key encryption of zero, and drops the primes `dropped` of the modulus. Let D be their product, e the
noise that depends on the evaluator's numbers, z that of the encryption of zero. Dropping the primes one by
one is one division by D with rounding (nested floors). What the receiver gets differs from what it would get
for e = 0 only if a coefficient lies within reach of a rounding boundary; since the ciphertext is pseudorandom
even to the key holder (RLWE, the encryption of zero), that happens with probability (|e| + 2|z|) / D for each
coefficient. `BfvParams.check` bounds the sum over all coefficients of a reply, for the worst numbers. Semi-honest
key holder: the bound on e uses that its encryption errors were drawn as the scheme says.

Randomness of keys and errors: SEAL's generator, newly seeded by the operating system at every encryption.
Secret keys stay inside `KeyHolder`.
Source: Fan and Vercauteren, 2012/144; dropping primes against noise: de Castro et al., 2020/685.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from he_bridge.errors import CiphertextError, HeError, ParameterError
from he_bridge.margins import Margins, sufficient
from he_bridge.tenseal_io import SEED_BYTES, Words, guarded, library, pack, unpack
from net.channel import Channel

if TYPE_CHECKING:
    from typing_extensions import Buffer

_ERROR_MAX = 21  # SEAL's errors: difference of two sums of 21 bits
_ERROR_STD = math.sqrt(10.5)  # and sub-Gaussian with exactly this parameter (Hoeffding)
_TAIL = 12.0  # standard deviations; exceeded with probability 2^-102.9
_MAX_MODULUS_BITS = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438}  # 128 bits of security


@dataclass(frozen=True)
class BfvParams:
    """Sizes of one BFV instance. Primes are given in bits, the largest of that size are taken.

    kept: what is left of the modulus in a reply. dropped: removed before it leaves (circuit privacy).
    special: SEAL sets the last prime aside for key switching, which nothing here uses.
    """

    degree: int
    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    special: int
    plain_bits: int

    @property
    def fresh_bits(self) -> int:
        """Bits of the modulus of a fresh ciphertext."""
        return sum(self.kept) + sum(self.dropped)

    def check(self, l1: float, l2: float, coefficients: int, uniform: bool = False) -> Margins:
        """Margins of a reply of so many coefficients; ParameterError below `MIN_BITS` or 128 bits of security.

        l1, l2: bounds on the norms of all evaluator numbers (centred plaintext coefficients) that enter one
        coefficient of the result. uniform: the key holder's plaintexts are uniform modulo the plain modulus t, an
        odd number. Then the rounding errors of q m / t are independent, of mean 0 and variance at most 1/12, like
        the encryption errors of variance 10.5. The distance of what the key holder sees, its own plaintexts and
        errors included, from what it would see for e = 0 is the mean over those of the distance for each, so of
        |e| the mean counts instead of a bound: at most the root of the mean square, l2 sqrt(10.5 + 1/12).
        """
        total = self.fresh_bits + self.special
        if total > _MAX_MODULUS_BITS.get(self.degree, 0):
            raise ParameterError(f"a modulus of {total} bits is not 128-bit secure at degree {self.degree}")
        # Noise e: the numbers times errors (a tail bound) and times rounding errors of q m / t (at most 1/2).
        noise = _TAIL * _ERROR_STD * l2 + l1 / 2 + 1
        # The encryption of zero is made with the special prime and divided by it: e0 + e1 s - e u, rounding.
        zero = _ERROR_MAX * (1 + 2 * self.degree) / 2 ** (self.special - 1) + (1 + self.degree) / 2
        dropped = 2.0 ** sum(self.dropped)
        reach = math.sqrt(_ERROR_STD**2 + 1 / 12) * l2 + 1 if uniform else noise
        privacy = -math.log2(coefficients * ((reach + 2 * zero) / dropped + 2.0**-100))
        # Rounding after the drop: (1 + |s|^2) / 12 with |s|^2 <= degree, uniform and so sub-Gaussian.
        room = 2.0 ** (sum(self.kept) - self.plain_bits - 1) - 2 - (noise + zero) / dropped
        deviations = max(room, 0.0) / math.sqrt((1 + self.degree) / 12)
        decryption = deviations**2 / 2 / math.log(2) - 1 - math.log2(coefficients)
        return sufficient(privacy, decryption)


class Bfv:
    """One parameter choice, the same at both parties."""

    def __init__(self, params: BfvParams, plain_modulus: int) -> None:
        self.params = params
        self.plain_modulus = plain_modulus
        self.library = library()
        seal = self.library.seal
        self.bits = (*params.kept, *params.dropped, params.special)
        with guarded("SEAL refuses the parameters", ParameterError):
            moduli = seal.CoeffModulus.Create(params.degree, list(self.bits))
            self.context = self.library.context(params.degree, moduli, plain_modulus)
            self.primes = tuple(int(modulus.value()) for modulus in moduli)
            self.reply_parms = self.context.first_parms_id()
            for _ in params.dropped:
                self.reply_parms = (
                    self.context.get_context_data(self.reply_parms).next_context_data().parms_id()
                )
            batched = plain_modulus % (2 * params.degree) == 1
            self._slots = seal.BatchEncoder(self.context) if batched else None

    def digest(self) -> bytes:
        """Names the parameters, for comparison between the parties."""
        return hashlib.sha256(repr((self.params, self.plain_modulus, self.primes)).encode()).digest()

    @property
    def degree(self) -> int:
        return self.params.degree

    def fresh_bytes(self, count: int) -> int:
        """Bytes of so many fresh ciphertexts."""
        return count * (self.degree * self.params.fresh_bits // 8 + SEED_BYTES)

    def reply_bytes(self, count: int) -> int:
        """Bytes of so many released results."""
        return count * 2 * self.degree * sum(self.params.kept) // 8

    def public_key_bytes(self) -> int:
        return 2 * self.degree * sum(self.bits) // 8

    def encode(self, values: Words) -> Any:
        """A plaintext of `degree` values below the plain modulus; HeError for any other (SEAL would not say)."""
        if values.shape != (self.degree,) or int(values.max()) >= self.plain_modulus:
            raise HeError(f"{self.degree} values below the plaintext modulus are needed")
        if self._slots is None:
            return self.library.write_plain(self.context, values)
        plain = self.library.seal.Plaintext()
        self._slots.encode(values.tolist(), plain)
        return plain

    def decode(self, plain: Any) -> Words:
        if self._slots is None:
            return self.library.read_plain(plain, self.degree)
        return np.array(self._slots.decode_uint64(plain), np.uint64)

    def pack(self, residues: Words) -> bytes:
        """Residues [polynomials, primes, N], prime after prime."""
        return b"".join(
            pack(np.ascontiguousarray(residues[:, index]), self.bits[index])
            for index in range(residues.shape[1])
        )

    def unpack(self, data: Buffer, polynomials: int, primes: int) -> Words:
        """Residues [polynomials, primes, N] from foreign bytes; CiphertextError unless each is below its prime."""
        view = memoryview(data).cast("B")
        sizes = [polynomials * self.degree * bits // 8 for bits in self.bits[:primes]]
        if view.nbytes != sum(sizes):
            raise CiphertextError(f"{sum(sizes)} bytes of ciphertext expected, got {view.nbytes}")
        residues = np.empty((polynomials, primes, self.degree), np.uint64)
        start = 0
        for index, size in enumerate(sizes):
            found = unpack(view[start : start + size], self.bits[index])
            if int(found.max()) >= self.primes[index]:
                raise CiphertextError("a ciphertext is malformed: residue out of range")
            residues[:, index] = found.reshape(polynomials, self.degree)
            start += size
        return residues


class KeyHolder:
    """The party that encrypts and decrypts. The secret key is drawn here and never leaves."""

    def __init__(self, bfv: Bfv) -> None:
        self.bfv = bfv
        seal = bfv.library.seal
        self._generator = seal.KeyGenerator(bfv.context)
        secret = self._generator.secret_key()
        self._encryptor = seal.Encryptor(bfv.context, secret)
        self._decryptor = seal.Decryptor(bfv.context, secret)

    def __repr__(self) -> str:
        return "KeyHolder(secret key=<hidden>)"

    def public_key(self) -> bytes:
        """For `Evaluator`: 2 N residues of the whole modulus."""
        key = self.bfv.library.seal.PublicKey()
        self._generator.create_public_key(key)
        residues, _ = self.bfv.library.read_cipher(key)
        return self.bfv.pack(residues)

    def encrypt(self, vectors: Sequence[Words]) -> bytes:
        """Fresh ciphertexts of vectors of N values: N * fresh_bits / 8 + 64 bytes each."""
        residues, seeds = [], []
        with guarded("encryption failed"):
            for values in vectors:
                cipher = self._encryptor.encrypt_symmetric(self.bfv.encode(values))
                found, seed = self.bfv.library.read_cipher(cipher)
                residues.append(found[0])
                seeds.append(seed)
        return b"".join([self.bfv.pack(np.stack(residues)), *seeds])

    def decrypt(self, replies: Buffer, count: int) -> Words:
        """The values [count, N] modulo the plain modulus of what `Evaluator.release` made."""
        bfv = self.bfv
        residues = bfv.unpack(replies, 2 * count, len(bfv.params.kept)).reshape(
            count, 2, len(bfv.params.kept), bfv.degree
        )
        values = np.empty((count, bfv.degree), np.uint64)
        seal = bfv.library.seal
        with guarded("a ciphertext from the peer cannot be decrypted", CiphertextError):
            for index in range(count):
                cipher = seal.Ciphertext(bfv.context)
                bfv.library.write_cipher(bfv.context, cipher, residues[index], bfv.reply_parms)
                plain = seal.Plaintext()
                self._decryptor.decrypt(cipher, plain)
                values[index] = bfv.decode(plain)
        return values


class Cipher:
    """An evaluator's ciphertext. There is no way to bytes but `Evaluator.release`."""

    __slots__ = ("_seal",)

    def __init__(self, seal: Any) -> None:
        self._seal = seal

    def __repr__(self) -> str:
        return "Cipher(<hidden>)"


class Operand:
    """Numbers of the evaluator, ready to be multiplied by."""

    __slots__ = ("_seal",)

    def __init__(self, seal: Any) -> None:
        self._seal = seal

    def __repr__(self) -> str:
        return "Operand(<hidden>)"


class Evaluator:
    """The party that computes on ciphertexts of the other one with numbers of its own."""

    def __init__(self, bfv: Bfv, public_key: Buffer) -> None:
        self.bfv = bfv
        seal = bfv.library.seal
        residues = bfv.unpack(public_key, 2, len(bfv.bits))
        with guarded("the public key from the peer is malformed", CiphertextError):
            key = seal.PublicKey()
            parms = bfv.context.key_parms_id()
            bfv.library.write_cipher(bfv.context, key, residues, parms, ntt=True)
            self._encryptor = seal.Encryptor(bfv.context, key)
        self._evaluator = seal.Evaluator(bfv.context)

    def load(self, data: Buffer, count: int) -> list[Cipher]:
        """Fresh ciphertexts from what `KeyHolder.encrypt` made of `count` vectors; CiphertextError if not."""
        bfv = self.bfv
        view = memoryview(data).cast("B")
        if view.nbytes != bfv.fresh_bytes(count):
            raise CiphertextError(f"{bfv.fresh_bytes(count)} bytes of ciphertext expected, got {view.nbytes}")
        primes = len(bfv.bits) - 1
        seeds = view.nbytes - count * SEED_BYTES
        residues = bfv.unpack(view[:seeds], count, primes)
        parms = bfv.context.first_parms_id()
        found = []
        with guarded("a ciphertext from the peer is malformed", CiphertextError):
            for index in range(count):
                seed = bytes(view[seeds + index * SEED_BYTES :][:SEED_BYTES])
                cipher = bfv.library.seal.Ciphertext(bfv.context)
                bfv.library.write_cipher(bfv.context, cipher, residues[index, None], parms, seed=seed)
                found.append(Cipher(cipher))
        return found

    def product_sum(self, ciphers: Sequence[Cipher], operands: Sequence[Words]) -> Cipher | None:
        """sum_i ciphers[i] * operands[i], slot by slot; None if it is zero. The ciphers are used up."""
        pairs = zip(ciphers, operands, strict=True)
        return self.dot([(self.factor(cipher), self.operand(values)) for cipher, values in pairs])

    def factor(self, cipher: Cipher) -> Cipher:
        """The same ciphertext made ready for `dot`; it is used up."""
        with guarded("evaluation failed"):
            self._evaluator.transform_to_ntt_inplace(cipher._seal)
        return cipher

    def operand(self, values: Words) -> Operand | None:
        """Numbers for `dot`; None if all are zero."""
        if not values.any():
            return None
        plain = self.bfv.encode(values)
        with guarded("evaluation failed"):
            self._evaluator.transform_to_ntt_inplace(plain, self.bfv.context.first_parms_id())
        return Operand(plain)

    def dot(self, pairs: Sequence[tuple[Cipher, Operand | None]]) -> Cipher | None:
        """The sum of the products of factors and operands, slot by slot; None if it is zero."""
        seal, total = self.bfv.library.seal, None
        with guarded("evaluation failed"):
            for cipher, operand in pairs:
                if operand is None:
                    continue  # SEAL refuses a product with zero
                product = seal.Ciphertext(self.bfv.context)
                self._evaluator.multiply_plain(cipher._seal, operand._seal, product)
                if total is None:
                    total = product
                else:
                    self._evaluator.add_inplace(total, product)
            if total is not None:
                self._evaluator.transform_from_ntt_inplace(total)
        return None if total is None else Cipher(total)

    def add(self, first: Cipher | None, second: Cipher | None) -> Cipher | None:
        """The sum; None is zero. The first one is used up."""
        if first is None or second is None:
            return second if first is None else first
        with guarded("evaluation failed"):
            self._evaluator.add_inplace(first._seal, second._seal)
        return first

    def scalar_sum(self, ciphers: Sequence[Cipher], weights: npt.NDArray[np.int64]) -> Cipher | None:
        """sum_i ciphers[i] * weights[i] for integers of less than the plain modulus / 2; None if zero.

        Multiplies by |w| and subtracts: SEAL does not centre a negative constant, so its noise would grow by
        the plain modulus.
        """
        seal = self.bfv.library.seal
        total, product = None, seal.Ciphertext(self.bfv.context)
        with guarded("evaluation failed"):
            for index in np.flatnonzero(weights).tolist():
                weight = int(weights[index])
                scalar = seal.Plaintext(f"{abs(weight):X}")
                self._evaluator.multiply_plain(ciphers[index]._seal, scalar, product)
                if total is None:
                    total, product = product, seal.Ciphertext(self.bfv.context)
                    if weight < 0:
                        self._evaluator.negate_inplace(total)
                elif weight < 0:
                    self._evaluator.sub_inplace(total, product)
                else:
                    self._evaluator.add_inplace(total, product)
        return None if total is None else Cipher(total)

    def release(self, results: Sequence[Cipher | None], masks: Words) -> bytes:
        """The bytes of results + masks for the key holder: masked, re-randomised, primes dropped.

        masks [len(results), N] must be uniform modulo the plain modulus, or statistically hide what is
        added; the noise then tells nothing more (see the top of this file). The results are used up.
        """
        bfv, evaluator = self.bfv, self._evaluator
        if masks.shape != (len(results), bfv.degree):
            raise HeError(f"masks of shape {(len(results), bfv.degree)} are needed, not {masks.shape}")
        out = np.empty((len(results), 2, len(bfv.params.kept), bfv.degree), np.uint64)
        with guarded("a result cannot be released"):
            for index, result in enumerate(results):
                cipher = bfv.library.seal.Ciphertext(bfv.context)
                self._encryptor.encrypt_zero(cipher)
                if result is not None:
                    evaluator.add_inplace(cipher, result._seal)
                evaluator.add_plain_inplace(cipher, bfv.encode(masks[index]))
                for _ in bfv.params.dropped:
                    evaluator.mod_switch_to_next_inplace(cipher)
                out[index], _ = bfv.library.read_cipher(cipher)
        return bfv.pack(out.reshape(2 * len(results), len(bfv.params.kept), bfv.degree))


def send_keys(channel: Channel, tag: str, holders: Sequence[KeyHolder]) -> None:
    """Two messages: digests of the parameters, then one public key for each instance."""
    channel.send(tag, [b"".join(holder.bfv.digest() for holder in holders)], round=False)
    channel.send(tag, [holder.public_key() for holder in holders], round=False)
    channel.flush()


def receive_keys(channel: Channel, tag: str, instances: Sequence[Bfv]) -> list[Evaluator]:
    """The other end of `send_keys`. CiphertextError if parameters differ or a key is malformed."""
    digests = b"".join(bfv.digest() for bfv in instances)
    (found,) = channel.recv(tag, [len(digests)], round=False)
    if bytes(found) != digests:
        raise CiphertextError("the parties use different encryption parameters; run the same version")
    keys = channel.recv(tag, [bfv.public_key_bytes() for bfv in instances], round=False)
    return [Evaluator(bfv, key) for bfv, key in zip(instances, keys, strict=True)]
