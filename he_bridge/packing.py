"""Where the numbers of a matrix product lie in polynomials, so that few ciphertexts carry it.

A product X W, X [rows, K] encrypted and W [K, n] in clear, of `batch` such pairs. N is cut three ways: with m
rows (rows, padded to a power of two), k inner indices, H products ("heads") side by side and c columns,
m k H c = N. For one tile of k inner indices of one pack of H products, and for one group of c columns:

    x = sum_(i, h, j) x_hij X^(N/m i + k (h - H + 1) - j)
    w = sum_(c, j) w_hjc X^(k (H c + H - 1 - h) + j)             for product h

and coefficient N/m i + k H c of x w is sum_j x_hij w_hjc: of all products of terms only these reach a multiple
of the spread S = k H. Tiles of the same product are added up. The other coefficients are unwanted sums; either
M results are merged into one ciphertext, which drops them (`keyswitch`; result j of M at S/M j), or a result is
sent alone, under a mask for each coefficient. (Coefficient encoding: Iron, Cheetah; merging: BumbleBee.)

Polynomials x with negative powers wrap around with a minus sign: X^N = -1. w has its N/m lowest coefficients
only, which saves transforms.

How k, H, c and the merging are chosen: `choose` takes the layout of least time, computed as transforms of one
polynomial modulo one prime (`TRANSFORM_NS`) and bytes, each at a price. More columns c at a time mean fewer
results to merge, but shorter tiles, so more ciphertexts to send.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from math import log2, prod, sqrt

import numpy as np
from numpy.typing import NDArray

from gpu_ss.backend.base import Backend
from gpu_ss.backend.lattice import LEAST_TERMS
from gpu_ss.ring import Array
from he_bridge import keyswitch
from he_bridge.errors import ParameterError
from he_bridge.params import (
    A_DIGITS,
    B_DIGITS,
    NOISE_SIGMAS,
    ROUNDING_SIGMAS,
    ParameterSet,
    check,
    hidden_bits,
    modulus_bits,
    rounding_sigmas,
)

#: Nanoseconds of one core for one transform of 8192 points, and for what goes with a term of a product.
TRANSFORM_NS = 14_000
#: In transforms: encryption, expansion and transport of a fresh ciphertext, for each prime; a tile of weights with
#: its two products; a result back to coefficients; a reply, for each prime; what a switch does besides transforms.
_FRESH, _TILE, _RESULT, _REPLY, _SWITCH = 7.0, 0.9, 2.0, 25.0, 1.5


@dataclass(frozen=True)
class Shape:
    """batch products of [rows, inputs] and [inputs, outputs] matrices.

    diagonals: so many square blocks at the right end of the second matrix have nothing but a diagonal.
    """

    batch: int
    rows: int
    inputs: int
    outputs: int
    diagonals: int = 0

    @property
    def dense(self) -> int:
        """Columns before the diagonal blocks."""
        return self.outputs - self.diagonals * self.inputs


@dataclass(frozen=True)
class Layout:
    """One way to cut N: `tile` k, `heads` H, `columns` c of the module's formulas; merged or not."""

    shape: Shape
    degree: int
    tile: int
    heads: int
    columns: int
    merging: bool

    @property
    def spread(self) -> int:
        """S = k H: the distance of wanted coefficients before results are merged."""
        return self.tile * self.heads

    @property
    def padded_rows(self) -> int:
        """m."""
        return self.degree // (self.spread * self.columns)

    @property
    def tiles(self) -> int:
        """Ciphertexts for the K inner indices."""
        return -(-self.shape.inputs // self.tile)

    @property
    def packs(self) -> int:
        """How many times H products there are."""
        return -(-self.shape.batch // self.heads)

    @property
    def ciphertexts(self) -> int:
        """Fresh ciphertexts: number pack * tiles + tile."""
        return self.packs * self.tiles

    @property
    def groups(self) -> int:
        """Groups of columns of each product."""
        return -(-self.shape.outputs // self.columns)

    @property
    def results(self) -> int:
        """Ciphertexts before merging: number product * groups + group."""
        return self.shape.batch * self.groups

    @cached_property
    def tile_products(self) -> int:
        """Products of a ciphertext and a polynomial of weights: those with zeros throughout are left out."""
        shape = self.shape
        if not shape.diagonals:
            return self.results * self.tiles
        supports = (self.support(group) for group in range(self.groups))
        return shape.batch * sum(len(range(self.tiles)[support]) for support in supports)

    def support(self, group: int) -> slice:
        """The tiles in which that group of columns has weights."""
        shape = self.shape
        first, last = group * self.columns, min((group + 1) * self.columns, shape.outputs) - 1
        if first < shape.dense:
            return slice(0, self.tiles)
        first, last = first - shape.dense, last - shape.dense
        if first // shape.inputs != last // shape.inputs:
            return slice(0, self.tiles)
        return slice(first % shape.inputs // self.tile, last % shape.inputs // self.tile + 1)

    @property
    def members(self) -> int:
        """M: results in one reply."""
        return min(self.spread, padded(self.results)) if self.merging else 1

    @property
    def replies(self) -> int:
        return -(-self.results // self.members)

    @property
    def merged_spread(self) -> int:
        """The spread to merge over: 1 is no merging."""
        return self.spread if self.merging else 1

    @property
    def terms(self) -> int:
        """Coefficients of a weight polynomial, of which those above are zero."""
        return max(LEAST_TERMS, self.degree // self.padded_rows)

    @property
    def places(self) -> slice:
        """The coefficients of a reply that carry results, or padding of columns and members."""
        return slice(0, self.shape.rows * self.columns * self.spread, self.spread // self.members)

    @property
    def wanted(self) -> int:
        """How many these are."""
        return self.shape.rows * self.columns * self.members

    def digest(self, weights: bytes) -> bytes:
        """Names this layout, and the weights in it, in the headers of messages."""
        return hashlib.blake2b(weights + repr(self).encode(), digest_size=16).digest()

    def inputs(self, backend: Backend, x: Array, first: int, count: int) -> Array:
        """Words [count, N] of the ciphertexts from `first` on, for x [batch, rows, K]."""
        k = self.tile
        out = backend.zeros((count, self.padded_rows, self.columns, self.heads, k))
        for place in range(count):
            pack, t = divmod(first + place, self.tiles)
            part = x[pack * self.heads : (pack + 1) * self.heads, :, t * k : (t + 1) * k]
            products, rows, width = part.shape
            out[place, :rows, 0, :products, k - width :] = part[:, :, ::-1].transpose(1, 0, 2)
        words, turn = out.reshape(count, self.degree), self.spread - 1
        return backend.xp.concatenate([words[:, turn:], np.uint64(0) - words[:, :turn]], axis=1)

    def weights(self, backend: Backend, w: Array, product: int, groups: slice, tiles: slice) -> Array:
        """Words [groups * tiles, terms], tiles of one group side by side, for w [K, n] of that product.

        w: words, or signed integers of any size.
        """
        k, c = self.tile, self.columns
        tile_count, group_count = tiles.stop - tiles.start, groups.stop - groups.start
        part = w[tiles.start * k : tiles.stop * k, groups.start * c : groups.stop * c]
        square = backend.zeros((tile_count * k, group_count * c))
        square[: part.shape[0], : part.shape[1]] = part
        blocks = square.reshape(tile_count, k, group_count, c).transpose(2, 0, 3, 1)
        out = backend.zeros((group_count, tile_count, c, self.heads, k))
        out[:, :, :, self.heads - 1 - product % self.heads] = blocks
        words = out.reshape(group_count * tile_count, self.spread * c)
        if self.terms == self.spread * c:
            return words
        padding = backend.zeros((len(words), self.terms - self.spread * c))
        return backend.xp.concatenate([words, padding], axis=1)

    def extract(self, words: Array) -> Array:
        """[batch, rows, n] of the words [replies, wanted] at the `places` of all replies."""
        shape = self.shape
        cut = words.reshape(self.replies, shape.rows, self.columns, self.members)
        results = cut.transpose(0, 3, 1, 2).reshape(-1, shape.rows, self.columns)[: self.results]
        columns = results.reshape(shape.batch, self.groups, shape.rows, self.columns).transpose(0, 2, 1, 3)
        return columns.reshape(shape.batch, shape.rows, self.groups * self.columns)[:, :, : shape.outputs]


@dataclass(frozen=True, slots=True)
class PackedMargins:
    """How far products are from what is refused."""

    modulus_bits: int
    noise_bits: float  # log2 of the bound of the noise of a result, before the dropped primes are divided out
    noise_room_bits: float  # of what could be borne there
    rounding_sigmas: float  # what the digits of a reply leave, in standard deviations of its noise
    privacy_bits: float  # -log2 of the statistical distance of all replies


def padded(count: int) -> int:
    """The least power of two that is not smaller."""
    return 1 << max(count - 1, 0).bit_length()


@cache
def choose(params: ParameterSet, shape: Shape, byte_ns: float) -> Layout:
    """The layout that takes least time where a byte takes `byte_ns`; both parties come to the same one."""
    if min(shape.batch, shape.rows, shape.inputs, shape.outputs) < 1 or not 0 <= shape.dense <= shape.outputs:
        raise ValueError(f"there are no products of {shape}")
    if shape.rows > params.degree:
        raise ValueError(f"there are no products of {shape} under {params.name}")
    return min(_layouts(params, shape), key=lambda layout: cost_ns(params, layout, byte_ns))


def _layouts(params: ParameterSet, shape: Shape) -> Iterator[Layout]:
    area = params.degree // padded(shape.rows)
    for tile in _powers(min(area, padded(shape.inputs))):
        for heads in _powers(min(area // tile, padded(shape.batch))):
            columns = area // (tile * heads)
            yield Layout(shape, params.degree, tile, heads, columns, merging=False)
            if tile * heads > 1:
                yield Layout(shape, params.degree, tile, heads, columns, merging=True)


def _powers(most: int) -> list[int]:
    return [1 << e for e in range(most.bit_length())]


def cost_ns(params: ParameterSet, layout: Layout, byte_ns: float) -> float:
    """Time of both parties and of the wire."""
    fresh, level = len(params.primes), len(params.level)
    switches = layout.replies * keyswitch.switches(layout.members, layout.merged_spread)
    transforms = (
        layout.ciphertexts * fresh * _FRESH
        + (layout.tile_products * _TILE + layout.results * _RESULT) * fresh
        + switches * (level + 2) * (level + 1) * _SWITCH
        + layout.replies * level * _REPLY
    )
    up, down = message_bytes(params, layout)
    return TRANSFORM_NS * transforms * params.degree / 8192 + byte_ns * (up + down)


def message_bytes(params: ParameterSet, layout: Layout, bits: int | None = None) -> tuple[int, int]:
    """Bytes of ciphertexts to the evaluator and back, for results modulo 2^bits; without headers and keys."""
    bits = params.ring_bits if bits is None else bits
    up = layout.ciphertexts * params.degree * params.wire_bits(params.primes) // 8
    down = layout.wanted * (bits + B_DIGITS) + params.degree * (bits + A_DIGITS)
    return up, layout.replies * down // 8


def margins(
    params: ParameterSet, products: list[tuple[Layout, NDArray[np.float64]]], bits: int | None = None
) -> PackedMargins:
    """Margins of products with weights of these norms, all together, modulo 2^bits (None: as the set's ring).

    Raises ParameterError if they do not suffice.

    norms: for each result of a layout sqrt(sum w^2) over all the weights in its polynomials. The noise of a result
    is error_sigma times that, divided by the special primes if ciphertexts are wide; merging adds
    `keyswitch.switching_sigma`, dividing the rounding times the spread. A reply differs from one without this
    noise with probability at most E|noise| 2^(bits + 1) / q for each coefficient that is sent; privacy_bits adds
    that up.
    """
    check(params)
    if not params.special:
        raise ParameterError(f"{params.name} has no primes for switching keys")
    divisor = float(prod(params.special)) if params.wide else 1.0
    bits = params.ring_bits if bits is None else bits
    total, largest = 0.0, 0.0
    for layout, norms in products:
        spread = layout.merged_spread
        own = params.error_sigma / divisor * norms
        added = keyswitch.switching_sigma(params, spread)
        if params.wide:
            added = sqrt(added**2 + (spread * params.rounding_sigma) ** 2)
        places = layout.shape.rows * layout.columns
        total += places * float(own.sum()) + layout.replies * layout.wanted * added
        largest = max(largest, sqrt(float(own.max()) ** 2 + added**2 + params.zero_sigma**2))
    noise, room = log2(NOISE_SIGMAS * largest), log2(prod(params.level)) - bits - 1
    if noise > room:
        raise ParameterError(
            f"noise of 2^{noise:.1f} exceeds the 2^{room:.1f} that {params.name} can decrypt"
        )
    sigmas = rounding_sigmas(params, largest, bits)
    if sigmas < ROUNDING_SIGMAS:
        raise ParameterError(f"{params.name} decrypts these products wrongly ({sigmas:.1f} sigmas of room)")
    privacy = hidden_bits(params, total, bits)
    if privacy < params.privacy_bits:
        raise ParameterError(
            f"replies under {params.name} would hide operands of this size by 2^-{privacy:.1f} only, "
            f"2^-{params.privacy_bits} is needed: use smaller operands, or split the product"
        )
    return PackedMargins(modulus_bits(params), noise, room - noise, sigmas, privacy)
