"""Making a model usable by two parties: weights opened under masks, released, or public."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Protocol

from gpu_ss.backend.null import NullArray
from gpu_ss.party import Party
from gpu_ss.protocols.io import reveal, share
from gpu_ss.protocols.weights import Held, Static, hold, open_static
from gpu_ss.ring import Array
from gpu_ss.values import Private, Public
from transformer.architecture import Numbers
from transformer.encoder import Encoder
from transformer.parameters import Slot, Words, layout
from transformer.profiles import PROFILES
from transformer.terms import PRIVATE, Terms

CLIENT, SERVER = 0, 1
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
    """The client has no weights, unless they are public."""
    return None


def shapes(terms: Terms) -> WeightSource:
    """For planning: tensors as shapes, at those who have them."""
    return lambda party, slot: NullArray(slot.shape) if terms.public or party.rank == SERVER else None


def set_up(
    party: Party,
    numbers: Numbers,
    source: WeightSource,
    terms: Terms = PRIVATE,
    progress: Progress | None = None,
    slots: list[Slot] | None = None,
) -> Encoder:
    """The model for this session: each weight opened under a mask once, or released, or public on both sides.

    Private biases stay with the server. `slots`: part of the layout, for those who run part of the model.
    """
    slots = layout(numbers) if slots is None else slots
    profile = PROFILES[terms.profile]
    if terms.public:
        found: dict[str, Public] = {s.name: Public(source(party, s), s.ring, s.frac_bits) for s in slots}
        biases = {s.name: found.pop(s.name) for s in slots if s.bias}
        return Encoder(numbers, found, biases, profile)
    weights: dict[str, Static | Held | Public] = {
        s.name: _release(party, s, source) for s in slots if terms.released(s.name)
    }
    secret = [s for s in slots if not s.bias and s.name not in weights]
    if terms.products == "he":
        weights |= {s.name: hold(party, _private(party, s, source))[0] for s in secret}
    else:
        weights |= _open(party, secret, source, progress)
    private = {s.name: _private(party, s, source) for s in slots if s.bias}
    return Encoder(numbers, weights, private, profile)


def _release(party: Party, slot: Slot, source: WeightSource) -> Public:
    """A tensor the server gives to the client: not secret any more."""
    value = _private(party, slot, source)
    words = reveal(party, share(party, value), CLIENT)
    return Public(words if value.data is None else value.data, slot.ring, slot.frac_bits)


def _open(
    party: Party, slots: list[Slot], source: WeightSource, progress: Progress | None
) -> dict[str, Static]:
    """The weights opened under masks, in messages of about GROUP_BYTES."""
    done, total = 0, sum(8 * prod(s.shape) for s in slots)
    opened: dict[str, Static] = {}
    for group in _groups(slots):
        privates = [_private(party, slot, source) for slot in group]
        for slot, static in zip(group, open_static(party, *privates), strict=True):
            opened[slot.name] = static
            done += 8 * prod(slot.shape)
        if progress is not None:
            progress(done, total)
    return opened


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
