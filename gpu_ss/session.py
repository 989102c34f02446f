"""From open channels to a party, with a dealer or without.

With one, both ranks fetch their keys from it under one session name; without, each draws its own.

    with joined(rank, channel_to_the_other_party, open_dealer) as party:
        ...                                             # protocols

`open_dealer` opens a channel to the dealer when it is needed. Rank 0 draws the session name and needs the dealer
only for its key; rank 1 stays connected, for corrections.
"""

from __future__ import annotations

import gc
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version

from gpu_ss.backend import Backend, get_backend
from gpu_ss.party import Party
from gpu_ss.prg import Prg, fresh_key
from gpu_ss.provider.base import Provider
from gpu_ss.provider.dealer import SESSION_BYTES, ClientProvider, StreamProvider, request_key
from gpu_ss.provider.made import SeedProvider
from net import Agreement, Channel, handshake

PROTOCOL_VERSION = 1
MATERIAL_LIMIT = 1 << 31  # bytes of corrections kept before they are used

#: Opens a channel; called when the channel is needed.
Opener = Callable[[], Channel]
#: Makes a provider from a party's rank, backend, channel to the other party, and the dealer's provider.
Extension = Callable[[int, Backend, Channel, Provider], Provider]


def package_version() -> str:
    """Version of the installed distribution."""
    try:
        return version("fastlmpi")
    except PackageNotFoundError:
        return "source"


def dealer_agreement() -> Agreement:
    """What a party and its dealer must have in common."""
    return Agreement({"protocol": PROTOCOL_VERSION, "package": package_version(), "service": "dealer"})


@contextmanager
def joined(
    rank: int,
    channel: Channel,
    open_dealer: Opener | None,
    backend: str | Backend = "auto",
    material_limit: int = MATERIAL_LIMIT,
    extend: Extension | None = None,
) -> Iterator[Party]:
    """A party on an open session with the other one, with correlations from a dealer, or (None) without one.

    `extend` puts another provider before that of the dealer, or of masks only; both parties give the same kind.
    """
    device = get_backend(backend) if isinstance(backend, str) else backend
    with _left_alone(), fatal_when_full(device, channel), ExitStack() as stack:
        provider: Provider = SeedProvider(rank, device, fresh_key())
        if open_dealer is not None:
            provider = _dealt(rank, device, channel, open_dealer, material_limit, stack)
        source = extend(rank, device, channel, provider) if extend else provider
        yield Party(rank, device, source, channel, Prg(device))


@contextmanager
def fatal_when_full(backend: Backend, channel: Channel) -> Iterator[None]:
    """If memory runs out within the block, tell the peer, and raise OutOfMemory."""
    try:
        yield
    except Exception as error:
        full = backend.out_of_memory(error)
        if full is None:
            raise
        channel.send_error(full.for_peer)
        raise full from error


@contextmanager
def _left_alone() -> Iterator[None]:
    """What is there now, modules and a model, is no garbage: within the block Python's collector does not visit it.

    The many arrays of a plan set it off again and again, and each time it would walk through everything that torch
    and CuPy are made of: half a second of the ten in which two parties prepare a BERT-base query.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def _dealt(
    rank: int, backend: Backend, channel: Channel, open_dealer: Opener, limit: int, stack: ExitStack
) -> Provider:
    """The dealer's provider; rank 1's channel to it stays open as long as the stack."""
    if rank == 0:
        name = secrets.token_bytes(SESSION_BYTES)
        with open_dealer() as dealer:
            key = _key(dealer, name)
        channel.send("session", [name], round=False)
        return ClientProvider(backend, key)
    (frame,) = channel.recv("session", [SESSION_BYTES], round=False)
    dealer = stack.enter_context(open_dealer())
    return StreamProvider(backend, _key(dealer, bytes(frame)), dealer, limit)


def _key(dealer: Channel, name: bytes) -> bytes:
    handshake(dealer, dealer_agreement())
    return request_key(dealer, name)
