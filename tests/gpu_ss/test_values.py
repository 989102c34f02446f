"""Rings, fixed point, and what a share refuses to do."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gpu_ss.errors import RangeError, RingMismatch
from gpu_ss.fixed import decode, encode
from gpu_ss.ring import Ring, wire_bytes, word_count
from gpu_ss.values import AShare, BShare, Private

SECRET = 0xDEADBEEF12345678


def share(bits: int = 64, frac_bits: int = 16, shape: tuple[int, ...] = (3,)) -> AShare:
    return AShare(np.full(shape, SECRET, np.uint64), Ring(bits), frac_bits)


def test_ring_bounds() -> None:
    for bits in (0, 65, -1):
        with pytest.raises(ValueError, match="1 to 64"):
            Ring(bits)


@given(st.integers(1, 64), st.integers(0, 2**64 - 1))
def test_signed_representative(bits: int, word: int) -> None:
    signed = int(Ring(bits).signed(np.array([word], np.uint64))[0])
    assert -(2 ** (bits - 1)) <= signed < 2 ** (bits - 1)
    assert (signed - word) % 2**bits == 0


@given(st.integers(0, 10**6), st.integers(1, 64))
def test_wire_bytes_are_whole_words(elements: int, bits: int) -> None:
    assert wire_bytes(elements, bits) == 8 * word_count(elements, bits)
    assert 0 <= 8 * wire_bytes(elements, bits) - elements * bits < 64


@given(st.integers(2, 64), st.integers(0, 30), st.floats(-1, 1))
@example(56, 0, 1.0)
@example(64, 16, -1.0)
def test_fixed_point_round_trip(bits: int, frac_bits: int, unit: float) -> None:
    limit = 2.0 ** (bits - 2)
    largest = min(limit - 1, float(np.nextafter(limit, 0)))  # from 2^53 on a float64 cannot be limit - 1
    value = unit * largest * 2.0**-frac_bits
    back = decode(encode([value], Ring(bits), frac_bits), Ring(bits), frac_bits)[0]
    assert abs(back - value) <= 0.5 * 2.0**-frac_bits + abs(value) * 2**-52


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 2.0**46, -(2.0**46)])
def test_what_does_not_fit_is_refused(value: float) -> None:
    with pytest.raises(RangeError, match="64 bits with 16 fractional"):
        encode([0.0, value], Ring(64), 16)


def test_nothing_secret_in_repr() -> None:
    values = [
        share(),
        BShare(np.full((1, 1), SECRET, np.uint64), (3,)),
        Private(np.full(3, SECRET, np.uint64), 0, (3,), Ring(64)),
    ]
    for value in values:
        for text in (repr(value), str(value), f"{value}"):
            assert str(SECRET) not in text
            assert "beef" not in text.lower()
            assert "hidden" in text


def test_no_truth_value_no_equality_no_hash() -> None:
    for value in (share(), BShare(np.zeros((1, 1), np.uint64), (3,))):
        with pytest.raises(TypeError, match="truth"):
            bool(value)
        with pytest.raises(TypeError, match="compare"):
            _ = value == value
        with pytest.raises(TypeError):
            hash(value)


def test_mixing_rings_or_scales_raises() -> None:
    with pytest.raises(RingMismatch):
        share(64) + share(32)
    with pytest.raises(RingMismatch):
        share(frac_bits=16) - share(frac_bits=12)
    with pytest.raises(RingMismatch):
        share(32).narrowed(Ring(40))
    with pytest.raises(RingMismatch):
        share(frac_bits=16).lifted(12)


def test_linear_operations_follow_scales() -> None:
    x = AShare(np.array([3, 5], np.uint64), Ring(40), 4)
    assert (x + x).frac_bits == 4
    assert x.lifted(6).data.tolist() == [12, 20]
    assert x.scaled(0.5, 3).data.tolist() == [12, 20]
    assert x.scaled(0.5, 3).frac_bits == 7
    assert (-x).ring.reduce((-x).data).tolist() == [2**40 - 3, 2**40 - 5]
    assert x.narrowed(Ring(8)).ring.bits == 8
