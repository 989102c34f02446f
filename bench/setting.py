"""How a bench is run: backends, who makes the correlations, the network between the parties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from bench.rows import device
from net import Link
from transformer.terms import ProductsMode, ProfileName, Terms, TrustMode


@dataclass(frozen=True)
class Setting:
    """Backends of client and server, trust mode, emulated network; who makes products if there is a dealer;
    whose functions layers and models use."""

    backend: str = "cpu"
    server_backend: str | None = None
    trust: TrustMode = "dealer"
    network: str = "none"
    transport: str = "tcp"
    products: ProductsMode = "dealer"
    profile: ProfileName = "precise"

    def __post_init__(self) -> None:
        if self.trust not in get_args(TrustMode):
            raise ValueError(f"there is no trust {self.trust!r}; there are {', '.join(get_args(TrustMode))}")
        if self.profile not in get_args(ProfileName):
            known = ", ".join(get_args(ProfileName))
            raise ValueError(f"there is no profile {self.profile!r}; there are {known}")
        Link.parse(self.network)

    @property
    def terms(self) -> Terms:
        """As the product's programs have them."""
        products: ProductsMode = "he" if self.alone else self.products
        return Terms(trust=self.trust, products=products, profile=self.profile)

    @property
    def alone(self) -> bool:
        """Whether there is no dealer."""
        return self.trust == "two-party"

    @property
    def backends(self) -> list[str]:
        """The client's, and the server's if it is another one."""
        return list(dict.fromkeys([self.backend, self.server_backend or self.backend]))

    @property
    def both(self) -> str:
        """The backends, as one name for the row."""
        return "+".join(self.backends)

    @property
    def devices(self) -> str:
        """What the client, and the server if it differs, compute on."""
        own = device(self.backend)
        if self.server_backend in (None, self.backend):
            return own
        return f"client: {own}; server: {device(str(self.server_backend))}"
