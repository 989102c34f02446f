"""Correlations made in one session and used in a later one: what the two parties say to each other about it.

Both call the same functions in the same order, each with its own shelf of the other party. Rank 0 gives the names.

* `make_ahead`, `make_sets`: a reel is written by both before either may use it.
* `take_up`: each party removes its part from its disk before it says so, and uses it only when both have said so.
  Rank 0 does it first: of several of its processes one gets a reel, and none throws away what another is to use.
* `even_out`: what only one of them has, because the other was killed or lost its disk, is removed.

A reel that is lost on the way is lost: there is no path on which one is used twice, or with two different partners.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack

from gpu_ss.errors import CorrelationError, NoRoom, StoreError
from gpu_ss.party import Party
from gpu_ss.prg import fresh_key
from gpu_ss.provider.base import Progress
from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.reel import (
    DIGEST_BYTES,
    ID_BYTES,
    Head,
    Purpose,
    Put,
    Reel,
    ReelWriter,
    layout,
    stored_words,
)
from gpu_ss.provider.store import MAX_REELS, Draft, Shelf
from gpu_ss.ring import Array
from net.channel import Channel
from net.errors import printable

_NONE = bytes(ID_BYTES)
_MAX_REASON = 1000  # bytes
_COUNT = struct.Struct("<I")
_YES, _NO = b"\1", b"\0"


def make_ahead(
    party: Party,
    shelf: Shelf,
    purpose: Purpose,
    specs: Sequence[Correlation],
    progress: Progress | None = None,
) -> Head | None:
    """Make a whole plan's correlations (numbered from 0), and keep them: `make_sets` of one."""
    heads = list(make_sets(party, shelf, purpose, specs, 1, progress))
    return heads[0] if heads else None


def make_sets(
    party: Party,
    shelf: Shelf,
    purpose: Purpose,
    specs: Sequence[Correlation],
    count: int,
    progress: Progress | None = None,
) -> Iterator[Head]:
    """Make the correlations of a plan (numbered from 0) `count` times, some of them for all sets at once.

    Each set is kept, and its head yielded, when it is complete. Fewer are made if one party has no room for all of
    them; none, if it has no room for any: then rank 0 raises NoRoom, and both may go on. Raises CorrelationError if
    the parties mean different plans or numbers.
    """
    with ExitStack() as stack:
        agree = _offer_sets if party.rank == 0 else _accept_sets
        drafts = agree(party, shelf, stack, purpose, specs, count)
        if drafts:
            yield from _make(party, drafts, specs, progress)


def _offer_sets(
    party: Party, shelf: Shelf, stack: ExitStack, purpose: Purpose, specs: Sequence[Correlation], count: int
) -> list[Draft]:
    """Rank 0: as many drafts as both have room for, under new names. Raises NoRoom if that is none."""
    channel, ids = party.channel, [secrets.token_bytes(ID_BYTES) for _ in range(count)]
    drafts, full = _drafts(party.rank, shelf, stack, purpose, specs, ids)
    names = b"".join(draft.head.id for draft in drafts)
    channel.send("store/make", [purpose.plan, purpose.context, names], round=bool(drafts))
    if not drafts:
        raise NoRoom(str(full))
    told = channel.recv_any("store/room", _COUNT.size + _MAX_REASON)
    if len(told) != 2 or len(told[0]) != _COUNT.size:
        raise _malformed(channel, "store/room")
    (room,) = _COUNT.unpack(bytes(told[0]))
    if room > len(drafts):
        raise _malformed(channel, "store/room")
    if not room:
        text = printable(bytes(told[1]).decode(errors="replace"))
        raise NoRoom(f"{channel.peer} prepares no more: {text}")
    for draft in drafts[room:]:
        draft.close()
    return drafts[:room]


def _accept_sets(
    party: Party, shelf: Shelf, stack: ExitStack, purpose: Purpose, specs: Sequence[Correlation], count: int
) -> list[Draft]:
    """Rank 1: those of the drafts that rank 0 has room for that there is room for here too."""
    channel = party.channel
    frames = [bytes(f) for f in channel.recv_any("store/make", 2 * DIGEST_BYTES + count * ID_BYTES)]
    if len(frames) != 3 or len(frames[2]) % ID_BYTES:
        raise _malformed(channel, "store/make")
    plan, context, names = frames
    if not purpose.same(Purpose(plan, context)):
        raise CorrelationError(
            f"{channel.peer} wants correlations for another plan, model or version; run the same on both sides"
        )
    ids = _split(names)
    if not ids:
        return []
    drafts, full = _drafts(party.rank, shelf, stack, purpose, specs, ids)
    reason = "" if full is None else full.for_peer
    channel.send("store/room", [_COUNT.pack(len(drafts)), reason.encode()[:_MAX_REASON]])
    return drafts


def _drafts(
    rank: int,
    shelf: Shelf,
    stack: ExitStack,
    purpose: Purpose,
    specs: Sequence[Correlation],
    ids: Sequence[bytes],
) -> tuple[list[Draft], StoreError | None]:
    """Drafts of these names, as many as there is room for; and why not more."""
    words, drafts = stored_words(rank, specs), list[Draft]()
    for id_ in ids:
        try:
            drafts.append(stack.enter_context(shelf.draft(Head(id_, rank, purpose, len(specs), words))))
        except StoreError as error:
            return drafts, error
    return drafts, None


def _make(
    party: Party, drafts: Sequence[Draft], specs: Sequence[Correlation], progress: Progress | None
) -> Iterator[Head]:
    """Make and write, and when both have written all of a set, let it be used."""
    seeds = [fresh_key() for _ in drafts]
    for k in write_sets(party, seeds, specs, [draft.put for draft in drafts], progress):
        draft = drafts[k]
        draft.seal(seeds[k])
        (theirs,) = party.channel.exchange("store/written", [draft.head.id], [ID_BYTES])
        if bytes(theirs) != draft.head.id:
            raise CorrelationError(f"{party.channel.peer} has stored something else than was agreed")
        draft.commit()
        yield draft.head


def write_sets(
    party: Party,
    seeds: Sequence[bytes],
    specs: Sequence[Correlation],
    puts: Sequence[Put],
    progress: Progress | None = None,
) -> Iterator[int]:
    """Make the correlations of a plan (numbered from 0) for each seed, and put them away as they are made.

    puts: of each set, what is called with the words of its reel (`ReelWriter`). The number of a set is yielded when
    it is complete.
    """
    where = layout(party.rank, specs)
    writers = [ReelWriter(party.backend, where, put) for put in puts]

    def keep(k: int, number: int, arrays: Sequence[Array | None]) -> None:
        writers[k].keep(number, arrays)

    for k in party.provider.record(seeds, specs, keep, progress):
        writers[k].finish()
        party.backend.give_back()
        yield k


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
        raise _malformed(channel, tag)
    return [_split(frame) for frame in frames]


def _split(ids: bytes) -> list[bytes]:
    return [ids[i : i + ID_BYTES] for i in range(0, len(ids), ID_BYTES)]


def _malformed(channel: Channel, tag: str) -> CorrelationError:
    return CorrelationError(f"message {tag!r} from {channel.peer} is malformed; run the same version")
