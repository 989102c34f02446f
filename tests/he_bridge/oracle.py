"""SEAL on the primes, the plaintexts and the secret key of the own engine: what one makes, the other reads.

For tests alone: here a secret key leaves its engine.
"""

from __future__ import annotations

import functools
import struct
from typing import Any

import numpy as np

from gpu_ss.prg import Prg
from he_bridge import rlwe
from he_bridge.params import LIN64, LIN64P, ParameterSet
from he_bridge.ring import PolyRing
from he_bridge.tenseal_io import library
from tests.he_bridge.lattice import Words, opened

#: The primes of LIN64, and the largest power of two that SEAL takes for plaintexts.
PARAMS = ParameterSet("ORACLE59", 8192, LIN64.kept, LIN64.dropped, 59, LIN64P.special)


class Oracle:
    """Both engines under one secret key, drawn by the own one. Words are modulo 2^59."""

    def __init__(self) -> None:
        self.ring = PolyRing(opened(), PARAMS)
        self.prg = Prg(self.ring.backend)
        self.secret, self.public = rlwe.keygen(self.ring, self.prg)
        self.seal = library().seal
        moduli = [self.seal.Modulus(p) for p in PARAMS.chain]
        self.context = library().context(PARAMS.degree, moduli, 1 << PARAMS.ring_bits)
        key = self._key()
        self._decryptor = self.seal.Decryptor(self.context, key)
        self._encryptor = self.seal.Encryptor(self.context, key)
        self.evaluator = self.seal.Evaluator(self.context)

    def _key(self) -> Any:
        """The own secret key as SEAL's: values modulo all primes, in SEAL's serialised form."""
        host = self.ring.backend.to_host(self.secret._s).astype(np.uint64)
        key, body = self.seal.SecretKey(), library()._object(struct.pack("<Q", host.size), host.tobytes())
        head = struct.pack("<5Qd", *self.context.key_parms_id(), host.size, 1.0)
        library()._file.load(library()._object(head, *body), functools.partial(key.load, self.context))
        return key

    def level(self, primes: int) -> Any:
        """SEAL's name of the modulus of the first so many primes."""
        parms = self.context.first_parms_id()
        for _ in range(len(PARAMS.primes) - primes):
            parms = self.context.get_context_data(parms).next_context_data().parms_id()
        return parms

    def foreign(self, b: Words, a: Words, index: int) -> Any:
        """One of the own ciphertexts, given as coefficients, for SEAL."""
        residues = np.stack([np.asarray(x[:, index], np.uint64) for x in (b, a)])
        cipher = self.seal.Ciphertext(self.context)
        return library().write_cipher(self.context, cipher, residues, self.level(len(residues[0])))

    def read(self, cipher: Any) -> tuple[Words, Words]:
        """SEAL's ciphertext as coefficients [primes, 1, N] of both parts."""
        residues, _ = library().read_cipher(cipher)
        b, a = residues.astype(np.uint32)[:, :, None]
        return b, a

    def encrypt(self, words: Words) -> Any:
        """Words [N], encrypted by SEAL."""
        half = self._encryptor.encrypt_symmetric(library().write_plain(self.context, words))
        residues, seed = library().read_cipher(half)
        cipher = self.seal.Ciphertext(self.context)
        return library().write_cipher(
            self.context, cipher, residues, self.context.first_parms_id(), seed=seed
        )

    def decrypt(self, cipher: Any) -> Words:
        """The words [N] of a ciphertext, decrypted by SEAL."""
        plain = self.seal.Plaintext()
        self._decryptor.decrypt(cipher, plain)
        return library().read_plain(plain, PARAMS.degree)

    def budget(self, cipher: Any) -> int:
        """Bits of noise that SEAL still has room for."""
        return int(self._decryptor.invariant_noise_budget(cipher))
