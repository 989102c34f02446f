"""Products computed while a protocol runs: exact, with the traffic that the plan foretold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fastlmpi[he]'")

from pydantic import ValidationError

from gpu_ss.errors import CorrelationError, RingMismatch
from gpu_ss.party import Party
from gpu_ss.plan import make_plan
from gpu_ss.protocols.arith import matmul
from gpu_ss.protocols.io import private
from gpu_ss.protocols.weights import affine, hold, open_static
from gpu_ss.provider.direct import DirectAffine, DirectMatmul
from gpu_ss.provider.specs.arithmetic import Elsewhere
from gpu_ss.ring import RING64, Ring
from gpu_ss.simulate import simulate
from gpu_ss.values import AShare, Public
from he_bridge import choice, traffic
from he_bridge.errors import ParameterError
from he_bridge.packing import Shape
from he_bridge.params import LIN64
from he_bridge.provider import two_party, with_products
from net import ProtocolError, memory_pair
from tests.he_bridge.lattice import random_weights, random_words
from tests.support.protocols import host, words_share
from transformer.terms import Terms

Run = Callable[[Party], list[AShare]]


def direct(*arguments: Any) -> Any:
    return with_products(*arguments, direct=True)


def computed(
    set_up: Callable[[Party], Any], run: Callable[[Party, Any], list[AShare]], times: int = 2
) -> Any:
    """The clear words of a run, which is planned, prepared and done some times in one session."""

    def both(party: Party) -> list[AShare]:
        context = set_up(party)
        for _ in range(times):
            plan = make_plan(
                party.rank, lambda p: run(p, set_up(p)), party.provider.taken, traffic=traffic.messages
            )
            party.provider.prepare(plan.specs)
            before = party.channel.traffic.report()
            rounds: list[str] = []
            party.watch = rounds.append
            shares = run(party, context)
            spent = party.channel.traffic.report() - before
            assert spent.rounds == plan.rounds == len(rounds)
            by_tag = {
                tag: (sent.messages, sent.payload) for tag, (sent, _) in spent.by_tag.items() if sent.messages
            }
            planned = {tag: cost for tag, cost in plan.tags.items() if cost.sent[party.rank]}
            assert by_tag == {tag: (cost.messages, cost.sent[party.rank]) for tag, cost in planned.items()}
        return shares

    simulation = simulate(both, extend=direct, timeout_s=60)
    assert simulation.correction_bytes == 0
    return [a.ring.reduce(host(a.data) + host(b.data)) for a, b in zip(*simulation.results, strict=True)]


@pytest.mark.parametrize(
    ("lead", "k", "n", "bits"),
    [((1,), 5, 3, 64), ((2, 3), 20, 7, 52), ((130,), 9, 40, 48), ((64,), 70, 33, 24), ((8192,), 2, 3, 40)],
    ids=str,
)
def test_products_with_weights(lead: tuple[int, ...], k: int, n: int, bits: int) -> None:
    """A matrix, a diagonal and public weights of one input, of which both parties have a share."""
    ring, largest = Ring(bits), 2 ** min(bits - 2, 15)
    w = [random_weights(k, n, largest=largest), random_weights(k, largest=largest)]
    words = [x.astype(np.int64).view(np.uint64) for x in w]
    x = random_words(*lead, k) & ring.reduce(np.uint64(2**64 - 1))

    def set_up(party: Party) -> Any:
        held = [
            private(party, 1, party.backend.asarray(ring.reduce(v)) if party.rank else None, v.shape, ring, 3)
            for v in words
        ]
        return [*hold(party, *held), Public(party.backend.asarray(words[0]), ring, 3)]

    def run(party: Party, weights: Any) -> list[AShare]:
        return affine(party, words_share(party, x, ring, 2), weights)

    products = computed(set_up, run)
    for found, expected in zip(products, (x @ words[0], x * words[1], x @ words[0]), strict=True):
        assert np.array_equal(found, ring.reduce(expected))


def test_many_rows_go_another_way() -> None:
    """8192 rows of small matrices are a RowBatch, also directly."""
    assert choice.linear_set(Shape(1, 8192, 64, 64), 64) is LIN64
    sent = list(traffic.messages(DirectAffine(8192, 64, (0,), (64,), (0,), 64)))
    assert [message.round for message in sent if message.sender] == [True, False, False, False]


@pytest.mark.parametrize("bits", [24, 40, 48, 52, 64])
def test_products_of_shares(bits: int) -> None:
    """A batch, transposed or not, and one right operand for a batch."""
    ring = Ring(bits)
    x, y = random_words(2, 3, 5, 6), random_words(2, 3, 6, 4) * np.uint64(3)

    def run(party: Party, _: Any) -> list[AShare]:
        left, right = words_share(party, x, ring), words_share(party, y, ring, seed=5)
        turned = AShare(right.data.transpose(0, 1, 3, 2), ring, 0)
        one = words_share(party, y[0, 0], ring, seed=6)
        return [
            matmul(party, left, right),
            matmul(party, left, turned, transposed=True),
            matmul(party, left, one),
        ]

    products = computed(lambda party: None, run)
    for found, expected in zip(products, (x @ y, x @ y, x @ y[0, 0]), strict=True):
        assert np.array_equal(found, ring.reduce(expected))


def test_keys_come_before_the_product() -> None:
    """Preparing sends all keys; a later preparation none; the product nothing but ciphertexts."""

    def run(party: Party) -> list[set[str]]:
        weights = random_weights(30, 40).astype(np.int64).view(np.uint64)
        words = party.backend.asarray(weights) if party.rank else None
        (held,) = hold(party, private(party, 1, words, (30, 40), RING64, 0))
        spec = DirectAffine(64, 30, (held.number,), (40,), (0,), 64)
        tags = []
        for _ in range(2):
            before = party.channel.traffic.report()
            party.provider.prepare([spec])
            middle = party.channel.traffic.report()
            party.provider.compute(spec, party.backend.asarray(random_words(64, 30)))
            tags += [set((middle - before).by_tag), set((party.channel.traffic.report() - middle).by_tag)]
        return tags

    product = {"he/inputs", "he/replies"}
    found = simulate(run, extend=direct).results[0]
    assert found == [{"he/key", "he.layer", "he/switching"}, product, set(), product]


def test_what_was_not_prepared_is_refused() -> None:
    spec = DirectMatmul(1, 2, 3, 2, 40)

    def run(party: Party) -> None:
        x, y = party.backend.zeros((1, 2, 3)), party.backend.zeros((1, 3, 2))
        party.provider.compute(spec, x, y)

    with pytest.raises(CorrelationError, match="was not prepared"):
        simulate(run, extend=direct)
    with pytest.raises(CorrelationError, match="computes no products"):
        simulate(run)
    with pytest.raises(TypeError, match="Elsewhere"):
        list(traffic.messages(Elsewhere()))  # type: ignore[arg-type]


def test_opened_weights_and_wrong_shapes_are_refused() -> None:
    def static(party: Party) -> None:
        words = party.backend.zeros((3, 2)) if party.rank else None
        opened = open_static(party, private(party, 1, words, (3, 2), RING64, 0))
        affine(party, words_share(party, random_words(2, 3)), opened)

    with pytest.raises(RingMismatch, match="open under a mask"):
        simulate(static, extend=direct)

    def shapes(party: Party) -> None:
        matmul(party, words_share(party, random_words(2, 3)), words_share(party, random_words(2, 3)))

    with pytest.raises(ValueError, match="cannot multiply"):
        simulate(shapes, extend=direct)


def test_terms_say_what_goes_together() -> None:
    for wrong, why in (
        ({"linear": "direct"}, "needs products he"),
        ({"engine": "tenseal"}, "needs products he"),
        ({"linear": "direct", "engine": "tenseal", "products": "he"}, "engine native"),
        ({"linear": "never", "products": "he"}, "offline"),
    ):
        with pytest.raises(ValidationError, match=why):
            Terms(**wrong)  # type: ignore[arg-type]
    assert Terms(products="he", linear="direct").traffic is not None
    assert Terms(products="he").traffic is None
    for extend in (with_products, two_party):
        with pytest.raises(ParameterError, match="tenseal"):
            extend(0, None, None, None, engine="tenseal", direct=True)  # type: ignore[arg-type]


@pytest.mark.parametrize("tag", ["he/inputs", "he/replies"])
def test_hostile_messages_end_in_one_error(tag: str) -> None:
    """Replayed: the message of the product before."""
    ends = memory_pair(timeout_s=20)
    for end in ends:
        send, seen = end.send, []

        def replaying(
            name: str, frames: Any, *, round: bool = True, send: Any = send, seen: Any = seen
        ) -> None:
            if name == tag:
                seen.append([bytes(memoryview(frame).cast("B")) for frame in frames])
                frames = seen[0]
            send(name, frames, round=round)

        end.send = replaying  # type: ignore[method-assign]
    specs = [DirectMatmul(1, 2, 3, 2, 40)] * 2

    def run(party: Party) -> None:
        x, y = party.backend.asarray(random_words(1, 2, 3)), party.backend.asarray(random_words(1, 3, 2))
        party.provider.prepare(specs)
        for spec in specs:
            party.provider.compute(spec, x, y)

    with pytest.raises(ProtocolError, match="differs"):
        simulate(run, extend=direct, channels=ends)
