"""Correlations: what is dealt is what was promised, once, and nothing else."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.backend.reference_circuits import and_subsets, node_subsets
from gpu_ss.backend.reference_steps import plane_bits
from gpu_ss.errors import CorrelationError
from gpu_ss.field import FIELD53
from gpu_ss.prg import Prg, Stream, derive_key, fresh_key
from gpu_ss.provider import dealer
from gpu_ss.provider.correlation import BitMask, Correlation, FieldMask, Mask, Shares, expand_share
from gpu_ss.provider.dealer import ClientProvider, DealerSession, StreamProvider, chunks, request_key
from gpu_ss.provider.dealing import DealingEngine, unpack_corrections
from gpu_ss.provider.specs.arithmetic import (
    ColumnProduct,
    MatmulProduct,
    Powers,
    Product,
    RowProduct,
    RowSquareSum,
    WrapProduct,
)
from gpu_ss.provider.specs.bits import (
    COLUMNS,
    PAIRS,
    ROWS,
    AndMonomials,
    BitProducts,
    BitValues,
    DigitMonomials,
    MaskView,
    NodeMonomials,
    ViewPowers,
)
from gpu_ss.provider.specs.tables import ExpLookup, UnitVectors, power_table
from gpu_ss.provider.specs.transfers import CrossProducts
from gpu_ss.provider.wire import decode_specs, encode_specs
from net import memory_pair
from tests.support.backends import open_backend

BACKEND = ReferenceBackend()
KEY0, KEY1 = bytes(range(32)), bytes(range(1, 33))
N = 70

MASKS: list[Correlation] = [
    Mask((N,), 64),  # 0
    Mask((N,), 64),  # 1
    Mask((10, 7), 64),  # 2
    Mask((10,), 64),  # 3
    Mask((7,), 64, owner=1),  # 4
    Mask((10, 7), 64, owner=0),  # 5
    BitMask(4, 2),  # 6
    Mask((N,), 20),  # 7
    Mask((N,), 30),  # 8
    BitMask(1, 2),  # 9
    Mask((2, 7, 5), 64),  # 10
    BitMask(7, 2),  # 11
]
VIEW = MaskView(8, N, 30, 25, 5)
DERIVED: list[Correlation] = [
    Product(0, 1, N, 50),
    Powers(0, N, 4, 64),
    MatmulProduct(2, 10, 2, 5, 7, 5, 2, 0, 64),
    MatmulProduct(2, 10, 2, 5, 7, 5, 2, 1, 64),
    RowSquareSum(2, 10, 7, 64),
    RowProduct(2, 3, 10, 7, 40),
    ColumnProduct(5, 4, 10, 7, 64),
    WrapProduct(N, 12),
    DigitMonomials(VIEW, (8, 8, 8)),
    NodeMonomials(6, 2, 2, 1),
    AndMonomials(6, 2, 4),
    NodeMonomials(11, 2, 4, 0),
    BitValues(6, 4, N, 33),
    ViewPowers(VIEW, 2, 64, 1),
    BitProducts(6, 4, VIEW, 2, 64, 1),
    BitProducts(6, 4, MaskView(0, N, 64, 64), 3, 48),
    ExpLookup(MaskView(8, N, 30, 30), 7, 9, 12, 20, 14, 64),
    UnitVectors(N, 5),
    CrossProducts(N, 20, 3),
]


def deal_all(specs: list[Correlation]) -> tuple[list[list[Any]], list[list[Any]], DealingEngine]:
    """Both parties' arrays of each correlation."""
    engine = DealingEngine(BACKEND, KEY0, KEY1, cache_words=200)  # small: masks are expanded again
    left, right = [], []
    for number, spec in enumerate(specs):
        left.append(expand_share(0, spec, number, BACKEND, KEY0))
        own = expand_share(1, spec, number, BACKEND, KEY1)
        words = engine.deal(number, spec)
        assert sum(w.nbytes for w in words) == spec.correction_bytes
        right.append(unpack_corrections(BACKEND, spec, own, words))
    return left, right, engine


