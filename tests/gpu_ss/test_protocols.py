"""Each protocol against the integers it computes with, over its whole range, with its declared cost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.errors import RingMismatch
from gpu_ss.party import Party, local, together
from gpu_ss.protocols.arith import matmul, mul, powers, square
from gpu_ss.protocols.boolean import all_of, invert
from gpu_ss.protocols.compare import ge, ge_public, r4, r8, shape_for, tree
from gpu_ss.protocols.convert import a2b
from gpu_ss.protocols.io import private, reveal, share
from gpu_ss.protocols.select import b2a, inject, select
from gpu_ss.protocols.trunc import extend, truncate
from gpu_ss.protocols.weights import affine, open_static
from gpu_ss.ring import RING64, Ring
from gpu_ss.values import Public
from tests.support.backends import open_backend
from tests.support.protocols import (
    bit_share,
    bits,
    both,
    check_cost,
    host,
    real_share,
    reconstruct,
    shape_share,
    words_share,
)

RNG = np.random.default_rng(5)
BACKENDS = ["reference", "cpu", "cuda-fake"]
N = 200


def backend_pair(name: str) -> tuple[Any, Any]:
    if name == "cpu":
        return "cpu", "cpu"
    backend = open_backend(name)
    return backend, backend


def ring_words(ring: Ring, n: int = N) -> np.ndarray[Any, Any]:
    """Random ring elements with the extremes among them."""
    words = RNG.integers(0, 2**64, n, dtype=np.uint64)
    edge = [0, 1, 2**64 - 1, 1 << (ring.bits - 1), (1 << (ring.bits - 1)) - 1]
    words[: len(edge)] = np.array([e % 2**64 for e in edge], np.uint64)
    return ring.reduce(words)


def bounded(ring: Ring, n: int = N) -> np.ndarray[Any, Any]:
    """Elements |x| < 2^(bits-2) of every magnitude, with the extremes."""
    limit = 1 << (ring.bits - 2)
    magnitude = RNG.integers(0, max(1, ring.bits - 2), n)
    values = [int(RNG.integers(-(1 << 62), 1 << 62)) >> (62 - int(m)) for m in magnitude]
    values[:5] = [0, -1, 1 if limit > 1 else 0, limit - 1, -limit + 1]
    return np.array([v % 2**64 for v in values], np.uint64)


# -- products ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("bits_", [1, 7, 33, 64])
def test_mul_and_square(name: str, bits_: int) -> None:
    ring = Ring(bits_)
    x, y = ring_words(ring), ring_words(ring)[::-1].copy()
    run = both(
        lambda p: mul(p, words_share(p, x, ring, 3), words_share(p, y, ring, 4, 2)), backend_pair(name)
    )
    assert np.array_equal(reconstruct(run), ring.reduce(x * y))
    assert run.results[0].frac_bits == 7
    check_cost(mul, run, shape_share((N,), ring), shape_share((N,), ring))
    run = both(lambda p: square(p, words_share(p, x, ring)), backend_pair(name))
    assert np.array_equal(reconstruct(run), ring.reduce(x * x))
    check_cost(square, run, shape_share((N,), ring))


@pytest.mark.parametrize("degree", [2, 3, 4, 6])
def test_powers_from_one_opening(degree: int) -> None:
    ring = Ring(50)
    x = ring_words(ring)
    run = both(lambda p: powers(p, words_share(p, x, ring), degree))
    total, expected = np.ones_like(x), []
    for _ in range(degree):
        total = total * x
        expected.append(ring.reduce(total))
    for k in range(degree):
        left, right = (r[k] for r in run.results)
        assert np.array_equal(ring.reduce(host(left.data) + host(right.data)), expected[k])
    check_cost(powers, run, shape_share((N,), ring), degree)


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    ("left", "right", "transposed"),
    [
        ((3, 4), (4, 5), False),
        ((2, 3, 4), (2, 4, 5), False),
        ((2, 3, 4), (2, 5, 4), True),
        ((2, 2, 3, 4), (4, 5), False),
        ((1, 1), (1, 1), True),
    ],
)
def test_matmul(name: str, left: tuple[int, ...], right: tuple[int, ...], transposed: bool) -> None:
    ring = Ring(44)
    x, y = (RNG.integers(0, 2**64, s, dtype=np.uint64) for s in (left, right))
    run = both(
        lambda p: matmul(p, words_share(p, x, ring), words_share(p, y, ring, 0, 2), transposed),
        backend_pair(name),
    )
    expected = ring.reduce(x @ (y.swapaxes(-1, -2) if transposed else y))
    assert np.array_equal(reconstruct(run), expected)
    check_cost(matmul, run, shape_share(left, ring), shape_share(right, ring), transposed)


def test_products_refuse_different_rings() -> None:
    with pytest.raises(RingMismatch, match="narrow"):
        both(
            lambda p: mul(
                p, words_share(p, ring_words(Ring(8)), Ring(8)), words_share(p, ring_words(Ring(9)), Ring(9))
            )
        )


@pytest.mark.parametrize("owner", [0, 1])
@pytest.mark.parametrize("name", BACKENDS)
def test_affine_with_private_weights(name: str, owner: int) -> None:
    ring = Ring(40)
    x = RNG.integers(0, 2**64, (2, 3, 4), dtype=np.uint64)
    w, d = RNG.integers(0, 2**64, (4, 5), dtype=np.uint64), RNG.integers(0, 2**64, 4, dtype=np.uint64)

    def run(party: Party) -> Any:
        mine = party.rank == owner
        weights = open_static(
            party,
            private(party, owner, party.backend.asarray(w) if mine else None, w.shape, RING64, 2),
            private(party, owner, party.backend.asarray(d) if mine else None, d.shape, RING64, 2),
        )
        before = party.channel.traffic.report()
        products = [affine(party, words_share(party, x, ring, 3, seed), weights) for seed in (1, 2)]
        spent = party.channel.traffic.report() - before
        return [p.data for pair in products for p in pair], spent, products[0][0].frac_bits

    simulation = both(run, backend_pair(name))
    shares = [[host(s) for s in result[0]] for result in simulation.results]
    products = [ring.reduce(a + b) for a, b in zip(*shares, strict=True)]
    for matrix, diagonal in (products[:2], products[2:]):
        assert np.array_equal(matrix, ring.reduce(x @ w))
        assert np.array_equal(diagonal, ring.reduce(x * d))
    assert simulation.results[0][2] == 5
    spent = [result[1] for result in simulation.results]
    per_call = 8 * -(-x.size * 40 // 64)
    assert spent[1 - owner].sent.payload == 2 * per_call
    assert spent[owner].sent.payload == 0, "the owner of the weights sends nothing"


def test_public_weights_cost_nothing() -> None:
    x, w = RNG.integers(0, 2**64, (3, 4), dtype=np.uint64), RNG.integers(0, 2**64, (4, 5), dtype=np.uint64)
    run = both(lambda p: affine(p, words_share(p, x), [Public(p.backend.asarray(w), RING64, 1)])[0])
    assert np.array_equal(reconstruct(run), x @ w)
    assert run.traffic[0].sent.payload == run.traffic[1].sent.payload == 0


# -- truncation and rings --------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize(
    ("bits_", "shift", "out"),
    [
        (64, 16, 64),
        (64, 16, 48),
        (64, 16, 30),
        (64, 16, 56),
        (40, 12, 40),
        (40, 12, 64),
        (20, 7, 13),
        (64, 1, 64),
        (64, 62, 64),
    ],
)
def test_truncation_is_off_by_at_most_one_unit(name: str, bits_: int, shift: int, out: int) -> None:
    ring, target = Ring(bits_), Ring(out)
    x = bounded(ring, 3000)
    run = both(lambda p: truncate(p, words_share(p, x, ring, shift), shift, target), backend_pair(name))
    exact = ring.signed(x) >> shift
    got = target.signed(reconstruct(run))
    expected = target.signed(exact.astype(np.uint64))  # read in the result's ring
    error = target.signed((got - expected).astype(np.uint64))
    assert set(np.unique(error)) <= {0, 1}
    check_cost(truncate, run, shape_share((3000,), ring, shift), shift, target)


def test_truncation_is_unbiased() -> None:
    x = RNG.integers(0, 1 << 40, 20000, dtype=np.uint64)
    run = both(lambda p: truncate(p, words_share(p, x, RING64, 16), 16))
    error = reconstruct(run).astype(np.float64) - x / 2.0**16
    assert abs(error.mean()) < 5 * 0.5 / np.sqrt(x.size)  # error of one element lies in (-1, 1)
    exact = np.arange(100, dtype=np.uint64) << np.uint64(16)
    run = both(lambda p: truncate(p, words_share(p, exact, RING64, 16), 16))
    assert np.array_equal(reconstruct(run), exact >> np.uint64(16)), "multiples are divided exactly"


@pytest.mark.parametrize(("bits_", "out"), [(8, 64), (30, 48), (48, 64), (64, 64), (40, 20)])
def test_extension_is_exact(bits_: int, out: int) -> None:
    ring, target = Ring(bits_), Ring(out)
    x = bounded(ring, 1000)
    run = both(lambda p: extend(p, words_share(p, x, ring, 3), target))
    assert np.array_equal(reconstruct(run), target.reduce(ring.signed(x).astype(np.uint64)))
    check_cost(extend, run, shape_share((1000,), ring, 3), target)


# -- comparison and bits ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("bits_", [2, 3, 5, 9, 17, 25, 26, 33, 40, 41, 48, 63, 64])
def test_comparison_with_a_public_threshold(name: str, bits_: int) -> None:
    ring = Ring(bits_)
    x = bounded(ring)
    signed = ring.signed(x)
    for threshold in {0, 1 if bits_ > 2 else 0, -(1 << (bits_ - 2)) + 1, int(signed[7])}:
        run = both(lambda p, t=threshold: ge_public(p, words_share(p, x, ring), t), backend_pair(name))
        assert np.array_equal(bits(run)[0], signed >= threshold)
        check_cost(ge_public, run, shape_share((N,), ring), threshold)


@pytest.mark.parametrize(
    "shape", [r4(64), r8(64), tree(64, 8, (2, 2, 2)), tree(64, 6, (4, 3)), tree(64, 4, (8, 2))]
)
def test_tree_shapes_agree(shape: Any) -> None:
    x, y = bounded(Ring(63)), bounded(Ring(63))
    x[:20] = y[:20]
    run = both(lambda p: ge(p, words_share(p, x), words_share(p, y, RING64, 0, 2), shape))
    assert np.array_equal(bits(run)[0], x.view(np.int64) >= y.view(np.int64))
    check_cost(ge, run, shape_share((N,)), shape_share((N,)), shape)


def test_published_shapes() -> None:
    assert (r4(64).rounds, r4(64).node_bits) == (2, 39 - 1)
    assert r8(64).rounds == 1
    assert shape_for(64).rounds == 2
    assert shape_for(28).rounds == 1


@pytest.mark.parametrize("name", BACKENDS)
@pytest.mark.parametrize("bits_", [2, 8, 9, 10, 17, 33, 64])
def test_a2b_and_back(name: str, bits_: int) -> None:
    ring = Ring(bits_)
    x = ring_words(ring)
    run = both(lambda p: a2b(p, words_share(p, x, ring)), backend_pair(name))
    got = bits(run)
    expected = np.stack([x >> np.uint64(k) & np.uint64(1) for k in range(bits_)])
    assert np.array_equal(got, expected)
    check_cost(a2b, run, shape_share((N,), ring))
    run = both(lambda p: b2a(p, a2b(p, words_share(p, x, ring)), RING64), backend_pair(name))
    assert np.array_equal(reconstruct(run), x)


def test_b2a_cost() -> None:
    flags = RNG.integers(0, 2, N)
    run = both(lambda p: b2a(p, bit_share(p, flags), Ring(20)))
    assert np.array_equal(reconstruct(run), flags)
    check_cost(b2a, run, both(lambda p: bit_share(p, flags)).results[0], Ring(20))


@pytest.mark.parametrize("name", BACKENDS)
def test_inject_and_select(name: str) -> None:
    ring = Ring(37)
    x, y, flags = ring_words(ring), ring_words(ring)[::-1].copy(), RNG.integers(0, 2, N)
    run = both(lambda p: inject(p, bit_share(p, flags), words_share(p, x, ring)), backend_pair(name))
    assert np.array_equal(reconstruct(run), x * flags.astype(np.uint64))
    check_cost(inject, run, both(lambda p: bit_share(p, flags)).results[0], shape_share((N,), ring))
    run = both(
        lambda p: select(p, bit_share(p, flags), words_share(p, x, ring), words_share(p, y, ring, 0, 2)),
        backend_pair(name),
    )
    assert np.array_equal(reconstruct(run), np.where(flags == 1, x, y))


@pytest.mark.parametrize("count", [1, 2, 3, 7, 8, 9, 15, 20])
@pytest.mark.parametrize("name", BACKENDS)
def test_and_of_many(name: str, count: int) -> None:
    flags = (RNG.random((count, N)) < 0.9).astype(np.uint8)
    run = both(lambda p: all_of(p, [bit_share(p, f, k) for k, f in enumerate(flags)]), backend_pair(name))
    assert np.array_equal(bits(run)[0], flags.all(axis=0))
    shares = [both(lambda p: bit_share(p, flags[0])).results[0]] * count
    check_cost(all_of, run, shares)


def test_not() -> None:
    flags = RNG.integers(0, 2, N)
    assert np.array_equal(bits(both(lambda p: invert(p, bit_share(p, flags))))[0], 1 - flags)


# -- input, output, scheduling ----------------------------------------------------------------------------


@pytest.mark.parametrize("to", [None, 0, 1])
def test_reveal_tells_whom_it_should(to: int | None) -> None:
    x = ring_words(Ring(21))
    run = both(lambda p: reveal(p, words_share(p, x, Ring(21)), to))
    for rank in (0, 1):
        if to in (None, rank):
            assert np.array_equal(host(run.results[rank]), x)
        else:
            assert run.results[rank] is None
    check_cost(reveal, run, shape_share((N,), Ring(21)), to)


@pytest.mark.parametrize("owner", [0, 1])
def test_sharing_an_input_sends_nothing(owner: int) -> None:
    x = ring_words(RING64)
    run = both(
        lambda p: share(
            p, private(p, owner, p.backend.asarray(x) if p.rank == owner else None, x.shape, RING64, 0)
        )
    )
    assert np.array_equal(reconstruct(run), x)
    assert run.traffic[0].sent.messages == 0


def test_together_merges_rounds() -> None:
    x, y = RNG.normal(size=N), RNG.normal(size=N)

    def run(party: Party) -> Any:
        a, b = real_share(party, x), real_share(party, y, seed=2)
        before = party.channel.traffic.report().rounds
        bits_, product, nothing = party.run(
            together(ge.steps(party, a, b), mul.steps(party, a, b), local(None))
        )
        return bits_, product, nothing, party.channel.traffic.report().rounds - before

    results = both(run).results
    assert results[0][3] == 3, "a product beside a comparison of three rounds is free"
    assert results[0][2] is None
    flags = host(results[0][0].planes) ^ host(results[1][0].planes)
    assert np.array_equal(np.unpackbits(flags.view(np.uint8), count=N, bitorder="little"), x >= y)


def test_mixed_backends_give_the_same_transcript() -> None:
    x = RNG.normal(size=N)
    fake = open_backend("cuda-fake")

    def run(party: Party) -> Any:
        return ge_public(party, real_share(party, x))

    pairs: list[tuple[Any, Any]] = [("cpu", "cpu"), (fake, "cpu"), ("cpu", fake), ("reference", fake)]
    planes = [[host(r.planes) for r in both(run, pair).results] for pair in pairs]
    for other in planes[1:]:
        assert all(np.array_equal(a, b) for a, b in zip(planes[0], other, strict=True))
