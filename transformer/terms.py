"""What a session runs under besides the model: who holds the weights, who makes the products."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from gpu_ss.provider.correlation import Correlation
from gpu_ss.session import Extension

WeightsMode = Literal["private", "released-table", "public"]
ProductsMode = Literal["dealer", "he"]

TABLE = "embedding"  # the tensor that `released-table` gives away


class Terms(BaseModel):
    """The server states them in its model card; both parties plan and run by them.

    weights: `private`: they stay with the server. `released-table`: but the client gets the token embedding
    table (not positions, nor anything else) and looks its tokens up by itself, which saves the largest product
    of a query. `public`: both sides hold the model, only the input is private.
    products: who makes the correlations of multiplications. `dealer`; or `he`, the two parties alone by
    homomorphic encryption: then weights are not even sent masked, and the dealer supplies masks and bits only.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: WeightsMode = "private"
    products: ProductsMode = "dealer"

    @property
    def public(self) -> bool:
        """Whether both parties hold the whole model."""
        return self.weights == "public"

    @property
    def not_dealt(self) -> tuple[type[Correlation], ...]:
        """The correlations that do not come from the dealer."""
        if self.products == "dealer":
            return ()
        from he_bridge.provider import HANDLED

        return HANDLED

    @property
    def extension(self) -> Extension | None:
        """The provider these terms put before the dealer's."""
        if self.products == "dealer":
            return None
        from he_bridge.provider import with_products

        return with_products

    def released(self, name: str) -> bool:
        """Whether the server gives this tensor to the client."""
        return self.weights == "released-table" and name == TABLE


PRIVATE = Terms()