def clear(spec: Correlation, index: int, left: list[Any], right: list[Any]) -> Any:
    """The value of one array from both parties' parts, modulo its ring."""
    out = spec.outputs()[index]
    a, b = left[index], right[index]
    words = b if a is None else a if b is None else (a ^ b if out.xor else a + b)
    return words & np.uint64((1 << out.bits) - 1)


@pytest.fixture(scope="module")
def dealt() -> tuple[list[list[Any]], list[list[Any]], list[Correlation]]:
    specs = MASKS + DERIVED
    left, right, _ = deal_all(specs)
    return left, right, specs


def value(dealt: Any, spec: Correlation, index: int = 0) -> Any:
    left, right, specs = dealt
    number = specs.index(spec)
    return clear(spec, index, left[number], right[number])


def mask(dealt: Any, number: int) -> Any:
    left, right, specs = dealt
    return clear(specs[number], 0, left[number], right[number])


def test_products(dealt: Any) -> None:
    a, b = mask(dealt, 0), mask(dealt, 1)
    assert np.array_equal(value(dealt, DERIVED[0]), a * b & np.uint64(2**50 - 1))
    assert np.array_equal(value(dealt, DERIVED[1]), np.stack([a**2, a**3, a**4]))
    rows, columns = mask(dealt, 2), mask(dealt, 3)
    left, right = rows.reshape(2, 5, 7), mask(dealt, 10)
    assert np.array_equal(value(dealt, DERIVED[2]), left @ right)
    assert np.array_equal(value(dealt, DERIVED[3]), left @ right.reshape(2, 5, 7).transpose(0, 2, 1))
    assert np.array_equal(value(dealt, DERIVED[4]), (rows * rows).sum(axis=1))
    assert np.array_equal(value(dealt, DERIVED[5]), rows * columns[:, None] & np.uint64(2**40 - 1))
    assert np.array_equal(value(dealt, DERIVED[6]), mask(dealt, 5) * mask(dealt, 4))


def test_wrap_bits(dealt: Any) -> None:
    left, right, specs = dealt
    number = specs.index(DERIVED[7])
    assert left[number][1] is None
    assert right[number][0] is None
    a, b = plane_bits(left[number][0][0], N), plane_bits(right[number][1][0], N)
    assert np.array_equal(value(dealt, DERIVED[7], 2), a * b)


def test_monomials(dealt: Any) -> None:
    r = mask(dealt, 8) >> np.uint64(5)
    planes = value(dealt, DERIVED[8])
    row = 0
    for digit in range(3):
        for subset in range(1, 256):
            wanted = np.uint64(subset << (8 * digit))
            assert np.array_equal(plane_bits(planes[row], N), ((r & wanted) == wanted).astype(np.uint64))
            row += 1
    assert np.array_equal(plane_bits(planes[row], N), r >> np.uint64(24))
    for spec, number, subsets in (
        (DERIVED[9], 6, node_subsets(2, True)),
        (DERIVED[10], 6, and_subsets(4)),
        (DERIVED[11], 11, node_subsets(4, False)),
    ):
        source, products = mask(dealt, number), value(dealt, spec)
        for product, subset in zip(products, subsets, strict=True):
            chosen = [source[k] for k in range(len(source)) if subset >> k & 1]
            assert np.array_equal(product, np.bitwise_and.reduce(chosen))


def test_bits_times_powers(dealt: Any) -> None:
    bits = np.stack([plane_bits(p, N) for p in mask(dealt, 6)])
    assert np.array_equal(value(dealt, DERIVED[12]), bits)
    r = mask(dealt, 8) >> np.uint64(5)
    lifted = r - ((r >> np.uint64(24)) << np.uint64(25))
    for case, number in enumerate((r, lifted)):
        assert np.array_equal(value(dealt, DERIVED[13])[case], np.stack([number, number**2]))
        powers = np.stack([number**0, number, number**2])
        assert np.array_equal(value(dealt, DERIVED[14])[case], bits[:, None] * powers[None])
    a = mask(dealt, 0)
    powers = np.stack([a**k for k in range(4)])
    assert np.array_equal(value(dealt, DERIVED[15])[0], bits[:, None] * powers & np.uint64(2**48 - 1))


