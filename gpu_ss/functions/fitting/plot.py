"""The picture of a fit: the function, and errors on a logarithmic scale beside published fits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from gpu_ss.errors import FitError
from gpu_ss.functions.fitting.library import Target
from gpu_ss.functions.fitting.report import as_function, errors, published
from gpu_ss.functions.fitting.search import Fitted
from gpu_ss.functions.fitting.segments import UNIT

POINTS = 4001
LEAST = 1e-7  # where the error axis ends


def check_format(file: Path) -> None:
    """Raises FitError unless a picture can be written there."""
    known = Figure().canvas.get_supported_filetypes()
    if file.suffix.lstrip(".").lower() not in known or not file.resolve().parent.is_dir():
        raise FitError(
            f"cannot draw to {file}: the folder must exist and the ending be one of {', '.join(known)}"
        )


def draw(target: Target, fitted: Fitted, file: Path) -> None:
    """Write the picture; its format by the file's ending."""
    x = np.rint(np.linspace(target.low, target.high, POINTS) / UNIT) * UNIT
    exact = target.f(x)
    (window,) = fitted.table.windows
    figure = Figure(figsize=(9, 8), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot(x, exact, color="black", linewidth=3, alpha=0.25, label=f"{target.name}, exact")
    above.plot(x, as_function(fitted.table)(x), color="tab:red", linewidth=1, label="this fit")
    above.set_ylabel("value")
    curves = {
        f"this fit ({len(window.starts) - 1}, degree {fitted.wanted.degree})": as_function(fitted.table)
    }
    curves |= {f"{name} ({form})": f for name, (f, form) in published(target).items()}
    for k, (label, f) in enumerate(curves.items()):
        found = errors(target, f)
        below.semilogy(
            x,
            np.maximum(np.abs(f(x) - exact), LEAST),
            color="tab:red" if k == 0 else None,
            linewidth=1.5 if k == 0 else 0.8,
            label=f"{label}: max {found.max_abs_error:.1e}, mean {found.mean_abs_error:.1e}",
        )
    below.set_ylabel("absolute error")
    below.set_xlabel("x")
    for axes in (above, below):
        for start in window.starts:
            axes.axvline(start * UNIT, color="gray", linewidth=0.5, linestyle=":")
        axes.legend(fontsize="small")
    figure.suptitle(f"{target.name} in {len(window.starts) - 1} pieces of degree {fitted.wanted.degree}")
    figure.savefig(file, dpi=120)
