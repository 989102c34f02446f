"""What lattice-based encryption asks of the machine: polynomials modulo several small primes.

A part of `Backend`, split off because nothing in share arithmetic uses it. Same rules: exact, the same words
on every backend, arguments unchanged, C-contiguous.

Residues are uint32 arrays [primes, polys, N] of canonical representatives below their prime: coefficients of
polynomials modulo X^N + 1, or their values at the odd powers of psi (after `ntt`). `primes` are distinct, 1
modulo 2N and below 2^30; q is their product. N is a power of two from 64 on. Words are uint64 [polys, N].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from gpu_ss.backend.primes import LEAST_DEGREE, Primes, check
from gpu_ss.ring import WORD, Array

#: The fewest terms of a polynomial that `ntt_of_words` takes.
LEAST_TERMS = 32
#: The longest numbers that `scale_down` gives.
MOST_DIGITS = 80


class Lattice(ABC):
    """Operations on residues; defined by `reference_lattice`."""

    xp: Any
    #: How many of the blocks of polynomials that fit a CPU's cache are worked on at once: one does not fill a GPU.
    blocks_at_once: ClassVar[int] = 1
    #: How many polynomials of a product's operand in clear are transformed at once, five primes each.
    operands_at_once: ClassVar[int] = 32

    @abstractmethod
    def ntt(self, x: Array, primes: Primes) -> Array:
        """Values of polynomials: place k holds the value at psi^(2 brv(k) + 1).

        psi is the least primitive 2N-th root of unity of the prime and brv reverses log2 N bits; SEAL has the
        same order. N log2 N / 2 butterflies for each polynomial and prime.
        """

    @abstractmethod
    def intt(self, x: Array, primes: Primes) -> Array:
        """The inverse of `ntt`."""

    @abstractmethod
    def multiply_add(self, x: Array, y: Array, z: Array | None, primes: Primes) -> Array:
        """x y + z, place by place; y has as many polynomials as x, or one for all. No z is zero."""

    @abstractmethod
    def uniform_residues(self, words: Array, primes: Primes) -> Array:
        """floor(w p / 2^64) for words [primes, polys, N]: uniform up to p / 2^64 if the words are."""

    @abstractmethod
    def binomial_residues(self, words: Array, add: Array | None, primes: Primes) -> Array:
        """One small number e for each word, modulo every prime, plus `add`: centred binomial, sigma 3.24.

        e is the number of ones in bits 0 to 20 less that in bits 21 to 41.
        """

    @abstractmethod
    def ternary_residues(self, words: Array, add: Array | None, primes: Primes) -> Array:
        """As `binomial_residues`, for e = floor(3 h / 2^32) - 1 with h the upper half of the word."""

    @abstractmethod
    def scale_up(self, words: Array, bits: int, add: Array, primes: Primes) -> Array:
        """round(q m / 2^bits) + add for each word m (of which the low `bits` bits count)."""

    @abstractmethod
    def drop_prime(self, x: Array, primes: Primes, add: Array | None = None) -> Array:
        """round(x / p) for p the last prime, plus `add`, modulo the others: coefficients, not values."""

    @abstractmethod
    def ntt_of_words(self, words: Array, size: int, primes: Primes) -> Array:
        """Values of polynomials of degree below N = `size` whose lowest coefficients are signed words.

        words [polys, n], n a power of two from LEAST_TERMS to N; all other coefficients are zero, which saves
        log2 N / n of the stages.
        """

    @abstractmethod
    def inner_products(self, x: Array, y: Array, add: Array | None, primes: Primes) -> Array:
        """sum_t x_t y_(s T + t), place by place, for both halves of x [primes, 2 T, N] and y [primes, S T, N].

        First the S sums with the first half, then those with the second, plus `add`: [primes, 2 S, N].
        """

    @abstractmethod
    def digits(self, x: Array, primes: Primes) -> Array:
        """Every row x_i of x [D, polys, N], as numbers between -p_i / 2 and p_i / 2, modulo all (D or more) primes.

        [primes, polys * D, N]: the D digits of a polynomial side by side.
        """

    @abstractmethod
    def merged(self, x: Array, shift: int, primes: Primes) -> tuple[Array, Array]:
        """Half of a step that merges ciphertexts x_k and y_k pairwise: coefficients [primes, 4 H, N].

        The polynomials are the b parts of x and y (H each), then the a parts. With the automorphism
        sigma: X -> X^(N / shift + 1), gives x + X^shift y, to which for b parts sigma(x - X^shift y) is added
        [primes, 2 H, N]; and sigma(x - X^shift y) of the a parts [primes, H, N], which belongs to the key
        sigma(s). shift is a power of two below N.
        """

    @abstractmethod
    def decode_sum(self, x: Array, y: Array, bits: int, primes: Primes) -> Array:
        """round(2^bits ((x + y) mod q) / q) modulo 2^bits: words [polys, N]. The inverse of `scale_up`.

        Right where the fraction is further than 2^-30 from a half.
        """

    @abstractmethod
    def scale_down(self, x: Array, bits: int, primes: Primes) -> Array:
        """About 2^bits x / q modulo 2^bits for coefficients x, `bits` up to MOST_DIGITS: words [1, polys, N].

        Of more than 64 bits these are the upper 64, and second words hold the others: [2, polys, N]. Exactly:
        rounded sum_l z_l s_l / 2^(128 - bits) for z_l = x (q / p_l)^-1 mod p_l and s_l = floor(2^128 / p_l). So the
        sum lies below 2^128 x / q, modulo 2^128, by less than the sum of the primes.
        """

    @abstractmethod
    def residue_matmul(
        self, weights: Array, largest: int, x: Array, add: Array | None, primes: Primes
    ) -> Array:
        """weights x + add modulo every prime: integers [C, K] times residues [primes, K, S] -> [primes, C, S].

        `add`, if there is one, becomes the result: sums of many products take the memory of one.
        `weights` are float64 integers of magnitude at most `largest`. Computed as float64 products of centred
        residues, of as many terms at a time as stay exact (`exact_depth`).
        """

    def _check_residues(self, primes: Primes, **arrays: Array) -> tuple[int, ...]:
        """The shape of residues that all have the same one."""
        shape: tuple[int, ...] | None = None
        for name, array in arrays.items():
            if not isinstance(array, self.xp.ndarray) or array.dtype.str[1:] != "u4":
                raise TypeError(f"{name} must be a uint32 array of this backend")
            if not array.flags.c_contiguous or array.ndim != 3 or array.shape[0] != len(primes):
                raise ValueError(f"{name} must be contiguous, [primes, polys, N], not {array.shape}")
            if shape is not None and array.shape != shape:
                raise ValueError(f"{' and '.join(arrays)} must have one shape")
            shape = array.shape
        if shape is None:
            raise ValueError("no residues")
        check(primes, LEAST_DEGREE)
        return shape

    def _check_digits(self, x: Array, bits: int, primes: Primes) -> tuple[tuple[int, ...], int]:
        """[polys, N], and how many bits there are beyond a word."""
        if not 1 <= bits <= MOST_DIGITS:
            raise ValueError(f"numbers have 1 to {MOST_DIGITS} bits, not {bits}")
        return self._check_residues(primes, x=x)[1:], max(0, bits - WORD)

    def _check_factors(self, x: Array, y: Array, z: Array | None, primes: Primes) -> tuple[int, ...]:
        """The shape of x for x y + z."""
        shape = self._check_residues(primes, x=x) if z is None else self._check_residues(primes, x=x, z=z)
        factors = self._check_residues(primes, y=y)
        if factors[1] not in (1, shape[1]) or factors[2] != shape[2]:
            raise ValueError(f"{shape} residues cannot be multiplied by {factors}")
        return shape

    def _check_words_of(self, words: Array, size: int, primes: Primes) -> tuple[int, int]:
        """polys, n for signed words [polys, n] as polynomials of degree below `size`."""
        self._check_stream(words)
        if (
            words.ndim != 2
            or words.shape[1] & (words.shape[1] - 1)
            or not LEAST_TERMS <= words.shape[1] <= size
        ):
            raise ValueError(
                f"words must be [polys, n], n a power of two from {LEAST_TERMS} to {size}, not {words.shape}"
            )
        check(primes, size)
        return int(words.shape[0]), int(words.shape[1])

    def _check_inner(self, x: Array, y: Array, add: Array | None, primes: Primes) -> tuple[int, int, int]:
        """T, S, N for inner products of x [primes, 2 T, N] and y [primes, S T, N]."""
        _, pairs, size = self._check_residues(primes, x=x)
        depth, (_, factors, places) = pairs // 2, self._check_residues(primes, y=y)
        if pairs % 2 or not pairs or factors % depth or places != size:
            raise ValueError(f"{x.shape} residues have no inner products with {y.shape}")
        results = factors // depth
        if add is not None and self._check_residues(primes, add=add) != (len(primes), 2 * results, size):
            raise ValueError(f"what is added must be [primes, {2 * results}, {size}], not {add.shape}")
        return depth, results, size

    def _check_summand(self, x: Array, add: Array, primes: Primes) -> None:
        if self._check_residues(primes, add=add)[1:] != x.shape[1:]:
            raise ValueError(f"what is added must have the shape of what remains, not {add.shape}")

    def _check_merge(self, x: Array, shift: int, primes: Primes) -> tuple[int, int]:
        """H, N for ciphertexts [primes, 4 H, N] to be merged."""
        _, polys, size = self._check_residues(primes, x=x)
        if polys % 4 or shift & (shift - 1) or not 0 < shift < size:
            raise ValueError(f"{x.shape} residues cannot be merged at a distance of {shift}")
        return polys // 4, size

    def _check_sampling(self, words: Array, add: Array | None, primes: Primes) -> tuple[int, ...]:
        """The shape of the residues that words become."""
        self._check_stream(words)
        shape = (len(primes), *words.shape)
        if len(shape) != 3 or (add is not None and self._check_residues(primes, add=add) != shape):
            raise ValueError(
                f"words must be [polys, N], not {words.shape}, and of the shape of what they are added to"
            )
        return shape

    def _check_product(
        self, weights: Array, largest: int, x: Array, add: Array | None, primes: Primes
    ) -> tuple[int, int, int]:
        """C, K, S for weights [C, K] and residues [primes, K, S]."""
        _, inner, size = self._check_residues(primes, x=x)
        if weights.dtype.str[1:] != "f8" or weights.ndim != 2 or weights.shape[1] != inner:
            raise ValueError(f"weights must be float64 [C, {inner}], not {weights.dtype} {weights.shape}")
        columns = int(weights.shape[0])
        if add is not None and self._check_residues(primes, add=add) != (len(primes), columns, size):
            raise ValueError(f"what is added must be [primes, {columns}, {size}], not {add.shape}")
        if exact_depth(max(primes), largest) < 1:
            raise ValueError(f"float64 is not exact for weights up to {largest} modulo {max(primes)}")
        return columns, inner, size

    def _check_stream(self, words: Array) -> None:
        if not isinstance(words, self.xp.ndarray) or words.dtype.str[1:] != "u8":
            raise TypeError("words must be a uint64 array of this backend")
        if not words.flags.c_contiguous:
            raise ValueError("words must be contiguous")


def exact_depth(p: int, largest: int) -> int:
    """How many products of centred residues modulo p and integers up to `largest` float64 adds exactly.

    All partial sums are integers of magnitude at most depth * (p / 2) * largest, which must stay within 2^53.
    """
    return (1 << 53) // ((p >> 1) * max(largest, 1))


class NoLattice(Lattice):
    """For backends that compute nothing: encryption is not part of a plan."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise TypeError("this backend has no polynomials")

    ntt = intt = multiply_add = uniform_residues = binomial_residues = ternary_residues = _refuse
    scale_up = drop_prime = decode_sum = scale_down = residue_matmul = _refuse
    ntt_of_words = inner_products = digits = merged = _refuse
