"""What stands beside the benches: the page of results, and the check for GPU machines."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from functools import partial
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any

import pytest

from bench import cuda_units
from bench.compare import missing
from bench.tables import section
from bench.units import seconds, size
from gpu_ss.backend import BackendError
from gpu_ss.backend.cuda import CudaBackend
from tests.bench.test_commands import KEYS
from tests.support import fake_cupy

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
RESULTS = sorted((ROOT / "bench" / "results").glob("*.jsonl"))


def script(name: str, *argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPTS / name), *argv], capture_output=True, text=True, timeout=100
    )


def test_the_page_shows_the_results() -> None:
    assert RESULTS
    assert script("generate-benchmarks", "--check").returncode == 0, "run python scripts/generate-benchmarks"


@pytest.mark.parametrize("file", RESULTS, ids=lambda file: file.stem)
def test_kept_results_have_every_key(file: Path) -> None:
    for line in file.read_text().splitlines():
        assert json.loads(line).keys() >= KEYS


def test_sections_show_numbers_people_can_read(tmp_path: Path) -> None:
    row = dict.fromkeys(KEYS) | {
        "bench": "protocols", "name": "mul", "shape": [3, 4], "online_s": 0.00123, "online_s_min": 0.001,
        "online_s_max": 1.5, "online_bytes_sent": 2_500_000, "speedup": 12.34, "machine": "abacus",
    }  # fmt: skip
    file = tmp_path / "abacus-cpu.jsonl"
    file.write_text(json.dumps(row) + "\n")
    made = section(file)
    assert "abacus" in made
    for part in ("`mul`", "3 x 4", "1.23 ms", "1 ms to 1.5 s", "2.5 MB", "12.3"):
        assert f"| {part} |" in made
    assert [seconds(None), seconds(2e-9), size(None), size(0)] == ["", "0.002 us", "", "0 B"]


def test_rows_without_a_dealer_have_a_table_of_their_own(tmp_path: Path) -> None:
    dealt = dict.fromkeys(KEYS) | {
        "bench": "protocols", "name": "relu", "trust": "dealer", "shape": [10], "dealer_bytes": 57_100_000
    }  # fmt: skip
    alone = dealt | {
        "trust": "two-party", "dealer_bytes": 0, "offline_bytes": 6_160_000, "offline_s": 7.14,
        "first_offline_s": 8.11, "cpu_s": 13.8, "peak_memory_bytes_rank0": 498_000_000,
    }  # fmt: skip
    transfers = alone | {"name": "cot", "offline_s": None, "items_per_s": 2.26e7, "bits_per_item": 0.474}
    file = tmp_path / "abacus-cpu.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in (dealt, alone, transfers)))
    first, second = section(file).split("### protocols, two parties alone")
    assert "57.1 MB" in first and "OTs/s" not in first
    assert "dealer" not in second
    for part in ("7.14 s", "8.11 s", "6.16 MB", "13.8 s", "498 MB", "2.26e+07", "0.47"):
        assert f"| {part} |" in second


def test_gpu_check_runs_its_steps(tmp_path: Path) -> None:
    """On a backend every machine has: one step, its log, and the summary and report of all rows there are."""
    (tmp_path / "kept.jsonl").write_text(RESULTS[0].read_text())
    (tmp_path / "profile.log").write_text('{"bench": "layer"}\n   1234 function calls in 5 seconds\n')
    done = script("gpu-check", str(tmp_path), "--backend", "reference", "--steps", "doctor")
    assert done.returncode == 0, done.stdout + done.stderr
    summary = (tmp_path / "summary.md").read_text()
    assert "all steps passed" in summary
    assert "1234 function calls" in summary and '{"bench"' not in summary
    assert "## kept" in summary
    assert "<title>" in (tmp_path / "report.html").read_text()
    assert "backend reference" in (tmp_path / "doctor.log").read_text()


def gpu_check() -> Any:
    """The script as a module."""
    loader = SourceFileLoader("gpu_check", str(SCRIPTS / "gpu-check"))
    spec = spec_from_loader(loader.name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    sys.modules[loader.name] = module  # its dataclasses look themselves up there
    loader.exec_module(module)
    return module


def test_gpu_check_says_why_a_step_did_not_end_well(tmp_path: Path) -> None:
    check, soon = gpu_check(), time.monotonic() + 60
    step = partial(check.Step, "step", 30.0)
    lacking = check.carried_out(step([], ("numpy", "zmq")), tmp_path, soon, {"zmq"})
    failing = check.carried_out(step(["-c", "raise SystemExit('broken')"]), tmp_path, soon, set())
    assert lacking.how == "left out, no pyzmq"
    assert (failing.how, check.last_line(tmp_path / "step.log")) == ("exit code 1", "broken")
    assert check.carried_out(step([]), tmp_path, time.monotonic(), set()).how == "no time left"
    waits = "import time\ntry: time.sleep(60)\nexcept KeyboardInterrupt: print('so far')"
    slow = check.carried_out(check.Step("slow", 1.5, ["-c", waits]), tmp_path, soon, set())
    assert slow.how.startswith("over") and check.last_line(tmp_path / "slow.log") == "so far"
    summary = check.summary([lacking, failing, slow], tmp_path)
    assert "3 of 3 steps failed" in summary and "slow: so far" in summary


def test_gpu_check_keeps_the_path_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And knows the modules that steps need by the names of their packages."""
    check = gpu_check()
    monkeypatch.setenv("PYTHONPATH", "/carried")
    assert check.environment(tmp_path)["PYTHONPATH"].split(":")[1:] == [str(tmp_path / "site"), "/carried"]
    assert {name for step in check.steps(tmp_path, "cuda") for name in step.needs} <= set(check.PACKAGES)
    (tmp_path / "missing.log").touch()
    assert "numpy" not in check.missing_modules(tmp_path)


def test_kernels_are_compiled_ahead(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_cupy.installed():
        backend = CudaBackend()
    with monkeypatch.context() as patched:
        patched.setattr(cuda_units, "get_backend", lambda name: backend)
        first, second = cuda_units.compiled("cuda", "ring.cu")
    assert first.startswith("ring.cu: ") and second == "    beaver_combine: 32 registers"
    with pytest.raises(BackendError, match="nothing to compile"):
        cuda_units.main("reference")


def test_gpu_check_without_a_gpu(tmp_path: Path) -> None:
    if missing("cuda") is None:
        pytest.skip("this machine has a GPU")
    done = script("gpu-check", str(tmp_path))
    assert done.returncode == 2
    assert "cannot be used here" in done.stdout
