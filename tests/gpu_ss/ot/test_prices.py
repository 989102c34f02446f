"""The price list is what making correlations really sends, to within its roundings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from gpu_ss.backend import get_backend
from gpu_ss.economy import OT_BITS
from gpu_ss.field import FIELD53
from gpu_ss.prg import fresh_key
from gpu_ss.provider.correlation import BitMask, Correlation, Mask
from gpu_ss.provider.made import MadeProvider, SeedProvider
from gpu_ss.provider.ot.maker import OtMaker
from gpu_ss.provider.ot.pair import TAG_ROOM, OtPair
from gpu_ss.provider.ot.prices import made_bytes
from gpu_ss.provider.specs.arithmetic import Powers, Product, RowProduct, RowSquareSum, WrapProduct
from gpu_ss.provider.specs.bits import (
    PAIRS,
    AndMonomials,
    BitProducts,
    BitValues,
    DigitMonomials,
    MaskView,
    NodeMonomials,
    ViewPowers,
)
from gpu_ss.provider.specs.fields import FieldWrap
from gpu_ss.provider.specs.tables import ExpLookup, UnitVectors
from gpu_ss.provider.specs.transfers import (
    BitTriples,
    CrossProducts,
    DigitTransfers,
    WordChoices,
)
from tests.support.ot import DealtReceiver, DealtSender, both

BACKEND = get_backend("cpu")
N = 1 << 12
WORDS = N // 64
MASK, LOOK, BITS = Mask((N,), 28), Mask((N,), 23), BitMask(3, WORDS)
VIEW, SHIFTED = MaskView(0, N, 28, 28), MaskView(0, N, 28, 17, 11)
CASES: dict[str, Sequence[Correlation]] = {
    "wrap": [WrapProduct(N, 16)],
    "field wrap": [FieldWrap(N, FIELD53.prime)],
    "digits": [MASK, DigitMonomials(VIEW, (5, 5, 5, 4, 4, 4))],
    "shifted digits": [MASK, DigitMonomials(SHIFTED, (4, 4, 4, 4))],
    "pairs": [MASK, DigitMonomials(MaskView(0, 6 * N // 4, 28, 17, 11, PAIRS, 4), (4, 4, 4, 4))],
    "nodes": [BitMask(8, WORDS), NodeMonomials(0, WORDS, 4, 1)],
    "ands": [BitMask(5, WORDS), AndMonomials(0, WORDS, 5)],
    "bit values": [BITS, BitValues(0, 3, N, 40)],
    "powers": [MASK, Powers(0, N, 3, 28)],
    "view powers": [MASK, ViewPowers(VIEW, 2, 28, 0)],
    "lifted powers": [MASK, ViewPowers(VIEW, 2, 64, 1)],
    "bit products": [MASK, BITS, BitProducts(1, 3, VIEW, 2, 28, 0)],
    "shared powers": [MASK, BITS, BitProducts(1, 3, VIEW, 2, 28, 0), Powers(0, N, 3, 28)],
    "product": [MASK, MASK, Product(0, 1, N, 28)],
    "row product": [MASK, Mask((N // 8,), 28), RowProduct(0, 1, N // 8, 8, 28)],
    "square sums": [MASK, RowSquareSum(0, N // 8, 8, 28)],
    "exponential": [MASK, LOOK, BitMask(1, WORDS), ExpLookup(VIEW, 1, 2, 12, 23, 14, 64)],
    "triples": [BitTriples(WORDS, 2)],
    "digit transfers": [DigitTransfers(N, 7, 3)],
    "word choices": [WordChoices(N, 53)],
    "cross products": [CrossProducts(N, 18, 8)],
    "unit vectors": [UnitVectors(N, 7)],
}


def sent_and_ots(specs: Sequence[Correlation]) -> tuple[int, int]:
    """Payload bytes of both parties, and the OTs of both directions."""

    def party(rank: int, channel: Any) -> tuple[int, int]:
        sender, receiver = DealtSender(BACKEND, channel, 1 + rank), DealtReceiver(BACKEND, channel, 2 - rank)
        maker = OtMaker(rank, BACKEND, OtPair(rank, BACKEND, channel, sender, receiver))
        MadeProvider(BACKEND, SeedProvider(rank, BACKEND, fresh_key()), [maker]).prepare(specs)
        sent = channel.traffic.report().by_tag
        return sum(row[0].payload for tag, row in sent.items() if tag != TAG_ROOM), sender.taken

    first, second = both(lambda channel: party(0, channel), lambda channel: party(1, channel))
    return first[0] + second[0], first[1] + second[1]


@pytest.mark.parametrize("name", CASES)
def test_prices(name: str) -> None:
    sent, ots = sent_and_ots(CASES[name])
    assert made_bytes(CASES[name]) == pytest.approx(sent + ots * OT_BITS / 8, rel=0.01)
