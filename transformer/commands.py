"""What the commands of `fastlmpi` have in common: settings from options, errors made for people."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import typer
from rich.console import Console

from gpu_ss.backend import BackendError
from gpu_ss.errors import SharingError
from net import NetError
from transformer.errors import ModelError

P = ParamSpec("P")
T = TypeVar("T")


def clear_errors(command: Callable[P, T]) -> Callable[P, T]:
    """Errors made for people end the program with their message and exit code 1."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except (ModelError, SharingError, NetError, BackendError) as error:
            _say(error)
            raise typer.Exit(1) from None
        except OSError as error:
            where = "" if error.filename is None else f"{error.filename}: "
            _say(f"{where}{error.strerror or type(error).__name__}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except MemoryError:
            _say("out of memory; use a smaller batch")
            raise typer.Exit(1) from None

    return run


def _say(error: object) -> None:
    Console(stderr=True, highlight=False, markup=False).print(f"error: {error}", soft_wrap=True)


def to_be_written(file: Path | None) -> Path | None:
    """Callback of options that name a file for results: what cannot be written is said before the work begins."""
    if file is None:
        return None
    if file.is_dir():
        raise typer.BadParameter(f"{file} is a folder; name a file")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        missing = "" if file.parent.is_dir() else f": there is no folder {file.parent}"
        raise typer.BadParameter(f"{file} cannot be written{missing}")
    return file


def settings_of(file: Path | None, given: dict[str, Any]) -> Any:
    """Settings from the file and the options that were given (those named like a setting)."""
    from transformer.settings import Settings, load_settings

    found = load_settings(file, {k: v for k, v in given.items() if k in Settings.model_fields})
    found.apply_limits()
    return found
