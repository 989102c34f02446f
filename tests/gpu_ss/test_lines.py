"""Functions by lines: against the table over the whole range, at the declared cost, and made by OT."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from gpu_ss.economy import ALONE
from gpu_ss.errors import RingMismatch
from gpu_ss.functions.activation import activation
from gpu_ss.functions.tables import line_table
from gpu_ss.functions.tables.lines import clear, lines
from gpu_ss.functions.tables.make import gelu, gelu_tanh
from gpu_ss.party import Party
from gpu_ss.plan import make_plan
from gpu_ss.protocols import digits
from gpu_ss.protocols import lines as protocol
from gpu_ss.protocols.digits import Ask, Digit
from gpu_ss.protocols.lines import LineTable, evaluate_lines, made_bits, made_ots
from gpu_ss.provider.ot.prices import made_bytes
from gpu_ss.ring import Ring
from gpu_ss.simulate import simulate
from gpu_ss.values import AShare
from tests.support.backends import open_backend
from tests.support.ot import alone
from tests.support.protocols import both, check_cost, host, real, shape_share, words_share

UNIT = 2.0**-12
CURVES = {"gelu": gelu, "gelu_tanh": gelu_tanh}
#: Raw units by which a line may be read past its end, and what slopes of neighbours differ by at most.
OVERLAP, BEND = 2 * (2**protocol.DROPPED - 1) - 2**protocol.DROPPED, 0.051


def raw_words(bits: int, n: int = 3000) -> Any:
    """Raw numbers of a ring below 2^(bits - 2): all over the lines, around each end, and the extremes."""
    rng = np.random.default_rng(bits)
    most = 2 ** (bits - 2) - 1
    ends = np.add.outer(np.arange(-65, 66) * 256, np.arange(-2, 9)).reshape(-1)
    found = np.concatenate(
        [rng.integers(-20000, 20000, n), rng.integers(-most, most, n), ends, [0, 1, -1, most, -most]]
    )
    return np.clip(found, -most, most)


def run_words(raw: Any, bits: int, table: LineTable, backends: Any = ("auto", "auto"), seed: int = 1) -> Any:
    ring = Ring(bits)
    words = ring.reduce(raw.astype(np.int64).view(np.uint64))
    return both(lambda p: evaluate_lines(p, words_share(p, words, ring, 12, seed), table), backends)


@pytest.mark.parametrize("backend", ["auto", "cuda-fake", "reference"])
@pytest.mark.parametrize("name", list(CURVES))
def test_over_the_whole_range(name: str, backend: str) -> None:
    """Beside the table's value: a unit of each scale for the two roundings, and the overlap of lines."""
    table, bits, raw = line_table(name), 24, raw_words(24)
    chosen: Any = open_backend(backend) if backend != "auto" else backend
    simulation = run_words(raw, bits, table, (chosen, chosen))
    found, x = real(simulation), raw * UNIT
    assert np.abs(found - clear(table, x)).max() <= 1.5 * UNIT + OVERLAP * BEND * UNIT + 2.0**-14
    assert np.abs(found - CURVES[name](x)).max() < 2.5e-4 + 1.6 * UNIT
    check_cost(evaluate_lines, simulation, shape_share(raw.shape, Ring(bits), 12), table)


@pytest.mark.parametrize("bits", [17, 18, 21, 40, 60, 64])
def test_rings(bits: int) -> None:
    table, raw = line_table("gelu"), raw_words(bits)
    simulation = run_words(raw, bits, table, seed=bits)
    words = Ring(bits).reduce(host(simulation.results[0].data) + host(simulation.results[1].data))
    found = words.view(np.int64) - (
        (words >> np.uint64(bits - 1)).astype(np.int64) << bits if bits < 64 else 0
    )
    beyond = np.abs(raw) >= 2**14 + 8
    assert np.array_equal(found[beyond], np.maximum(raw, 0)[beyond]), "exact beyond the lines"
    inside = np.abs(raw) < 2**20
    error = np.abs(found - CURVES["gelu"](raw * UNIT) / UNIT)[inside]
    assert error.max() < 2.5e-4 / UNIT + 1.6
    check_cost(evaluate_lines, simulation, shape_share(raw.shape, Ring(bits), 12), table)


@pytest.mark.parametrize("name", list(CURVES))
def test_the_tables_keep_their_promises(name: str) -> None:
    """Maximal error 2.4e-4, mean 4e-5 over [-10, 10], jumps of at most 1e-4, the rings' room."""
    table, x = line_table(name), np.arange(-10 * 4096, 10 * 4096 + 1) * UNIT
    error = np.abs(clear(table, x) - CURVES[name](x))
    assert error.max() < 2.4e-4
    assert error.mean() < 4e-5
    half = np.array(table.slopes) * 2.0 ** -(table.slope_bits + table.frac_bits + 1) * 2**table.piece_bits
    knots = UNIT * (table.start + np.arange(129) * 2**table.piece_bits)
    leaning = table.lean * 2.0 ** (table.frac_bits - table.value_bits) * knots
    values = np.array(table.values) * 2.0**-table.value_bits
    ends = np.concatenate([values - half, [np.maximum(knots[-1], 0) - leaning[-1]]])
    starts = np.concatenate([[0 - leaning[0]], values + half])
    assert np.abs(ends - starts).max() < 1e-4
    assert np.abs(np.diff(half)).max() * 2 / (256 * UNIT) < BEND
    reach = 2 ** (table.piece_bits - 1) + OVERLAP
    assert max(map(abs, table.slopes)) * reach < 2 ** (table.slope_ring - 2)
    read = table.value_ring - (table.value_bits - table.frac_bits)
    whole = np.concatenate([clear(table, x) / UNIT - table.middle, [-table.middle]])
    assert np.abs(whole[np.abs(np.append(x, 0)) < 4.01]).max() + 2 < 2 ** (read - 2)


