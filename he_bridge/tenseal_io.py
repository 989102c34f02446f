"""TenSEAL's SEAL for numpy arrays: the only file that imports `tenseal`.

`tenseal.sealapi` reads and writes files only, takes plaintexts as text or Python lists, and always compresses
what it saves. So arrays travel through a memory file (memfd, no disk) in SEAL's own serialised form, written by
hand. That form is tried out when the library is first used; a SEAL with another one is refused.

Bytes of the peer never reach SEAL as they are. On the wire residues are packed to the exact width of their
prime (`pack`), so every length is known beforehand, nothing foreign is decompressed, and each residue is compared
with its prime before SEAL sees it (`tenseal_bfv`). That is well-formedness only: integrity is the channel's task.

TenSEAL holds the interpreter's lock: use processes, not threads.
"""

from __future__ import annotations

import functools
import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from he_bridge.errors import HeError, ParameterError

if TYPE_CHECKING:
    from typing_extensions import Buffer

Words = npt.NDArray[np.uint64]

SEED_BYTES = 64
_MAGIC, _HEADER, _SEED_TYPE = 0xA15E, 16, 1
_OTHER = "this TenSEAL holds a SEAL with another file format; use tenseal>=0.3.16,<0.4"


@contextmanager
def guarded(what: str, kind: type[HeError] = HeError) -> Iterator[None]:
    """SEAL raises many types (RuntimeError, ValueError, IndexError, ...): all become `kind`."""
    try:
        yield
    except HeError:
        raise
    except Exception as error:
        raise kind(f"{what}: {type(error).__name__}: {str(error)[:200]}") from None


class _MemoryFile:
    """Hands bytes to and from functions that want a path. Emptied after every use, new after a fork."""

    def __init__(self) -> None:
        self._reset()
        os.register_at_fork(after_in_child=self._reset)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._fd = os.memfd_create("he")
        self._path = f"/proc/self/fd/{self._fd}"

    def load(self, parts: Sequence[Buffer], load: Callable[[str], None]) -> None:
        with self._lock:
            try:
                if os.pwritev(self._fd, parts, 0) != sum(memoryview(part).nbytes for part in parts):
                    raise HeError("out of memory while handing bytes to SEAL")
                load(self._path)
            finally:
                os.ftruncate(self._fd, 0)

    def save(self, save: Callable[[str], None]) -> bytes:
        with self._lock:
            try:
                save(self._path)
                return os.pread(self._fd, os.fstat(self._fd).st_size, 0)
            finally:
                os.ftruncate(self._fd, 0)


class Library:
    """The imported modules, and SEAL's serialised form for reading and writing."""

    def __init__(self) -> None:
        try:
            import tenseal.sealapi as seal
            import zstandard
        except ImportError as error:
            raise HeError(f"TenSEAL is not installed ({error.name}): pip install 'fastlmpi[he]'") from None
        self.seal: Any = seal
        self._unzip = zstandard.ZstdDecompressor  # an object each time: they may not be shared by threads
        self._file = _MemoryFile()
        self._version = b"\x04\x03"

    def context(self, degree: int, moduli: Any, plain_modulus: int) -> Any:
        """BFV with 128 bits of security, or ParameterError."""
        parms = self.seal.EncryptionParameters(self.seal.SCHEME_TYPE.BFV)
        parms.set_poly_modulus_degree(degree)
        parms.set_coeff_modulus(moduli)
        parms.set_plain_modulus(plain_modulus)
        context = self.seal.SEALContext(parms, True, self.seal.SEC_LEVEL_TYPE.TC128)
        if not context.parameters_set():
            raise ParameterError(f"SEAL refuses the parameters: {context.parameters_error_message()}")
        return context

    def _object(self, *parts: bytes) -> list[bytes]:
        size = _HEADER + sum(map(len, parts))
        return [struct.pack("<HB2sBHQ", _MAGIC, _HEADER, self._version, 0, 0, size), *parts]

    def read(self, save: Callable[[str], None]) -> bytes:
        """The body of one of our own objects (never of foreign bytes: this decompresses)."""
        raw = self._file.save(save)
        magic, header, version, mode = struct.unpack_from("<HB2sB", raw)
        if (magic, header) != (_MAGIC, _HEADER) or version[0] != 4 or mode not in (0, 2):
            raise HeError(_OTHER)
        self._version = version
        return self._unzip().decompressobj().decompress(raw[_HEADER:]) if mode else raw[_HEADER:]

    def write_plain(self, context: Any, values: Words) -> Any:
        """A plaintext with these coefficients."""
        array = self._object(struct.pack("<Q", values.size), values.tobytes())
        plain = self.seal.Plaintext()
        body = struct.pack("<5Qd", 0, 0, 0, 0, values.size, 1.0)
        self._file.load(self._object(body, *array), functools.partial(plain.load, context))
        return plain

    def read_plain(self, plain: Any, degree: int) -> Words:
        """All coefficients; SEAL leaves out leading zeros."""
        found = np.frombuffer(self.read(plain.save), np.uint64, offset=struct.calcsize("<5Qd") + _HEADER + 8)
        values = np.zeros(degree, np.uint64)
        values[: found.size] = found
        return values

    CIPHER = struct.Struct("<4QBQQQdQ")
    AHEAD = CIPHER.size + _HEADER + 8
    """Bytes before the residues: parameters, NTT form, size, degree, primes, scale, factor; array header."""

    def write_cipher(
        self, context: Any, target: Any, residues: Words, parms: Any, *, seed: bytes = b"", ntt: bool = False
    ) -> Any:
        """A ciphertext or public key from residues [2 or, with a seed for the other half, 1, primes, N]."""
        _, primes, degree = residues.shape
        head = self.CIPHER.pack(*parms, ntt, 2, degree, primes, 1.0, 1)
        array = self._object(struct.pack("<Q", residues.size), residues.tobytes())
        tail = self._object(bytes([_SEED_TYPE]), seed) if seed else []
        self._file.load(self._object(head, *array, *tail), functools.partial(target.load, context))
        return target

    def read_cipher(self, cipher: Any) -> tuple[Words, bytes]:
        """Residues [2, primes, N] and no seed, or of a seeded one [1, primes, N] and its seed."""
        body = self.read(cipher.save)
        *_, _size, degree, primes, _scale, _factor = self.CIPHER.unpack_from(body)
        (count,) = struct.unpack_from("<Q", body, self.AHEAD - 8)
        polynomials = count // (degree * primes)
        residues = np.frombuffer(body, np.uint64, count, self.AHEAD)
        seed = body[self.AHEAD + 8 * count :]
        if (polynomials, len(seed)) not in {(2, 0), (1, _HEADER + 1 + SEED_BYTES)}:
            raise HeError(_OTHER)
        return residues.reshape(polynomials, primes, degree), seed[_HEADER + 1 :]


