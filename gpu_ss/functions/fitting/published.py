"""GeLU as other systems approximate it, to compare with: constants are those of the papers.

Checked against the errors known for them (tests/gpu_ss/test_fitting.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np

from gpu_ss.functions.fitting.polynomials import Function, Real
from gpu_ss.functions.fourier import BETA
from gpu_ss.functions.published import BOLT_QUARTIC, PUMA_CUBIC, PUMA_SEXTIC


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


def bolt(x: Real) -> Real:
    """BOLT (S&P 2024): a quartic in |x| up to 2.7."""
    inside = np.polynomial.polynomial.polyval(np.abs(x), BOLT_QUARTIC) + 0.5 * x
    return np.asarray(np.where(np.abs(x) <= 2.7, inside, np.maximum(x, 0.0)), np.float64)


def secformer(x: Real) -> Real:
    """SecFormer (ACL 2024 findings): erf by seven sines of period 20 up to 1.7."""
    u = x / np.sqrt(2.0)
    waves = sum(b * np.sin((k + 1) * np.pi * u / 10) for k, b in enumerate(BETA))
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
        "PUMA": (
            segments((-4.0, -1.95, 3.0), ((0.0,), PUMA_CUBIC, PUMA_SEXTIC, (-_SMALL, 1.0))),
            "2, degree 6",
        ),
        "BumbleBee": (
            segments((-5.0, -1.97, 3.0), ((0.0,), PUMA_CUBIC, PUMA_SEXTIC, (0.0, 1.0))),
            "2, degree 6",
        ),
        "SecFormer": (secformer, "1, seven sines"),
    }
)
#: published fits by the function they are of
PUBLISHED: Mapping[str, Mapping[str, tuple[Function, str]]] = MappingProxyType({"gelu": GELU})
