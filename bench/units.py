"""Numbers as people read them."""

from __future__ import annotations

from collections.abc import Sequence


def seconds(value: float | None) -> str:
    """A time with three digits, in s, ms or us."""
    if value is None:
        return ""
    for factor, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if value >= factor:
            return f"{_three(value / factor)} {unit}"
    return f"{value / 1e-6:.2g} us"


def size(value: float | None) -> str:
    """A number of bytes, in B, kB, MB, GB or TB (powers of ten)."""
    if value is None:
        return ""
    for factor, unit in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.0f} B"


def number(value: float | None) -> str:
    """A number with two or three digits; nothing for null."""
    return "" if value is None else f"{value:.2g}" if value < 1 else f"{value:.3g}"


def count(value: float | None) -> str:
    """How many, with three digits: 350, 12.5 k, 1 M, 28.6 M, 3 G."""
    if value is None:
        return ""
    for factor, unit in ((10**12, "T"), (10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= factor:
            return f"{value / factor:.3g} {unit}"
    return f"{value:.3g}"


def times(value: float | None) -> str:
    """A ratio: 0.85 x, 12.3 x."""
    return "" if value is None else f"{_three(value)} ×"


def sides(shape: Sequence[int]) -> str:
    """A shape as people write it."""
    return " x ".join(str(side) for side in shape)


def _three(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:.0f}"
