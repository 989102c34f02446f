"""Fields: moves to and from rings for every sharing of a small prime, products of rows, correlations as dealt."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.field import FIELD53, FIELD60, Field
from gpu_ss.party import Party
from gpu_ss.prg import Stream
from gpu_ss.protocols.fields import from_field, open_elements, row_square_sums, times_rows, to_field
from gpu_ss.provider.correlation import Correlation, Dealing, FieldMask, combine
from gpu_ss.provider.specs.fields import FieldProduct, FieldRowProduct, FieldRowSquareSum, FieldWrap
from gpu_ss.provider.specs.transfers import WordChoices
from gpu_ss.provider.wire import decode_specs, encode_specs
from gpu_ss.ring import RING64, Ring
from gpu_ss.values import AShare, FShare
from tests.gpu_ss.test_provider import deal_all
from tests.support.backends import EVERY_BACKEND, open_backend
from tests.support.protocols import both, check_cost, host, reconstruct, shape_share, words_share

SMALL = Field(509)  # 512 - 3
RNG = np.random.default_rng(3)


def field_share(party: Party, values: Any, field: Field, first: Any = None, frac_bits: int = 0) -> FShare:
    """A sharing of integers; `first`: rank 0's share."""
    residues = np.array([int(v) % field.prime for v in np.ravel(values)], np.uint64).reshape(np.shape(values))
    if first is None:
        first = np.random.default_rng(1).integers(0, field.prime, residues.shape, dtype=np.uint64)
    mine = first if party.rank == 0 else field.subtract(residues, first)
    return FShare(party.backend.asarray(mine), field, frac_bits)


