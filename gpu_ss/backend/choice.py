"""Which backends work here, and which one to use."""

from __future__ import annotations

import os
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache

import numpy as np

from gpu_ss.backend import cuda
from gpu_ss.backend.base import Backend
from gpu_ss.backend.cpu import CpuBackend
from gpu_ss.backend.cuda import CudaBackend
from gpu_ss.backend.errors import BackendError, KernelsMissingError, MissingKernelsWarning
from gpu_ss.backend.reference import ReferenceBackend

# First words of blocks 0 and 1 for an all-zero key and nonce (D. J. Bernstein's test vector).
_KEYSTREAM_START = [0x903DF1A0ADE0B876, 0x7A385155BEE7079F]


@dataclass(frozen=True, slots=True)
class Availability:
    """One line of `available`: a backend's name, whether it works here, else why not, and what it is."""

    name: str
    usable: bool
    reason: str = ""
    details: dict[str, str] = field(default_factory=dict)


def get_backend(name: str = "auto") -> Backend:
    """The backend of that name: "auto", "cpu", "cuda", "cuda:1" (a device), "reference".

    `auto` is FASTLMPI_BACKEND where that is set; else CUDA if a kernel launched there gives the right words,
    else the compiled CPU kernels if they do, else NumPy, with a warning. A backend asked for by name either
    works or raises BackendError; only `cpu` becomes NumPy, with the same warning, where nothing is compiled.
    FASTLMPI_ISA (v2, v3, v4) and FASTLMPI_THREADS set up the CPU kernels.
    """
    if name == "auto":
        name = os.environ.get("FASTLMPI_BACKEND") or "auto"
    if name == "auto":
        return _best()
    try:
        return _named(name)
    except KernelsMissingError as error:
        _warn_once(str(error), 3)
        return _named("reference")


def _named(name: str) -> Backend:
    backend = _verified(name, os.environ.get("FASTLMPI_ISA"), os.environ.get("FASTLMPI_THREADS"))
    backend.activate()
    return backend


def available() -> list[Availability]:
    """Every backend, usable or not."""
    names = ["reference", "cpu", "cuda"]
    with suppress(BackendError):  # the row "cuda" says why
        names += [f"cuda:{device}" for device in range(1, cuda.device_count())]
    return [_availability(name) for name in names]


def _availability(name: str) -> Availability:
    try:
        return Availability(name, True, details=_named(name).details)
    except BackendError as error:
        return Availability(name, False, str(error))


def _best() -> Backend:
    reasons = []
    for name in ("cuda", "cpu"):
        try:
            return _named(name)
        except BackendError as error:
            reasons.append(f"{name}: {error}")
    _warn_once("; ".join(reasons), 4)
    return _named("reference")


@cache
def _warn_once(reasons: str, level: int) -> None:
    warnings.warn(
        f"compiled kernels are missing, so everything runs in NumPy, many times slower. {reasons}",
        MissingKernelsWarning,
        stacklevel=level,
    )


@cache
def _verified(name: str, isa: str | None, threads: str | None) -> Backend:
    """One backend per name and settings, after its first kernels gave the right words.

    `isa` and `threads` are read by the CPU backend itself; here they tell instances apart.
    """
    kind, _, device = name.partition(":")
    if name == "reference":
        return ReferenceBackend()
    if name == "cpu":
        return _tried(CpuBackend())
    if kind == "cuda" and (not device or device.isdecimal()):
        return _tried(CudaBackend(int(device or 0)))
    raise BackendError(f"unknown backend {name!r}: choose auto, cpu, cuda, cuda:<device> or reference")


def _tried(backend: Backend) -> Backend:
    """The backend, if a keystream and a product come out right. (A device may exist and lack a compiler.)"""
    side = np.arange(15, dtype=np.uint64).reshape(3, 5) * np.uint64(0x9E3779B97F4A7C15)
    try:
        start = backend.to_host(backend.keystream(bytes(32), 0, 0, 2))
        square = backend.to_host(backend.matmul(backend.asarray(side), backend.asarray(side.T)))
    except BackendError:
        raise
    except Exception as error:  # whatever a broken driver or toolkit raises
        raise BackendError(f"the {backend.name} backend fails to run: {error}") from error
    if start.tolist() != _KEYSTREAM_START or not np.array_equal(square, side @ side.T):
        raise BackendError(f"the {backend.name} backend computes wrong words: please report this")
    return backend
