"""What the commands of `fastlmpi` have in common: settings from options, errors made for people."""

from __future__ import annotations

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
            Console(stderr=True, highlight=False, markup=False).print(f"error: {error}", soft_wrap=True)
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            raise typer.Exit(130) from None
        except MemoryError:
            Console(stderr=True).print("error: out of memory; use a smaller batch")
            raise typer.Exit(1) from None

    return run


def settings_of(file: Path | None, given: dict[str, Any]) -> Any:
    """Settings from the file and the options that were given (those named like a setting)."""
    from transformer.settings import Settings, load_settings

    found = load_settings(file, {k: v for k, v in given.items() if k in Settings.model_fields})
    found.apply_limits()
    return found
