"""What a run costs at given prices of cores and GPUs."""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench.rows import Row

HOUR_S = 3600.0


@dataclass(frozen=True)
class Prices:
    """Of an hour of one core and of one GPU, in any currency; null: not given."""

    core_hour: float | None = None
    gpu_hour: float | None = None

    @property
    def given(self) -> bool:
        """Whether there is anything to reckon with."""
        return self.core_hour is not None or self.gpu_hour is not None

    def cost(self, cpu_s: float, gpu_s: float) -> float:
        """Of so many core-seconds and GPU-seconds."""
        return (cpu_s * (self.core_hour or 0.0) + gpu_s * (self.gpu_hour or 0.0)) / HOUR_S

    def on(self, row: Row) -> Row:
        """The row with its `cost`, if prices are given and its core-seconds known."""
        cpu_s = row.extra.get("cpu_s")
        if not self.given or cpu_s is None:
            return row
        return replace(row, extra=row.extra | {"cost": self.cost(cpu_s, row.extra.get("gpu_s") or 0.0)})


NO_PRICES = Prices()
