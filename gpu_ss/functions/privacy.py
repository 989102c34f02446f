"""What a stated guarantee of differential privacy asks of noise, in decimal arithmetic, the same everywhere.

Laplace: scale D / epsilon for the L1 sensitivity D. Gaussian: zero-concentrated privacy rho = D^2 / (2 sigma^2) for
the L2 sensitivity D, in any dimension, and epsilon = rho + 2 sqrt(rho ln(1 / delta)) (Canonne, Kamath, Steinke,
NeurIPS 2020; Bun, Steinke, TCC 2016). Half of delta is kept for what the sampler's distribution differs from the
exact one by: at a statistical distance s a mechanism loses (1 + e^epsilon) s.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Mechanism = Literal["laplace", "gaussian"]
DIGITS = 60


class Guarantee(BaseModel):
    """(epsilon, delta)-differential privacy of all numbers that one query reveals, together.

    sensitivity: the most that they, as computed, may differ between two neighbouring models (or whatever is to be
    protected): L1 for laplace, L2 for gaussian. The caller states it; nothing here can prove it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    mechanism: Mechanism = "gaussian"
    epsilon: float = Field(gt=0, le=64)
    delta: float = Field(gt=0, lt=0.5)
    sensitivity: float = Field(gt=0, le=2.0**20)

    def scale(self, rounding: float = 0.0) -> Decimal:
        """Scale (laplace) or standard deviation (gaussian), if rounding adds so much to the sensitivity."""
        with localcontext(prec=DIGITS):
            distance, epsilon = Decimal(self.sensitivity) + Decimal(rounding), Decimal(self.epsilon)
            if self.mechanism == "laplace":
                return distance / epsilon
            log = (2 / Decimal(self.delta)).ln()
            root = (log + epsilon).sqrt() - log.sqrt()
            return distance / (Decimal(2).sqrt() * root)

    @property
    def distance(self) -> Decimal:
        """The statistical distance that the noise of a whole query may have from the exact distribution."""
        with localcontext(prec=DIGITS):
            return Decimal(self.delta) / (2 * (1 + Decimal(self.epsilon).exp()))

    def __str__(self) -> str:
        stated = f"epsilon {self.epsilon:g}, delta {self.delta:g}, sensitivity {self.sensitivity:g}"
        return f"{self.mechanism} noise, {stated}"
