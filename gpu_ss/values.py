"""The values a party holds: shares, and clear values known to one party.

All are immutable. None shows its words in `repr`, none has a truth value, none opens itself: the only
way from a share to a clear value is `protocols.io.reveal`. Ring and scale are part of the value; mixing
them raises. What is written here as operators is exactly what each party may do alone on shares.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NoReturn

import numpy as np

from gpu_ss.errors import RingMismatch
from gpu_ss.field import Field
from gpu_ss.ring import WORD, Array, Ring


class _Opaque:
    """No truth value, no iteration into scalars, no hash: a share is not data to branch on."""

    __hash__ = None  # type: ignore[assignment]

    def __bool__(self) -> NoReturn:
        raise TypeError("a shared value has no truth value; compare it with protocols.compare and reveal")

    def __eq__(self, other: object) -> NoReturn:
        raise TypeError("shared values are compared with protocols.compare, not with ==")


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class AShare(_Opaque):
    """One party's summand of a tensor: x = (share_0 + share_1) * 2^-frac_bits modulo 2^bits units."""

    data: Array
    ring: Ring
    frac_bits: int = 0

    def __repr__(self) -> str:
        return f"AShare(shape={self.shape}, bits={self.ring.bits}, frac_bits={self.frac_bits}, data=<hidden>)"

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    # -- linear arithmetic: local, exact, no communication -------------------------------------------

    def _same(self, other: AShare) -> None:
        if self.ring != other.ring or self.frac_bits != other.frac_bits:
            raise RingMismatch(f"cannot combine {self!r} with {other!r}: rings and scales must agree")

    def __add__(self, other: AShare) -> AShare:
        self._same(other)
        return self._with(self.data + other.data)

    def __sub__(self, other: AShare) -> AShare:
        self._same(other)
        return self._with(self.data - other.data)

    def __neg__(self) -> AShare:
        return self._with(np.uint64(0) - self.data)

    def times(self, factor: int) -> AShare:
        """Multiply by a public integer; the scale stays."""
        return self._with(self.data * np.uint64(factor % (1 << WORD)))

    def scaled(self, factor: float, factor_frac_bits: int) -> AShare:
        """Multiply by a public real, rounded to `factor_frac_bits`; that many fractional bits are added."""
        fixed = round(factor * 2**factor_frac_bits)
        return replace(self.times(fixed), frac_bits=self.frac_bits + factor_frac_bits)

    def lifted(self, frac_bits: int) -> AShare:
        """The same value with more fractional bits (exact; needs the room above)."""
        if frac_bits < self.frac_bits:
            raise RingMismatch(f"{self!r} cannot lose fractional bits without protocols.trunc")
        return replace(self.times(1 << (frac_bits - self.frac_bits)), frac_bits=frac_bits)

    def narrowed(self, ring: Ring) -> AShare:
        """The same value modulo a smaller power of two (free)."""
        if ring.bits > self.ring.bits:
            raise RingMismatch(f"{self!r} cannot move to {ring.bits} bits for free; use trunc.extend")
        return replace(self, ring=ring)

    # -- shape ---------------------------------------------------------------------------------------

    def _with(self, data: Array) -> AShare:
        return replace(self, data=data)

    def reshape(self, *shape: int) -> AShare:
        return self._with(self.data.reshape(shape))

    def transpose(self, *axes: int) -> AShare:
        return self._with(self.data.transpose(axes))

    def sum(self, axis: int, keepdims: bool = False) -> AShare:
        return self._with(self.data.sum(axis=axis, keepdims=keepdims))

    def __getitem__(self, key: Any) -> AShare:
        return self._with(self.data[key])

    def map(self, shape_only: Callable[[Array], Array]) -> AShare:
        """Apply a function that only moves elements (broadcast, concatenate with itself, ...)."""
        return self._with(shape_only(self.data))


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class FShare(_Opaque):
    """One party's summand of a tensor in a field: x = (share_0 + share_1 mod p) * 2^-frac_bits, canonical."""

    data: Array
    field: Field
    frac_bits: int = 0

    def __repr__(self) -> str:
        return (
            f"FShare(shape={self.shape}, field_bits={self.field.bits}, frac_bits={self.frac_bits}, "
            "data=<hidden>)"
        )

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class BShare(_Opaque):
    """One party's XOR summand of `nbits` bits per element, bit-sliced: planes[bit, element // 64].

    Element e is bit e % 64 of word e // 64 of every plane; bits past the last element mean nothing.
    """

    planes: Array
    shape: tuple[int, ...]

    def __repr__(self) -> str:
        return f"BShare(shape={self.shape}, nbits={self.nbits}, planes=<hidden>)"

    @property
    def nbits(self) -> int:
        return int(self.planes.shape[0])

    @property
    def size(self) -> int:
        return prod(self.shape)

    def __xor__(self, other: BShare) -> BShare:
        if self.shape != other.shape or self.nbits != other.nbits:
            raise RingMismatch(f"cannot combine {self!r} with {other!r}")
        return replace(self, planes=self.planes ^ other.planes)

    def bit(self, index: int) -> BShare:
        """One of the bits, as a single-bit value."""
        return replace(self, planes=self.planes[index : index + 1])

    def reshape(self, *shape: int) -> BShare:
        if prod(shape) != self.size:
            raise ValueError(f"cannot reshape {self.shape} to {shape}")
        return replace(self, shape=tuple(shape))


@dataclass(frozen=True, eq=False, repr=False, slots=True)
class Private(_Opaque):
    """A clear tensor that one party knows (`data` is None at the other): weights, inputs."""

    data: Array | None
    owner: int
    shape: tuple[int, ...]
    ring: Ring
    frac_bits: int = 0

    def __repr__(self) -> str:
        return (
            f"Private(owner={self.owner}, shape={self.shape}, bits={self.ring.bits}, "
            f"frac_bits={self.frac_bits}, data=<hidden>)"
        )


@dataclass(frozen=True, eq=False, slots=True)
class Public:
    """A tensor both parties know."""

    data: Array
    ring: Ring
    frac_bits: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)