@functools.cache
def library() -> Library:
    """The library, after one round trip of everything that this file writes by hand (40 ms)."""
    found = Library()
    with guarded(_OTHER):
        _try_out(found)
    return found


def _try_out(found: Library) -> None:
    """Raises unless plaintexts, seeded and full ciphertexts and public keys survive the way out and back."""
    seal, degree, values = found.seal, 1024, np.arange(1024, dtype=np.uint64) % 256
    context = found.context(degree, seal.CoeffModulus.Create(degree, [27]), 256)
    generator = seal.KeyGenerator(context)
    public = seal.PublicKey()
    generator.create_public_key(public)
    key, _ = found.read_cipher(public)
    again = found.write_cipher(context, seal.PublicKey(), key, context.key_parms_id(), ntt=True)
    encryptor = seal.Encryptor(context, again, generator.secret_key())
    decryptor = seal.Decryptor(context, generator.secret_key())
    total = seal.Ciphertext(context)
    encryptor.encrypt_zero(total)
    half, seed = found.read_cipher(encryptor.encrypt_symmetric(found.write_plain(context, values)))
    parms = context.first_parms_id()
    fresh = found.write_cipher(context, seal.Ciphertext(context), half, parms, seed=seed)
    seal.Evaluator(context).add_inplace(total, fresh)
    whole, _ = found.read_cipher(total)
    plain = seal.Plaintext()
    decryptor.decrypt(found.write_cipher(context, seal.Ciphertext(context), whole, parms), plain)
    if not np.array_equal(found.read_plain(plain, degree), values):
        raise HeError(_OTHER)


def available() -> bool:
    """Whether TenSEAL can be used here."""
    try:
        library()
    except HeError:
        return False
    return True


def batching_primes(degree: int, bits: int, count: int) -> list[int]:
    """The largest primes of so many bits that give `degree` slots."""
    with guarded("no such primes", ParameterError):
        primes = library().seal.PlainModulus.Batching(degree, [bits] * count)
        return [int(prime.value()) for prime in primes]


def pack(values: Words, bits: int) -> bytes:
    """Words below 2^bits, a multiple of 64 of them, without the upper bits; `unpack` is the inverse."""
    rows = values.reshape(64, -1)
    packed = np.zeros((bits, rows.shape[1]), "<u8")
    for index, row in enumerate(rows):
        word, shift = divmod(index * bits, 64)
        packed[word] |= row << np.uint64(shift)
        if shift + bits > 64:
            packed[word + 1] |= row >> np.uint64(64 - shift)
    return packed.tobytes()


def unpack(data: Buffer, bits: int) -> Words:
    """Flat words from bytes whose number is a multiple of 8 * bits (the caller has compared it)."""
    packed = np.frombuffer(memoryview(data), "<u8").reshape(bits, -1)
    rows = np.empty((64, packed.shape[1]), np.uint64)
    mask = np.uint64((1 << bits) - 1)
    for index, row in enumerate(rows):
        word, shift = divmod(index * bits, 64)
        np.right_shift(packed[word], np.uint64(shift), out=row)
        if shift + bits > 64:
            row |= packed[word + 1] << np.uint64(64 - shift)
        row &= mask
    return rows.reshape(-1)
