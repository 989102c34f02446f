"""Benches without a dealer: what the two parties make themselves is counted, and OT has rows of its own."""

from __future__ import annotations

import numpy as np
import pytest

from bench.layer import LayerJob
from bench.ot import BASE_OTS, NAMES, BaseOtJob, CotJob
from bench.rows import forget_peak, peak_memory
from bench.setting import Setting
from gpu_ss.backend.native import give_back
from gpu_ss.functions.tables import line_table
from gpu_ss.party import Party
from gpu_ss.prg import Prg
from gpu_ss.protocols.lines import evaluate_lines
from gpu_ss.provider.ot import parameters as lpn
from gpu_ss.provider.ot.silent import SilentReceiver, SilentSender
from gpu_ss.ring import Ring
from gpu_ss.values import AShare
from tests.bench.test_commands import COMPILED, LAYER, MODEL, TINY, bench
from tests.support.backends import open_backend
from tests.support.ot import CPU, both
from transformer.terms import Terms

TREES_BYTES = 16 * lpn.SLAB_TREES * lpn.TREE_BLOCKS


def test_protocols() -> None:
    argv = ["--trust", "two-party", "--only", "trunc,compare,matmul", "--elements", "300", "--repeats", "2"]
    rows = bench("protocols", *argv, "--backend", COMPILED)
    assert [row["name"] for row in rows] == ["trunc", "compare", "matmul"]
    for row in rows:
        assert (row["trust"], row["dealer_bytes"], row["repeats"]) == ("two-party", 0, 2)
        assert row["max_abs_error"] < 0.02
        assert 0 < row["offline_bytes"] < row["first_offline_bytes"], "keys and the start of OT come first"
        assert row["first_offline_s"] > 0
        assert row["cpu_s"] > 0
        assert min(row["peak_memory_bytes_rank0"], row["peak_memory_bytes_rank1"]) > 1e7
    trunc, compare, matmul = rows
    assert trunc["offline_bytes"] < 1e4, "later runs take what is left of the first OTs"
    assert min(row["first_offline_bytes"] for row in (trunc, compare)) > 5e5, "the start of silent OT"
    assert compare["max_abs_error"] == 0
    assert matmul["offline_bytes"] > 1e6, "ciphertexts"


def test_gelu_by_lines() -> None:
    """Enough elements for lines, between two real processes."""
    argv = ["--trust", "two-party", "--only", "gelu", "--elements", "3072", "--repeats", "1"]
    (row,) = bench("protocols", *argv, "--backend", COMPILED)
    read = AShare(np.zeros(3072, np.uint64), Ring(60), 12)
    assert row["rounds"] == evaluate_lines.cost(read, line_table("gelu")).rounds
    assert row["max_abs_error"] < 2.4e-4 + 2 * 2**-12
    assert row["offline_bytes"] < 79 * 3072 + 1e4


def test_a_layer_with_weights_in_clear_at_the_server() -> None:
    (row,) = bench("layer", *LAYER, "--trust", "two-party", "--repeats", "1", "--backend", COMPILED)
    job = LayerJob(TINY.hidden, TINY.heads, TINY.ffn, TINY.seq, TINY.batch)
    job.terms = Setting(trust="two-party").terms
    assert row["rounds"] == job.plan(0).rounds
    assert row["dealer_bytes"] == 0
    assert row["setup_bytes"] == 0, "weights are not opened"
    assert row["offline_bytes"] > 1e6
    assert row["max_abs_error"] < 0.02


@pytest.mark.slow
def test_a_model() -> None:
    sizes = ["--layers", "1", "--seq", "3", "--batch", "1"]
    (row,) = bench("model", *MODEL, *sizes, "--trust", "two-party", "--repeats", "1", "--backend", COMPILED)
    assert (row["trust"], row["dealer_bytes"]) == ("two-party", 0)
    assert row["max_abs_error"] < 0.02


def test_oblivious_transfer_needs_no_dealer_whatever_is_said() -> None:
    argv = ["--only", ",".join(NAMES), "--elements", "1200000", "--repeats", "1", "--trust", "dealer"]
    rows = bench("protocols", *argv, "--backend", COMPILED)
    assert [row["name"] for row in rows] == NAMES
    for row in rows:
        assert row["trust"] == "two-party"
        assert (row["max_abs_error"], row["mean_abs_error"]) == (0, 0)
        assert row["offline_s"] is None
        assert row["items_per_s"] == pytest.approx(row["shape"][0] / row["online_s"])
    base, cot, rot, triple = rows
    assert (base["shape"], base["rounds"]) == ([BASE_OTS], 1)
    assert base["online_bytes_received"] > 64 * BASE_OTS
    assert base["online_bytes_sent"] > 32
    for row, directions in ((cot, 1), (rot, 1), (triple, 2)):
        assert row["shape"] == [1_200_000]
        assert row["rounds"] == 0, "streams that nobody waits for"
        assert row["setup_bytes"] > 5e5 * directions
        assert 0.44 * directions < row["bits_per_item"] < 0.55 * directions
    assert cot["online_bytes_received"] == 0, "the sender of OTs hears nothing"
    slabs = cot["online_bytes_sent"] / TREES_BYTES
    most = -(-1_200_000 // lpn.SLAB_ROWS)  # whole slabs, each with a check and two headers
    assert round(slabs) in (most - 1, most)
    assert round(slabs) <= slabs < 1.08 * round(slabs)
    assert triple["online_bytes_received"] == triple["online_bytes_sent"]


def party_of(rank: int, channel: object) -> Party:
    backend = open_backend(CPU)
    return Party(rank, backend, None, channel, Prg(backend))  # type: ignore[arg-type]


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_wrong_transfer_is_an_error_in_the_row(damaged: int) -> None:
    """The check behind `max_abs_error` sees a single wrong block at either end."""

    def run(rank: int, channel: object) -> tuple[float, float] | None:
        party = party_of(rank, channel)
        job = CotJob([1000])
        job.set_up(party)
        blocks = job.run(party).copy()
        if rank == damaged:
            blocks[17, 1] ^= np.uint64(4)
        return job.errors(party, blocks)

    errors = [found for found in both(lambda c: run(0, c), lambda c: run(1, c)) if found is not None]
    assert errors == [(1.0, 1 / 1000)]


def test_wrong_base_transfers_are_an_error_in_the_row() -> None:
    def run(rank: int, channel: object) -> tuple[float, float] | None:
        party = party_of(rank, channel)
        job = BaseOtJob([16])
        first, second, digest = job.run(party)
        if rank == 1:
            second = second ^ np.uint64(1)
        return job.errors(party, (first, second, digest))

    errors = [found for found in both(lambda c: run(0, c), lambda c: run(1, c)) if found is not None]
    assert errors == [(1.0, 1.0)]


def test_directions() -> None:
    """Rank 0 sends; both kinds of ends are those of the product."""
    kinds = both(*(lambda c, rank=rank: type(CotJob([1]).sources(party_of(rank, c))[0]) for rank in (0, 1)))
    assert kinds == (SilentSender, SilentReceiver)


def test_terms_of_a_setting() -> None:
    assert Setting(trust="two-party").terms == Terms(trust="two-party", products="he")
    assert Setting().terms == Terms()
    assert Setting(products="he").terms == Terms(products="he")


def test_peak_memory_begins_anew() -> None:
    big = np.ones(1 << 24)
    with_big = peak_memory()
    assert with_big > big.nbytes
    del big
    give_back()
    forget_peak()
    assert peak_memory() < with_big - (1 << 26)
