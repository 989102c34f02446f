"""Several sizes, networks and batches in one command; workloads in chunks; costs; where a layer's time goes."""

from __future__ import annotations

import ctypes
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bench import costs, int8, memory
from bench.layer import LayerJob
from bench.memory import TooLarge, chunks, cut_to_fit, needed_per_row
from bench.parts import OTHER, PARTS, Booked, medians
from bench.prices import Prices
from bench.protocols import ProtocolJob
from bench.rows import Row
from bench.setting import Setting
from tests.bench.test_commands import COMPILED, LAYER, MODEL, TINY, bench, invoke
from transformer.terms import Terms

CPU = Setting(COMPILED)


def test_sizes_and_networks_in_one_command() -> None:
    argv = ["--only", "mul,trunc", "--elements", "1e2,3000", "--network", "none", "--network", "1000,2"]
    rows = bench("protocols", *argv, "--repeats", "1", "--backend", COMPILED)
    assert [(row["network"], row["name"], row["shape"]) for row in rows] == [
        (network, name, [n])
        for network in ("none", "1000,2")
        for name in ("mul", "trunc")
        for n in (100, 3000)
    ]
    for row in rows:
        assert row["chunks"] == 1
        assert row["items_per_s"] == pytest.approx(row["shape"][0] / row["online_s"])
    assert min(row["online_s"] for row in rows[4:]) > 1e-3


def test_chunks_are_measured_one_after_the_other() -> None:
    """Bytes and rounds are those of all chunks' plans; the last one's result is checked."""
    argv = ["--only", "compare,softmax", "--elements", "1280", "--chunk", "512", "--repeats", "1"]
    rows = bench("protocols", *argv, "--backend", COMPILED)
    assert [(row["shape"], row["chunks"]) for row in rows] == [([1280], 4), ([10, 128], 5)], "evenly cut"
    for row in rows:
        plan = ProtocolJob(row["name"], row["shape"], row["chunks"]).plan(0)
        assert row["rounds"] == row["chunks"] * plan.rounds
        assert row["dealer_bytes"] == row["chunks"] * plan.offline_bytes
        headers = row["online_bytes_sent"] - row["chunks"] * plan.sent[0]
        assert 0 < headers < 100 * row["rounds"]
        assert row["max_abs_error"] < 0.01


def test_a_batch_a_few_texts_at_a_time() -> None:
    """Bytes, rounds and times are those of all of it."""
    argv = [*LAYER, "--batch", "6", "--repeats", "1", "--backend", COMPILED]
    whole, parts = bench("layer", *argv)[0], bench("layer", *argv, "--chunk", "2")[0]
    assert (whole["chunks"], parts["chunks"]) == (1, 3)
    assert whole["shape"] == parts["shape"]
    assert parts["rounds"] == 3 * whole["rounds"]
    plan = LayerJob(TINY.hidden, TINY.heads, TINY.ffn, TINY.seq, 2).plan(0)
    assert parts["dealer_bytes"] == 3 * plan.offline_bytes >= whole["dealer_bytes"], (
        "each is padded to whole words"
    )
    assert parts["max_abs_error"] < 0.02
    (model,) = bench("model", *MODEL, "--batch", "3", "--chunk", "1", "--repeats", "1", "--backend", COMPILED)
    assert (model["chunks"], model["shape"][0]) == (3, 3)
    assert model["max_abs_error"] < 0.05


