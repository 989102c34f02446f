"""`fastlmpi demo`: client, server and (with trust in one) dealer as processes on this machine."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

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
    given: Mapping[str, Any], texts: Sequence[str] | None, pad_to: int | None, quiet: bool
) -> Result:
    """Launch server and dealer, be the client, and compare with the clear-text model.

    `given`: settings by name; None, or no such setting: the default.
    """
    check_texts(texts or TEXTS)
    chosen = dict(given)
    chosen["model"] = str(hf.find_model(chosen.get("model")).path)
    return among_processes(chosen, lambda settings: run_query(settings, texts or TEXTS, True, pad_to, quiet))


def among_processes(given: Mapping[str, Any], run: Callable[[Settings], T]) -> T:
    """What `run` makes as the client of a server and (with trust in one) a dealer, launched for one session.

    `given`: settings of all parties but keys and addresses; None, or no such setting: the default.
    """
    chosen = {name: value for name, value in given.items() if name in Settings.model_fields}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    computing = load_settings(None, _machine(chosen))
    computing.apply_limits()
    if "trust" not in chosen:
        chosen["trust"] = usual_trust(computing.backend_name, chosen.get("products"))
    load_settings(None, chosen)  # a bad value is reported before anything starts
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


def _machine(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that any party takes, a dealer too."""
    names = ("keys", "backend", "device", "gpu_memory_limit_mb")
    return {name: chosen[name] for name in names if name in chosen}


def _launched(chosen: dict[str, Any], run: Callable[[Settings], T]) -> T:
    dealt = chosen["trust"] == "dealer"
    if not dealt:
        share_cores(2)
    dealer_argv = [*_command("dealer", _machine(chosen)), "--dealer", "tcp://127.0.0.1:*"]
    first = [Program("dealer", dealer_argv)] if dealt else []
    with launch(first, timeout_s=RUN_TIMEOUT_S) as running:
        found = dict(chosen)
        if dealt:
            found["dealer"] = running.wait_ready("dealer", START_TIMEOUT_S)["address"]
        server_argv = [*_command("serve", found), "--server", "tcp://127.0.0.1:*"]
        running.start(Program("server", server_argv))
        found["server"] = running.wait_ready("server", START_TIMEOUT_S)["address"]
        try:
            return run(load_settings(None, found))
        except PeerGone:
            running.wait()  # raises with the last words of the party that failed first
            raise


def _command(name: str, chosen: Mapping[str, Any]) -> list[str]:
    """A party's command line, with these settings."""
    argv = [sys.executable, "-m", "transformer.cli", name, "--once"]
    for setting, value in chosen.items():
        option = setting.removesuffix("_mb").replace("_", "-")
        argv += [f"--{option}", str(value)]
    return argv
