"""Programs of all parties: started together, ended together, and the first failure is the one reported."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from net import LaunchError, Program, Timeout, launch, report_ready

ROOT = Path(__file__).parents[2]
FOREVER = "import signal; signal.pause()"
REPORT = "from net.launcher import report_ready; report_ready({'port': 7}); "


def python(name: str, code: str, *, capture: bool = True) -> Program:
    return Program(name, [sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, capture=capture)


def is_gone(pid: int) -> bool:
    """Waits up to five seconds for a process that need not be our child."""
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        poller = select.poll()
        poller.register(descriptor, select.POLLIN)
        return bool(poller.poll(5000))
    finally:
        os.close(descriptor)


def test_all_end_well_and_output_is_kept() -> None:
    programs = [
        python("a", "import sys; print('out', sys.argv); print('err', file=sys.stderr)"),
        Program("b", ["sh", "-c", 'echo "$GREETING"'], env={"GREETING": "hello"}),
    ]
    with launch(programs, timeout_s=20) as running:
        running.wait()
    assert running.output("a") == ("out ['-c']\n", "err\n")
    assert running.output("b") == ("hello\n", "")


def test_passing_output_through(capfd: pytest.CaptureFixture[str]) -> None:
    with launch([python("a", "print('seen')", capture=False)]) as running:
        running.wait()
    assert capfd.readouterr().out == "seen\n"
    assert running.output("a") == ("", "")


def test_the_first_failure_ends_the_others_and_is_reported() -> None:
    began = time.monotonic()
    with launch(
        [python("server", FOREVER), python("client", "raise SystemExit('no key \\x1b[31m')")]
    ) as running:
        server = running.pid("server")
        with pytest.raises(
            LaunchError, match=r"client ended with exit code 1. .*\n  \| no key  \[31m"
        ) as caught:
            running.wait()
        assert is_gone(server)
    assert "server" not in str(caught.value)
    assert time.monotonic() - began < 10


def test_killed_by_a_signal() -> None:
    with launch([python("a", FOREVER)]) as running:
        os.kill(running.pid("a"), signal.SIGKILL)
        with pytest.raises(LaunchError, match="a was killed by SIGKILL"):
            running.wait()


def test_a_program_that_cannot_be_started() -> None:
    with (
        launch([Program("a", ["/nowhere/to/be/found"])]) as running,
        pytest.raises(LaunchError, match=r"cannot start /nowhere/to/be/found: No such file"),
    ):
        running.wait()


def test_timeout_of_the_whole_run() -> None:
    with launch([python("a", FOREVER)], timeout_s=0.2) as running:
        pid = running.pid("a")
        with pytest.raises(Timeout, match=r"the end of all programs .* timeout_s of launch = 0\.2 s"):
            running.wait()
        assert is_gone(pid)


def test_one_that_ignores_sigterm_is_killed_after_the_grace_time() -> None:
    stubborn = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    with launch([python("a", stubborn + REPORT + FOREVER)], grace_s=0.2) as running:
        running.wait_ready("a")
        pid = running.pid("a")
    assert is_gone(pid)


def test_readiness() -> None:
    with launch([python("a", REPORT + FOREVER), python("b", REPORT + FOREVER)]) as running:
        assert running.wait_ready("b") == {"port": 7}
        assert running.wait_ready("a") == {"port": 7}
        assert running.wait_ready("a") == {"port": 7}


def test_a_report_outlives_its_program() -> None:
    with launch([python("a", REPORT)]) as running:
        running.wait()
        assert running.wait_ready("a") == {"port": 7}


def test_readiness_times_out() -> None:
    with (
        launch([python("a", FOREVER)]) as running,
        pytest.raises(Timeout, match=r"the report of a .* timeout_s of wait_ready = 0\.1 s"),
    ):
        running.wait_ready("a", timeout_s=0.1)


def test_readiness_ends_when_any_program_fails() -> None:
    with (
        launch([python("a", FOREVER), python("b", "import os; os._exit(3)")]) as running,
        pytest.raises(LaunchError, match="b ended with exit code 3"),
    ):
        running.wait_ready("a")


@pytest.mark.parametrize("code", ["", "import os; os.write(int(os.environ['READY_FD']), b'[1]')"])
def test_a_missing_or_malformed_report(code: str) -> None:
    with launch([python("a", code)]) as running, pytest.raises(LaunchError, match="must call report_ready"):
        running.wait_ready("a")


def test_an_endless_report_is_cut_off() -> None:
    endless = "import os\nwhile True: os.write(int(os.environ['READY_FD']), b'x' * 4096)"
    with launch([python("a", endless)]) as running, pytest.raises(LaunchError):
        running.wait_ready("a")


def test_reporting_without_a_launcher_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("READY_FD", raising=False)
    report_ready({"address": "tcp://127.0.0.1:1"})


def test_leaving_the_block_ends_all_with_their_children() -> None:
    parent = (
        "import subprocess, sys; from net.launcher import report_ready;"
        f"child = subprocess.Popen([sys.executable, '-c', {FOREVER!r}]);"
        "report_ready({'child': child.pid}); child.wait()"
    )
    with pytest.raises(KeyError), launch([python("a", parent)]) as running:
        child = running.wait_ready("a")["child"]
        pid = running.pid("a")
        raise KeyError
    assert is_gone(pid)
    assert is_gone(child)


LAUNCHER = f"""
import sys
from net import Program, launch
with launch([Program("a", [sys.executable, "-c", {FOREVER!r}])]) as running:
    print(running.pid("a"), flush=True)
    running.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_programs_end_with_their_launcher(number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", LAUNCHER],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    ) as launcher:
        assert launcher.stdout is not None
        pid = int(launcher.stdout.readline())
        launcher.send_signal(number)
        launcher.wait(10)
        assert is_gone(pid)


def test_a_start_that_fails_ends_those_started_before(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    write = f"import os, pathlib; pathlib.Path({str(note)!r}).write_text(str(os.getpid())); "
    with pytest.raises(ValueError, match="null byte"):
        launch([python("a", write + FOREVER), Program("b", ["\0"])])
    assert not note.exists() or is_gone(int(note.read_text()))


def test_names_must_differ() -> None:
    with pytest.raises(ValueError, match="name"):
        launch([python("a", ""), python("a", "")])
