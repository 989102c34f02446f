"""What a query costs at given prices."""

from __future__ import annotations

from dataclasses import dataclass

from bench.report.results import Result

HOUR_S = 3600.0


@dataclass(frozen=True)
class Prices:
    """Of an hour of one core and of one GPU, in any currency; null: the costs that rows state themselves."""

    core_hour: float | None = None
    gpu_hour: float | None = None

    @property
    def note(self) -> str:
        """What the numbers mean."""
        if self.core_hour is None and self.gpu_hour is None:
            return "As the rows state it, at the prices they were measured with."
        return f"At {self.core_hour or 0:g} for a core-hour and {self.gpu_hour or 0:g} for a GPU-hour."

    def of(self, result: Result) -> float | None:
        """The cost of the row's run; null where its core-seconds are not known."""
        if self.core_hour is None and self.gpu_hour is None:
            return result.number("cost")
        cpu_s = result.number("cpu_s")
        if cpu_s is None:
            return None
        return cost(cpu_s, result.number("gpu_s") or 0.0, self.core_hour or 0.0, self.gpu_hour or 0.0)


def cost(cpu_s: float, gpu_s: float, core_hour: float, gpu_hour: float) -> float:
    """Of so many core-seconds and GPU-seconds at prices per hour."""
    return (cpu_s * core_hour + gpu_s * gpu_hour) / HOUR_S
