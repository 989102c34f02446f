"""Starting the programs of several parties on this machine, and stopping them all when one fails.

Each program runs in a process group of its own. The first that ends with an error ends the others (SIGTERM,
after a grace time SIGKILL) and is reported with the end of its error output. Ctrl-C and every other way out
of the `with` block end them too, and on Linux the kernel kills them if the launcher dies; keep the launching
thread alive for as long as the programs run, the kernel looks at the thread.

A program that listens at a random port says so with `report_ready({"address": ...})`; the launcher gets it
from `wait_ready`. Nothing here sleeps: all waiting is for a process or a pipe.
"""

from __future__ import annotations

import json
import math
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Self

from net.errors import LaunchError, Timeout, printable

READY_FD = "READY_FD"
"""Environment variable: the file descriptor on which a program reports that it is ready."""

_MAX_REPORT = 1 << 16  # bytes
_MAX_OUTPUT = 1 << 20  # bytes
_TAIL = 4000  # characters of error output in an error message
_LONGEST_POLL_S = 1.0  # a Ctrl-C just before the wait would otherwise go unnoticed
_CHILD = Path(__file__).with_name("_child.py")


@dataclass(frozen=True)
class Program:
    """A program to start. env: variables added to ours. capture: keep its output for `Running.output`
    instead of passing it through."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    capture: bool = True


def launch(programs: Sequence[Program], *, timeout_s: float | None = None, grace_s: float = 3.0) -> Running:
    """Starts the programs. timeout_s: for the whole run. grace_s: between SIGTERM and SIGKILL.

    Use the result as a context manager. Raises ValueError if two programs share a name.
    """
    if len({program.name for program in programs}) < len(programs):
        raise ValueError("each program needs a name of its own")
    running = Running(timeout_s, grace_s)
    try:
        for program in programs:
            running.start(program)
    except BaseException:
        running.stop()
        raise
    return running


def report_ready(facts: Mapping[str, Any]) -> None:
    """Called by a program: tells the launcher that it is ready, with JSON-able facts such as its address.

    Does nothing if no launcher asked for it.
    """
    descriptor = os.environ.pop(READY_FD, None)
    if descriptor is not None:
        with os.fdopen(int(descriptor), "w", encoding="utf-8") as pipe:
            json.dump(dict(facts), pipe)


class Running:
    """Programs that were started. Leaving the `with` block ends those that still run."""

    def __init__(self, timeout_s: float | None, grace_s: float) -> None:
        self._whole_run = _Limit("timeout_s of launch", math.inf if timeout_s is None else timeout_s)
        self._grace_s = grace_s
        self._children: dict[str, _Child] = {}

    def start(self, program: Program) -> None:
        """Starts one more program."""
        self._children[program.name] = _Child(program)

    def wait_ready(self, name: str, timeout_s: float = 30.0) -> dict[str, Any]:
        """What the program `name` reported with `report_ready`.

        Raises LaunchError as soon as any program fails, Timeout; then all are stopped.
        """
        child = self._children[name]
        limit = _Limit("timeout_s of wait_ready", timeout_s)
        self._watch(lambda: child.ready_fd is None, f"the report of {name}", limit)
        if not child.reported:  # a program that is dying closes the pipe first: its last words say more
            with suppress(Timeout):
                self._watch(
                    lambda: child.process.returncode is not None,
                    f"the end of {name}",
                    _Limit("grace_s", self._grace_s),
                )
        return child.report()

    def wait(self) -> None:
        """Returns when all programs have ended well.

        Raises LaunchError as soon as one fails, Timeout when the whole run takes too long; then all are
        stopped.
        """
        self._watch(lambda: not self._alive(), "the end of all programs", self._whole_run)

    def output(self, name: str) -> tuple[str, str]:
        """(standard output, error output) of a captured program so far; the last MiB of each."""
        child = self._children[name]
        return child.stdout.text(), child.stderr.text()

    def pid(self, name: str) -> int:
        """Process id of a program."""
        return self._children[name].process.pid

    def stop(self) -> None:
        """Ends all programs: SIGTERM, after the grace time SIGKILL. Returns when they are gone."""
        try:
            for child in self._alive():
                child.signal(signal.SIGTERM)
            limit = _Limit("grace_s", self._grace_s)
            while self._alive() and limit.left() > 0:
                self._wait_for_news(limit)
        finally:
            for child in self._children.values():
                child.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.stop()

    def _alive(self) -> list[_Child]:
        return [child for child in self._children.values() if child.process.returncode is None]

    def _watch(self, done: Callable[[], bool], what: str, limit: _Limit) -> None:
        """Returns when `done`; stops all programs if one fails or a limit is reached first."""
        limit = min(limit, self._whole_run, key=_Limit.left)
        try:
            self._check()
            while not done():
                if limit.left() <= 0:
                    raise limit.timeout(what)
                self._wait_for_news(limit)
                self._check()
        except BaseException:
            self.stop()
            raise

    def _check(self) -> None:
        """Raises LaunchError if a program has failed."""
        for child in self._children.values():
            if child.process.returncode:
                raise LaunchError(child.obituary())

    def _wait_for_news(self, limit: _Limit) -> None:
        """Waits until a program ends or reports something, and takes note of it."""
        poller = select.poll()
        for child in self._alive():
            for descriptor in child.sources():
                poller.register(descriptor, select.POLLIN)
        poller.poll(min(max(limit.left(), 0.0), _LONGEST_POLL_S) * 1000)
        for child in self._alive():
            child.take_note()


class _Limit:
    """A named time limit that has begun to run."""

    def __init__(self, setting: str, seconds: float) -> None:
        self._setting = setting
        self._seconds = seconds
        self._deadline = time.monotonic() + seconds

    def left(self) -> float:
        return self._deadline - time.monotonic()

    def timeout(self, what: str) -> Timeout:
        return Timeout(
            what, self._setting, self._seconds, "See the output of the programs, or allow more time."
        )


class _Output:
    """One output stream of a program: kept in a file while it runs, its end in memory afterwards."""

    def __init__(self, capture: bool) -> None:
        self.file: IO[bytes] | None = tempfile.TemporaryFile() if capture else None  # noqa: SIM115
        self._kept = b""

    def text(self) -> str:
        return (self._end() if self.file else self._kept).decode(errors="replace")

    def close(self) -> None:
        if self.file:
            self._kept = self._end()
            self.file.close()
            self.file = None

    def _end(self) -> bytes:
        """The last part of the file; read beside its position, which is the program's too."""
        if self.file is None:
            return self._kept
        size = os.fstat(self.file.fileno()).st_size
        return os.pread(self.file.fileno(), _MAX_OUTPUT, max(0, size - _MAX_OUTPUT))


