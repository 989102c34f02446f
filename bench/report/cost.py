"""What the rows' runs cost: at the prices given for the report, or as they state it themselves."""

from __future__ import annotations

from bench.prices import Prices
from bench.report.results import Result


def note_of(prices: Prices) -> str:
    """What the numbers mean."""
    if not prices.given:
        return "As the rows state it, at the prices they were measured with."
    return f"At {prices.core_hour or 0:g} for a core-hour and {prices.gpu_hour or 0:g} for a GPU-hour."


def cost_of(prices: Prices, result: Result) -> float | None:
    """Null where it is neither stated nor can be reckoned."""
    cpu_s = result.number("cpu_s")
    if not prices.given:
        return result.number("cost")
    return None if cpu_s is None else prices.cost(cpu_s, result.number("gpu_s") or 0.0)
