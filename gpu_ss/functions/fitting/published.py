"""GeLU as other systems approximate it, to compare with: constants are those of the papers.

Checked against the errors known for them (tests/gpu_ss/test_fitting.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from gpu_ss.functions.fitting.polynomials import Function, Real


def segments(cuts: Sequence[float], pieces: Sequence[Sequence[float]]) -> Function:
    """Polynomials (constant first) between the cuts; the first one below all cuts, the last one above."""

    def f(x: Real) -> Real:
        which = np.searchsorted(np.asarray(cuts), x, side="right")
        return np.asarray(
            np.choose(which, [np.polynomial.polynomial.polyval(x, list(piece)) for piece in pieces]),
            np.float64,
        )

    return f


_SMALL = 1e-5  # what FASTLMPI and PUMA keep of the tails
_BOLT = (
    0.001620808531841547,
    -0.03798164612714154,
    0.5410550166368381,
    -0.18352506127082727,
    0.020848611754127593,
)
_PUMA = (
    (-0.5054031199708174, -0.42226581151983866, -0.11807612951181953, -0.011034134030615728),
    (0.008526321541038084, 0.5, 0.3603292692789629, 0.0, -0.037688200365904236, 0.0, 0.0018067462606141187),
)
_SECFORMER = (1.25772, -0.0299154, 0.382155, -0.0519123, 0.196033, -0.0624557, 0.118029)


def bolt(x: Real) -> Real:
    """BOLT (S&P 2024): a quartic in |x| up to 2.7."""
    inside = np.polynomial.polynomial.polyval(np.abs(x), _BOLT) + 0.5 * x
    return np.asarray(np.where(np.abs(x) <= 2.7, inside, np.maximum(x, 0.0)), np.float64)


def secformer(x: Real) -> Real:
    """SecFormer (ACL 2024 findings): erf by seven sines of period 20 up to 1.7."""
    u = x / np.sqrt(2.0)
    waves = sum(b * np.sin((k + 1) * np.pi * u / 10) for k, b in enumerate(_SECFORMER))
    return np.asarray(0.5 * x * (1 + np.where(np.abs(u) <= 1.7, waves, np.sign(u))), np.float64)


#: name -> (approximation, its segments between the tails and their degree or form)
GELU: Mapping[str, tuple[Function, str]] = MappingProxyType(
    {
        "FASTLMPI": (
            segments(
                (-5.075, -1.414, 1.414, 5.075),
                (
                    (-_SMALL,),
                    (-0.568686678, -0.529288810, -0.183509590, -0.028070202, -0.001597741),
                    (0.001193207, 0.5, 0.385858026, 0.0, -0.045101361),
                    (-0.438406187, 1.340789252, -0.087184212, 0.007334718),
                    (_SMALL, 1.0),
                ),
            ),
            "3, degree 4",
        ),
        "BOLT": (bolt, "2, degree 4"),
        "PUMA": (segments((-4.0, -1.95, 3.0), ((0.0,), *_PUMA, (-_SMALL, 1.0))), "2, degree 6"),
        "BumbleBee": (segments((-5.0, -1.97, 3.0), ((0.0,), *_PUMA, (0.0, 1.0))), "2, degree 6"),
        "SecFormer": (secformer, "1, seven sines"),
    }
)
#: published fits by the function they are of
PUBLISHED: Mapping[str, Mapping[str, tuple[Function, str]]] = MappingProxyType({"gelu": GELU})
