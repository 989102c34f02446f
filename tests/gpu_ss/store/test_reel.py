"""The format of stored correlations, and reading them in order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gpu_ss.errors import CorrelationError
from gpu_ss.plan import make_plan
from gpu_ss.prg import fresh_key
from gpu_ss.protocols.arith import mul
from gpu_ss.protocols.compare import ge_public
from gpu_ss.provider.correlation import Correlation, Mask, expand_share
from gpu_ss.provider.reel import (
    HEADER_BYTES,
    Head,
    Purpose,
    Reel,
    ReelReader,
    ReelWriter,
    from_zero,
    layout,
    plan_digest,
    stored_words,
)
from gpu_ss.provider.specs.arithmetic import MatmulProduct, Product
from gpu_ss.ring import Ring
from tests.support.protocols import real_share
from tests.support.reels import BACKEND, PURPOSE, SPECS, new_head, packed_words, random_arrays


def reel(rank: int) -> Reel:
    return Reel(new_head(rank), fresh_key(), packed_words(rank))


@pytest.mark.parametrize("rank", [0, 1])
def test_what_was_made_is_read(rank: int) -> None:
    stored, made = reel(rank), random_arrays(rank)
    reader = ReelReader(stored, rank, BACKEND, SPECS)
    for number, spec in enumerate(SPECS):
        assert reader.left == len(SPECS) - number
        found = reader.next(spec)
        if spec.is_mask:
            wanted = expand_share(rank, spec, number, BACKEND, stored.seed)
        else:
            wanted = [
                None if a is None else Ring(o.bits).reduce(a)
                for a, o in zip(made[number], spec.outputs(), strict=True)
            ]
        for got, want in zip(found, wanted, strict=True):
            assert (got is None) == (want is None)
            assert got is None or np.array_equal(got, want)
    with pytest.raises(CorrelationError, match="used up"):
        reader.next(SPECS[0])


def test_a_party_stores_only_its_own() -> None:
    """Masks take no room; of a WrapProduct each has one of the two bits."""
    words = 15 * 21 / 64, 100 / 64, 100 * 13 / 64, 45
    assert stored_words(0, SPECS) == stored_words(1, SPECS) == sum(-(-w // 1) for w in words)


def test_other_ranks_plans_and_orders_are_refused() -> None:
    stored = reel(0)
    for rank, specs, message in (
        (1, SPECS, "other party"),
        (0, SPECS[:-1], "another plan"),
        (0, [*SPECS[:-1], Mask((5,), 33)], "another plan"),
    ):
        with pytest.raises(CorrelationError, match=message):
            ReelReader(stored, rank, BACKEND, specs)
    with pytest.raises(CorrelationError, match="incomplete"):
        ReelReader(Reel(stored.head, stored.seed, stored.words[:-1]), 0, BACKEND, SPECS)
    reader = ReelReader(stored, 0, BACKEND, SPECS)
    with pytest.raises(CorrelationError, match="planned as"):
        reader.next(SPECS[1])


def test_what_was_made_in_another_shape_is_not_stored() -> None:
    made = random_arrays(0)
    writer = ReelWriter(BACKEND, layout(0, SPECS), lambda place, words: None)
    with pytest.raises(CorrelationError, match="another shape"):
        writer.keep(2, [made[2][0][:-1]])
    with pytest.raises(CorrelationError, match="another shape"):
        writer.keep(4, random_arrays(1)[4])
    with pytest.raises(CorrelationError, match="1 correlations that are to be stored"):
        writer.finish()
    writer.keep(5, made[5])
    writer.finish()
    for number in (0, 5, 7):  # a mask, one that is there, and none of the plan
        with pytest.raises(CorrelationError, match="not due"):
            writer.keep(number, made[5])


def test_headers() -> None:
    head = Head(bytes(range(16)), 1, replace(PURPOSE, label="2 x 30 tokens"), 7, 1 << 40)
    data = head.encode()
    assert len(data) == HEADER_BYTES
    assert Head.decode(data) == head
    assert head.file_bytes == HEADER_BYTES + 32 + (8 << 40) + 32
    long = replace(head, purpose=replace(PURPOSE, label="é" * 99))
    assert Head.decode(long.encode()).purpose.label == "?" * 48


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" * HEADER_BYTES,
        new_head().encode()[:-1],
        b"FLMPreel" + b"\2" + new_head().encode()[9:],
        new_head().encode()[:12] + b"\2" + new_head().encode()[13:],
    ],
)
def test_bad_headers_are_refused(data: bytes) -> None:
    with pytest.raises(CorrelationError):
        Head.decode(data)


def test_digests_tell_plans_apart() -> None:
    changed: list[list[Correlation]] = [SPECS[:-1], SPECS[::-1], [*SPECS[:-1], Mask((4,), 34)]]
    assert len({plan_digest(specs) for specs in [SPECS, *changed]}) == 4
    assert not PURPOSE.same(Purpose(PURPOSE.plan, bytes(32)))
    assert PURPOSE.same(replace(PURPOSE, label="called otherwise"))


def test_a_plan_is_the_same_wherever_it_begins() -> None:
    def run(party: object) -> object:
        x = real_share(party, np.ones(7))  # type: ignore[arg-type]
        return ge_public(party, mul(party, x, x), 5)  # type: ignore[arg-type]

    here, there = (make_plan(0, run, first) for first in (0, 100))
    assert here.specs != there.specs
    assert from_zero(there.specs, 100) == here.specs == from_zero(here.specs, 0)


def test_a_plan_that_needs_its_sessions_setup_cannot_be_kept() -> None:
    specs: list[Correlation] = [Mask((2, 4), 64), MatmulProduct(7, 3, 1, 2, 4, 3, 1, 0, 64)]
    with pytest.raises(CorrelationError, match="set-up"):
        from_zero(specs, 7)
    with pytest.raises(CorrelationError, match="set-up"):
        from_zero([Mask((3,), 64), Product(7, 6, 3, 64)], 7)


def test_nothing_secret_is_shown() -> None:
    stored = reel(0)
    reader = ReelReader(stored, 0, BACKEND, SPECS)
    for shown in (repr(stored), repr(reader)):
        assert "hidden" in shown
        assert str(stored.seed) not in shown
