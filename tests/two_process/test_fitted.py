"""A user's fits, evaluated between two processes that have nobody else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from gpu_ss.functions import tables
from gpu_ss.functions.fitting import library
from gpu_ss.functions.fitting.report import report
from gpu_ss.functions.fitting.search import Wanted, fit
from tests.gpu_ss.test_fitting import bracket
from tests.support.parties import run_pair
from tests.two_process.fitted_party import COUNT


def test_fitted_functions_between_two_processes(tmp_path: Path) -> None:
    wanted = {name: (name, Wanted()) for name in library.FUNCTIONS}
    wanted |= {"gelu_quartic": ("gelu", Wanted(degree=4)), "tanh_quadratic": ("tanh", Wanted(degree=2))}
    names = sorted(wanted)
    for name in names:
        target = library.target(wanted[name][0])
        found = report(target, fit(target, wanted[name][1]))
        (tmp_path / f"{name}.json").write_text(json.dumps(found))
    x = np.concatenate([np.linspace(-13, 13, COUNT - 4), [-1e4, 1e4, -(2.0**30), 2.0**30]])
    np.save(tmp_path / "x.npy", x)
    run_pair("tests.two_process.fitted_party", tmp_path)
    for name, got in zip(names, np.load(tmp_path / "y.npy"), strict=True):
        low, high = bracket(tables.read(tmp_path / f"{name}.json"), x)
        assert ((low <= got) & (got <= high)).all(), name
