"""Fits: targets over every input, continuity, limits, symmetry; and evaluated on shares."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_ss.economy import DEALT
from gpu_ss.errors import FitError
from gpu_ss.functions import tables
from gpu_ss.functions.activation import activation
from gpu_ss.functions.fitting import library, published
from gpu_ss.functions.fitting.report import COUNTED, as_function, errors, evaluation_cost, report
from gpu_ss.functions.fitting.search import Fitted, Wanted, derivative_zeros, fit
from gpu_ss.functions.fitting.segments import UNIT, clear, max_jump
from tests.support.protocols import both, check_cost, real, real_share, shape_share

NAMES = list(library.FUNCTIONS)
CLI = [sys.executable, "-m", "transformer.cli", "fit"]


@cache
def fitted(name: str, degree: int = 3, pieces: int | None = None, norm: str = "minimax") -> Fitted:
    return fit(library.target(name), Wanted(degree, pieces, norm))


@pytest.mark.parametrize(
    ("name", "largest", "mean"),
    [("FASTLMPI", 4.3e-3, 7.2e-4), ("BOLT", 9.4e-3, 9.9e-4), ("BumbleBee", 3.3e-2, 3.4e-3)],
)
def test_published_fits_have_the_errors_known_for_them(name: str, largest: float, mean: float) -> None:
    found = errors(library.target("gelu", (-6, 6)), published.GELU[name][0])
    assert found.max_abs_error == pytest.approx(largest, rel=0.02)
    assert found.mean_abs_error == pytest.approx(mean, rel=0.02)


@pytest.mark.parametrize(("degree", "pieces"), [(2, None), (3, None), (3, 5), (4, None), (4, 5)])
def test_gelu_meets_its_target(degree: int, pieces: int | None) -> None:
    """Max 1.5e-3 and mean 1.5e-4 over [-10, 10], continuous to 1e-4: below all published fits."""
    found = fitted("gelu", degree, pieces)
    here = errors(library.target("gelu"), as_function(found.table))
    assert here.max_abs_error <= 5e-4 < 1.5e-3
    assert here.mean_abs_error <= 1.5e-4
    assert max_jump(found.table) <= 1e-8
    for f, _ in published.GELU.values():
        other = errors(library.target("gelu"), f)
        assert here.max_abs_error < other.max_abs_error / 5
        assert here.mean_abs_error < other.mean_abs_error / 3


@pytest.mark.parametrize("name", NAMES)
def test_every_function_over_all_inputs(name: str) -> None:
    found, target = fitted(name), library.target(name)
    assert errors(target, as_function(found.table)).max_abs_error <= Wanted().error
    assert max_jump(found.table) <= 1e-8
    (window,) = found.table.windows
    assert found.table.value_bits + found.table.whole_bits <= 62
    far = np.array([-(2.0**40), -1e5, -64.0, 64.0, 1e5, 2.0**40])
    shape = found.layout.shape
    expected = np.where(far < 0, shape.left(far), shape.right(far))
    assert np.array_equal(clear(found.table, far / UNIT), expected), "exact limits outside"
    assert min(np.diff(window.starts)) > 0


def test_limits_and_symmetries_are_found() -> None:
    found = {name: library.shape(library.target(name), 2e-3) for name in NAMES}
    assert {n for n, s in found.items() if s.even} == {"gelu", "gelu_tanh", "silu", "softplus"}
    assert {n for n, s in found.items() if s.odd} == {"tanh", "sigmoid", "erf"}
    assert {n: str(s.right) for n, s in found.items()} == {
        **dict.fromkeys(["gelu", "gelu_tanh", "silu", "mish", "softplus"], "x"),
        **dict.fromkeys(["tanh", "sigmoid", "erf"], "1"),
        "exp": "1 (clamped)",
    }
    assert {str(s.left) for n, s in found.items() if n not in ("tanh", "erf")} == {"0"}


@pytest.mark.parametrize("name", ["gelu", "softplus", "tanh", "sigmoid"])
def test_symmetry_is_exact_in_the_integers(name: str) -> None:
    table, shape = fitted(name).table, fitted(name).layout.shape
    raw = np.setdiff1d(np.arange(0, 12 << 12, 7), np.abs(table.windows[0].starts)).astype(float)
    above, below = clear(table, raw), clear(table, -raw)
    if shape.even:
        assert np.abs(above - 2 * shape.tilt * raw * UNIT - below).max() < 1e-14  # of the test's own floats
    else:
        assert np.array_equal(above - shape.level, shape.level - below)


def test_candidates_are_where_derivatives_vanish() -> None:
    zeros = derivative_zeros(library.target("gelu"))
    for known in (math.sqrt(2), -math.sqrt(2), 0.0, 2.0, -2.0):  # of the second and third derivative
        assert min(abs(z - known) for z in zeros) < 1e-6
    kinked = library.Target("relu", lambda x: np.maximum(x - 1.25, 0.0), -8, 8)
    assert derivative_zeros(kinked) == (1.25,)
    assert errors(kinked, as_function(fit(kinked, Wanted(degree=1)).table)).max_abs_error == 0.0


def test_least_squares_trades_the_largest_error_for_the_mean() -> None:
    target = library.target("gelu")
    minimax, squares = (
        errors(target, as_function(fitted("gelu", 3, 5, norm).table)) for norm in ("minimax", "squares")
    )
    assert minimax.max_abs_error < squares.max_abs_error < 1.6 * minimax.max_abs_error


def test_a_callable_is_taken_as_it_is() -> None:
    target = library.target("atan", (-6, 6), "math:atan")
    found = fit(target, Wanted())
    assert errors(target, as_function(found.table)).max_abs_error <= 5e-4
    assert report(target, found)["symmetry"] == "odd"
    assert "clamped" in report(target, found)["limits"]["left"]


# -- on shares --------------------------------------------------------------------------------------------


def bracket(table: Any, x: Any) -> tuple[Any, Any]:
    """Least and largest value allowed: x is read as one of two neighbours, and the result rounded by a unit.

    `activation` says so: floor + {0, 1} units of 2^-12, and one of the result's, here 2^-16.
    """
    raw = np.floor(np.rint(np.asarray(x) * 2**16) * 2.0**-16 / UNIT)
    values = np.stack([clear(table, raw), clear(table, raw + 1)])
    return values.min(axis=0) - 2 * 2.0**-16, values.max(axis=0) + 2 * 2.0**-16


@pytest.mark.parametrize("name", NAMES)
def test_fitted_tables_on_shares(name: str) -> None:
    table, target = fitted(name).table, library.target(name)
    x = np.concatenate([np.linspace(target.low - 1, target.high + 1, 501), [-1e4, 1e4, -(2.0**40), 2.0**40]])
    run = both(lambda p: activation(p, real_share(p, x), table))
    low, high = bracket(table, x)
    assert ((low <= real(run)) & (real(run) <= high)).all()
    check_cost(activation, run, shape_share(x.shape), table)
    dealt, declared = evaluation_cost(table, DEALT), activation.cost(shape_share((COUNTED,)), table)
    assert (dealt.rounds, dealt.online_bits * COUNTED / 8) == (declared.rounds, declared.sent0)


# -- the command ------------------------------------------------------------------------------------------


def test_the_command_writes_report_table_and_picture(tmp_path: Path) -> None:
    file, picture = tmp_path / "fit.json", tmp_path / "fit.png"
    (tmp_path / "mine.py").write_text("import math\n\n\ndef bump(v):\n    return math.exp(-v * v)\n")
    argv = [*CLI, "bump", "--callable", "mine:bump", "--degree", "2", "--error", "2e-3", "--range", "-8,8"]
    done = subprocess.run(
        [*argv, "--json", str(file), "--plot", str(picture)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    wanted = {
        "breakpoints",
        "coefficients",
        "max_abs_error",
        "mean_abs_error",
        "max_jump",
        "rounds",
        "online_bits",
    }
    assert wanted <= set(found)
    assert found["max_abs_error"] <= 2e-3
    assert len(found["coefficients"]) == len(found["breakpoints"]) - 1 == found["pieces"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    table, x = tables.read(file), np.linspace(-9, 9, 101)
    got = real(both(lambda p: activation(p, real_share(p, x), table)))
    assert np.abs(got - np.exp(-x * x)).max() < 2e-3 + 2 * UNIT
    middle = found["coefficients"][found["pieces"] // 2]
    assert np.polynomial.polynomial.polyval(0.25, middle) == pytest.approx(math.exp(-1 / 16), abs=2e-3)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["foo"], "known are gelu"),
        (["gelu", "--degree", "5"], "a degree is 1 to 4"),
        (["gelu", "--range", "3"], "LO,HI"),
        (["gelu", "--range", "3,2"], "LO < HI"),
        (["x", "--callable", "math"], "MODULE:FUNCTION"),
        (["x", "--callable", "math:nothing"], "cannot import"),
        (["x", "--callable", "math:log"], "finite number"),
        (["gelu", "--degree", "1", "--error", "2e-5"], "do not reach"),
        (["gelu", "--plot", "nowhere/fit.png"], "there is no folder nowhere"),
    ],
)
def test_the_command_says_what_is_wrong(
    argv: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    from transformer.cli import app

    with pytest.raises(SystemExit) as stopped:
        app(["fit", *argv])
    assert stopped.value.code in (1, 2)  # of typer where an option itself is wrong
    assert says in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize("missing", ["scipy", "matplotlib"])
def test_the_command_says_what_to_install(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from transformer.cli import app; app()"
    argv = [sys.executable, "-c", code, "fit", "gelu", "--plot", "x.png"]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 1
    assert "pip install 'fastlmpi[fit]'" in done.stderr


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"table": {"name": "x"}}', '{"table": 3}'])
def test_files_without_a_table_are_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text(text)
    with pytest.raises(FitError, match="holds no table"):
        tables.read(file)


def test_tables_that_activation_cannot_evaluate_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "table.json"
    file.write_text(json.dumps(tables.to_json(tables.table("reciprocal"))))
    with pytest.raises(FitError, match="not one that activation can evaluate"):
        tables.read(file)
