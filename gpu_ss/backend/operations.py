"""The kernels behind the protocols: boolean circuits on bit planes, and fused arithmetic steps.

Split from `Backend` for length; same rules (C-contiguous arrays of words, exact, arguments unchanged).
Bit planes are [planes, W] with W words per plane, every bit position of a word being one element. `lead` is
`Party.lead`: all ones at rank 0 and zero at rank 1, the share of the constant 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from gpu_ss.ring import Array


class Operations(ABC):
    """What protocols and the dealer compute; defined by `reference_circuits` and `reference_steps`."""

    # Planes and words

    @abstractmethod
    def bit_plane(self, x: Array, bit: int) -> Array:
        """Bit `bit` of n elements as one plane [1, ceil(n/64)]; zero past the end."""

    @abstractmethod
    def plane_words(self, planes: Array, n: int) -> Array:
        """Planes [k, W] as words 0 or 1: [k, n]."""

    # Openings and corrections

    @abstractmethod
    def unpack_add(self, words: Array, bits: int, own: Array) -> Array:
        """unpack(words, bits, n) + own modulo 2^bits, canonical, in own's shape (n = own.size)."""

    @abstractmethod
    def unpack_sum(self, words: Array, bits: int, own: Array, mask: Array) -> Array:
        """unpack_add(words, bits, own + mask) for arrays of one shape."""

    @abstractmethod
    def pack_difference(self, value: Array, share: Array, bits: int) -> Array:
        """pack(value - share, bits) for arrays of one shape."""

    @abstractmethod
    def pack_sum(self, value: Array, mask: Array, bits: int) -> Array:
        """pack(value + mask, bits) for arrays of one shape."""

    # Boolean circuits

    @abstractmethod
    def digit_monomials(self, planes: Array, widths: Sequence[int]) -> Array:
        """All products of planes inside each digit, then the top plane.

        `planes` [1 + sum(widths), W] holds the bits of numbers, lowest first; digits of `widths` (1 to 9) bits from
        the low end cover all but the top one. A digit of b bits gives 2^b - 1 planes, the product over the set
        bits of S for S = 1 .. 2^b - 1. Result [sum(2^b - 1) + 1, W].
        """

    @abstractmethod
    def plane_products(self, planes: Array, subsets: Sequence[int]) -> Array:
        """For each bit set in `subsets` (two members or more), the AND of the planes it names."""

    @abstractmethod
    def digit_compare(self, c: Array, basis: Array, widths: Sequence[int], lead: np.uint64) -> Array:
        """Shares of [c < r] and [c == r] per digit, for public c and shared monomials of the bits of r.

        `c` [sum(widths), V] are bit planes of public numbers, V a multiple of the basis' word count W (several
        numbers compared with the same r, one after the other). `basis` [sum(2^b - 1), W] comes from
        `digit_monomials`. Result [2 m - 1, V] for m digits: lt_0 .. lt_(m-1), eq_1 .. eq_(m-1). Linear in the
        shares, so local.
        """

    @abstractmethod
    def node(self, opened: Array, basis: Array, arity: int, with_eq: bool, lead: np.uint64) -> Array:
        """One node of the comparison tree: from opened masked digit results to shares of the joint result.

        lt = lt_(m-1) + eq_(m-1) (lt_(m-2) + eq_(m-2) (...)) for m = arity in 2 .. 8, and with `with_eq` also
        eq = prod eq_j. `opened` [node_inputs, V] are inputs XOR masks, `basis` [node_inputs + len(node_subsets),
        V] shares of the masks and of their products. Result [1 + with_eq, V].
        """

    @abstractmethod
    def node_numbers(self, opened: Array, shares: Array, arity: int, field: int, lead: np.uint64) -> Array:
        """`node` of 1 to 4 digits, without equality, as shares modulo 2^field: [64 V].

        For digits of which at most one term is 1: then the sum over the integers is the joint result. `opened`
        [2 arity - 1, V] as for `node`; `shares` [rows, 64 V]: those of the masks' products, in fields of words
        (`number_fields`). Result below 2^field.
        """

    @abstractmethod
    def all_of(self, opened: Array, basis: Array, lead: np.uint64) -> Array:
        """AND of k = 2 .. 8 shared planes from their opened masked forms: [1, V].

        `opened` [k, V]; `basis` [2^k - 1, V] are shares of the k masks, then of their products (`and_subsets`).
        """

    # Fused arithmetic

    @abstractmethod
    def unwrap(self, x: Array, base: Array, sign: Array, product: Array, bits: int, shift: int) -> Array:
        """(x mod 2^bits >> shift) - wrap 2^(bits - shift), with wrap = base - product, or base + product where
        the sign bit is set. `base` and `sign` are planes [1, W]; x and product [n]. See protocols/trunc.py."""

    @abstractmethod
    def piecewise(
        self,
        x: Array,
        bits: Array,
        powers: Array,
        products: Array,
        coefficients: Array,
        lead: np.uint64,
        top: int | None = None,
    ) -> Array:
        """Share of sum_k b_k D_k(v), for v = x - r and polynomials D_k with public coefficients: [n].

        x [n]: opened v + r. bits [T, W]: opened masked selection bits d_k = b_k ^ rho_k. powers [P, n]: shares of
        r, r^2, ... products [T, Q, n]: shares of rho_k r^j, j = 0 .. coefficients [T, degree + 1]: D_k =
        sum_i coefficients[k, i] v^i; P >= degree, Q >= degree + 1, 1 <= degree <= 4.

        With `top` there are two r, whose powers [2, P, n] and products [2, T, Q, n] are stacked; which one is meant
        says bit `top` of x: the second where it is 0.

        D_k(x - r) = sum_j e_kj(x) r^j with e_kj = (-1)^j D_k^(j)(x) / j!, an integer polynomial in x; and
        b_k r^j = d_k r^j + (1 - 2 d_k) rho_k r^j.
        """

    @abstractmethod
    def bit_products(self, r: Array, rho: Array, degree: int) -> Array:
        """rho_k r^j for j = 0 .. degree: [T, degree + 1, n] from r [n] and bit planes rho [T, W]. 0^0 = 1."""

    @abstractmethod
    def row_squares(self, x: Array, mask: Array, lead: np.uint64) -> Array:
        """sum_j (lead & x_ij) x_ij - 2 x_ij mask_ij of opened x [rows, n] and this party's mask share: [rows].

        Together with a share of sum_j mask^2 this is a share of the sum of squares of x - mask.
        """

    @abstractmethod
    def row_scale(self, x: Array, mask: Array, y: Array, b: Array, products: Array, lead: np.uint64) -> Array:
        """x_ij ((lead & y_i) - b_i) - mask_ij y_i + products_ij: share of (x - mask)_ij (y - b)_i.

        x, mask, products [rows, n]; y, b [rows].
        """

    @abstractmethod
    def exp_lookup(
        self, x: Array, unit: Array, fractions: Array, frac: int, scale: int, low: int, lead: np.uint64
    ) -> Array:
        """Share of sigma * T(h', l): T = 2^(h' + l / 2^frac) with `scale` fractional bits, rounded half up.

        x [n]: opened number; l its low `frac` bits, h the six bits above. `unit` [n]: XOR share of the unit
        vector of rh, one word per element; h' = h - rh is read as a number in [low, low + 64). `fractions`
        [2^frac]: round(2^(l / 2^frac) * 2^30). Rank 0 adds and rank 1 subtracts, so entries other than rh cancel.
        """

    @abstractmethod
    def exp_finish(self, opened: Array, d: Array, shares: Array, look_bits: int) -> Array:
        """The gated product of the exponential gadget: share of g * E, [n].

        opened [n]: sigma T + 2^(look_bits - 2) + mu mod 2^look_bits. d [1, W]: the gate g masked, d = g ^ rho.
        shares [6, n]: of K, -K mu, K 2^look_bits msb(mu), and of the same times rho (K = sigma * factor).
        E = K (opened - 2^(look_bits - 2)) - K mu, plus the third when the top bit of `opened` is 0 (the mask
        wrapped); g E = d E + (1 - 2 d) rho E.
        """

    @abstractmethod
    def table_sums(self, x: Array, unit: Array, table: Array) -> Array:
        """sum_j bit j of `unit` times table[(x - j) mod size]: [n], for tables of size 64, 128, 256, .. 4096.

        x [n]: opened numbers. unit [size / 64, n]: bit j of element e is bit j % 64 of unit[j / 64, e].
        """

    # Lines that were looked up

    @abstractmethod
    def line_values(
        self, x: Array, sums: Array, place_bits: int, looks: tuple[int, int], field: int, lead: np.uint64
    ) -> Array:
        """Of looked-up lines the value at `place` and the slope, to be opened in rings of `looks` bits: [2, n].

        sums [n]: sums of table words that hold a value in `field` bits and a slope above. place: the lowest
        `place_bits` bits of x [n]. Rank 0 adds a quarter of the ring, and rank 1 has the negative.
        """

    @abstractmethod
    def gated_line(
        self,
        value: Array,
        slope: Array,
        words: Array,
        value_wraps: Array,
        slope_wraps: Array,
        looks: tuple[int, int],
        d: Array,
    ) -> Array:
        """Share of g (sigma V + L S + C): [n].

        value, slope [n]: V and S as they were opened, biased by a quarter of their rings of `looks` bits and masked
        by mu and nu. d [1, W]: the gate g masked, d = g ^ rho. words [2, 3, n]: shares of sigma, L and
        C - sigma mu - L nu, and again times rho. wraps [2, n] each: of sigma msb(mu) and of L msb(nu), and times
        rho; they count 2^looks where the mask wrapped, that is where the top bit of what was opened is 0.
        """

    @abstractmethod
    def gated_opened(self, c: Array, own: Array, tops: Array, bits: int, d: Array, lead: np.uint64) -> Array:
        """Share of g x for x = c - 2^(bits - 2) - r, which was opened as c in a ring of `bits` bits: [n].

        own [3, n]: shares of r, rho and rho r in a larger ring; tops [2, n]: of msb(r) and rho msb(r). d [1, W]:
        the gate g masked, d = g ^ rho.
        """

    # What opened numbers pick

    @abstractmethod
    def picked(self, index: Array, entries: Array) -> Array:
        """entries[index[i] mod count, k, i] for open numbers: [rows, n] of [count, rows, n]; count a power of 2."""

    @abstractmethod
    def near_counts(self, x: Array, units: Array, offset: int, start: int, widths: tuple[int, int]) -> Array:
        """A share modulo 4, [n], of a count that is 3 exactly if two digits match: see protocols/lookup.py.

        The digits, of `widths` bits from the lower one on, are those of ((x - offset) >> start) - 1, or - 2, for
        open x [n]; they match those whose unit vectors modulo 4 `units` holds, one after the other, in fields of
        words. Of an upper digit u and a lower one l: [u] + 2 [l], and 2 [u'] + [l'] for the second pair; if both
        pairs have one upper digit, [u] + 2 [l] + 2 [l'].
        """

    @abstractmethod
    def picked_product(self, opened: Array, counted: Array, words: Array, wanted: int, bits: int) -> Array:
        """K V + C + [the mask wrapped] D for the K, C, D that an open count picks: [n].

        opened [n]: V + 2^(bits - 2) + mu modulo 2^bits; its mask wrapped where the top bit is 0. words
        [count, 3, n]: shares of K, C and D of each entry; the picked one is counted - wanted modulo count.
        """

    @abstractmethod
    def window_counts(
        self,
        x: Array,
        units: Array,
        starts: tuple[int, ...],
        widths: tuple[int, ...],
        field: int,
        lead: np.uint64,
    ) -> Array:
        """Shares modulo 2^field of how many digits from each one on are neither 0 nor 1 off: [digits, n].

        Digits of open x [n]: `widths` bits from `starts` on, upwards. `units`: unit vectors modulo 2^field of those
        of a mask, one after the other in fields of words. A digit counts 0 if x's and the mask's are equal or x's
        is one more, else 1.
        """

    @abstractmethod
    def window_lines(
        self,
        values: Array,
        slopes: Array,
        last: Array,
        gated: Array,
        counted: Array,
        looks: tuple[int, int],
    ) -> Array:
        """Share of the last window's line, and of each other one's own less the next one's, if picked: [n].

        values, slopes [windows, n]: opened, biased and masked look-ups, as for `gated_line`. A line has five words:
        factor, slope's factor, constant, and what the wraps of the two masks count. last [5, n]: those of the last
        window; gated [windows - 1, entries, 10, n]: of a window and of the next one, times [s = entry], picked by
        counted [windows - 1, n] modulo entries.
        """

    # What a dealer works out of its masks

    @abstractmethod
    def signed_units(self, at: Array, share: Array) -> tuple[Array, Array]:
        """Unit vectors [count, n] of 64 count entries at `at` [n] modulo that, and signs [n]: 1 or -1 modulo 2^64.

        share [count, n]: a party's XOR share of them; the sign is 1 where it has the entry's bit. count: a power
        of 2.
        """

    @abstractmethod
    def spread(self, index: Array, rows: Array, count: int) -> Array:
        """[index_i = j modulo count] rows[k, i]: [count, rows, n] of [rows, n]; count a power of 2."""

    @abstractmethod
    def curve_words(
        self,
        r: Array,
        sign: Array,
        value: Array,
        slope: Array,
        gates: Array,
        cell: int,
        source: int,
        looks: tuple[int, int],
    ) -> Array:
        """The words [15, n] that a curve takes of its masks r, mu, nu (value, slope), [n], and gate bits [2, W].

        With sigma = sign [n], L = -sigma (r mod 2^cell) and C = -sigma mu - L nu: sigma, L, C; the same times the
        first bit; sigma msb(mu), that times the bit; L msb(nu), that times the bit; r, the second bit, their
        product; msb(r), that times the second bit. r, mu and nu are taken modulo 2^source, 2^looks.
        """
