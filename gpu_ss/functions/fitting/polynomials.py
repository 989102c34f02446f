"""Polynomials on one interval: nearly minimax, rounded to integers coefficient by coefficient. NumPy only.

A polynomial is fitted in the variable u = x - centre of its piece, in units of 2^-frac_bits, with value
scale 2^value_bits. The highest coefficient is rounded first and the lower ones are fitted again to what is
left, so coarse leading coefficients cost little. Expanded around 0 the coefficients are exact integers.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

Real = NDArray[np.float64]
Function = Callable[[Real], Real]
SAMPLES = 400


def minimax(f: Function, low: float, high: float, degree: int, weight: Function | None = None) -> Real:
    """Nearly minimax polynomial in u in [-1, 1] (x affine in u), by Lawson's reweighted least squares."""
    u = np.cos(np.pi * (np.arange(SAMPLES) + 0.5) / SAMPLES)
    x = 0.5 * (low + high) + 0.5 * (high - low) * u
    y, w = f(x), np.ones(SAMPLES) / SAMPLES
    scale = np.ones(SAMPLES) if weight is None else weight(x)
    basis = np.polynomial.chebyshev.chebvander(u, degree)
    for _ in range(60):
        root = np.sqrt(w) * scale
        fit = np.linalg.lstsq(basis * root[:, None], y * root, rcond=None)[0]
        error = np.abs(basis @ fit - y) * scale
        if error.max() < 1e-15 * max(1.0, np.abs(y).max()):
            break
        w = w * error
        w /= w.sum()
    return np.asarray(np.polynomial.chebyshev.cheb2poly(fit), np.float64)


def integer_piece(
    f: Function, start: int, end: int, degree: int, frac_bits: int, value_bits: int
) -> tuple[int, ...]:
    """Integer coefficients in raw x (constant first) on raw [start, end), value scale 2^value_bits."""
    centre, half = (start + end) // 2, 0.5 * (end - start) * 2.0**-frac_bits
    middle = centre * 2.0**-frac_bits
    local: list[int] = []

    def rest(x: Real) -> Real:
        u = x - middle
        done = sum(
            c * 2.0 ** (k * frac_bits - value_bits) * u**k
            for k, c in zip(range(degree, -1, -1), local, strict=False)
        )
        return np.asarray(f(x) - done, np.float64)

    for k in range(degree, -1, -1):
        fit = minimax(rest, middle - half, middle + half, k)
        local.append(round(fit[k] / half**k * 2.0 ** (value_bits - k * frac_bits)))
    return expand(local[::-1], centre)


def expand(local: Sequence[int], centre: int) -> tuple[int, ...]:
    """sum c_k (x - centre)^k as coefficients of powers of x: exact integers."""
    result = [0] * len(local)
    for k, c in enumerate(local):
        for j in range(k + 1):
            result[j] += c * math.comb(k, j) * (-centre) ** (k - j)
    return tuple(result)


def cut(f: Function, low: float, high: float, degree: int, error: float) -> list[float]:
    """Breakpoints from low to high, each piece as long as the error allows."""
    cuts = [low]
    while cuts[-1] < high - 1e-9:
        a, b = cuts[-1] + 1e-3, high
        if fit_error(f, cuts[-1], b, degree) > error:
            for _ in range(30):
                middle = 0.5 * (a + b)
                a, b = (middle, b) if fit_error(f, cuts[-1], middle, degree) <= error else (a, middle)
            b = a
        cuts.append(b)
    return cuts


def fit_error(f: Function, low: float, high: float, degree: int) -> float:
    """Largest error of `minimax`."""
    u = np.linspace(-1, 1, 801)
    x = 0.5 * (low + high) + 0.5 * (high - low) * u
    return float(np.abs(np.polynomial.polynomial.polyval(u, minimax(f, low, high, degree)) - f(x)).max())
