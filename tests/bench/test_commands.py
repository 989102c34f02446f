"""Every bench command run for real, at tiny sizes: its rows have all keys and hold what the plan says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from bench import kernels
from bench.__main__ import app
from bench.compare import missing
from bench.kernels import CASES
from bench.layer import LayerJob
from bench.options import Sizes
from bench.protocols import ProtocolJob, names, shaped
from bench.random_model import write_model
from gpu_ss.backend.base import Backend
from gpu_ss.backend.operations import Operations
from transformer.model import PrivateModel

KEYS = {
    "bench", "name", "shape", "backend", "trust", "profile", "ring_bits", "frac_bits", "setup_s", "offline_s",
    "online_s", "online_s_min", "online_s_max", "repeats", "online_bytes_sent", "online_bytes_received",
    "offline_bytes", "dealer_bytes", "rounds", "max_abs_error", "mean_abs_error", "machine", "device", "network",
    "transport", "commit",
}  # fmt: skip
COMPILED = "reference" if missing("cpu") else "cpu"
TINY = Sizes(hidden=32, heads=4, ffn=64, layers=2, seq=6, batch=2, vocab=40)
LAYER = ["--hidden", "32", "--heads", "4", "--ffn", "64", "--seq", "6", "--batch", "2"]
MODEL = [*LAYER, "--layers", "2", "--vocab", "40"]


def invoke(*argv: str) -> Result:
    return CliRunner().invoke(app, list(argv))


def bench(*argv: str) -> list[dict[str, Any]]:
    """The rows of a command that must succeed."""
    done = invoke(*argv)
    assert done.exit_code == 0, done.output + repr(done.exception)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    for row in rows:
        assert row.keys() >= KEYS
        assert 0 < row["online_s_min"] <= row["online_s"] <= row["online_s_max"]
        assert row["machine"] and row["device"]
    return rows


def check_traffic(row: dict[str, Any], plan: Any) -> None:
    """Counted rounds and bytes are the planned ones, but for headers."""
    assert row["rounds"] == plan.rounds
    assert row["dealer_bytes"] == plan.offline_bytes
    for key, planned in zip(("online_bytes_sent", "online_bytes_received"), plan.sent, strict=True):
        headers = row[key] - planned
        assert 0 <= headers <= 100 * max(1, plan.rounds)


def test_protocols() -> None:
    rows = bench("protocols", "--elements", "200", "--repeats", "2", "--backend", COMPILED)
    assert [row["name"] for row in rows] == names()
    for row in rows:
        assert (row["bench"], row["trust"]) == ("protocols", "dealer")
        assert min(row["peak_memory_bytes_rank0"], row["peak_memory_bytes_rank1"]) > 1e7
        assert row["offline_bytes"] == row["dealer_bytes"], "the parties say nothing to each other"
        assert row["shape"] == list(shaped(row["name"], 200))
        assert row["repeats"] == 2
        check_traffic(row, ProtocolJob(row["name"], row["shape"]).plan(0))
        assert row["mean_abs_error"] <= row["max_abs_error"] < 1, row["name"]
        assert row["mean_abs_error"] < 0.02, row["name"]


def test_products_by_encryption() -> None:
    argv = ["--only", "he_triple,he_linear_offline,he_matmul", "--elements", "768", "--repeats", "1"]
    triple, linear, heads = bench("protocols", *argv, "--backend", COMPILED)
    assert (triple["shape"], linear["shape"], heads["shape"]) == ([768], [1, 768, 768], [1, 128, 64, 128])
    for row in (triple, linear, heads):
        assert row["dealer_bytes"] == 0
        assert row["offline_bytes"] > 3e5, "a block of ciphertexts, however few elements"
        assert row["rounds"] == 1
        assert row["max_abs_error"] < 0.02
        assert row["cpu_s"] > 0
        assert row["first_offline_bytes"] >= row["offline_bytes"]
    assert linear["online_bytes_received"] == 0, "the server sends nothing online"


def test_one_layer_between_two_backends_over_a_slow_link(tmp_path: Path) -> None:
    out = tmp_path / "rows.jsonl"
    argv = ["--backend", COMPILED, "--server-backend", "reference", "--network", "1000,2", "--out", str(out)]
    (row,) = bench("layer", *LAYER, *argv, "--repeats", "1")
    plan = LayerJob(TINY.hidden, TINY.heads, TINY.ffn, TINY.seq, TINY.batch).plan(0)
    check_traffic(row, plan)
    assert row["shape"] == [2, 6, 32, 4, 64]
    assert row["max_abs_error"] < 0.02
    assert row["online_s"] > plan.rounds * 1e-3, "every round takes half a round trip"
    assert row["backend"] == ("reference" if COMPILED == "reference" else f"{COMPILED}+reference")
    assert json.loads(out.read_text()) == row


def test_a_model(tmp_path: Path) -> None:
    write_model(tmp_path, TINY)
    (row,) = bench("model", *MODEL, "--repeats", "1", "--backend", COMPILED)
    check_traffic(row, PrivateModel.load(tmp_path).plan(TINY.batch, TINY.seq).query)
    assert row["shape"] == [2, 6, 2, 32, 4, 64, 40]
    assert row["max_abs_error"] < 0.02
    assert row["setup_bytes"] > 0


def test_the_layer_of_a_given_model(tmp_path: Path) -> None:
    write_model(tmp_path, TINY)
    (row,) = bench("layer", "--model", str(tmp_path), "--seq", "5", "--repeats", "1", "--backend", COMPILED)
    assert row["shape"] == [1, 5, 32, 4, 64]
    assert row["max_abs_error"] < 0.02


def test_kernels() -> None:
    rows = bench("kernels", "--elements", "3000", "--repeats", "1", "--backend", COMPILED)
    assert [row["name"] for row in rows] == kernels.names()
    for row in rows:
        assert row["max_abs_error"] in (None, 0), row["name"]
        assert min(row["gb_per_s"], row["fraction_of_copy"], row["items_per_s"]) > 0
        assert (row["gops"] is not None) == ("matmul" in row["name"])


def test_every_operation_is_measured() -> None:
    around = {"details", "asarray", "to_host", "empty", "zeros", "synchronize", "activate"}
    operations = (Operations.__abstractmethods__ | Backend.__abstractmethods__) - around
    assert operations <= CASES.keys()


def test_compare_two_backends() -> None:
    argv = [
        "--only",
        "mul,pack",
        "--elements",
        "500",
        "--repeats",
        "1",
        "--backends",
        f"reference,{COMPILED}",
    ]
    rows = bench("compare", "protocols", "kernels", "layer", *argv)
    assert [row["name"] for row in rows] == ["mul", "mul", "pack", "pack"]
    for first, second in (rows[:2], rows[2:]):
        assert "speedup" not in first
        assert second["speedup"] == pytest.approx(first["online_s"] / second["online_s"])
    total = [row["offline_s"] + row["online_s"] for row in rows[:2]]
    assert rows[1]["total_speedup"] == pytest.approx(total[0] / total[1])
    assert rows[3]["total_speedup"] is None, "kernels have no offline phase"


def test_compare_without_a_gpu_says_so() -> None:
    if missing("cuda") is None:
        pytest.skip("this machine has a GPU")
    done = invoke("compare", "layer", *LAYER, "--repeats", "1", "--backends", f"{COMPILED},cuda")
    assert done.exit_code == 0, repr(done.exception)
    assert "no rows for cuda" in done.stderr
    (row,) = [json.loads(line) for line in done.stdout.splitlines()]
    assert row["backend"] == COMPILED


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["protocols", "--only", "foo"], "there is no row"),
        (["protocols", "--trust", "nobody"], "there are dealer, two-party"),
        (["layer", "--network", "slow"], "MBIT_S,RTT_MS"),
        (["layer", "--hidden", "10", "--heads", "3"], "do not divide"),
        (["model", "--model", "/nonexistent"], "config.json"),
        (["compare", "layer", "--only", "mul"], "there is no row"),
    ],
)
def test_wrong_options_are_explained(argv: list[str], message: str) -> None:
    done = invoke(*argv)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())