def test_other_functions_and_limits() -> None:
    """tanh by 256 lines, and a function whose limits are not 0 and x."""
    table = lines("tanh", np.tanh, 8, lean=0, low=-4096, high=4096, slope=0)
    raw = raw_words(26)
    found = real(run_words(raw, 26, table))
    assert np.abs(found - np.tanh(raw * UNIT)).max() < 4e-4 + 1.6 * UNIT
    assert set(found[np.abs(raw) > 2**15 + 8]) == {-1.0, 1.0}
    shifted = replace(line_table("gelu"), low=-40, high=100, slope=-2)
    found = real(run_words(raw, 26, shifted))
    assert np.array_equal(found[raw < -(2**14)], np.full((raw < -(2**14)).sum(), -40 * UNIT))
    above = raw > 2**14 + 8
    assert np.array_equal(found[above], (100 - 2 * raw[above]) * UNIT)


def test_all_shares_of_digits() -> None:
    """Every pair of digits of every width, all questions in one table."""
    for width in (1, 2, 3):
        size = 1 << width
        a, b = np.repeat(np.arange(size), size), np.tile(np.arange(size), size)
        n, numbers = a.size, (a, b)

        def run(party: Party, width: int = width, numbers: Any = numbers) -> Any:
            own = party.backend.asarray(numbers[party.rank].astype(np.uint64))
            planes = party.backend.to_planes(own, width)
            questions = ((Ask.EQUAL, planes), (Ask.LESS, planes), (Ask.LESS, planes[:width] ^ digits.FULL))
            return party.run(
                digits.answers(party, own.size, [Digit(planes, questions), Digit(planes, questions[:1])])
            )

        left, right = simulate(run).results
        found = [host(x) ^ host(y) for x, y in zip(left, right, strict=True)]
        bits = [np.unpackbits(f.view(np.uint8), axis=1, bitorder="little")[:, :n] for f in found]
        assert np.array_equal(bits[0], [a == b, a < b, size - 1 - a < b])
        assert np.array_equal(bits[1], [a == b])


@pytest.mark.parametrize("bits", [17, 24, 60])
def test_what_two_parties_alone_pay(bits: int) -> None:
    """The estimate that chooses the way is the bytes of the plan and the price list."""
    table, n = line_table("gelu"), 1 << 14

    def run(party: Party) -> Any:
        return evaluate_lines(party, AShare(party.backend.zeros(n), Ring(bits), 12), table)

    plan = make_plan(0, run, economy=ALONE)
    assert plan.rounds == evaluate_lines.cost(shape_share((n,), Ring(bits), 12), table).rounds
    total = 8 * (sum(plan.sent) + made_bytes(plan.specs)) / n
    assert made_bits(table, bits) == pytest.approx(total, rel=1e-3)
    assert made_ots(table, bits) < 90 or bits > 24


def test_made_by_oblivious_transfer() -> None:
    """The activation as the parties run it alone: bytes and rounds as planned, values right."""
    n, ring = 2048, Ring(48)
    raw = np.resize(raw_words(24), n)
    words = ring.reduce(raw.astype(np.int64).view(np.uint64))

    def run(party: Party) -> Any:
        def steps(p: Party) -> Any:
            return activation(p, words_share(p, words, ring, 12), "gelu", 24, Ring(53), 12)

        plan = make_plan(
            party.rank,
            lambda p: activation(p, AShare(p.backend.zeros(n), ring, 12), "gelu", 24, Ring(53), 12),
            economy=ALONE,
        )
        party.provider.prepare(plan.specs)
        before = party.channel.traffic.report()
        result = steps(party)
        after = party.channel.traffic.report()
        assert after.sent.payload - before.sent.payload == plan.sent[party.rank]
        assert after.rounds - before.rounds == plan.rounds
        assert any(tag.startswith("index") for tag in plan.tags)
        return result

    found = real(simulate(run, extend=alone))
    assert np.abs(found - gelu(raw * UNIT)).max() < 2.5e-4 + 1.6 * UNIT
    beyond = np.abs(raw) >= 2**14 + 8
    assert np.array_equal(found[beyond], np.maximum(raw, 0)[beyond] * UNIT)


def test_rings_that_are_too_small_are_refused() -> None:
    with pytest.raises(RingMismatch, match="17 bits or more"):
        run_words(np.zeros(3), 16, line_table("gelu"))