def signed(simulation: Any) -> Any:
    """The integers of an AShare or FShare that both returned."""
    left, right = simulation.results
    if isinstance(left, AShare):
        return left.ring.signed(reconstruct(simulation))
    total = left.field.add(host(left.data), host(right.data)).astype(object)
    return np.where(total > left.field.prime // 2, total - left.field.prime, total)


@pytest.mark.parametrize("shift", [0, 1, 3, 5])
@pytest.mark.parametrize("is_signed", [True, False])
def test_every_sharing_from_a_field(shift: int, is_signed: bool) -> None:
    """Every value in range with every share: no wrap bit is wrong, and the error is what is said."""
    p = SMALL.prime
    low, high = (-(p // 4 >> shift << shift), p // 4 + 1) if is_signed else (0, (p + 1) // 2)
    values = np.repeat(np.arange(low, high), p)
    first = np.tile(np.arange(p, dtype=np.uint64), high - low)
    got = both(
        lambda party: from_field(party, field_share(party, values, SMALL, first), shift, Ring(20), is_signed)
    )
    error = signed(got) - (values >> shift)
    if shift == 0:
        assert (error == 0).all()
        return
    assert set(np.unique(error)) <= {-1, 0, 1}
    assert (error == -1).mean() <= 3 / 2**shift, "p is 3 away from a multiple of each 2^shift"
    assert abs(error.mean() - 0.5) < 0.51


@pytest.mark.parametrize("shift", [0, 1, 3])
def test_every_sharing_to_a_field(shift: int) -> None:
    values = np.repeat(np.arange(-63, 64), 256)
    first = np.tile(np.arange(256, dtype=np.uint64), 127)

    def run(party: Party) -> Any:
        mine = first if party.rank == 0 else values.astype(np.uint64) - first
        return to_field(party, AShare(party.backend.asarray(mine), Ring(8), 7), shift, SMALL)

    got = both(run)
    assert got.results[0].frac_bits == 7 - shift
    error = signed(got) - (values >> shift)
    assert set(np.unique(error)) <= ({0, 1} if shift else {0})


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("field", [FIELD53, FIELD60])
def test_there_and_back(backend: str, field: Field) -> None:
    """Rings of all sizes, extremes of both ranges, an odd number of elements."""
    name = (open_backend(backend),) * 2
    edge = field.prime // 4
    values = np.array([0, 1, -1, edge, 1 - edge, edge - 1, 12345, *RNG.integers(-edge, edge, 80)])
    for shift, ring in ((0, RING64), (7, Ring(62)), (31, Ring(32))):
        near = np.clip(values, (1 << shift) - edge, edge)

        def back(party: Party, x: Any = near, s: int = shift, r: Ring = ring) -> Any:
            return from_field(party, field_share(party, x, field), s, r)

        got = both(back, name)
        assert set(np.unique(signed(got) - (near >> shift))) <= ({0} if shift == 0 else {0, 1})
        check_cost(from_field, got, FShare(np.zeros(87), field), shift, ring)
    for shift, ring in ((4, RING64), (0, Ring(52)), (16, Ring(48)), (0, Ring(28))):
        edge = min(1 << (ring.bits - 2), (field.prime // 2) << shift)
        wide = np.array([0, 1, -1, edge - 1, 1 - edge, 777, *RNG.integers(-edge + 1, edge, 81)])
        words = wide.astype(np.int64).view(np.uint64)
        got = both(
            lambda party, w=words, s=shift, r=ring: to_field(party, words_share(party, w, r), s, field), name
        )
        assert set(np.unique(signed(got) - (wide >> shift))) <= ({0} if shift == 0 else {0, 1})
        check_cost(to_field, got, shape_share((87,), ring), shift, field)


@pytest.mark.parametrize("field", [FIELD53, FIELD60])
def test_products_of_rows(field: Field) -> None:
    rows, factors = RNG.integers(-(2**20), 2**20, (7, 33)), RNG.integers(-(2**28), 2**28, 7)

    def run(party: Party) -> Any:
        opened = party.run(open_elements.steps(party, field_share(party, rows, field, frac_bits=5)))
        return (
            opened,
            row_square_sums(party, opened),
            times_rows(party, opened, field_share(party, factors, field)),
        )

    simulation = both(run)
    (opened, sums, product), (_, other_sums, other) = simulation.results
    assert (sums.frac_bits, product.frac_bits) == (10, 5)
    pair = type("Both", (), {})
    for mine, theirs, expected in (
        (sums, other_sums, (rows.astype(object) ** 2).sum(axis=1)),
        (product, other, rows * factors[:, None]),
    ):
        pair.results = (mine, theirs)
        assert (signed(pair) == expected).all()
    declared = open_elements.cost(FShare(rows, field)) + times_rows.cost(opened, FShare(factors, field))
    counted = simulation.traffic[0]
    assert (declared.rounds, declared.sent0) == (counted.rounds, counted.sent.payload)


SPECS: list[Correlation] = [
    FieldMask((70,), FIELD53.prime, 0),
    FieldMask((70,), FIELD53.prime, 1),
    FieldMask((5, 14), FIELD60.prime),
    FieldMask((5,), FIELD60.prime),
    FieldProduct(0, 1, 70, FIELD53.prime),
    FieldRowProduct(2, 3, 5, 14, FIELD60.prime),
    FieldRowSquareSum(2, 5, 14, FIELD60.prime),
    FieldWrap(70, SMALL.prime),
    WordChoices(70, 53),
]


def test_a_dealer_deals_them() -> None:
    left, right, engine = deal_all(SPECS)
    backend = open_backend("reference")
    found = []
    for spec, mine, theirs in zip(SPECS, left, right, strict=True):
        outs = spec.outputs()
        clear = [combine(backend, out, a, b) for out, a, b in zip(outs, mine, theirs, strict=True)]
        for out, words in zip(outs, clear, strict=True):
            assert int(words.max()) < (out.prime or 2**64)
        if not spec.is_mask:
            expected = spec.deal(Dealing(backend, clear, mine, engine.mask))[-1]
            assert np.array_equal(clear[-1], expected.reshape(clear[-1].shape))
        found.append(clear[-1].astype(object))
    assert (found[4] == found[0] * found[1] % FIELD53.prime).all()
    assert (found[5] == found[2] * found[3][:, None] % FIELD60.prime).all()
    assert (found[6] == (found[2] ** 2).sum(axis=1) % FIELD60.prime).all()


def test_requests_name_the_prime() -> None:
    assert decode_specs(encode_specs(3, SPECS)) == (3, SPECS)
    for prime in (2, 2**61):
        with pytest.raises(ValueError, match="no prime of"):
            FieldMask((3,), prime)


def test_masks_are_uniform() -> None:
    """Of 2^18 elements modulo 13, all residues come up as often as they should (chi-square, 2^-40)."""
    backend, n = open_backend("cpu-v2"), 1 << 18
    drawn = Field(13).draw(Stream(backend, bytes(range(32)), 5), (n,), backend)
    counts = np.bincount(drawn.astype(int), minlength=13)
    assert len(counts) == 13
    assert ((counts - n / 13) ** 2 / (n / 13)).sum() < 90


def test_elements_above_the_prime_are_read_as_residues() -> None:
    """What a peer may send in the bits of an element."""
    words = np.array([SMALL.prime - 1, SMALL.prime, 511], np.uint64)
    assert SMALL.canonical(words).tolist() == [508, 0, 2]


def test_shares_do_not_show(capsys: Any) -> None:
    share = FShare(np.array([123456789], np.uint64), FIELD53, 4)
    assert "123456789" not in repr(share)
    assert repr(share) == "FShare(shape=(1,), field_bits=53, frac_bits=4, data=<hidden>)"
    with pytest.raises(TypeError):
        bool(share)
