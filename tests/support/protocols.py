"""Running protocols in tests: both ranks in one process, inputs from clear numbers, costs checked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_ss.backend import Backend
from gpu_ss.cost import Cost
from gpu_ss.fixed import decode, encode
from gpu_ss.party import Party
from gpu_ss.party import Protocol as PartyProtocol
from gpu_ss.protocols.io import reveal
from gpu_ss.ring import RING64, Ring
from gpu_ss.simulate import Simulation, simulate
from gpu_ss.values import AShare, BShare

KEYS = (bytes(range(32)), bytes(range(32, 64)))

Words = NDArray[np.uint64]


def words_share(party: Party, words: Words, ring: Ring = RING64, frac_bits: int = 0, seed: int = 1) -> AShare:
    """A random sharing of given words, the same at every call."""
    random = np.random.default_rng(seed).integers(0, 2**64, words.shape, dtype=np.uint64)
    mine = random if party.rank == 0 else words - random
    return AShare(party.backend.asarray(mine), ring, frac_bits)


def real_share(party: Party, values: Any, ring: Ring = RING64, frac_bits: int = 16, seed: int = 1) -> AShare:
    """A random sharing of real numbers."""
    return words_share(party, encode(values, ring, frac_bits), ring, frac_bits, seed)


def bit_share(party: Party, bits: Any, seed: int = 1) -> BShare:
    """A random sharing of single bits."""
    flat = np.asarray(bits, np.uint8).reshape(-1)
    padded = np.zeros(-(-flat.size // 64) * 64, np.uint8)
    padded[: flat.size] = flat
    plane = np.packbits(padded, bitorder="little").view(np.uint64).reshape(1, -1)
    random = np.random.default_rng(seed).integers(0, 2**64, plane.shape, dtype=np.uint64)
    mine = random if party.rank == 0 else plane ^ random
    return BShare(party.backend.asarray(mine), np.asarray(bits).shape)


def both(
    run: Callable[[Party], Any], backends: tuple[str | Backend, str | Backend] = ("auto", "auto")
) -> Simulation[Any]:
    """Run at both ranks with fixed keys."""
    return simulate(run, backends, keys=KEYS, timeout_s=60)


def reconstruct(simulation: Simulation[Any]) -> Words:
    """The clear words of an AShare both ranks returned, canonical."""
    left, right = simulation.results
    return np.asarray(left.ring.reduce(host(left.data) + host(right.data)))


def real(simulation: Simulation[Any]) -> NDArray[np.float64]:
    """The clear numbers of an AShare both ranks returned."""
    share = simulation.results[0]
    return decode(reconstruct(simulation), share.ring, share.frac_bits)


def bits(simulation: Simulation[Any]) -> NDArray[np.uint8]:
    """The clear bits of a BShare both ranks returned: [nbits, n]."""
    left, right = simulation.results
    planes = host(left.planes) ^ host(right.planes)
    return np.stack([np.unpackbits(p.view(np.uint8), count=left.size, bitorder="little") for p in planes])


def host(array: Any) -> Words:
    """An array of any backend as a NumPy array."""
    return np.asarray(array.get() if hasattr(array, "get") else array)


def check_cost(protocol: PartyProtocol[Any, Any], simulation: Simulation[Any], *args: Any) -> None:
    """The counters equal what the protocol declares for these arguments."""
    declared = protocol.cost(*args)
    rank0, rank1 = simulation.traffic
    counted = Cost(rank0.rounds, rank0.sent.payload, rank1.sent.payload, simulation.correction_bytes)
    assert counted == declared, f"{protocol.name}: declared {declared}, counted {counted}"
    assert rank1.rounds == rank0.rounds


def shape_share(shape: Sequence[int], ring: Ring = RING64, frac_bits: int = 16) -> AShare:
    """A share of which only the shape matters, for cost formulas."""
    return AShare(np.broadcast_to(np.uint64(0), tuple(shape)), ring, frac_bits)


def revealed(party: Party, x: AShare) -> NDArray[np.float64]:
    """x in clear at both ranks."""
    words = reveal(party, x)
    return decode(host(words), x.ring, x.frac_bits)
