"""Parameter sets of the ring-LWE encryption, and the checks that a set and the weights under it must pass.

A set fixes the ring Z_q[X]/(X^N + 1), q a product of small primes, and the plaintexts, up to Z_2^ring_bits. Of an
evaluator's result only the first digits reach the wire: it is divided by the `dropped` primes exactly, and what is
left by a number that makes it as short as decoding allows. That is what hides the weights (see `rlwe.reply`).
Security is not configurable: sets are frozen here, and refused where a check fails.

How short a reply may be. In units of the plaintext (t = 2^bits), the client decodes b + a s and rounds. Rounding b
to 2^-B_DIGITS moves that by 2^-(B_DIGITS + 1) at most; rounding a to 2^-A_DIGITS moves it by a sum of N roundings
times coefficients of s, of deviation 2^-A_DIGITS sqrt(N / 18). With 1 and 10 digits a quarter is left for 0.021: 12
standard deviations. A coefficient of b takes bits + 1 bits so, one of a bits + 10.

Why short replies hide more. Given a, which is as good as uniform, the evaluator's b is uniform, and its noise only
shifts it. Of b the client sees which of 2^(bits + 1) intervals of Z_q it lies in; noise e changes that with a
probability of at most |e| 2^(bits + 1) / q, for each coefficient that is sent. a does not depend on the noise.

Background: Brakerski, Fan, Vercauteren (BFV, ePrint 2012/144); security table: Homomorphic Encryption
Standard, 2018 (ternary secrets, classical 128 bits), the same as SEAL enforces.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from math import log2, pi, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from gpu_ss.backend import primes as tables
from gpu_ss.backend.lattice import exact_depth
from he_bridge.errors import ParameterError

#: The longest modulus in bits, special primes included, for 128-bit security with a ternary secret.
MOST_MODULUS_BITS = {1024: 27, 2048: 54, 4096: 109, 8192: 218, 16384: 438, 32768: 881}
#: How many standard deviations of noise must fit: 2^-75 of a Gaussian lies outside 10, 2^-91 outside 11.
NOISE_SIGMAS = 10.0
ROUNDING_SIGMAS = 11.0
#: Binary digits after the point of the two parts of a reply, in units of the plaintext.
B_DIGITS, A_DIGITS = 1, 10
#: Products of weights and residues must stay exact for this many terms at least, or the product is slow.
LEAST_DEPTH = 64

ERROR_VARIANCE = 10.5  # centred binomial of 21 + 21 bits
_ENCODING_VARIANCE = 1 / 12  # of rounding q m / t
_WIRE_CONTRACT = "he_bridge 2: ChaCha20 streams, prime-major, floor(w p / 2^64)"


@dataclass(frozen=True)
class ParameterSet:
    """One frozen choice.

    special: primes for key switching; they count for security, not for noise. wide: fresh ciphertexts are modulo
    these as well, and products are divided by them before keys are switched, which takes the noise of large
    operands away. privacy_bits: the replies of a whole batch are at a statistical distance of at most
    2^-privacy_bits from replies that depend on nothing but the result; weights that would break this are refused.

    Every modulus that is used divides the product of `chain`, so that one decides on security.
    """

    name: str
    degree: int
    kept: tuple[int, ...]
    dropped: tuple[int, ...]
    ring_bits: int
    special: tuple[int, ...] = ()
    privacy_bits: int = 40
    wide: bool = False

    @property
    def primes(self) -> tuple[int, ...]:
        """The primes of a fresh ciphertext; those that replies are made at come first."""
        return self.chain if self.wide else self.level

    @property
    def level(self) -> tuple[int, ...]:
        """The primes of ciphertexts whose key is switched, and of public keys of the packed products."""
        return self.kept + self.dropped

    @property
    def switching(self) -> tuple[int, ...]:
        """The primes of switching keys."""
        return self.level + self.special[:1]

    @property
    def chain(self) -> tuple[int, ...]:
        """All primes; every other list of primes is the beginning of this one."""
        return self.level + self.special

    @property
    def error_sigma(self) -> float:
        """Standard deviation of the noise of one fresh coefficient, encoding included."""
        return sqrt(ERROR_VARIANCE + _ENCODING_VARIANCE)

    @property
    def zero_sigma(self) -> float:
        """Of an encryption of zero under the public key: e_0 + u e + e_1 s with ternary u and s."""
        return sqrt(ERROR_VARIANCE * (1 + 2 * self.degree * 2 / 3))

    @property
    def rounding_sigma(self) -> float:
        """Of what dividing both parts of a ciphertext adds: rounding of one, and of the other times s."""
        return sqrt((1 + 2 * self.degree / 3) / 12)

    @cached_property
    def digest(self) -> bytes:
        """16 bytes that name the set, down to the order in which seeds are expanded."""
        primes = (self.kept, self.dropped, self.special)
        text = repr((_WIRE_CONTRACT, self.name, self.degree, *primes, self.ring_bits, self.wide))
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    def wire_bits(self, primes: tuple[int, ...]) -> int:
        """Bits of one coefficient on the wire."""
        return sum(p.bit_length() for p in primes)


@dataclass(frozen=True, slots=True)
class Margins:
    """How far a set and the weights under it are from what is refused."""

    modulus_bits: int
    most_modulus_bits: int
    noise_bits: float  # log2 of the bound of the noise before the switch
    noise_room_bits: float  # of what decryption without a switch could bear
    rounding_sigmas: float  # what the digits of a reply leave, in standard deviations of its noise
    depth: int  # terms of an exact float64 product
    privacy_bits: float  # -log2 of the statistical distance of one batch


def check(params: ParameterSet) -> None:
    """Raises ParameterError unless the set is well-formed, secure, and decrypts after the switch."""
    name = params.name
    try:
        tables.check(params.chain, params.degree)
    except ValueError as error:
        raise ParameterError(f"{name}: {error}") from None
    if not 1 <= params.ring_bits <= 64:
        raise ParameterError(f"{name}: ring_bits must be 1 to 64, not {params.ring_bits}")
    if params.wide and not params.special:
        raise ParameterError(f"{name}: wide ciphertexts need special primes")
    if not params.kept or not params.dropped:
        raise ParameterError(f"{name}: replies must keep some primes and drop some, or they reveal weights")
    bits, most = modulus_bits(params), MOST_MODULUS_BITS.get(params.degree, 0)
    if bits > most:
        raise ParameterError(
            f"{name}: {bits} bits of modulus, at most {most} are secure for N = {params.degree}"
        )
    sigmas = rounding_sigmas(params, 0.0)
    if sigmas < ROUNDING_SIGMAS:
        raise ParameterError(
            f"{name}: replies would decrypt wrongly: there is room for {sigmas:.1f} standard deviations of the "
            f"rounding noise, {ROUNDING_SIGMAS:g} are needed; keep more bits"
        )


def check_weights(params: ParameterSet, weights: NDArray[np.int64]) -> Margins:
    """Margins for integer weights [K, C], from their real column norms. Raises ParameterError.

    Noise of output c before the switch has variance error_sigma^2 sum_k w_kc^2, plus that of an encryption of
    zero. A reply differs from one without the first part with probability at most E|noise| 2^(ring_bits + 1) / q
    for each coefficient; privacy_bits adds that up over the N C coefficients of a batch.
    """
    check(params)
    if weights.ndim != 2 or 0 in weights.shape:
        raise ParameterError(
            f"weights must be a matrix [inputs, outputs] that is not empty, not {weights.shape}"
        )
    q = prod(params.primes)
    largest = largest_magnitude(weights)
    depth = exact_depth(max(params.primes), largest)
    if depth < LEAST_DEPTH:
        bits = (exact_depth(max(params.primes), 1) // LEAST_DEPTH).bit_length() - 1
        raise ParameterError(f"weights reach {largest}: {params.name} computes exactly up to 2^{bits}")
    norms = np.sqrt((weights.astype(np.float64) ** 2).sum(axis=0))
    sigma = sqrt((params.error_sigma * float(norms.max())) ** 2 + params.zero_sigma**2)
    noise, room = log2(NOISE_SIGMAS * sigma), log2(q) - params.ring_bits - 1
    if noise > room:
        raise ParameterError(
            f"noise of 2^{noise:.1f} exceeds the 2^{room:.1f} that {params.name} can decrypt"
        )
    sigmas = rounding_sigmas(params, sigma)
    if sigmas < ROUNDING_SIGMAS:
        raise ParameterError(
            f"{params.name} decrypts these weights' results wrongly ({sigmas:.1f} sigmas of room)"
        )
    privacy = hidden_bits(params, params.degree * params.error_sigma * float(norms.sum()), params.ring_bits)
    if privacy < params.privacy_bits:
        raise ParameterError(
            f"replies under {params.name} would hide weights of this size by 2^-{privacy:.1f} only, "
            f"2^-{params.privacy_bits} is needed: use smaller weights, or split the columns over several matrices"
        )
    bits = modulus_bits(params)
    return Margins(bits, MOST_MODULUS_BITS[params.degree], noise, room - noise, sigmas, depth, privacy)


def check_batches(params: ParameterSet, margins: Margins, batches: int) -> None:
    """Raises ParameterError unless so many batches together are hidden as well as one must be."""
    if margins.privacy_bits - log2(max(1, batches)) < params.privacy_bits:
        raise ParameterError(
            f"{batches} batches under {params.name} would hide these weights by less than "
            f"2^-{params.privacy_bits}; multiply fewer rows at a time"
        )


def largest_magnitude(weights: NDArray[np.int64]) -> int:
    """max |w|, in Python integers: -2^63 has no int64 magnitude."""
    return max(int(weights.max()), -int(weights.min()))


def modulus_bits(params: ParameterSet) -> int:
    """Bits of the product of all primes."""
    return prod(params.chain).bit_length()


def rounding_sigmas(params: ParameterSet, sigma: float, bits: int | None = None) -> float:
    """The room that a reply's digits leave, in standard deviations of its noise, for `sigma` at full modulus."""
    t = 1 << (params.ring_bits if bits is None else bits)
    kept, dropped = prod(params.kept), prod(params.dropped)
    after = params.rounding_sigma * sqrt((t / kept) ** 2 + 4.0**-A_DIGITS + (sigma * t / kept / dropped) ** 2)
    return (0.5 - 0.5 ** (B_DIGITS + 1)) / after


