"""Encryption for products in a field: parameters, and what a reply's noise may tell.

Plaintexts are modulo a prime t with 8192 slots. Nothing has to be masked statistically: the mask of a reply is
uniform modulo t, so what the key holder decrypts is uniform. What remains is the noise of the reply.

Of b the client sees which of 2^w intervals of Z_q each coefficient lies in, w = bits of t + B_DIGITS: the division
by the dropped primes is exact, and `scale_down` rises with its argument where what it leaves out is below one unit.
The encryption of zero under the public key makes a as good as uniform, also to who knows s (RLWE), and so a s. Let
e be the noise that depends on the server's numbers, z that of the encryption of zero, at most 21 (1 + 2 N). Without
e the client would see another interval with a probability of at most (|e| + 2 |z|) 2^w / q for each coefficient; a
does not depend on e at all.

|e|: the server's numbers v, centred, times errors. The client's vectors are uniform modulo t (unused places are
filled with random elements), so the roundings of q m / t are independent, of mean 0 and variance at most 1/12, like
the errors of variance 10.5. The distance of what the client sees, its own plaintexts and errors included, from what
it would see for e = 0 is the mean over those of the distance for each: so of |e| the mean counts, at most the
root of the mean square, |v|_2 sqrt(10.5 + 1/12), for the worst v: t / 2 throughout.

-log2 of the distance for each reply of 8192 places, at most 2^-40 for a whole call:

    field      q           reply: b, a    up, down       one product   two products   sixteen
    FIELD53    180 bits    54, 63 bits    184, 120 KB    52.8          52.3           50.8
    FIELD60    196 bits    61, 70 bits    201, 134 KB    54.8          54.3           52.8

218 bits are 128-bit secure. A wrong decryption has a probability below 2^-54 for each reply: of the half unit that
decoding bears, rounding b takes a quarter; rounding a, uniform, times s, |s|^2 <= N, is sub-Gaussian of deviation
2^-A_DIGITS sqrt(N / 12).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log, log2, prod, sqrt

from gpu_ss.backend import primes as tables
from gpu_ss.backend.base import Backend
from gpu_ss.field import FIELD53, FIELD60, Field
from gpu_ss.ring import WORD
from he_bridge import params as common
from he_bridge.errors import ParameterError
from he_bridge.field_ring import FieldRing
from he_bridge.margins import Margins, call_privacy, sufficient
from he_bridge.params import A_DIGITS, B_DIGITS, LIN64P, MAT64, ParameterSet
from he_bridge.wire import reply_sizes

_ERROR_MAX = 21  # of the centred binomial
_TAIL = 12.0  # standard deviations; exceeded with probability 2^-102.9


@dataclass(frozen=True)
class FieldParams:
    """A field with the encryption for it."""

    field: Field
    encryption: ParameterSet

    def ring(self, backend: Backend) -> FieldRing:
        """The polynomials, on a backend."""
        return FieldRing(backend, self.encryption, field=self.field)

    def check(self, products: int) -> Margins:
        """The margins of a reply that is a sum of so many products, slot by slot. ParameterError if too small."""
        self._check_set()
        params, t = self.encryption, self.field.prime
        q, kept = prod(params.primes), prod(params.kept)
        norm = sqrt(params.degree * products) * (t // 2)
        zero = _ERROR_MAX * (1 + 2 * params.degree)
        reach = params.error_sigma * norm + 2 * zero
        privacy = -log2(params.degree * reach * 2 ** (self.field.bits + B_DIGITS) / q)
        # Half a unit, less the rounding of b, the noise, and two units of the residues that digits become again.
        noise = (_TAIL * params.error_sigma * norm + zero) * t / q
        room = 0.5 - 0.5 ** (B_DIGITS + 1) - noise - 2 * (1 + params.degree) * t / kept
        deviation = sqrt((1 + params.degree) / 12) * sqrt(4.0**-A_DIGITS + (t / kept) ** 2)
        decryption = (max(room, 0.0) / deviation) ** 2 / 2 / log(2) - 1 - log2(params.degree)
        return sufficient(privacy, decryption)

    def _check_set(self) -> None:
        """Slots, security, and that `scale_down` rises with its argument."""
        params = self.encryption
        try:
            tables.check_slots(self.field.prime, params.degree)
        except ValueError as error:
            raise ParameterError(f"{self.field} has no {params.degree} slots: {error}") from None
        if params.ring_bits != self.field.bits or params.special:
            raise ParameterError(f"{params.name} is no set for {self.field}")
        common.check(params)
        if sum(params.kept) * prod(params.kept) >> 2 * WORD:
            raise ParameterError(f"{params.name} keeps too many primes to divide exactly")

    def check_call(self, replies: dict[int, int]) -> float:
        """-log2 of the statistical distance of a call: how many replies of how many products. See `check`."""
        return call_privacy(self.check, replies)

    @property
    def up_bytes(self) -> int:
        """Bytes of an operand."""
        return self.encryption.degree * self.encryption.wire_bits(self.encryption.primes) // 8

    @property
    def down_bytes(self) -> int:
        """Bytes of a reply."""
        degree = self.encryption.degree
        return sum(reply_sizes(self.encryption, self.field.bits, 1, degree))


def _set(field: Field, chain: tuple[int, ...]) -> FieldParams:
    """Three primes are kept: where replies are decrypted."""
    return FieldParams(field, ParameterSet(f"FIELD {field.prime}", 8192, chain[:3], chain[3:], field.bits))


#: Primes of equal length travel in one frame: six of 30 bits, seven of 28.
SETS = {FIELD53: _set(FIELD53, LIN64P.chain), FIELD60: _set(FIELD60, MAT64.chain)}


def params_of(field: Field) -> FieldParams:
    """The set of a field; ParameterError if there is none."""
    if field not in SETS:
        raise ParameterError(f"no parameters for products in {field}")
    return SETS[field]
