"""Boolean circuits on XOR shares: NOT and XOR are local, AND of up to eight operands takes one round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gpu_ss.backend.reference_circuits import and_subsets
from gpu_ss.cost import FREE, Cost, opening
from gpu_ss.party import Item, Party, Round, Steps, protocol, together
from gpu_ss.provider.correlation import BitMask
from gpu_ss.provider.specs.bits import AndMonomials, words_of
from gpu_ss.ring import Array
from gpu_ss.values import BShare

MAX_FAN_IN = 8  # 2^k - 1 - k dealer bits per element


def invert(party: Party, b: BShare) -> BShare:
    """NOT b."""
    return replace(b, planes=inverted(party, b.planes))


def inverted(party: Party, planes: Array) -> Array:
    """Shares of the complement: rank 0 flips its own."""
    return planes ^ party.lead


def and_planes_cost(count: int, words: int) -> Cost:
    if count == 1:
        return FREE
    if count > MAX_FAN_IN:
        groups = _groups(count)
        first = FREE
        for size in groups:
            first = first & and_planes_cost(size, words)
        return first + and_planes_cost(len(groups), words)
    return opening((count * words, 64)) + Cost(offline=8 * words * len(and_subsets(count)))


def _groups(count: int) -> list[int]:
    parts = -(-count // MAX_FAN_IN)
    return [count // parts + (k < count % parts) for k in range(parts)]


@protocol(cost=lambda bits: and_planes_cost(len(bits), words_of(bits[0].size)), paper="ON19")
def all_of(party: Party, bits: Sequence[BShare]) -> Steps[BShare]:
    """AND of single-bit values of one shape; more than 8 operands take two rounds.

    Opened: every operand under a uniform bit.
    """
    planes = yield from and_planes(party, party.backend.xp.concatenate([b.planes for b in bits]))
    return BShare(planes, bits[0].shape)


def and_planes(party: Party, planes: Array) -> Steps[Array]:
    """AND over the first axis of [k, V] shared planes: [1, V]."""
    count, words = planes.shape
    if count == 1:
        return planes
    if count > MAX_FAN_IN:
        runs, start = [], 0
        for size in _groups(count):
            runs.append(and_planes(party, planes[start : start + size]))
            start += size
        parts = yield from together(*runs)
        return (yield from and_planes(party, party.backend.xp.concatenate(parts)))
    mask = party.provider.take(BitMask(count, words))
    products = party.provider.take(AndMonomials(mask.number, words, count))
    (opened,) = yield Round("and", (Item(planes ^ mask.only, (count, words), 64, xor=True),))
    basis = party.backend.xp.concatenate([mask.only, products.only])
    return party.backend.all_of(opened, basis, party.lead)