class _Child:
    """One started program."""

    def __init__(self, program: Program) -> None:
        self._name = program.name
        self._report = b""
        self.stdout, self.stderr = _Output(program.capture), _Output(program.capture)
        self.ready_fd: int | None  # None once the report is complete, or can no longer come
        self.ready_fd, report_fd = os.pipe()
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_CHILD), str(os.getpid()), *program.argv],
                env={**os.environ, **program.env, READY_FD: str(report_fd)},
                stdin=subprocess.DEVNULL,
                stdout=self.stdout.file,
                stderr=self.stderr.file,
                pass_fds=[report_fd],
                process_group=0,
            )
        except BaseException:
            self._let_go()
            raise
        finally:
            os.close(report_fd)
        self._pid_fd = os.pidfd_open(self.process.pid)

    def sources(self) -> list[int]:
        """File descriptors that become readable when there is something to take note of."""
        return [self._pid_fd] if self.ready_fd is None else [self._pid_fd, self.ready_fd]

    def take_note(self) -> None:
        """Takes in what the program reported and whether it has ended."""
        self._read_report()
        if _is_readable(self._pid_fd):
            self.finish()

    @property
    def reported(self) -> bool:
        """Whether the program has reported anything."""
        return bool(self._report)

    def report(self) -> dict[str, Any]:
        """The complete report. Raises LaunchError if it is missing or malformed."""
        try:
            facts = json.loads(self._report)
        except ValueError:
            facts = None
        if not isinstance(facts, dict):
            raise LaunchError(
                f"{self._name} did not report that it is ready; it must call report_ready(...)."
            )
        return facts

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the program's whole group. The group's id is safe until the program is reaped."""
        if self.process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)

    def finish(self) -> None:
        """Kills what is left of the program's group and takes its exit code."""
        if self.process.returncode is None:
            self.signal(signal.SIGKILL)
            self.process.wait()
            os.close(self._pid_fd)
            self._read_report()
            self._let_go()

    def obituary(self) -> str:
        """How the program ended, with the end of its error output."""
        code = self.process.returncode
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        lines = self.stderr.text()[-_TAIL:].splitlines()
        tail = "".join(f"\n  | {printable(line)}" for line in lines)
        return f"{self._name} {how}. Its last error output:{tail or ' none was captured'}"

    def _read_report(self) -> None:
        while self.ready_fd is not None and _is_readable(self.ready_fd):
            piece = os.read(self.ready_fd, _MAX_REPORT)
            self._report += piece
            if not piece or len(self._report) > _MAX_REPORT:
                self._close_report()

    def _let_go(self) -> None:
        """Closes what the program wrote to; the end of its output is kept."""
        self._close_report()
        self.stdout.close()
        self.stderr.close()

    def _close_report(self) -> None:
        if self.ready_fd is not None:
            os.close(self.ready_fd)
            self.ready_fd = None


def _is_readable(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))