def test_exponential_look_up(dealt: Any) -> None:
    left, right, specs = dealt
    spec = DERIVED[16]
    number = specs.index(spec)
    r, mu = mask(dealt, 8), mask(dealt, 7)
    rho = plane_bits(mask(dealt, 9)[0], N)
    high = (r >> np.uint64(12)) & np.uint64(63)
    assert np.array_equal(left[number][0] ^ right[number][0], np.uint64(1) << high)
    positive = (left[number][0] >> high) & np.uint64(1)
    size = power_table(12, 14)[(r & np.uint64(4095)).astype(int)]
    k = np.where(positive == 1, size, -size)
    top = (mu >> np.uint64(19)) << np.uint64(20)
    expected = np.stack([k, -k * mu, k * top])
    assert np.array_equal(value(dealt, spec, 1), np.concatenate([expected, expected * rho]))


def test_unit_vectors(dealt: Any) -> None:
    r, planes = value(dealt, DERIVED[17], 0), value(dealt, DERIVED[17], 1)
    assert np.array_equal(np.stack([plane_bits(p, N) for p in planes]), r == np.arange(32)[:, None])


def test_words_times_bits_of_the_other_party(dealt: Any) -> None:
    left, right, specs = dealt
    number = specs.index(DERIVED[18])
    assert [a is None for a in left[number]] == [False, True, False, True, False, False]
    assert [a is None for a in right[number]] == [True, False, True, False, False, False]
    words = [value(dealt, DERIVED[18], k) for k in (0, 1)]
    bits = [
        np.stack([plane_bits(p, N) << np.uint64(k) for k, p in enumerate(party[number][2 + rank])])
        for rank, party in enumerate((left, right))
    ]
    for owner in (0, 1):
        expected = bits[1 - owner] * words[owner] & np.uint64(2**20 - 1)
        assert np.array_equal(value(dealt, DERIVED[18], 4 + owner), expected)


def test_mask_views() -> None:
    specs: list[Correlation] = [Mask((6, 3), 20), Mask((6,), 20)]
    left, right, engine = deal_all(specs)
    a = clear(specs[0], 0, left[0], right[0])
    b = clear(specs[1], 0, left[1], right[1])

    class Look:
        backend = BACKEND
        mask = staticmethod(engine.mask)

    look: Any = Look()
    assert np.array_equal(MaskView(0, 18, 20, 20).words(look), a.reshape(-1))
    assert np.array_equal(MaskView(0, 18, 20, 12, 8).words(look), a.reshape(-1) >> np.uint64(8))
    rows = (a - b[:, None]) & np.uint64(2**20 - 1)
    assert np.array_equal(MaskView(0, 18, 20, 20, 0, ROWS, 3, 1).words(look), rows.reshape(-1))
    columns = MaskView(0, 3 * 64, 20, 20, 0, COLUMNS, 3).words(look).reshape(3, 64)
    assert np.array_equal(columns[:, :6], a.T)
    pairs = MaskView(0, 3 * 64, 20, 20, 0, PAIRS, 3).words(look).reshape(3, 64)
    assert np.array_equal(pairs[2, :6], (a[:, 1] - a[:, 2]) & np.uint64(2**20 - 1))


def test_corrections_hide_the_values(dealt: Any) -> None:
    """What rank 1 receives is its value minus a keystream: the same correlation under other keys of rank 0
    gives unrelated corrections."""
    spec = Product(0, 1, 4000, 64)
    engines = [DealingEngine(BACKEND, key, KEY1) for key in (KEY0, bytes(32))]
    words = []
    for engine in engines:
        for number in (0, 1):
            engine.deal(number, Mask((4000,), 64))
        words.append(engine.deal(2, spec)[0])
    same = words[0] ^ words[1]
    ones = np.unpackbits(same.view(np.uint8)).mean()
    assert abs(ones - 0.5) < 0.01


# -- numbering, requests, streams ------------------------------------------------------------------------


def test_streams_do_not_overlap() -> None:
    key = fresh_key()
    first = Stream(BACKEND, key, 5)
    taken = np.concatenate([first.words((100,)), first.words((300,)), first.words((1,))])
    other = Stream(BACKEND, key, 6).words((401,))
    assert len(np.unique(np.concatenate([taken, other]))) == 802
    assert derive_key(key, "a") != derive_key(key, "b") != key
    assert "hidden" in repr(first)
    prg = Prg(BACKEND)
    assert not np.array_equal(prg.words((50,)), prg.words((50,)))


