"""Functions that can be fitted by name, and any other: a Python callable of the user's."""

from __future__ import annotations

import importlib
import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from gpu_ss.errors import FitError
from gpu_ss.functions.fitting.polynomials import Function, Real

FAR = 64.0  # where a function is taken to have reached its limit, if it has one
EXACT = 1e-9  # what counts as equal


def gelu(x: Real) -> Real:
    """x Phi(x), by the error function."""
    return np.array([0.5 * v * math.erfc(-v / math.sqrt(2.0)) for v in x])


def gelu_tanh(x: Real) -> Real:
    """GeLU's tanh form."""
    return np.asarray(0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))), np.float64)


def sigmoid(x: Real) -> Real:
    """1 / (1 + e^-x)."""
    return np.asarray(0.5 * (1 + np.tanh(0.5 * x)), np.float64)


def silu(x: Real) -> Real:
    """x sigmoid(x)."""
    return np.asarray(x * sigmoid(x), np.float64)


def softplus(x: Real) -> Real:
    """log(1 + e^x)."""
    return np.asarray(np.logaddexp(0.0, x), np.float64)


def mish(x: Real) -> Real:
    """x tanh(softplus(x))."""
    return np.asarray(x * np.tanh(softplus(x)), np.float64)


def erf(x: Real) -> Real:
    """The error function."""
    return np.array([math.erf(v) for v in x])


@dataclass(frozen=True)
class Target:
    """A function, and the range [low, high] in which it matters."""

    name: str
    f: Function
    low: float
    high: float

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z]\w{0,31}", self.name):
            raise FitError(
                f"{self.name!r} is no name for a table: a letter, then up to 31 letters, digits or _"
            )
        if not (-1024.0 <= self.low < self.high <= 1024.0 and self.high - self.low >= 0.125):
            raise FitError(
                f"the range {self.low:g},{self.high:g} is not usable: LO < HI, at least 1/8 apart, within +-1024"
            )
        values = self.f(np.linspace(self.low, self.high, 257))
        if np.shape(values) != (257,) or not np.isfinite(values).all():
            raise FitError(
                f"{self.name} does not give a finite number everywhere in {self.low:g},{self.high:g}; "
                "give another --range"
            )


FUNCTIONS: Mapping[str, tuple[Function, tuple[float, float]]] = MappingProxyType(
    {
        "gelu": (gelu, (-10, 10)),
        "gelu_tanh": (gelu_tanh, (-10, 10)),
        "silu": (silu, (-12, 12)),
        "tanh": (np.tanh, (-10, 10)),
        "sigmoid": (sigmoid, (-12, 12)),
        "erf": (erf, (-10, 10)),
        "exp": (np.exp, (-16, 0)),
        "mish": (mish, (-12, 12)),
        "softplus": (softplus, (-12, 12)),
    }
)


def target(name: str, span: tuple[float, float] | None = None, code: str | None = None) -> Target:
    """The function of that name, or the callable `code` ("module:function"), which is imported and run here.

    span: the range, default the function's own, for a callable -8 to 8. Raises FitError.
    """
    if code is not None:
        return Target(name, _vectorised(_imported(code)), *(span or (-8.0, 8.0)))
    if name not in FUNCTIONS:
        raise FitError(
            f"there is no function {name!r}; known are {', '.join(FUNCTIONS)}; for another one "
            "give --callable MODULE:FUNCTION"
        )
    f, usual = FUNCTIONS[name]
    return Target(name, f, *(span or usual))


def _imported(code: str) -> Any:
    module, _, name = code.partition(":")
    if not module or not name:
        raise FitError(f"--callable is MODULE:FUNCTION, such as numpy:arctan, not {code!r}")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise FitError(f"cannot import {code}: {error}") from None
    if not callable(found):
        raise FitError(f"{code} cannot be called")
    return found


def _vectorised(found: Any) -> Function:
    """`found` on arrays: itself if it takes them, else number by number."""

    def f(x: Real) -> Real:
        with np.errstate(all="ignore"):
            values = _at_once(found, x)
            return np.array([_number(found, v) for v in x], np.float64) if values is None else values

    return f


