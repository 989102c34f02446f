"""Making a model usable by two parties: opening weights under masks, or agreeing on public ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Protocol

from gpu_ss.backend.null import NullArray
from gpu_ss.party import Party
from gpu_ss.protocols.arith import Static, open_static
from gpu_ss.ring import Array
from gpu_ss.values import Private, Public
from transformer.architecture import Numbers
from transformer.encoder import Encoder
from transformer.parameters import Slot, Words, layout

SERVER = 1
GROUP_BYTES = 1 << 26  # weights are opened in messages of about this size

#: Called while weights are opened: (bytes so far, bytes in all).
Progress = Callable[[int, int], None]


class WeightSource(Protocol):
    """Where a party finds the words of a tensor."""

    def __call__(self, party: Party, slot: Slot) -> Array | None: ...


def from_words(words: Mapping[str, Words]) -> WeightSource:
    """The encoded tensors of a model in memory."""
    return lambda party, slot: party.backend.asarray(words[slot.name])


def nothing(party: Party, slot: Slot) -> Array | None:
    """The client of a private model has no weights."""
    return None


def shapes_only(party: Party, slot: Slot) -> Array | None:
    """For planning: the server's tensors as shapes."""
    return NullArray(slot.shape) if party.rank == SERVER else None


def shape_of(party: Party, slot: Slot) -> Array | None:
    """For planning with public weights: everybody's tensors as shapes."""
    return NullArray(slot.shape)


def set_up(
    party: Party,
    numbers: Numbers,
    source: WeightSource,
    progress: Progress | None = None,
    slots: list[Slot] | None = None,
) -> Encoder:
    """Private weights: the server opens each weight under a mask, once per session; biases stay with it.

    `slots`: part of the layout, for those who run part of the model.
    """
    slots = layout(numbers) if slots is None else slots
    weights = [s for s in slots if not s.bias]
    done = 0
    total = sum(8 * prod(s.shape) for s in weights)
    opened: dict[str, Static | Public] = {}
    for group in _groups(weights):
        privates = [_private(party, slot, source) for slot in group]
        for slot, static in zip(group, open_static(party, *privates), strict=True):
            opened[slot.name] = static
            done += 8 * prod(slot.shape)
        if progress is not None:
            progress(done, total)
    biases = {s.name: _private(party, s, source) for s in slots if s.bias}
    return Encoder(numbers, opened, biases)


def set_up_public(party: Party, numbers: Numbers, source: WeightSource) -> Encoder:
    """Public weights: both parties hold the model; products with weights are local."""
    tensors = {}
    for slot in layout(numbers):
        words = source(party, slot)
        tensors[slot.name] = (slot, Public(words, slot.ring, slot.frac_bits))
    return Encoder(
        numbers,
        {name: public for name, (slot, public) in tensors.items() if not slot.bias},
        {name: public for name, (slot, public) in tensors.items() if slot.bias},
    )


def _private(party: Party, slot: Slot, source: WeightSource) -> Private:
    return Private(source(party, slot), SERVER, slot.shape, slot.ring, slot.frac_bits)


def _groups(slots: list[Slot]) -> list[list[Slot]]:
    """Consecutive weights of about GROUP_BYTES."""
    groups: list[list[Slot]] = [[]]
    size = 0
    for slot in slots:
        if groups[-1] and (size + 8 * prod(slot.shape) > GROUP_BYTES or len(groups[-1]) == 32):
            groups.append([])
            size = 0
        groups[-1].append(slot)
        size += 8 * prod(slot.shape)
    return groups
