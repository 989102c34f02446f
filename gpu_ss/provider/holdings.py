"""What a store holds, and clearing it out: reels of a model, terms or version that are not used any more."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from gpu_ss.provider.store import Store


@dataclass(frozen=True)
class Holding:
    """Reels of one purpose made with one peer. latest: whether they belong to what was last made with that peer."""

    peer: str
    context: bytes
    label: str
    count: int
    size: int
    latest: bool


def holdings(store: Store) -> list[Holding]:
    """Everything that is ready, by peer, then by age."""
    found: list[Holding] = []
    for shelf in store.shelves():
        heads = shelf.all_heads()
        counts = Counter((head.purpose.context, head.purpose.label, head.file_bytes) for head in heads)
        for (context, label, size), count in counts.items():
            latest = context == heads[-1].purpose.context
            found.append(Holding(shelf.name, context, label, count, count * size, latest))
    return found


def clean(store: Store, everything: bool = False) -> int:
    """Remove what does not belong to what was last made with each peer, or everything; how many reels that were.

    The other party removes its part when the two next meet under the same model and terms, or by its own cleaning.
    """
    removed = 0
    for shelf in store.shelves():
        heads = shelf.all_heads()
        removed += shelf.discard(
            [head.id for head in heads if everything or head.purpose.context != heads[-1].purpose.context]
        )
    return removed
