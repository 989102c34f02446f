"""What a table is worth: errors over every input of the range, jumps, and what evaluating it costs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from gpu_ss.economy import ALONE, DEALT, Economy
from gpu_ss.functions.activation import activation
from gpu_ss.functions.fitting.library import Target
from gpu_ss.functions.fitting.polynomials import Function, Real
from gpu_ss.functions.fitting.published import PUBLISHED
from gpu_ss.functions.fitting.search import Fitted
from gpu_ss.functions.fitting.segments import UNIT, clear, max_jump
from gpu_ss.functions.tables import to_json
from gpu_ss.party import Party
from gpu_ss.plan import Plan, make_plan
from gpu_ss.protocols.io import zeros
from gpu_ss.protocols.piecewise import PiecewiseTable
from gpu_ss.ring import RING64

COUNTED = 1 << 14  # elements a cost is counted for
INPUT_FRAC = 16  # fractional bits of the x it is counted for, in a 64-bit ring


@dataclass(frozen=True)
class Errors:
    """Distances to the function over the range."""

    max_abs_error: float
    mean_abs_error: float


def errors(target: Target, approximation: Function) -> Errors:
    """Over all numbers of the range with 12 fractional bits."""
    x = inputs(target) * UNIT
    distance = np.abs(approximation(x) - target.f(x))
    return Errors(float(distance.max()), float(distance.mean()))


def inputs(target: Target) -> Real:
    """All raw inputs of the range."""
    return np.arange(np.ceil(target.low / UNIT), np.floor(target.high / UNIT) + 1)


def as_function(table: PiecewiseTable) -> Function:
    """What the table gives for x, read with its fractional bits."""
    return lambda x: clear(table, np.rint(x / UNIT))


@dataclass(frozen=True)
class EvaluationCost:
    """Of one element, from what the protocols will send: rounds, bits that each side sends online, bytes before.

    offline_bytes: from a dealer to the server; for two parties alone see `fastlmpi plan`, None here.
    """

    rounds: int
    online_bits_client: float
    online_bits_server: float
    offline_bytes: float | None

    @property
    def online_bits(self) -> float:
        """Of the side that sends more."""
        return max(self.online_bits_client, self.online_bits_server)


def evaluation_plan(table: PiecewiseTable, economy: Economy) -> Plan:
    """The plan of `activation` on COUNTED numbers of a 64-bit ring."""

    def run(party: Party) -> None:
        activation(party, zeros(party, (COUNTED,), RING64, INPUT_FRAC), table)

    return make_plan(0, run, economy=economy)


def evaluation_cost(table: PiecewiseTable, economy: Economy) -> EvaluationCost:
    """What `activation` costs with a dealer (DEALT) or without (ALONE)."""
    plan = evaluation_plan(table, economy)
    client, server = (8 * sent / COUNTED for sent in plan.sent)
    offline = None if economy.alone else plan.offline_bytes / COUNTED
    return EvaluationCost(plan.rounds, client, server, offline)


def report(target: Target, fitted: Fitted) -> dict[str, Any]:
    """The JSON object that `fastlmpi fit --json` writes; `tables.read` takes its table.

    rounds and online_bits: without a dealer, per element, of the side that sends more; all of it under `cost`.
    """
    table = fitted.table
    (window,) = table.windows
    alone, dealt = evaluation_cost(table, ALONE), evaluation_cost(table, DEALT)
    found = errors(target, as_function(table))
    return {
        "function": target.name,
        "range": [target.low, target.high],
        "degree": fitted.wanted.degree,
        "pieces": len(window.starts) - 1,
        "norm": fitted.wanted.norm,
        "breakpoints": [s * UNIT for s in window.starts],
        "coefficients": coefficients(table),
        "limits": {"left": str(fitted.layout.shape.left), "right": str(fitted.layout.shape.right)},
        "symmetry": symmetry(fitted),
        "derivative_zeros": list(fitted.candidates),
        **asdict(found),
        "max_jump": max_jump(table),
        "rounds": alone.rounds,
        "online_bits": alone.online_bits,
        "cost": {"two-party": asdict(alone), "dealer": asdict(dealt)},
        "published": {name: asdict(errors(target, f)) for name, (f, _) in published(target).items()},
        "table": to_json(table),
    }


def published(target: Target) -> dict[str, tuple[Function, str]]:
    """Other systems' fits of the same function."""
    return dict(PUBLISHED.get(target.name, {}))


def coefficients(table: PiecewiseTable) -> list[list[float]]:
    """Real coefficients of x^0, x^1, ... between neighbouring breakpoints, the line kept apart included."""
    (window,) = table.windows
    result = []
    for (polynomial,), slope in list(zip(window.pieces, window.linear, strict=True))[:-1]:
        real = [float(c) * 2.0 ** (k * table.frac_bits - table.value_bits) for k, c in enumerate(polynomial)]
        real += [0.0] * (2 - len(real))
        real[1] += slope
        result.append(real)
    return result


def symmetry(fitted: Fitted) -> str:
    """What the fit made use of, for people."""
    shape = fitted.layout.shape
    if shape.even:
        return f"f(x) = {shape.tilt:g} x + even(x)" if shape.tilt else "even"
    if shape.odd:
        return f"f(x) = {shape.level:g} + odd(x)" if shape.level else "odd"
    return "none"
