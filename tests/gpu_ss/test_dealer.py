"""A dealer's numbers, requests and streams: in order, checked, each once."""

from __future__ import annotations

import threading
from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from gpu_ss.errors import CorrelationError
from gpu_ss.field import FIELD53
from gpu_ss.prg import Prg, Stream, derive_key, fresh_key
from gpu_ss.provider import dealer
from gpu_ss.provider.correlation import _MOST, Correlation, FieldMask, Mask, Shares, expand_share
from gpu_ss.provider.dealer import ClientProvider, DealerSession, StreamProvider, chunks, request_key
from gpu_ss.provider.dealing import DealingEngine
from gpu_ss.provider.specs.arithmetic import MatmulProduct, Powers, Product
from gpu_ss.provider.specs.bits import ROWS, BitProducts, BitValues, MaskView
from gpu_ss.provider.wire import decode_specs, encode_specs
from gpu_ss.ring import WORD
from net import memory_pair
from tests.gpu_ss.test_provider import BACKEND, DERIVED, KEY0, KEY1, MASKS, N, deal_all
from tests.support.backends import open_backend


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
        b'{"first":0,"specs":[["Mask",{"shape":[4294967296,4294967296],"bits":64,"owner":2}]]}',
        b'{"first":0,"specs":[["Mask",{"shape":[-1],"bits":64,"owner":2}]]}',
        b'{"first":0,"specs":[["Mask",{"shape":[1],"bits":65,"owner":2}]]}',
        b'{"first":0,"specs":[["UnitVectors",{"n":1,"bits":8589934592}]]}',
        b'{"first":0,"specs":[["ExtendedProduct",{"a":0,"b":0,"rows":1,"n":1,"source":8,"factor_bits":65,"bits":64}]]}',
        b'{"first":0,"specs":[["AndMonomials",{"mask":0,"words":1,"fan_in":60}]]}',
        b'{"first":0,"specs":[["DigitMonomials",{"view":{"a":0,"n":-64,"source":8,"bits":8},"widths":[7]}]]}',
        b"[" * 100_000,
    ],
)
def test_malformed_requests_are_refused(request_: bytes) -> None:
    with pytest.raises(CorrelationError):
        decode_specs(request_)


def test_bounds_are_of_fields_that_exist() -> None:
    """A field that is renamed keeps its bound."""
    names = {field.name for kind in Correlation.registry.values() for field in fields(kind)}
    assert set(_MOST) <= names
    assert all(_MOST[name] == WORD for name in names if name.endswith("bits"))


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


@pytest.mark.parametrize(
    "spec",
    [
        Product(0, 1, 5, 64),
        Product(0, 0, 6, 64),
        MatmulProduct(0, 0, 1, 2, 3, 1, 1, 0, 64),
        BitValues(0, 1, 90, 8),
    ],
)
def test_masks_of_another_shape_are_refused(spec: Correlation) -> None:
    """A request that fits its form and nothing else ends the session, not the dealer."""
    engine = DealingEngine(BACKEND, KEY0, KEY1)
    for number, mask in enumerate((Mask((5,), 64), Mask((4,), 64))):
        engine.deal(number, mask)
    with pytest.raises(CorrelationError, match="cannot be made"):
        engine.deal(2, spec)


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