def test_memory_decides_on_texts_at_a_time(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def job() -> LayerJob:
        return LayerJob(TINY.hidden, TINY.heads, TINY.ffn, TINY.seq, 64)

    cut_to_fit(fitting := job(), CPU, None)
    assert (fitting.chunks, fitting.texts) == (1, 64)
    assert capsys.readouterr().err == ""
    plan = fitting.plan(0)
    needed = memory.BYTES_PER_PLANNED_LAYER * (plan.offline_bytes + sum(plan.sent))
    room = memory.PARTIES * fitting.held_bytes + memory.SHARES * needed / 3
    monkeypatch.setattr(memory, "available_bytes", lambda backend: int(room))
    cut_to_fit(cut := job(), CPU, None)
    assert (cut.chunks, cut.texts, cut.shape[0]) == (4, 16, 64)
    assert "64 texts at once need some" in capsys.readouterr().err
    assert LayerJob(**cut.describe()).texts == 16
    monkeypatch.setattr(memory, "available_bytes", lambda backend: 0)
    cut_to_fit(least := job(), CPU, None)
    assert least.texts == 1
    cut_to_fit(asked := job(), CPU, 10)
    assert asked.texts * asked.chunks == asked.shape[0] >= 64 and asked.texts <= 10


def test_batches_and_costs() -> None:
    prices = ["--price-core-hour", "3.6", "--price-gpu-hour", "100"]
    rows = bench("layer", *LAYER, "--batch", "1,3", "--repeats", "1", "--backend", COMPILED, *prices)
    assert [row["shape"][0] for row in rows] == [1, 3]
    for row in rows:
        assert row["gpu_s"] == 0
        assert row["cost"] == pytest.approx(row["cpu_s"] * 1e-3)


def test_prices() -> None:
    row = Row("layer", "layer", [1], extra={"cpu_s": 1800.0, "gpu_s": 7200.0})
    assert Prices(0.5, 3.0).on(row).extra["cost"] == pytest.approx(0.25 + 6)
    assert Prices(gpu_hour=3.0).on(row).extra["cost"] == pytest.approx(6)
    assert Prices().on(row) is row
    unknown = replace(row, extra={})
    assert Prices(0.5).on(unknown) is unknown


def test_the_parts_of_a_layer_are_its_whole_plan() -> None:
    (row,) = bench("layer", *LAYER, "--repeats", "2", "--backend", COMPILED)
    parts = row["parts"]
    assert list(parts) == ["linear", "attention", "softmax", "layernorm", "activation"]
    plan = LayerJob(TINY.hidden, TINY.heads, TINY.ffn, TINY.seq, TINY.batch).plan(0)
    assert sum(part["rounds"] for part in parts.values()) == plan.rounds
    assert sum(part["bytes"] for part in parts.values()) == sum(plan.sent)
    assert all(part["s"] > 0 for part in parts.values())
    assert sum(part["s"] for part in parts.values()) < 1.5 * row["online_s_max"]


def test_planned_parts_are_the_measured_ones() -> None:
    """`costs` plans each function as the layer calls it: online bytes and rounds by part, and in all."""
    (row,) = bench("layer", *LAYER, "--profile", "puma", "--repeats", "1", "--backend", COMPILED)
    batch, seq, hidden, heads, ffn = row["shape"]
    planned = {p.name: p for p in costs.parts(Terms(profile="puma"), hidden, heads, ffn, seq, batch)}
    measured = row["parts"]
    for name, names in (
        ("GeLU", ["activation"]),
        ("LayerNorm, both", ["layernorm"]),
        ("linear layers", ["linear"]),
    ):
        assert planned[name].online == sum(measured[n]["bytes"] for n in names), name
        assert planned[name].rounds == sum(measured[n]["rounds"] for n in names), name
    attended = [planned["SoftMax"], planned["Q K^T, P V"]]
    assert sum(p.online for p in attended) == sum(
        measured[n]["bytes"] for n in ("attention", "softmax") if n in measured
    )
    assert planned["layer"].offline == row["dealer_bytes"]


def test_costs_as_a_table() -> None:
    done = invoke("costs", "--trust", "two-party", "--profile", "fastlmpi,the-x", *LAYER)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert len(lines) == 2 + 2 * 6
    assert lines[2].startswith("| `fastlmpi` | layer |")
    assert "there is no profile" in invoke("costs", "--profile", "exact").output


def test_the_parts_of_a_model() -> None:
    (row,) = bench("model", *MODEL, "--repeats", "1", "--backend", COMPILED)
    assert set(row["parts"]) == set(PARTS.values())
    assert OTHER not in row["parts"]


def test_medians_of_parts() -> None:
    runs = [{"a": Booked(s, 2, 8)} for s in (1.0, 5.0, 2.0)]
    assert medians(runs) == {"a": {"s": 2.0, "rounds": 2, "bytes": 8}}


def test_memory_decides_on_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    per_row = needed_per_row("compare", (10**8,), CPU)
    assert 200 < per_row < 2000
    monkeypatch.setattr(memory, "available_bytes", lambda backend: int(memory.SHARES * per_row * 3e7))
    assert chunks("compare", (10**6,), CPU, None) == 1
    found = chunks("compare", (10**8,), CPU, None)
    assert 4 <= found <= 8 and 10**8 % found == 0
    assert chunks("compare", (10**8,), CPU, 10**7) == 10
    assert chunks("softmax", (1536, 128), CPU, 128) == 1536
    alone = Setting(COMPILED, trust="two-party")
    assert needed_per_row("compare", (10**8,), alone) > per_row
    monkeypatch.setattr(memory, "available_bytes", lambda backend: 1000)
    with pytest.raises(TooLarge, match=r"compare: one row .* GB"):
        chunks("compare", (10**8,), CPU, None)


def test_what_does_not_fit_is_left_out_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "available_bytes", lambda backend: 1000)
    done = invoke("protocols", "--only", "mul", "--elements", "1e8", "--backend", COMPILED)
    assert done.exit_code == 0
    assert "left out: mul" in done.stderr
    assert done.stdout == ""


