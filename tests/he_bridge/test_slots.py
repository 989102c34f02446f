"""Triples: exact for the worst shares, between processes, with replies that tell nothing by their noise."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fastlmpi[he]'")

from he_bridge import remainders as numbers
from he_bridge import slots
from he_bridge.errors import HeError
from he_bridge.remainders import Remainders, os_words
from he_bridge.slot_sets import SETS, SLOTS32, SLOTS48, SLOTS64, STRONG, TRIPLES, TripleParams, choose
from he_bridge.slots import TripleClient, TripleServer
from he_bridge.tenseal_bfv import Bfv, BfvParams, Evaluator, KeyHolder
from he_bridge.tenseal_io import Words, batching_primes
from net import Channel, NetError, Program, generate, launch, memory_pair
from tests.he_bridge.noise_attack import coefficients_of, fit, own_errors, reply_noise, secret_of
from tests.net.helpers import outcomes, together

N = 8192
Pair = tuple[TripleClient, TripleServer]


@pytest.fixture(scope="module")
def channels() -> tuple[Channel, Channel]:
    return memory_pair(timeout_s=30.0)


@pytest.fixture(scope="module")
def parties(channels: tuple[Channel, Channel]) -> Pair:
    client = TripleClient(channels[0])
    return client, TripleServer(channels[1])


def run(parties: Pair, n: int, left: tuple[Words, ...] = (), right: tuple[Words, ...] = ()) -> list[Words]:
    """Shares of both parties: [a0, b0, c0, a1, b1, c1]."""
    for party in parties:
        party._channel._session.owner = None
    first, second = together(lambda: parties[0].triples(n, *left), lambda: parties[1].triples(n, *right))
    return [*first, *second]


def assert_exact(shares: list[Words]) -> None:
    a0, b0, c0, a1, b1, c1 = shares
    assert np.array_equal(c0 + c1, (a0 + a1) * (b0 + b1))


def test_triples_between_two_processes(tmp_path: Path) -> None:
    n = N + 300
    for role in ("client", "server"):
        generate(tmp_path, role)
    argv = [sys.executable, "-m", "tests.he_bridge.party"]
    server = Program("server", [*argv, "1", "tcp://127.0.0.1:*", str(tmp_path), str(n)])
    with launch([server], timeout_s=60) as running:
        address = running.wait_ready("server")["address"]
        running.start(Program("client", [*argv, "0", address, str(tmp_path), str(n)]))
        running.wait()
    shares = np.concatenate([np.load(tmp_path / "0.npy"), np.load(tmp_path / "1.npy")])
    assert shares.shape == (6, n + 10)
    assert_exact(list(shares))
    assert len(np.unique(shares[:, n:])) == 60, "drawn shares differ from one another"


@pytest.mark.parametrize("word", [0, 2**64 - 1, 2**63])
def test_constant_shares(parties: Pair, word: int) -> None:
    """All slots alike: the plaintext polynomial is a constant, or zero, which SEAL treats specially."""
    same = np.full(N, word, np.uint64)
    shares = run(parties, N, (same, same), (same, same))
    assert_exact(shares)
    assert len(np.unique(shares[2])) == N, "shares of the product do not show that all are alike"


@pytest.mark.parametrize("pairs", [1, 9])
@pytest.mark.parametrize("squares", [False, True])
def test_inner_products(pairs: int, squares: bool) -> None:
    ends = memory_pair(timeout_s=30.0)
    both = TripleClient(ends[0], STRONG), TripleServer(ends[1], STRONG)
    for end in ends:
        end._session.owner = None
    shares = os_words((4, pairs, 50)).copy()
    shares[:, 0, :10] = 2**64 - 1
    shares[:, :, 10] = 0
    a0, a1, b0, b1 = shares
    if squares:
        b0, b1 = a0, a1
    first, second = together(
        lambda: both[0].inner_products(a0, None if squares else b0),
        lambda: both[1].inner_products(a1, None if squares else b1),
    )
    assert np.array_equal(first + second, ((a0 + a1) * (b0 + b1)).sum(axis=0, dtype=np.uint64))


@pytest.mark.parametrize("n", [0, 1])
def test_few(parties: Pair, n: int) -> None:
    shares = run(parties, n)
    assert [s.shape for s in shares] == [(n,)] * 6
    assert_exact(shares)


def test_bytes_are_as_documented(parties: Pair, channels: tuple[Channel, Channel]) -> None:
    def total() -> int:
        phase = channels[0].traffic
        return sum(count[1] for (_, tag, _), count in phase._counters.items() if tag != "he.slots.key")

    before = total()
    run(parties, N)
    assert (total() - before) / N <= 230


def test_the_generator_in_use_is_the_one_given() -> None:
    calls = []

    def counted(shape: tuple[int, ...]) -> Words:
        calls.append(shape)
        return os_words(shape)

    ends = memory_pair(timeout_s=30.0)
    pair = TripleClient(ends[0]), TripleServer(ends[1], TRIPLES, counted)
    run(pair, 5)
    assert calls[:2] == [(5,), (5,)]
    assert calls[2:6] == [(N,)] * 4


def test_remainders_against_python_integers() -> None:
    remainders = Remainders(batching_primes(N, 46, 4))
    primes = remainders.primes
    digits = remainders.draw(os_words, 200)
    digits[:, 0], digits[:, 1] = 0, [p - 1 for p in primes]
    numbers = []
    for column in digits.T.tolist():
        value = 0
        for digit, prime in zip(reversed(column), reversed(primes), strict=True):
            value = value * prime + digit
        numbers.append(value)
    residues = remainders.residues(digits)
    assert residues.T.tolist() == [[v % p for p in primes] for v in numbers]
    assert np.array_equal(remainders.digits(residues), digits)
    assert remainders.words(digits).tolist() == [v % 2**64 for v in numbers]


def test_digits_leave_room_for_the_product() -> None:
    remainders = Remainders(batching_primes(N, 46, 4))
    limits = np.array([*remainders.primes[:-1], remainders.primes[-1] - 1], np.uint64)
    assert (remainders.draw(os_words, 1000) < limits[:, None]).all()
    whole = int(np.prod([int(p) for p in remainders.primes], dtype=object))
    assert whole - whole // remainders.primes[-1] + 2 * (2**64 - 1) ** 2 < whole


def test_drawingbelow_a_bound_is_uniform() -> None:
    found = numbers.below(os_words, 5, 50_000)
    assert found.max() == 4
    assert (np.abs(np.bincount(found.astype(np.int64)) - 10_000) < 600).all()


def test_margins() -> None:
    margins = TRIPLES.check()
    assert margins.mask_bits > 41.9
    assert margins.noise_bits > 45
    assert margins.bits(N) > 40
    assert margins.bits(1 << 20) > 34
    assert STRONG.check().bits(1 << 20) > 49
    assert STRONG.check(512).bits(1 << 20) > 40
    with pytest.raises(HeError, match="mask"):
        TRIPLES.check(8)
    with pytest.raises(HeError, match="no room"):
        TRIPLES.check(768)


@pytest.mark.parametrize("params", SETS, ids=lambda p: f"{p.count} of {p.bfv.plain_bits}")
@pytest.mark.parametrize("bits", [13, 32, 48, 64])
def test_every_set_hides_the_calls_it_is_chosen_for(params: TripleParams, bits: int) -> None:
    """The first set whose distance and reliability reach 2^-40 is chosen, so none that does not."""
    for log in range(25):
        for pairs in (1, 16):
            if choose(1 << log, pairs, bits) is params:
                margins = params.check_call(1 << log, pairs, bits)
                assert min(margins.bits(1 << log), margins.reliability(1 << log)) >= 40


def test_narrow_rings_and_short_calls_cost_less() -> None:
    assert [choose(n, 1, 64) for n in (1, 1 << 14, 1 << 15, 1 << 24, 1 << 28)] == [
        *[TRIPLES, TRIPLES, SLOTS64, SLOTS64, STRONG]
    ]
    assert [choose(1 << 20, 1, bits) for bits in (24, 32, 40, 48, 56)] == [
        *[SLOTS32, SLOTS32, SLOTS48, SLOTS48, SLOTS64]
    ]
    costs = [sum(params.bytes) for params in (SLOTS32, SLOTS48, TRIPLES, SLOTS64, STRONG)]
    assert costs == sorted(costs)
    with pytest.raises(HeError, match="fewer at a time"):
        choose(1 << 31)
    with pytest.raises(HeError, match="in one call"):
        TRIPLES.check_call(1 << 20)


@pytest.mark.parametrize(("params", "bits"), [(SLOTS32, 32), (SLOTS48, 48), (SLOTS64, 64), (STRONG, 64)])
def test_extremes_of_every_set(params: TripleParams, bits: int) -> None:
    """Largest operands of both parties in every kind of product; bits above the ring do not matter."""
    ends = memory_pair(timeout_s=30.0)
    both = TripleClient(ends[0], params), TripleServer(ends[1], params)
    for end in ends:
        end._session.owner = None
    shares = os_words((4, 2, 8)).copy()
    shares[:, :, :4] = 2**64 - 1
    shares[:, :, 4] = 2**63
    a0, a1, b0, b1 = shares
    ones = np.uint64((1 << bits) - 1)

    def run(ask: Callable[[], Words], serve: Callable[[], Words]) -> list[Words]:
        for end in ends:
            end._session.owner = None
        return list(together(ask, serve))

    for left, right, expected in (
        ((a0, b0), (a1, b1), (a0 + a1) * (b0 + b1)),
        ((a0, None), (a1, None), (a0 + a1) ** 2),
    ):
        first, second = run(
            lambda left=left: both[0].inner_products(*left, bits),
            lambda right=right: both[1].inner_products(*right, bits),
        )
        assert max(first.max(), second.max()) <= ones
        assert np.array_equal((first + second) & ones, expected.sum(axis=0, dtype=np.uint64) & ones)
    first, second = run(lambda: both[0].crossed(a0[0], bits), lambda: both[1].crossed(b1[0], bits))
    assert np.array_equal((first + second) & ones, (a0[0] * b1[0]) & ones)
    with pytest.raises(ValueError, match="vector"):
        both[0].crossed(a0, bits)
    assert not both[0].crossed(a0[0, :0], bits).size


@pytest.mark.parametrize(
    ("params", "why"),
    [
        (TripleParams(BfvParams(N, (55,), (60,), 17, 46)), "circuit privacy"),
        (TripleParams(BfvParams(N, (55,), (60, 45), 17, 46)), "circuit privacy"),
        (TripleParams(BfvParams(N, (50,), (60, 60), 17, 46)), "decryption"),
        (TripleParams(BfvParams(N, (55,), (60, 59), 17, 43)), "no room"),
        (TripleParams(BfvParams(N, (55,), (60, 59), 17, 45)), "mask"),
        (TripleParams(count=3), "no room"),
        (TripleParams(BfvParams(N, (70,), (60, 59), 17, 57), 3), "no room|primes of 57"),
        (TripleParams(BfvParams(4096, (55,), (60, 59), 17, 46)), "128-bit"),
    ],
)
def test_weak_parameters_are_refused(params: TripleParams, why: str) -> None:
    with pytest.raises(HeError, match=why):
        params.check()
    with pytest.raises(HeError, match=why):
        TripleClient(memory_pair()[0], params).triples(5)


def test_shares_of_the_wrong_kind(parties: Pair) -> None:
    for bad in (np.zeros(4, np.uint64), np.zeros(5, np.int64), np.zeros((5, 1), np.uint64)):
        with pytest.raises(ValueError, match="shares must be"):
            parties[0].triples(5, bad)
    with pytest.raises(ValueError, match="cannot be made"):
        parties[0].triples(-1)


def test_parties_that_disagree() -> None:
    other = TripleParams(BfvParams(N, (55,), (59, 60), 17, 46))
    ends = memory_pair(timeout_s=5.0)
    TripleClient(ends[0], other)
    with pytest.raises(HeError, match="different encryption parameters"):
        TripleServer(ends[1])


def test_garbage_from_the_peer() -> None:
    ends = memory_pair(timeout_s=0.3)
    client, server = TripleClient(ends[0]), TripleServer(ends[1])
    sizes = [slots._COUNTER.size, *(bfv.fresh_bytes(2) for bfv in server._instances)]
    header = slots._COUNTER.pack(5, 2, 64, 0, 0)
    ends[0].send("he.slots.up", [header, *(b"\xff" * size for size in sizes[1:])])
    with pytest.raises(HeError, match="out of range"):
        server.triples(5)
    ends[0].send("he.slots.up", [slots._COUNTER.pack(6, 2, 64, 0, 0), *(bytes(size) for size in sizes[1:])])
    with pytest.raises(HeError, match="both must ask alike"):
        server.triples(5)
    ends[1].send("he.slots.down", [b"\xff" * bfv.reply_bytes(1) for bfv in client._instances])
    with pytest.raises(HeError, match="out of range"):
        client.triples(5)
    ends[1].send("he.slots.down", [b"short"])
    found, _ = outcomes(lambda: client.triples(5), lambda: None)
    assert isinstance(found, NetError)


@pytest.mark.parametrize("leaky", [True, False], ids=["without the switch", "as built"])
def test_the_noise_of_a_reply_tells_nothing(leaky: bool) -> None:
    """The key holder fits the noise of the reply to its own errors: operands that are alike in all slots are
    two unknown factors. Without the switch it gets them to the last bit, re-randomised or not."""
    (prime,) = batching_primes(N, 46, 1)
    params = TRIPLES.bfv
    if leaky:
        params = BfvParams(N, (*params.kept, *params.dropped), (), params.special, params.plain_bits)
    bfv = Bfv(params, prime)
    holder = KeyHolder(bfv)
    evaluator = Evaluator(bfv, holder.public_key())
    mine = [x % np.uint64(prime) for x in os_words((2, N))]
    factors = np.array([12345678901234, 98765], np.uint64)  # below half the prime
    data = holder.encrypt(mine)
    operands = [np.full(N, f, np.uint64) for f in factors]
    mask = os_words((1, N)) % np.uint64(prime)
    total = evaluator.product_sum(evaluator.load(data, 2), operands)
    reply = evaluator.release([total], mask)

    secret = secret_of(holder)
    errors = own_errors(holder, secret, data, mine)
    assert np.abs(errors).max() <= 21.5, "the bound of `BfvParams.check` on fresh errors"
    assert 10 < errors.var() < 11.2
    assert coefficients_of(bfv, operands[0])[1:].max() == 0
    (found,) = reply_noise(holder, secret, reply, 1)
    guess = fit(errors, found)
    explained = np.corrcoef(factors.astype(np.float64) @ errors, found)[0, 1]
    if leaky:
        assert np.abs(guess - factors).max() < 16
        assert explained > 0.999
    else:
        assert np.abs(guess).max() < 1, "nothing near the factors"
        assert abs(explained) < 0.06
        assert np.abs(found).max() < 2**8