def hidden_bits(params: ParameterSet, sigmas: float, bits: int) -> float:
    """-log2 of the distance of replies in a ring from such without noise that depends on what is to be hidden.

    sigmas: the standard deviations of that noise, at the level, summed over all coefficients that are sent.
    """
    distance = sqrt(2 / pi) * sigmas * 2 ** (bits + B_DIGITS) / prod(params.level)
    return -log2(distance) if distance else float("inf")


_25 = (33538049, 33292289, 33177601, 33128449, 32931841, 32899073)
_26 = (67043329, 66994177, 66961409)
_28 = (268369921, 268271617, 268238849, 268189697, 268091393, 268042241, 267943937)
_30 = (1073692673, 1073643521, 1073479681, 1073430529, 1073299457, 1073233921)

#: Fixed linear layers over Z_2^64, batched over rows ahead of time.
LIN64 = ParameterSet("LIN64", 8192, _26, _25[:3], 64)
#: Fixed linear layers over Z_2^64, a single query.
LIN64P = ParameterSet("LIN64P", 8192, _30[:3], _30[3:5], 64, _30[5:6])
#: The same over Z_2^24: rows of a large table.
LIN24P = ParameterSet("LIN24P", 8192, _28[:2], _28[2:4], 24, _28[4:5])
#: Products of two shared matrices over Z_2^64, and over Z_2^48.
MAT64 = ParameterSet("MAT64", 8192, _28[:3], _28[3:5], 64, _28[5:7], wide=True)
MAT48 = ParameterSet("MAT48", 8192, _25[:3], _25[3:5], 48, (_25[5], 4079617), wide=True)

SETS = {params.name: params for params in (LIN64, LIN64P, LIN24P, MAT64, MAT48)}
