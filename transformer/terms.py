"""What a session runs under besides the model: trust, who holds the weights and makes the products, the profile."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from math import isinf
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from gpu_ss.economy import ALONE, DEALT, Economy
from gpu_ss.functions.privacy import Guarantee
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.direct import Traffic
from gpu_ss.session import Extension
from net import Link

TrustMode = Literal["dealer", "two-party"]
WeightsMode = Literal["private", "released-table", "public"]
ProductsMode = Literal["dealer", "he"]
LinearMode = Literal["offline", "direct"]
Engine = Literal["native", "tenseal"]
ProfileName = Literal[
    "precise",
    "fastlmpi",
    "bolt",
    "puma",
    "bumblebee",
    "secformer",
    "mpcformer",
    "the-x",
    "gaussian-kernel",
]


def _known_network(text: str) -> str:
    if isinf(Link.parse(text).bandwidth_bit_s):
        raise ValueError(f"network {text!r} has no bandwidth to reckon with")
    return text


#: A preset's name or MBIT_S,RTT_MS, see `net.Link`.
Network = Annotated[str, Field(max_length=40), AfterValidator(_known_network)]

TABLE = "embedding"  # the tensor that `released-table` gives away


class Terms(BaseModel):
    """The server states them in its model card; both parties plan and run by them.

    trust: who makes the correlations. `dealer`: a third process that colludes with neither party. `two-party`:
    client and server alone, by homomorphic encryption and oblivious transfer.
    weights: `private`: they stay with the server. `released-table`: but the client gets the token embedding
    table (not positions, nor anything else) and looks its tokens up by itself, which saves the largest product
    of a query. `public`: both sides hold the model, only the input is private.
    products: who makes the correlations of multiplications. `dealer`; or `he`, the two parties alone by
    homomorphic encryption: then weights are not even sent masked, and the dealer supplies masks and bits only.
    Without a dealer it is `he`.
    linear: when products of matrices are made, with products by `he`. `offline`: correlations before the query,
    then one message a layer. `direct`: the parties' shares are multiplied when the query comes to them; nothing is
    made before but keys, so a single query without a time window ahead waits less in all.
    engine: who multiplies by weights and in fields, with products by `he` and linear `offline`: `native`, this
    project's own ring-LWE kernels, or `tenseal`, SEAL's BFV: the same shares, many times slower, for small models.
    network: what the parties' link is like, by which protocols choose between fewer rounds and fewer bytes: `lan`
    (1 Gbit/s, 0.3 ms), `lan10`, `wan` (100 Mbit/s, 40 ms), `wan80`, or MBIT_S,RTT_MS. It changes no result.
    privacy: noise that neither party knows is added to all that a query reveals, for that guarantee; None: none.
    profile: which system's functions stand for SoftMax, GeLU and LayerNorm (profiles.py).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    trust: TrustMode = "dealer"
    weights: WeightsMode = "private"
    products: ProductsMode = "dealer"
    linear: LinearMode = "offline"
    engine: Engine = "native"
    network: Network = "lan"
    privacy: Guarantee | None = None
    profile: ProfileName = "precise"

    @model_validator(mode="after")
    def _consistent(self) -> Terms:
        if self.trust == "two-party" and self.products != "he":
            raise ValueError(
                "without a dealer (trust two-party) products are made by encryption (products he)"
            )
        if self.products != "he" and self.linear != "offline":
            raise ValueError("linear direct is a way of products by encryption: it needs products he")
        if self.products != "he" and self.engine != "native":
            raise ValueError(f"engine {self.engine} is a way of products by encryption: it needs products he")
        if self.linear == "direct" and self.engine != "native":
            raise ValueError(f"linear direct needs the engine native, not {self.engine}")
        return self

    @property
    def public(self) -> bool:
        """Whether both parties hold the whole model."""
        return self.weights == "public"

    @property
    def not_dealt(self) -> tuple[type[Correlation], ...]:
        """The correlations that do not come from the dealer."""
        if self.trust == "two-party":
            return (Correlation,)
        if self.products == "dealer":
            return ()
        from he_bridge.provider import HANDLED

        return HANDLED

    def made_bytes(self, specs: Sequence[Correlation]) -> dict[str, float]:
        """Bytes that the two parties exchange to make correlations, by encryption (`he`) and by OT (`ot`).

        Both directions; without keys and the start of OT, which a session's first query takes too.
        """
        if self.products == "dealer":
            return {"he": 0.0, "ot": 0.0}
        from he_bridge.prices import bytes_by_way

        return bytes_by_way(specs, self.trust == "two-party")

    @property
    def extension(self) -> Extension | None:
        """The provider these terms put before the one of masks."""
        if self.products == "dealer":
            return None
        from he_bridge.provider import two_party, with_products

        chosen = two_party if self.trust == "two-party" else with_products
        built = partial(chosen, engine=self.engine, direct=self.linear == "direct")
        return partial(built, economy=self.economy) if self.trust == "two-party" else built

    @property
    def traffic(self) -> Traffic | None:
        """What products that are computed directly send, for plans; None where nothing is."""
        if self.linear != "direct":
            return None
        from he_bridge.traffic import messages

        return messages

    @property
    def economy(self) -> Economy:
        """What correlations cost under these terms."""
        return (ALONE if self.trust == "two-party" else DEALT).on(self.link.bandwidth_bit_s, self.link.rtt_s)

    @property
    def link(self) -> Link:
        """The network."""
        return Link.parse(self.network)

    def released(self, name: str) -> bool:
        """Whether the server gives this tensor to the client."""
        return self.weights == "released-table" and name == TABLE


PRIVATE = Terms()
