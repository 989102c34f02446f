"""What leaves a party is uniform in its group, whatever the secret; sizes and order never depend on it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from gpu_ss.functions.fourier import BETA
from gpu_ss.party import Item, Party, Round
from gpu_ss.protocols.periodic import sine_series
from gpu_ss.ring import Ring
from gpu_ss.simulate import simulate
from tests.support.protocols import host
from tests.support.runs import RUNS_BY_NAME, N, Run, secret

RUNS = 12
SECRETS = {"zeros": np.zeros(N), "large": np.where(np.arange(N) % 2, 2.0**24, -(2.0**24)), "ones": np.ones(N)}


class Spy:
    """Collects what rank `rank` sends and what both learn, item by item."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int, bool, np.ndarray[Any, Any]]] = []

    def watch(self, party: Party) -> None:
        original = party.exchange

        def exchange(request: Round) -> list[Any]:
            opened = original(request)
            for item, words in zip(request.items, opened, strict=True):
                self._note(request.tag, item, words, party)
            return opened

        party.exchange = exchange  # type: ignore[method-assign]

    def _note(self, tag: str, item: Item, words: Any, party: Party) -> None:
        learnt = words if item.sender is None else item.data if item.sender == party.rank else words
        self.seen.append((tag, item.bits, item.xor, host(learnt).reshape(-1)))


def observe(run: Run, x: Any) -> list[list[tuple[str, int, bool, Any]]]:
    """RUNS executions with fresh randomness: what is opened in each."""
    executions = []
    for _ in range(RUNS):
        spy = Spy()

        def both(party: Party, spy: Spy = spy) -> Any:
            if party.rank == 0:
                spy.watch(party)
            return run(party, x)

        simulate(both, ("reference", "reference"))
        executions.append(spy.seen)
    return executions


@pytest.mark.parametrize("name", sorted(RUNS_BY_NAME))
def test_everything_opened_is_uniform_in_its_ring(name: str) -> None:
    """Every bit position of every opened item is a fair coin, for extreme secrets alike.

    Pooled over runs and elements a bit position has at least 100 samples; the mean of fair coins leaves
    0.5 +- 6.5 / sqrt(4 samples) once in 10^10 positions.
    """
    assert_uniform(name, RUNS_BY_NAME[name])


def test_sines_of_shares_are_masked_in_full() -> None:
    """Apart, because floating point makes its transcript a machine's own."""
    assert_uniform("sines", lambda p, x: sine_series(p, secret(p, x).narrowed(Ring(18)), BETA))


def assert_uniform(name: str, run: Run) -> None:
    """As above."""
    for label, x in SECRETS.items():
        executions = observe(run, x)
        for item in range(len(executions[0])):
            tag, bits, _, _ = executions[0][item]
            words = np.concatenate([e[item][3] for e in executions])
            for bit in range(bits):
                values = (words >> np.uint64(bit)) & np.uint64(1)
                samples = values.size
                if samples < 100:
                    continue
                bound = 6.5 / np.sqrt(4 * samples)
                assert abs(values.mean() - 0.5) < bound, (
                    f"{name}, {label} secrets: bit {bit} of {tag!r} is biased"
                )


@pytest.mark.parametrize("name", sorted(RUNS_BY_NAME))
def test_messages_do_not_depend_on_secrets(name: str) -> None:
    shapes = set()
    for x in SECRETS.values():
        run = simulate(lambda p, x=x: RUNS_BY_NAME[name](p, x), ("reference", "reference"))
        shapes.add(tuple((row.tag, row.sent, row.received) for row in run.traffic[0].table()))
    assert len(shapes) == 1


def test_the_spy_would_notice() -> None:
    """The uniformity test fails for a protocol that opens an unmasked, or too narrowly masked, value."""

    def leaky(party: Party, x: Any) -> Any:
        share = secret(party, x)
        narrow = party.backend.asarray(np.random.default_rng().integers(0, 2**30, N, dtype=np.uint64))
        masked = share.data + (narrow if party.rank == 0 else narrow * np.uint64(0))
        (words,) = party.exchange(Round("leak", (Item(masked, (N,), 64),)))
        return words

    executions = observe(leaky, SECRETS["zeros"])
    words = np.concatenate([e[0][3] for e in executions])
    assert ((words >> np.uint64(50)) & np.uint64(1)).mean() == 0.0
