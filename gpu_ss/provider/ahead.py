"""Correlations made in one session and used in a later one: what the two parties say to each other about it.

Both call the same functions in the same order, each with its own shelf of the other party. Rank 0 gives the names.

* `make_ahead`: a reel is written by both before either may use it.
* `take_up`: each party removes its part from its disk before it says so, and uses it only when both have said so.
  Rank 0 does it first: of several of its processes one gets a reel, and none throws away what another is to use.
* `even_out`: what only one of them has, because the other was killed or lost its disk, is removed.

A reel that is lost on the way is lost: there is no path on which one is used twice, or with two different partners.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from contextlib import ExitStack

from gpu_ss.errors import CorrelationError, StoreError
from gpu_ss.party import Party
from gpu_ss.prg import fresh_key
from gpu_ss.provider.base import Progress
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.reel import DIGEST_BYTES, ID_BYTES, Head, Purpose, Reel, ReelWriter, stored_words
from gpu_ss.provider.store import MAX_REELS, Draft, Shelf
from net.channel import Channel
from net.errors import printable

_NONE = bytes(ID_BYTES)
_MAX_REASON = 1000  # bytes
_YES, _NO = b"\1", b"\0"


def make_ahead(
    party: Party,
    shelf: Shelf,
    purpose: Purpose,
    specs: Sequence[Correlation],
    progress: Progress | None = None,
) -> Head | None:
    """Make a whole plan's correlations (numbered from 0), and keep them.

    If rank 1 has no room, rank 0 raises StoreError, and rank 1 returns None and goes on; nothing is made then.
    Raises CorrelationError if the parties mean different plans.
    """
    channel, rank = party.channel, party.rank
    id_ = secrets.token_bytes(ID_BYTES) if rank == 0 else _hear_id(channel, purpose)
    head = Head(id_, rank, purpose, len(specs), stored_words(rank, specs))
    with ExitStack() as stack:
        try:
            draft = stack.enter_context(shelf.draft(head))
        except StoreError as error:
            if rank == 0:
                raise
            channel.send("store/room", [error.for_peer.encode()[:_MAX_REASON]])
            return None
        if rank == 0:
            _ask_for_room(channel, head)
        else:
            channel.send("store/room", [b""])
        _make(party, draft, head, specs, progress)
    return head


def _hear_id(channel: Channel, purpose: Purpose) -> bytes:
    id_, plan, context = map(bytes, channel.recv("store/make", [ID_BYTES, DIGEST_BYTES, DIGEST_BYTES]))
    if not purpose.same(Purpose(plan, context)):
        raise CorrelationError(
            f"{channel.peer} wants correlations for another plan, model or version; run the same on both sides"
        )
    if id_ == _NONE:
        raise CorrelationError(f"{channel.peer} gives no id for what is to be stored")
    return id_


def _ask_for_room(channel: Channel, head: Head) -> None:
    channel.send("store/make", [head.id, head.purpose.plan, head.purpose.context])
    reason = b"".join(bytes(frame) for frame in channel.recv_any("store/room", _MAX_REASON))
    if reason:
        text = printable(reason.decode(errors="replace"))
        raise StoreError(f"{channel.peer} prepares no more: {text}")


def _make(
    party: Party, draft: Draft, head: Head, specs: Sequence[Correlation], progress: Progress | None
) -> None:
    """Make, write each correlation when it is made, and when both have written all, let it be used."""
    seed = fresh_key()
    writer = ReelWriter(party.backend, party.rank, specs, draft.put)
    party.provider.record(seed, specs, writer.keep, progress)
    writer.finish()
    draft.seal(seed)
    (theirs,) = party.channel.exchange("store/written", [head.id], [ID_BYTES])
    if bytes(theirs) != head.id:
        raise CorrelationError(f"{party.channel.peer} has stored something else than was agreed")
    draft.commit()


def take_up(
    party: Party,
    shelf: Shelf,
    purpose: Purpose,
    specs: Sequence[Correlation],
    progress: Progress | None = None,
) -> bool:
    """Use stored correlations as the next ones, `specs`, if both parties have some; whether it is so.

    Raises CorrelationError if the parties mean different plans: then what both had is lost.
    """
    found = _offer(party, shelf, purpose) if party.rank == 0 else _accept(party, shelf, purpose)
    if found is None:
        return False
    party.provider.adopt(found, specs, progress)
    return True


def _offer(party: Party, shelf: Shelf, purpose: Purpose) -> Reel | None:
    """Rank 0: name what is taken here, until the other party has taken the same."""
    channel = party.channel
    for head in shelf.heads(purpose):
        reel = shelf.take(head.id, 0, purpose)
        if reel is None:
            continue
        channel.send("store/take", [head.id])
        (answer,) = channel.recv("store/taken", [1])
        if bytes(answer) == _YES:
            return reel
    channel.send("store/take", [_NONE], round=False)
    return None


def _accept(party: Party, shelf: Shelf, purpose: Purpose) -> Reel | None:
    """Rank 1: take what is named, until it is here or nothing more is named."""
    channel = party.channel
    while True:
        id_ = bytes(channel.recv("store/take", [ID_BYTES])[0])
        if id_ == _NONE:
            return None
        reel = shelf.take(id_, 1, purpose)
        channel.send("store/taken", [_NO if reel is None else _YES])
        if reel is not None:
            return reel


def even_out(party: Party, shelf: Shelf, context: bytes) -> int:
    """Remove what only one party has of a context; how many were removed here.

    Safe while other processes use the shelves: what is being made has a file at rank 0 before it has one at rank 1,
    and is ready at rank 0 only when it is whole at rank 1.
    """
    return _even_out_0(party, shelf, context) if party.rank == 0 else _even_out_1(party, shelf, context)


def _even_out_0(party: Party, shelf: Shelf, context: bytes) -> int:
    channel = party.channel
    mine = _ids(shelf, context)
    channel.send("store/mine", [b"".join(mine)])
    missing, extra = _hear_ids(channel, "store/differences", 2)
    channel.send("store/gone", [b"".join(id_ for id_ in extra if not shelf.has(id_))])
    return shelf.discard(set(missing).intersection(mine))


def _even_out_1(party: Party, shelf: Shelf, context: bytes) -> int:
    channel = party.channel
    (theirs,) = _hear_ids(channel, "store/mine", 1)
    missing = [id_ for id_ in theirs if not shelf.has(id_)]
    extra = set(_ids(shelf, context)).difference(theirs)
    channel.send("store/differences", [b"".join(missing), b"".join(extra)])
    (gone,) = _hear_ids(channel, "store/gone", 1)
    return shelf.discard(extra.intersection(gone))


def _ids(shelf: Shelf, context: bytes) -> list[bytes]:
    """What is ready."""
    return [head.id for head in shelf.all_heads() if head.purpose.context == context]


def _hear_ids(channel: Channel, tag: str, count: int) -> list[list[bytes]]:
    """Lists of ids, each a frame."""
    frames = [bytes(frame) for frame in channel.recv_any(tag, count * MAX_REELS * ID_BYTES)]
    if len(frames) != count or any(len(frame) % ID_BYTES for frame in frames):
        raise CorrelationError(f"message {tag!r} from {channel.peer} is malformed; run the same version")
    return [[f[i : i + ID_BYTES] for i in range(0, len(f), ID_BYTES)] for f in frames]