@pytest.mark.parametrize("rank", [0, 1])
def test_what_is_expanded_ahead_is_the_same(rank: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is used once, for the correlation that was planned; large ones are left for later."""
    large = Mask((Shares.SMALL_WORDS + 1,), 64)
    specs = [*MASKS, *DERIVED, large, FieldMask((5,), FIELD53.prime)]
    shares, launches = Shares(rank, BACKEND, KEY0), []
    monkeypatch.setattr(
        BACKEND, "keystreams", lambda *a: launches.append(a) or type(BACKEND).keystreams(BACKEND, *a)
    )
    shares.ahead(5, specs)
    ((_, nonces, groups),) = launches
    assert sum(groups) * 128 < Shares.SMALL_WORDS and max(nonces) < 5 + len(MASKS) + len(DERIVED)
    assert "hidden" in repr(shares) and f"ready={len(nonces)}" in repr(shares)
    for again in range(2):
        for number, spec in enumerate(specs, 5):
            found, expected = shares.take(number, spec), expand_share(rank, spec, number, BACKEND, KEY0)
            assert [x is None for x in found] == [x is None for x in expected], again
            assert all(np.array_equal(x, y) for x, y in zip(found, expected, strict=True) if x is not None)
        assert "ready=0" in repr(shares)
    shares.ahead(0, [Mask((3,), 8)])
    assert shares.take(0, Mask((2, 2), 8))[0].shape == (2, 2), "another one than planned"
    monkeypatch.setattr(Shares, "MOST_WORDS", 300)
    shares.ahead(0, [Mask((3,), 8)] * 9)
    assert "ready=2" in repr(shares), "no more than so much memory"


def test_all_specs_travel() -> None:
    specs = MASKS + DERIVED
    assert decode_specs(encode_specs(7, specs)) == (7, specs)


@pytest.mark.parametrize(
    "request_",
    [
        b"",
        b"garbage",
        b"[]",
        b'{"first":0}',
        b'{"first":-1,"specs":[]}',
        b'{"first":0,"specs":[["Nothing",{}]]}',
        b'{"first":0,"specs":[["Mask",{"shape":[1],"bits":64,"owner":2,"more":1}]]}',
        b'{"first":0,"specs":[["Mask",{"shape":["x"],"bits":64,"owner":2}]]}',
        b'{"first":0,"specs":[["Product",{"a":0,"b":1,"n":99999999999999,"bits":64}]]}',
        b'{"first":0,"specs":[["Mask",{"shape":[1000000,1000000],"bits":64,"owner":2}]]}',
        b"\xff\xfe",
        b'{"first":0,"specs":7}',
    ],
)
def test_malformed_requests_are_refused(request_: bytes) -> None:
    with pytest.raises(CorrelationError):
        decode_specs(request_)


def test_unknown_masks_are_refused() -> None:
    engine = DealingEngine(BACKEND, KEY0, KEY1)
    with pytest.raises(CorrelationError, match="not a mask"):
        engine.deal(3, Product(1, 2, 5, 64))
    engine.deal(0, Mask((5,), 64))
    engine.deal(1, Mask((5,), 64, owner=1))
    engine.forget(2)
    engine.mask(1)
    with pytest.raises(CorrelationError, match="not a mask"):
        engine.mask(0)


def test_references_move_with_a_plan() -> None:
    spec = BitProducts(12, 4, MaskView(11, N, 30, 30, 0, ROWS, 7, 13), 2, 64)
    moved = spec.moved(100, 12)
    assert (moved.mask, moved.view.a, moved.view.b) == (112, 11, 113)  # type: ignore[attr-defined]


def test_chunks_keep_the_words() -> None:
    parts = [np.arange(k, dtype=np.uint64) + np.uint64(100 * k) for k in (0, 3, 10, 1, 25)]
    made = list(chunks(iter(parts), 8))
    assert [c.size for c in made] == [8, 8, 8, 8, 7]
    assert np.array_equal(np.concatenate(made), np.concatenate(parts))


def serve(specs: list[Correlation], use: Any, backend: Any = BACKEND) -> Any:
    """Run a dealer session against `use(StreamProvider)`; errors of either side are raised."""
    left, right = memory_pair("dealer", "server", timeout_s=20)
    failures: list[BaseException] = []

    def deal() -> None:
        try:
            with left:
                DealerSession(BACKEND, KEY0, KEY1).serve(left)
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=deal)
    thread.start()
    try:
        with right:
            return use(StreamProvider(backend, KEY1, right, limit_bytes=1000))
    finally:
        thread.join()
        if failures:
            raise failures[0]


@pytest.mark.parametrize("planned", [True, False])
def test_the_stream_gives_what_the_engine_deals(planned: bool) -> None:
    specs = MASKS + DERIVED
    _, expected, _ = deal_all(specs)

    def use(provider: StreamProvider) -> None:
        if planned:
            provider.prepare(specs)
        for spec, arrays in zip(specs, expected, strict=True):
            for got, wanted in zip(provider.take(spec).arrays, arrays, strict=True):
                assert (got is None) == (wanted is None)
                if got is not None:
                    assert np.array_equal(got, wanted)
        with pytest.raises(CorrelationError, match="planned as"):
            provider.prepare([Mask((3,), 64)])
            provider.take(Mask((4,), 64))

    serve(specs, use)


@pytest.mark.parametrize("room", [0, 1000, 1 << 30])
def test_corrections_wait_on_the_gpu_as_far_as_there_is_room(
    room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In pieces that end within correlations, some of them on the host."""
    monkeypatch.setattr(dealer, "CHUNK_BYTES", 8 * 37)
    backend: Any = open_backend("cuda-fake")
    monkeypatch.setattr(backend, "spare_bytes", lambda: room)
    specs = [*MASKS, Product(0, 1, N, 50), Powers(0, N, 4, 64), BitValues(6, 4, N, 33)]
    _, expected, _ = deal_all(specs)

    def use(provider: StreamProvider) -> None:
        provider.prepare(specs)
        uploaded = [not isinstance(chunk, np.ndarray) for chunk in provider._chunks]
        assert sum(uploaded) == min(len(uploaded), room // (8 * 37))
        for spec, arrays in zip(specs, expected, strict=True):
            for got, wanted in zip(provider.take(spec).arrays, arrays, strict=True):
                assert got is None or np.array_equal(backend.to_host(got), wanted)

    serve(specs, use, backend)


def test_a_dealer_does_not_repeat_numbers() -> None:
    left, right = memory_pair("dealer", "server", timeout_s=20)

    def deal() -> None:
        with left, pytest.raises(CorrelationError, match="comes next"):
            DealerSession(BACKEND, KEY0, KEY1).serve(left)

    thread = threading.Thread(target=deal)
    thread.start()
    with right:
        for _ in range(2):
            right.send("dealer/request", [encode_specs(0, [Mask((3,), 64)])])
        thread.join()


def test_the_client_works_out_products_once() -> None:
    provider = ClientProvider(BACKEND, KEY0)
    weight = np.arange(12, dtype=np.uint64).reshape(4, 3)
    provider.take(Mask((4, 3), 64, owner=1))
    provider.keep_static(0, weight)
    specs: list[Correlation] = [Mask((2, 4), 64, owner=0), MatmulProduct(1, 0, 1, 2, 4, 3, 1, 0, 64)]
    provider.prepare(specs)
    a = provider.take(specs[0]).only
    c = provider.take(specs[1])
    assert np.array_equal(provider.prepared(c.number), a @ weight + c.only[0])
    assert provider.prepared(c.number) is None


def test_keys_come_through_the_channel() -> None:
    left, right = memory_pair("dealer", "server", timeout_s=5)

    def deal() -> None:
        with left:
            (name,) = left.recv("dealer/session", [16])
            left.send("dealer/key", [bytes(name) * 2])

    thread = threading.Thread(target=deal)
    thread.start()
    with right:
        assert request_key(right, b"0123456789abcdef") == b"0123456789abcdef" * 2
    thread.join()
    for provider in (ClientProvider(BACKEND, KEY0), StreamProvider(BACKEND, KEY1, right)):
        assert KEY0.hex() not in repr(provider)
        assert "hidden" in repr(provider)
