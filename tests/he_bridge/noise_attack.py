"""What a key holder can do with the noise of a reply: read it exactly and fit it to its own errors."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from he_bridge.tenseal_bfv import Bfv, KeyHolder
from he_bridge.tenseal_io import Words

Reals = npt.NDArray[np.float64]
LIMB = 20


def secret_of(holder: KeyHolder) -> Reals:
    """The secret key, by decrypting (0, q/t): its holder may."""
    bfv = holder.bfv
    seal, library = bfv.library.seal, bfv.library
    primes = bfv.primes[:-1]
    scale = np.prod([int(p) for p in primes], dtype=object) // bfv.plain_modulus
    residues = np.zeros((2, len(primes), bfv.degree), np.uint64)
    residues[1, :, 0] = [scale % p for p in primes]
    cipher = seal.Ciphertext(bfv.context)
    library.write_cipher(bfv.context, cipher, residues, bfv.context.first_parms_id())
    plain = seal.Plaintext()
    holder._decryptor.decrypt(cipher, plain)
    values = library.read_plain(plain, bfv.degree)
    secret = np.where(values == bfv.plain_modulus - 1, -1.0, values.astype(np.float64))
    assert set(np.unique(secret)) <= {-1.0, 0.0, 1.0}
    return secret


def _times_secret(polynomial: Words, secret: Reals) -> npt.NDArray[np.object_]:
    """Exact integer product modulo X^N + 1."""
    degree = len(secret)
    spectrum = np.fft.rfft(secret, 2 * degree)
    total = np.zeros(degree, object)
    for shift in range(0, 60, LIMB):
        limb = ((polynomial >> np.uint64(shift)) & np.uint64((1 << LIMB) - 1)).astype(np.float64)
        found = np.rint(np.fft.irfft(np.fft.rfft(limb, 2 * degree) * spectrum, 2 * degree))
        total += (found[:degree] - found[degree:]).astype(np.int64).astype(object) << shift
    return total


def noise(bfv: Bfv, secret: Reals, residues: Words, coefficients: Words) -> Reals:
    """(b + a s - q m / t) [N] of a ciphertext [2, primes, N] that decrypts to these coefficients m."""
    primes = bfv.primes[: residues.shape[1]]
    modulus = int(np.prod([int(p) for p in primes], dtype=object))
    phase = np.zeros(bfv.degree, object)
    for b, a, prime in zip(residues[0], residues[1], primes, strict=True):
        basis = modulus // prime * pow(modulus // prime, -1, prime)
        phase += (b.astype(object) + _times_secret(a, secret)) % prime * basis
    t = bfv.plain_modulus
    whole = modulus * t
    scaled = (phase * t - coefficients.astype(object) * modulus) % whole
    centred = np.where(scaled > whole // 2, scaled - whole, scaled)
    return (centred / t).astype(np.float64)


def own_errors(holder: KeyHolder, secret: Reals, data: bytes, vectors: list[Words]) -> Reals:
    """The errors [count, N] in the ciphertexts that `holder.encrypt` made of these vectors."""
    bfv = holder.bfv
    count, primes = len(vectors), len(bfv.primes) - 1
    cut = len(data) - 64 * count
    halves = bfv.unpack(data[:cut], count, primes)
    found = []
    for index, values in enumerate(vectors):
        seed = data[cut + 64 * index :][:64]
        cipher = bfv.library.seal.Ciphertext(bfv.context)
        parms = bfv.context.first_parms_id()
        bfv.library.write_cipher(bfv.context, cipher, halves[index, None], parms, seed=seed)
        residues, _ = bfv.library.read_cipher(cipher)
        found.append(noise(bfv, secret, residues, coefficients_of(bfv, values)))
    return np.stack(found)


def coefficients_of(bfv: Bfv, values: Words) -> Words:
    """The plaintext polynomial of a vector."""
    return bfv.library.read_plain(bfv.encode(values), bfv.degree)


def reply_noise(holder: KeyHolder, secret: Reals, data: bytes, count: int) -> Reals:
    """The noise [count, N] of released results."""
    bfv = holder.bfv
    kept = len(bfv.params.kept)
    residues = bfv.unpack(data, 2 * count, kept).reshape(count, 2, kept, bfv.degree)
    values = holder.decrypt(data, count)
    return np.stack(
        [noise(bfv, secret, r, coefficients_of(bfv, v)) for r, v in zip(residues, values, strict=True)]
    )


def fit(own: Reals, reply: Reals) -> Reals:
    """Least squares: factors [count] with reply [N] = sum_i factors[i] * own[i, N]."""
    return np.linalg.lstsq(own.T, reply, rcond=None)[0]
