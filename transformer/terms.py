"""What a session runs under besides the model: who holds the weights."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

WeightsMode = Literal["private", "released-table", "public"]

TABLE = "embedding"  # the tensor that `released-table` gives away


class Terms(BaseModel):
    """The server states them in its model card; both parties plan and run by them.

    weights: `private`: they stay with the server. `released-table`: but the client gets the token embedding
    table (not positions, nor anything else) and looks its tokens up by itself, which saves the largest product
    of a query. `public`: both sides hold the model, only the input is private.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: WeightsMode = "private"

    @property
    def public(self) -> bool:
        """Whether both parties hold the whole model."""
        return self.weights == "public"

    def released(self, name: str) -> bool:
        """Whether the server gives this tensor to the client."""
        return self.weights == "released-table" and name == TABLE


PRIVATE = Terms()