def _at_once(found: Any, x: Real) -> Real | None:
    """The values if the callable takes arrays, whatever it does if not."""
    try:
        values = np.asarray(found(x), np.float64)
    except Exception:
        return None
    return values if values.shape == x.shape else None


def _number(found: Any, v: float) -> float:
    try:
        return float(found(float(v)))
    except (ArithmeticError, ValueError, TypeError):
        return math.nan


# -- what the fit makes use of ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Limit:
    """f(x) = slope x + constant beyond the window, or `clamped`: the value at the end of the range."""

    slope: int
    constant: float
    clamped: bool = False

    def __call__(self, x: Real) -> Real:
        return np.asarray(self.slope * x + self.constant, np.float64)

    def __str__(self) -> str:
        if self.clamped:
            return f"{self.constant:.6g} (clamped)"
        line = {0: "", 1: "x", -1: "-x"}.get(self.slope, f"{self.slope} x")
        return (
            (f"{line} + {self.constant:.6g}" if self.constant else line) if line else f"{self.constant:.6g}"
        )


@dataclass(frozen=True)
class Shape:
    """Limits at both ends, and the symmetry: f(x) = tilt x + even(x), f(x) = level + odd(x), or neither."""

    left: Limit
    right: Limit
    even: bool = False
    odd: bool = False
    tilt: float = 0.0
    level: float = 0.0


def shape(t: Target, tolerance: float) -> Shape:
    """Limits and symmetry of a function, found numerically.

    A limit counts if the function comes within `tolerance` of it in the range; beyond an end without one the
    function is clamped to its value there. To the left only constants can be a limit (tables have no other).
    """
    left, right = _limit(t, -1, tolerance), _limit(t, +1, tolerance)
    half = min(-t.low, t.high)
    if half != max(-t.low, t.high) and not _settled_at(t, half, (left, right), tolerance):
        return Shape(left, right)
    x = np.linspace(0.0, half, 1025)[1:]
    above, below = t.f(x), t.f(-x)
    odd, even = (above - below) / 2, (above + below) / 2
    tilt, level = float(odd[-1] / half), float(even[-1])
    scale = max(1.0, float(np.abs(above).max()))
    if left.clamped == right.clamped:
        if np.abs(odd - tilt * x).max() < EXACT * scale and right.slope == 2 * tilt:
            return Shape(left, right, even=True, tilt=tilt)
        if np.abs(even - level).max() < EXACT * scale and right.slope == 0:
            return Shape(left, right, odd=True, level=level)
    return Shape(left, right)


def _settled_at(t: Target, half: float, limits: tuple[Limit, Limit], tolerance: float) -> bool:
    """Whether the function has reached both its limits at +-half."""
    ends = np.array([-half, half])
    gaps = t.f(ends) - np.array([float(limit(v)) for limit, v in zip(limits, ends, strict=True)])
    return half > 0 and not any(limit.clamped for limit in limits) and bool(np.abs(gaps).max() <= tolerance)


def _limit(t: Target, side: int, tolerance: float) -> Limit:
    end = t.high if side > 0 else t.low
    clamped = Limit(0, float(t.f(np.array([end]))[0]), clamped=True)
    with np.errstate(all="ignore"):
        near, far = (float(v) for v in t.f(np.array([side * FAR, 2 * side * FAR])))
    if not (math.isfinite(near) and math.isfinite(far)):
        return clamped
    slope = round((far - near) / (side * FAR))
    found = Limit(slope, _clean(far - slope * 2 * side * FAR))
    settled = abs(near - (slope * side * FAR + found.constant)) < EXACT
    if (
        not settled
        or (side < 0 and slope)
        or abs(clamped.constant - float(found(np.array([end]))[0])) > tolerance
    ):
        return clamped
    return found


def _clean(value: float) -> float:
    """Without the rounding of what should be a short number."""
    short = round(value, 9)
    return short + 0.0 if abs(value - short) < EXACT else value