def test_a_chunked_job_is_the_same_at_both_parties() -> None:
    job = ProtocolJob("softmax", (10, 128), 3)
    assert job.shape == (12, 128), "rounded up"
    assert ProtocolJob(**job.describe()).shape == job.shape
    assert job.input_size == 4 * 128


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["protocols", "--elements", "1e4,many"], "no list of whole numbers"),
        (["protocols", "--elements", "0"], "no list of whole numbers"),
        (["layer", "--batch", "1.5"], "no list of whole numbers"),
        (["layer", "--network", "lan", "--network", "slow"], "MBIT_S,RTT_MS"),
    ],
)
def test_wrong_lists_are_explained(argv: list[str], message: str) -> None:
    done = invoke(*argv)
    assert done.exit_code == 2
    assert message in " ".join(done.stderr.split())


def test_digits_of_ring_products() -> None:
    assert [int8.digit_products(bits) for bits in (64, 56, 48, 40, 32)] == [36, 28, 21, 15, 10]


def test_kernels_say_what_transforms_and_products_they_make() -> None:
    rows = {
        row["name"]: row
        for row in bench("kernels", "--only", "ntt,matmul_square,pack", "--backend", COMPILED)
    }
    ntt, square, pack = rows["ntt"], rows["matmul_square"], rows["pack"]
    primes, polys, _ = ntt["shape"]
    assert ntt["transforms_per_s"] == pytest.approx(primes * polys / ntt["online_s"])
    assert square["shape"] == [1024] * 3
    assert square["gops"] == pytest.approx(2 * 1024**3 / square["online_s"] / 1e9)
    assert square["fraction_of_int8"] is None, "no tensor cores"
    assert (pack["transforms_per_s"], pack["gops"]) == (None, None)


class Blas:
    """cuBLAS as its manual says: columns first, C = alpha op(A) op(B) + beta C, scalars by address."""

    def gemmEx(self, handle: int, *given: Any) -> None:
        turned, m, n, k = given[:2], *given[2:5]
        alpha, a, a_kind, lda, b, b_kind, ldb, beta, c, c_kind, ldc, computed, _ = given[5:]
        assert (turned, a_kind, b_kind, c_kind, computed) == ((1, 0), 3, 3, 10, 72)
        assert (lda, ldb) == (k, k)
        scalars = [ctypes.c_int32.from_address(place).value for place in (alpha, beta)]
        assert scalars == [1, 0]
        left, right = (array_at(place, ctypes.c_int8, rows, k) for place, rows in ((a, m), (b, n)))
        array_at(c, ctypes.c_int32, n, ldc)[:] = right.astype(np.int32) @ left.astype(np.int32).T


def array_at(place: int, kind: Any, rows: int, columns: int) -> Any:
    return np.ctypeslib.as_array((kind * (rows * columns)).from_address(place)).reshape(rows, columns)


class Pointed(np.ndarray[Any, Any]):
    """An array that says where it is as CuPy's do."""

    @property
    def data(self) -> Any:  # type: ignore[override]
        return SimpleNamespace(ptr=self.ctypes.data)


def test_the_rate_of_8_bit_products(monkeypatch: pytest.MonkeyPatch) -> None:
    """The call as cuBLAS wants it; no such rate for a CPU."""
    monkeypatch.setattr(int8, "SIDE", 64)
    cuda = SimpleNamespace(cublas=Blas(), device=SimpleNamespace(get_cublas_handle=lambda: 1))
    ones, zeros = (lambda shape, kind, fill=fill: np.full(shape, fill, kind).view(Pointed) for fill in (1, 0))
    xp = SimpleNamespace(ones=ones, zeros=zeros, int8=np.int8, int32=np.int32, cuda=cuda)
    timed = lambda run: [run() or 0.5]  # noqa: E731
    found = int8.int8_gops(SimpleNamespace(xp=xp), timed)  # type: ignore[arg-type]
    assert found == pytest.approx(2 * 64**3 / 0.5 / 1e9)
    assert int8.int8_gops(SimpleNamespace(xp=np), timed) is None  # type: ignore[arg-type]
