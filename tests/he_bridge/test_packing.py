"""Layouts put every sum where the formulas say, plans are sound, and what is too weak is refused."""

from __future__ import annotations

from dataclasses import replace
from math import log2

import numpy as np
import pytest

from gpu_ss.backend.reference import ReferenceBackend
from gpu_ss.prg import Prg
from he_bridge import keyswitch, matmul, packing, rlwe
from he_bridge.errors import ParameterError
from he_bridge.packing import Layout, Shape
from he_bridge.params import LIN24P, LIN64, LIN64P, MAT48, MAT64, SETS, ParameterSet, check
from he_bridge.ring import PolyRing
from tests.he_bridge.lattice import Words, noise, opened, random_words

DEGREE = 256
BACKEND = ReferenceBackend()


def negacyclic(x: Words, y: Words) -> Words:
    """The product modulo X^N + 1 and 2^64."""
    out = np.zeros(len(x), np.uint64)
    for k in np.flatnonzero(y):
        out[k:] += y[k] * x[: len(x) - k]
        out[:k] -= y[k] * x[len(x) - k :]
    return out


LAYOUTS = [
    # batch, rows, K, n, tile, heads, columns
    (1, 16, 16, 16, 16, 1, 1),
    (1, 16, 16, 16, 4, 1, 4),
    (1, 13, 21, 5, 8, 1, 2),
    (1, 1, 3, 1, 4, 1, 64),
    (1, 256, 3, 2, 1, 1, 1),
    (4, 8, 7, 6, 8, 2, 2),
    (3, 5, 9, 3, 4, 4, 2),
    (5, 4, 8, 4, 16, 4, 1),
    (2, 8, 2, 40, 1, 1, 32),
]


