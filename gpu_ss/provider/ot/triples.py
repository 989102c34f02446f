"""Random OT of single bits, many at a time as planes, and AND triples of them. Nothing is sent.

Bits of hashes become planes piece by piece, as the OTs are made, and no word of them is ever stored.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from gpu_ss.provider.ot.convert import begin, column
from gpu_ss.provider.ot.cot import NOTHING, PART_BITS, CotReceiver, CotSender, CotSource, Domain
from gpu_ss.ring import WORD, Array


def send_random_planes(source: CotSender, n: int, bits: int) -> tuple[Array, Array]:
    """As `convert.send_random` for messages of up to 64 bits, as bit planes: [bits, W] each."""
    offsets = (NOTHING, source.delta.words)
    pieces = [tuple(_planes(source, cots, offset, bits) for offset in offsets) for cots in _pieces(source, n)]
    zero, one = (_side_by_side(source, part) for part in zip(*pieces, strict=True))
    return zero, one


def receive_random_planes(source: CotReceiver, n: int, bits: int) -> tuple[Array, Array]:
    """As `convert.receive_random`: choice bits [1, W], and the messages they choose as bit planes [bits, W]."""
    backend = source.backend
    pieces = [
        (backend.bit_plane(column(backend, blocks, 0), 0), _planes(source, (first, blocks), NOTHING, bits))
        for first, blocks in _pieces(source, n)
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
    zero, one = send_random_planes(sender, n, payload)
    b, chosen = receive_random_planes(receiver, n, payload)
    a = zero ^ one
    return AndTriples(a, b, a & b ^ zero ^ chosen)


# Steps


def _pieces(source: CotSource, n: int) -> Iterator[tuple[int, Array]]:
    """The next n correlated OTs, (number of the first, blocks), in pieces as they are made: these are in the cache.

    All pieces but the last are of whole words of bits.
    """
    first, end = source.taken, source.taken + n
    blocks = source.backend.zeros((0, 2))
    if n == 0:
        yield first, blocks
    for cots in source.stream(n):
        blocks = source.backend.xp.concatenate([blocks, cots.use()]) if len(blocks) else cots.use()
        if len(blocks) % WORD == 0 or first + len(blocks) == end:
            yield first, blocks
            first, blocks = first + len(blocks), blocks[:0]


def _planes(source: CotSource, cots: tuple[int, Array], offset: tuple[int, int], bits: int) -> Array:
    first, blocks = cots
    return source.backend.hash_planes(blocks, offset, first, Domain.OUTPUT << PART_BITS, bits)


def _side_by_side(source: CotSource, planes: Sequence[Array]) -> Array:
    return planes[0] if len(planes) == 1 else source.backend.xp.concatenate(planes, axis=1)
