"""Several pieces at once, continuous where they meet: a linear program (minimax) or constrained least squares.

Each piece is a polynomial in t = (x - centre) / half, of which some powers may be known already. What is asked:
the free coefficients that make the largest error E and the jumps J at the joints least, E + JUMP_WEIGHT J, so
jumps are left only where the known coefficients force them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from scipy.optimize import linprog

from gpu_ss.errors import FitError
from gpu_ss.functions.fitting.polynomials import Function, Real

JUMP_WEIGHT = 50.0
PER_PIECE = 32  # samples, Chebyshev nodes and both ends


@dataclass
class Piece:
    """x from start to end: sum of known[k] t^k and free coefficients of `powers`, plus line * x, exactly.

    known: coefficients that are fixed already. powers: those still to be found.
    """

    start: float
    end: float
    centre: float
    powers: tuple[int, ...]
    line: float = 0.0
    known: dict[int, float] = field(default_factory=dict)

    @property
    def half(self) -> float:
        return max(self.end - self.centre, self.centre - self.start)

    def samples(self) -> Real:
        angles = np.pi * (np.arange(PER_PIECE) + 0.5) / PER_PIECE
        middle, width = 0.5 * (self.start + self.end), 0.5 * (self.end - self.start)
        return np.concatenate([[self.start], middle - width * np.cos(angles), [self.end]])

    def basis(self, x: Real) -> Real:
        """Values of the free powers: [samples, free]."""
        t = (x - self.centre) / self.half
        return np.stack([t**k for k in self.powers], axis=-1) if self.powers else np.zeros((len(x), 0))

    def fixed(self, x: Real) -> Real:
        """What is known of the value."""
        t = (x - self.centre) / self.half
        return np.asarray(self.line * x + sum(c * t**k for k, c in self.known.items()), np.float64)


@dataclass(frozen=True)
class Pin:
    """The pieces' value at a joint must be `value`: at the ends of the window, or at a centre of symmetry."""

    piece: int
    x: float
    value: float


@dataclass(frozen=True)
class Solution:
    """Free coefficients by piece, and the largest error at the samples."""

    coefficients: list[dict[int, float]]
    error: float


def solve(f: Function, pieces: Sequence[Piece], pins: Sequence[Pin], norm: str = "minimax") -> Solution:
    """The best free coefficients of adjacent pieces in the norm `minimax` or `squares`."""
    offsets = np.cumsum([0, *(len(p.powers) for p in pieces)])
    rows, rest = [], []
    xs = [p.samples() for p in pieces]
    values = np.split(f(np.concatenate(xs)), np.cumsum([len(x) for x in xs])[:-1])
    for k, (piece, x, y) in enumerate(zip(pieces, xs, values, strict=True)):
        rows.append(_placed(piece.basis(x), offsets[k], offsets[-1]))
        rest.append(y - piece.fixed(x))
    joint_rows, joint_rest = [], []
    for k, (left, right) in enumerate(pairwise(pieces)):
        x = np.array([right.start])
        row = _placed(right.basis(x), offsets[k + 1], offsets[-1]) - _placed(
            left.basis(x), offsets[k], offsets[-1]
        )
        joint_rows.append(row)
        joint_rest.append(left.fixed(x) - right.fixed(x))
    for pin in pins:
        x = np.array([pin.x])
        joint_rows.append(_placed(pieces[pin.piece].basis(x), offsets[pin.piece], offsets[-1]))
        joint_rest.append(pin.value - pieces[pin.piece].fixed(x))
    joints = (
        (np.concatenate(joint_rows), np.concatenate(joint_rest))
        if joint_rows
        else (np.zeros((0, offsets[-1])),) * 2
    )
    system = np.concatenate(rows), np.concatenate(rest)
    found = (_minimax if norm == "minimax" else _squares)(*system, *joints)
    error = float(np.abs(system[0] @ found - system[1]).max())
    parts = [found[offsets[k] : offsets[k + 1]] for k in range(len(pieces))]
    return Solution(
        [
            dict(zip(p.powers, (float(c) for c in part), strict=True))
            for p, part in zip(pieces, parts, strict=True)
        ],
        error,
    )


def _placed(block: Real, offset: int, width: int) -> Real:
    """The block's columns among those of all pieces."""
    row = np.zeros((len(block), width))
    row[:, offset : offset + block.shape[1]] = block
    return row


def _minimax(a: Real, y: Real, joint: Real, gap: Real) -> Real:
    """min E + JUMP_WEIGHT J with |a c - y| <= E and |joint c - gap| <= J.

    Residuals are counted in units of a least-squares fit's error, so the solver's own tolerance does not matter.
    """
    start = _squares(a, y, joint, gap)
    unit = max(float(np.abs(a @ start - y).max()), 1e-12)
    left, miss = (y - a @ start) / unit, (gap - joint @ start) / unit
    n = a.shape[1]
    if n == 0:
        return start
    ones, none = np.ones((len(a), 1)), np.zeros((len(a), 1))
    j_ones, j_none = np.ones((len(joint), 1)), np.zeros((len(joint), 1))
    upper = np.concatenate(
        [np.concatenate([sign * a, -ones, none], axis=1) for sign in (1.0, -1.0)]
        + [np.concatenate([sign * joint, j_none, -j_ones], axis=1) for sign in (1.0, -1.0)]
    )
    bounds = [(None, None)] * n + [(0, None)] * 2
    limit = np.concatenate([left, -left, miss, -miss])
    solved = linprog([*[0.0] * n, 1.0, JUMP_WEIGHT], upper, limit, bounds=bounds, method="highs")
    if solved.status != 0:
        raise FitError(f"the linear program of the fit has no solution: {solved.message}")
    return np.asarray(start + unit * solved.x[:n], np.float64)


def _squares(a: Real, y: Real, joint: Real, gap: Real) -> Real:
    """Least squares, with joints kept as well as they can be (by weight: they may not all hold exactly)."""
    weight = 1e6
    system = np.concatenate([a, weight * joint])
    return np.asarray(np.linalg.lstsq(system, np.concatenate([y, weight * gap]), rcond=None)[0], np.float64)
