"""Random OT of single bits, many at a time as planes, and AND triples of them. Nothing is sent.

Bits of hashes become planes piece by piece, as the OTs are made, and no word of them is ever stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpu_ss.provider.ot.convert import begin
from gpu_ss.provider.ot.cot import NOTHING, PART_BITS, CotReceiver, CotSender, CotSource, Domain
from gpu_ss.ring import WORD, Array


def send_random_planes(source: CotSender, n: int, bits: int) -> Array:
    """As `convert.send_random` for messages of up to 64 bits, as bit planes: both, [2, bits, W]."""
    offsets = (NOTHING, source.delta.words)
    return _side_by_side(source, [_planes(source, piece, offsets, bits) for piece in _pieces(source, n)])


def receive_random_planes(source: CotReceiver, n: int, bits: int) -> tuple[Array, Array]:
    """As `convert.receive_random`: choice bits [1, W], and the messages they choose as bit planes [bits, W]."""
    pieces = [
        (source.backend.choice_planes(piece[1], 1), _planes(source, piece, (NOTHING,), bits)[0])
        for piece in _pieces(source, n)
    ]
    own, chosen = (_side_by_side(source, part) for part in zip(*pieces, strict=True))
    return own, chosen


# AND triples: Asharov, Lindell, Schneider, Zohner, CCS 2013, section 5.1


@dataclass(frozen=True, slots=True, repr=False)
class AndTriples:
    """XOR shares of random bits b [1, W], of a [payload, W], and of each a AND b [payload, W]."""

    a: Array
    b: Array
    c: Array


def and_triples(rank: int, sender: CotSender, receiver: CotReceiver, n: int, payload: int = 1) -> AndTriples:
    """Share of n times `payload` triples that have b in common, from n OTs in each direction. Nothing is sent.

    One random OT of messages m_0, m_1 of `payload` bits gives the sender a = m_0 XOR m_1 and the receiver its
    choice b with m_b, and m_0 XOR m_b = a b. One OT each way gives both cross products of (a + a')(b + b').
    """
    begin(rank, sender, receiver)
    sent = send_random_planes(sender, n, payload)
    b, chosen = receive_random_planes(receiver, n, payload)
    a, c = sender.backend.plane_triples(sent, b, chosen)
    return AndTriples(a, b, c)


# Steps


def _pieces(source: CotSource, n: int) -> Iterator[tuple[int, Array]]:
    """The next n correlated OTs, (number of the first, blocks), in pieces as they are made: these are in the cache.

    All pieces but the last are of whole words of bits.
    """
    first, waiting, backend = source.taken, list[Array](), source.backend
    if n == 0:
        yield first, backend.zeros((0, 2))
    for cots in source.stream(n):
        n -= len(cots)
        waiting.append(cots.use())
        count = sum(map(len, waiting))
        if n == 0 or (count % WORD == 0 and count >= backend.hashed_at_once):
            yield first, waiting[0] if len(waiting) == 1 else backend.xp.concatenate(waiting)
            first, waiting = first + count, []


def _planes(
    source: CotSource, piece: tuple[int, Array], offsets: Sequence[tuple[int, int]], bits: int
) -> Array:
    """[offsets, bits, W]."""
    first, blocks = piece
    return source.backend.hash_planes(blocks, offsets, first, Domain.OUTPUT << PART_BITS, bits)


def _side_by_side(source: CotSource, planes: Sequence[Array]) -> Array:
    return planes[0] if len(planes) == 1 else source.backend.xp.concatenate(planes, axis=-1)