@pytest.mark.parametrize("case", LAYOUTS)
def test_products_of_polynomials_hold_the_matrix_product(case: tuple[int, ...]) -> None:
    shape = Shape(*case[:4])
    tile, heads, columns = case[4:]
    x = random_words(shape.batch, shape.rows, shape.inputs)
    w = random_words(shape.batch, shape.inputs, shape.outputs)[::-1].copy()
    layout = Layout(shape, DEGREE, tile, heads, columns, merging=False)
    fresh = layout.inputs(BACKEND, x, 0, layout.ciphertexts)
    assert fresh.shape == (layout.packs * layout.tiles, DEGREE)
    results = []
    for product in range(shape.batch):
        start = product // heads * layout.tiles
        every = slice(0, layout.groups), slice(0, layout.tiles)
        factors = layout.weights(BACKEND, w[product], product, *every)
        assert factors.shape == (layout.groups * layout.tiles, layout.terms)
        padding = ((0, 0), (0, DEGREE - layout.terms))
        factors = np.pad(factors, padding).reshape(layout.groups, layout.tiles, DEGREE)
        for group in factors:
            terms = [negacyclic(fresh[start + t], factor) for t, factor in enumerate(group)]
            results.append(np.sum(terms, axis=0, dtype=np.uint64))
    assert np.array_equal(layout.extract(np.array(results)[:, layout.places]), x @ w)
    # Merged by hand: result number j of M at S / M j.
    merged = replace(layout, merging=True)
    words = np.zeros((merged.replies, DEGREE), np.uint64)
    for number, result in enumerate(results):
        reply, j = divmod(number, merged.members)
        places = np.arange(0, DEGREE, merged.spread)
        words[reply, places + merged.spread // merged.members * j] = result[places]
    assert words[:, merged.places].shape == (merged.replies, merged.wanted)
    assert np.array_equal(merged.extract(words[:, merged.places]), x @ w)


def test_parts_of_a_layout_are_those_of_the_whole() -> None:
    layout = Layout(Shape(1, 5, 40, 9), DEGREE, 8, 1, 4, merging=True)
    x, w = random_words(1, 5, 40), random_words(40, 9)
    whole = layout.inputs(BACKEND, x, 0, layout.ciphertexts)
    assert np.array_equal(layout.inputs(BACKEND, x, 2, 2), whole[2:4])
    every = layout.weights(BACKEND, w, 0, slice(0, 3), slice(0, 5)).reshape(3, 5, -1)
    some = layout.weights(BACKEND, w, 0, slice(1, 3), slice(2, 5)).reshape(2, 3, -1)
    assert np.array_equal(some, every[1:, 2:])


SHAPES = [
    Shape(1, 1, 5, 1),
    Shape(1, 128, 768, 768),
    Shape(1, 100, 30, 2),
    Shape(1, 8192, 3, 3),
    Shape(48, 16, 32, 16),
    Shape(12, 128, 64, 128),
]


@pytest.mark.parametrize("params", [LIN64P, LIN24P, MAT64, MAT48], ids=lambda p: p.name)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_plans_are_sound(params: ParameterSet, shape: Shape) -> None:
    plans = {packing.choose(params, shape, byte_ns) for byte_ns in (0.0, 40.0, 1000.0, 1e6)}
    for layout in plans:
        assert layout.padded_rows >= shape.rows
        assert layout.padded_rows * layout.spread * layout.columns == params.degree
        assert layout.members <= layout.spread
        assert layout.replies * layout.members >= layout.results
    bytes_of = [
        sum(packing.message_bytes(params, packing.choose(params, shape, ns))) for ns in (0.0, 300.0, 1e6)
    ]
    assert bytes_of == sorted(bytes_of, reverse=True)


def test_plans_of_the_design() -> None:
    """The layouts for a layer of BERT-base that the documents quote, and their sizes."""
    query = packing.choose(LIN64P, Shape(1, 128, 768, 768), 320.0)
    assert (query.tile, query.columns, query.members, query.ciphertexts, query.replies) == (64, 1, 64, 12, 12)
    assert sum(packing.message_bytes(LIN64P, query)) == 3_551_232
    assert keyswitch.switches(64, 64) == 63
    scores = packing.choose(MAT64, Shape(12, 128, 64, 128), 40.0)
    assert (scores.tile, scores.columns, scores.ciphertexts, scores.replies) == (16, 4, 48, 24)
    small = packing.choose(MAT64, Shape(48, 16, 32, 16), 40.0)
    assert (small.heads, small.ciphertexts, small.replies) == (2, 24, 2)


def test_no_products_of_nothing() -> None:
    for shape in (Shape(1, 0, 1, 1), Shape(0, 1, 1, 1), Shape(1, 8193, 1, 1)):
        with pytest.raises(ValueError, match="no products"):
            packing.choose(LIN64P, shape, 1.0)


def margins_of(params: ParameterSet, shape: Shape, norm: float) -> packing.PackedMargins:
    layout = packing.choose(params, shape, 40.0)
    return packing.margins(params, [(layout, np.full(layout.results, norm))])


def test_margins_follow_the_formulas() -> None:
    """Without merging the sum is error_sigma norm 2^65 / q for each place that is sent: 2 columns of a row."""
    layout = packing.choose(LIN64P, Shape(1, 1, 8, 2), 0.0)
    assert not layout.merging
    found = packing.margins(LIN64P, [(layout, np.array([1000.0]))])
    q = float(np.prod([float(p) for p in LIN64P.level]))
    distance = np.sqrt(2 / np.pi) * layout.columns * LIN64P.error_sigma * 1000 * 2.0**65 / q
    assert found.privacy_bits == pytest.approx(-log2(distance), abs=1e-6)
    assert found.modulus_bits == 180
    twice = packing.margins(LIN64P, [(layout, np.array([1000.0]))] * 2)
    assert twice.privacy_bits == pytest.approx(found.privacy_bits - 1, abs=1e-6)


def test_products_of_a_bert_layer_pass() -> None:
    for shape in (Shape(1, 128, 768, 768), Shape(1, 128, 3072, 768), Shape(1, 128, 768, 3072)):
        assert margins_of(LIN64P, shape, 2**20 / 3**0.5 * shape.inputs**0.5).privacy_bits > 40
    for shape in (Shape(12, 128, 64, 128), Shape(12, 128, 128, 64), Shape(12, 512, 512, 64)):
        assert matmul.margins(MAT64, shape, 64).privacy_bits > 41
        assert matmul.margins(MAT48, shape, 48).privacy_bits > 45
        assert matmul.margins(MAT48, shape, 40).privacy_bits > 53
    assert margins_of(LIN24P, Shape(1, 512, 30522, 384), 2**19 / 3**0.5 * 30522**0.5).privacy_bits > 40


def test_weak_parameters_and_large_operands_are_refused() -> None:
    shape = Shape(1, 128, 768, 768)
    with pytest.raises(ParameterError, match="hide operands"):
        margins_of(LIN64P, shape, 2.0**28)
    with pytest.raises(ParameterError, match="hide operands"):
        margins_of(replace(LIN64P, dropped=LIN64P.dropped[:1]), shape, 2.0**20)
    with pytest.raises(ParameterError, match="noise"):
        margins_of(LIN64P, shape, 2.0**100)
    with pytest.raises(ParameterError, match="switching keys"):
        margins_of(LIN64, shape, 1.0)
    with pytest.raises(ParameterError, match="decrypts these products wrongly"):
        matmul.margins(replace(MAT64, wide=False), Shape(12, 128, 64, 128), 64)
    with pytest.raises(ParameterError, match="hide operands"):
        matmul.margins(MAT64, Shape(10**6, 128, 64, 128), 64)
    with pytest.raises(ParameterError, match="special"):
        check(replace(LIN64, wide=True))


def test_every_modulus_divides_that_of_the_chain() -> None:
    for params in SETS.values():
        for primes in (params.kept, params.level, params.primes, params.switching):
            assert primes == params.chain[: len(primes)]
        ring = PolyRing(BACKEND, params)
        assert ring.at(params.level).primes == params.level
        with pytest.raises(ValueError, match="chain"):
            ring.at(params.chain[1:])


# Switching keys and merging against their definitions


@pytest.mark.parametrize("params", [LIN64P, MAT64], ids=lambda p: p.name)
@pytest.mark.parametrize(("members", "spread"), [(8, 8), (4, 8), (1, 4)])
def test_merging_collects_members(params: ParameterSet, members: int, spread: int) -> None:
    """Of M encryptions the merged one has their multiples of S side by side, and noise as computed."""
    backend = opened()
    ring = PolyRing(backend, params)
    level, prg = ring.at(params.level), Prg(backend)
    secret = rlwe.SecretKey(ring, prg)
    keys = {s: keyswitch.switching_key(secret, s, prg).both(ring) for s in keyswitch.shifts(spread)}
    words = random_words(members, params.degree)
    seed = bytes(32)
    a = level.public_uniform(seed, members)
    b = secret.mask(a, level.values(level.add_message(level.errors(prg, members), words)))
    inverse = level.constants(np.array([pow(spread, -1, p) for p in level.primes]))
    c = np.concatenate([level.multiply_add(x, inverse) for x in (b, a)], axis=1)
    merged = keyswitch.merge(ring, keys, level.coefficients(c), 1, spread)
    out_b, out_a = merged[:, :1].copy(), merged[:, 1:].copy()
    shift = level.coefficients(secret.times(level.values(out_a)))
    found = level.message(shift, out_b)[0].reshape(-1, spread)
    expected = words.reshape(members, -1, spread)[:, :, 0]
    stride = spread // members
    assert np.array_equal(found[:, ::stride].T, expected)
    assert not np.delete(found, np.arange(0, spread, stride), axis=1).any()
    predicted = np.hypot(keyswitch.switching_sigma(params, spread), params.error_sigma)
    seen = noise(secret, out_b, out_a).reshape(-1, spread)[:, ::stride].std()
    assert seen == pytest.approx(predicted, rel=0.15)


def test_a_switching_key_is_what_its_formula_says() -> None:
    """b + a s - e = P sigma(s) modulo one prime, 0 modulo the others."""
    backend = opened()
    ring, prg = PolyRing(backend, LIN64P), Prg(backend)
    secret = rlwe.SecretKey(ring, prg)
    key = keyswitch.switching_key(secret, 4, prg)
    both = key.both(ring)
    digits, primes = len(LIN64P.level), LIN64P.switching
    wide = ring.at(primes)
    phase = wide.coefficients(wide.multiply_add(both[:, digits:].copy(), secret._s, both[:, :digits].copy()))
    turned = wide.coefficients(secret.turned(4))
    for row, p in enumerate(primes):
        for i in range(digits):
            gadget = LIN64P.special[0] if row == i else 0
            error = (phase[row, i].astype(object) - gadget * turned[row, 0].astype(object)) % p
            assert np.minimum(error, p - error).max() <= 21
    s = wide.coefficients(secret._s)[0, 0].astype(object)
    p = primes[0]
    signed = np.where(s > 1, -1, s)
    moved = np.arange(8192) * (8192 // 4 + 1) % 16384
    expected = np.zeros(8192, object)
    expected[moved % 8192] = np.where(moved < 8192, 1, -1) * signed
    assert np.array_equal(turned[0, 0].astype(object), expected % p)
    assert repr(key) == "SwitchingKey(shift=4)"
