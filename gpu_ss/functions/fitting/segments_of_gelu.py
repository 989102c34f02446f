"""The segments of profile `fastlmpi`, as the paper makes them: `gpu_ss.functions.published.FASTLMPI`.

GeLU(x) = ReLU(x) - h(|x|). h is cut once, at the zero sqrt 2 of GeLU'', and is 0 beyond a window: the one where
the quartics' error and the tail's are equal. Both quartics are fitted together, joined where they meet and at the
window.

    python -m gpu_ss.functions.fitting.segments_of_gelu
"""

from __future__ import annotations

import math

import numpy as np

from gpu_ss.functions.fitting.library import shape, target
from gpu_ss.functions.fitting.segments import UNIT, Layout

CUT = round(math.sqrt(2.0) / UNIT)
LEAST, MOST = round(3.0 / UNIT), round(4.5 / UNIT)  # of the window
EVEN = 1e-3  # how much a fit may exceed the tail before the window is too wide


def build() -> tuple[float, tuple[tuple[float, ...], ...]]:
    """The window, and h's coefficients (constant first) below the cut and above it."""
    low, high = LEAST, MOST
    while high - low > 1:
        middle = (low + high) // 2
        layout = _layout(middle)
        too_wide = layout.solve().error > (1 + EVEN) * layout.tail_error()
        low, high = (low, middle) if too_wide else (middle, high)
    return low * UNIT, _coefficients(_layout(low))


def _layout(window: int) -> Layout:
    gelu = target("gelu")
    return Layout(gelu, shape(gelu, 1e-3), (0, CUT, window), degree=4, centred=False)


def _coefficients(layout: Layout) -> tuple[tuple[float, ...], ...]:
    """h(x) = x - GeLU(x) in powers of x: minus what a piece adds to its line x."""
    found = []
    for piece, free in zip(layout.pieces(), layout.solve().coefficients, strict=True):
        local = np.polynomial.Polynomial(
            [-free[k] for k in piece.powers],
            domain=[piece.centre - piece.half, piece.centre + piece.half],
            window=[-1, 1],
        )
        found.append(tuple(float(c) for c in local.convert().coef))
    return tuple(found)


if __name__ == "__main__":
    window, pieces = build()
    print(f"WINDOW = {window!r}")
    for name, piece in zip(("_NEAR", "_FAR"), pieces, strict=True):
        print(f"{name} = ({', '.join(f'{c:.9g}' for c in piece)})")
