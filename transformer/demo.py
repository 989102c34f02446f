"""`fastlmpi demo`: client, server and (with trust in one) dealer as processes on this machine."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from gpu_ss.backend import get_backend
from gpu_ss.backend.native import share_cores
from net import PeerGone, Program, generate, launch
from transformer import hf
from transformer.client import check_texts
from transformer.programs import run_query
from transformer.results import Result
from transformer.settings import Settings, load_settings
from transformer.terms import TrustMode

TEXTS = (
    "The patient reports chest pain and shortness of breath.",
    "A man complains about pain in his chest.",
    "The stock market fell sharply on Monday.",
    "Private inference keeps the text on the client's machine.",
)
T = TypeVar("T")
START_TIMEOUT_S = 120.0
RUN_TIMEOUT_S = 3600.0


def run_demo(
    model: str | None,
    texts: Sequence[str] | None,
    task: str | None,
    backend: str,
    trust: str | None,
    weights: str,
    products: str | None = None,
    linear: str | None = None,
    engine: str | None = None,
    network: str | None = None,
    profile: str | None = None,
    pad_to: int | None = None,
    quiet: bool = True,
) -> Result:
    """Launch server and dealer, be the client, and compare with the clear-text model."""
    check_texts(texts or TEXTS)
    chosen = {
        "model": str(hf.find_model(model).path),
        "task": task,
        "backend": backend,
        "trust": trust or usual_trust(backend, products),
        "weights": weights,
        "products": products,
        "linear": linear,
        "engine": engine,
        "network": network,
        "profile": profile,
    }
    return among_processes(chosen, lambda settings: run_query(settings, texts or TEXTS, True, pad_to, quiet))


def among_processes(chosen: Mapping[str, object], run: Callable[[Settings], T]) -> T:
    """What `run` makes as the client of a server and (with trust in one) a dealer, launched for one session.

    `chosen`: settings of all parties but keys and addresses.
    """
    load_settings(None, dict(chosen))  # a bad value is reported before anything starts
    with tempfile.TemporaryDirectory(prefix="fastlmpi-demo-") as scratch:
        keys = Path(scratch) / "keys"
        for role in ("client", "server", "dealer"):
            generate(keys, role)
        return _launched({**chosen, "keys": keys}, run)


def usual_trust(backend: str, products: str | None) -> TrustMode:
    """Two parties alone, unless that would take many minutes: without compiled kernels."""
    if products == "dealer":
        return "dealer"
    if get_backend(backend).name != "reference":
        return "two-party"
    sys.stderr.write(
        "no compiled kernels here, and in NumPy alone two parties make their correlations in many minutes: "
        "this demo takes a dealer. --trust two-party does without\n"
    )
    return "dealer"


def _launched(chosen: dict[str, object], run: Callable[[Settings], T]) -> T:
    common = ["--keys", str(chosen["keys"]), "--backend", str(chosen["backend"]), "--once"]
    argv = [*_command("serve"), *common, "--server", "tcp://127.0.0.1:*"]
    for name in ("model", "task", "trust", "weights", "products", "linear", "engine", "network", "profile"):
        argv += [f"--{name}", str(chosen[name])] if chosen.get(name) else []
    dealt = chosen["trust"] == "dealer"
    if not dealt:
        share_cores(2)
    dealer_argv = [*_command("dealer"), *common, "--dealer", "tcp://127.0.0.1:*"]
    first = [Program("dealer", dealer_argv)] if dealt else []
    with launch(first, timeout_s=RUN_TIMEOUT_S) as running:
        found = dict(chosen)
        if dealt:
            found["dealer"] = running.wait_ready("dealer", START_TIMEOUT_S)["address"]
            argv += ["--dealer", str(found["dealer"])]
        running.start(Program("server", argv))
        found["server"] = running.wait_ready("server", START_TIMEOUT_S)["address"]
        settings: Settings = load_settings(None, found)
        try:
            return run(settings)
        except PeerGone:
            running.wait()  # raises with the last words of the party that failed first
            raise


def _command(name: str) -> list[str]:
    return [sys.executable, "-m", "transformer.cli", name]
