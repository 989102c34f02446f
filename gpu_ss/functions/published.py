"""GeLU as published systems approximate it, and this project's own fit in the manner of FASTLMPI.

The numbers are those of the papers and of the code their authors published (docs/profiles.md has the sources).
"""

from __future__ import annotations

from gpu_ss.functions.segmented import Segments

SQRT2 = 1.4142135623730951

Coefficients = tuple[float, ...]


def _mirrored(p: Coefficients) -> Coefficients:
    """p(-x)."""
    return tuple(-c if k % 2 else c for k, c in enumerate(p))


def _minus(p: Coefficients) -> Coefficients:
    return tuple(-c for c in p)


# GeLU(x) = ReLU(x) - h(|x|), h(a) = a Phi(-a): a joint at the zero sqrt(2) of GeLU'', and the window with the least
# error. Made by gpu_ss.functions.fitting.segments_of_gelu. Largest error 4.8e-4, mean over [-10, 10] 1.3e-4.
WINDOW = 3.65966796875
_NEAR = (6.92396204e-05, 0.506520567, -0.434287986, 0.0701039228, 0.0163957777)
_FAR = (0.377327916, -0.206902676, -0.0130579603, 0.0234596747, -0.00331765421)
FASTLMPI = Segments(
    "gelu in segments",
    (-WINDOW, -SQRT2, 0.0, SQRT2, WINDOW),
    ((0.0,), _minus(_mirrored(_FAR)), _minus(_mirrored(_NEAR)), _minus(_NEAR), _minus(_FAR), (0.0,)),
    (0, 0, 0, 1, 1, 1),
)

# Chen et al., FASTLMPI: the fit of the paper's own code, kept for comparison.
FASTLMPI_PAPER = Segments(
    "gelu of FASTLMPI",
    (-5.075, -1.414, 1.414, 5.075),
    (
        (-1e-5,),
        (-0.568686678, -0.529288810, -0.183509590, -0.028070202, -0.001597741),
        (0.001193207, 0.5, 0.385858026, 0.0, -0.045101361),
        (-0.438406187, 1.340789252, -0.087184212, 0.007334718),
        (1e-5,),
    ),
    (0, 0, 0, 0, 1),
)

# Pang et al., BOLT: one quartic in |x| plus x / 2 up to 2.7.
_QUARTIC = (
    0.001620808531841547,
    -0.03798164612714154,
    0.5410550166368381,
    -0.18352506127082727,
    0.020848611754127593,
)
BOLT = Segments(
    "gelu of BOLT",
    (-2.7, 0.0, 2.7),
    (
        (0.0,),
        (_QUARTIC[0], 0.5 - _QUARTIC[1], _QUARTIC[2], -_QUARTIC[3], _QUARTIC[4]),
        (_QUARTIC[0], 0.5 + _QUARTIC[1], _QUARTIC[2], _QUARTIC[3], _QUARTIC[4]),
        (0.0,),
    ),
    (0, 0, 0, 1),
)

# Dong et al., PUMA, and Lu et al., BumbleBee: a cubic and a sextic; they differ in the cuts and in the tails, which
# are 0 and x in PUMA's paper and code, and 1e-5 below these in BumbleBee's paper (its code now has BOLT's quartic).
_CUBIC = (-0.5054031199708174, -0.42226581151983866, -0.11807612951181953, -0.011034134030615728)
_SEXTIC = (
    0.008526321541038084,
    0.5,
    0.3603292692789629,
    0.0,
    -0.037688200365904236,
    0.0,
    0.0018067462606141187,
)
PUMA = Segments("gelu of PUMA", (-4.0, -1.95, 3.0), ((0.0,), _CUBIC, _SEXTIC, (0.0,)), (0, 0, 0, 1))
BUMBLEBEE = Segments(
    "gelu of BumbleBee", (-5.0, -1.97, 3.0), ((-1e-5,), _CUBIC, _SEXTIC, (-1e-5,)), (0, 0, 0, 1)
)
