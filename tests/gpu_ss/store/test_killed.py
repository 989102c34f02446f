"""Two processes over ZeroMQ with stores on disk, killed at any point: no correlation is ever used twice."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from gpu_ss.provider.store import READY, Store
from net import generate
from tests.gpu_ss.store.party import LIMIT_BYTES, STOPPED, Order

ROOT = Path(__file__).parents[3]
ROLES = ("client", "server")
STEPS = ["even", "make", "use", "make", "use"]


class Forker:
    """A process that forks sessions of one party."""

    def __init__(self, role: str, folder: Path) -> None:
        self.role = role
        argv = [sys.executable, "-m", "tests.gpu_ss.store.party", role, str(folder)]
        self._errors = (folder / f"errors.{role}").open("w")
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, text=True, cwd=ROOT
        )

    def begin(self, order: Order) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(asdict(order)) + "\n")
        self._process.stdin.flush()

    def end(self) -> int:
        """The exit status of the session."""
        assert self._process.stdout is not None
        return int(json.loads(self._process.stdout.readline())["status"])

    def close(self) -> None:
        self._process.kill()
        self._process.communicate()
        self._errors.close()


class Pair:
    """Client and server, session after session, with what they have written."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for role in ROLES:
            generate(folder / "keys", role)
        self.forkers = [Forker(role, folder) for role in ROLES]
        self._count = 0

    def session(
        self,
        steps: list[str],
        kill_at: Sequence[int] = (0, 0),
        kill_after: Sequence[float | None] = (None, None),
        real: bool = False,
    ) -> list[int]:
        """The exit statuses of client and server. kill_at, kill_after: of each, see `Order`."""
        self._count += 1
        for forker, at, after in zip(self.forkers, kill_at, kill_after, strict=True):
            forker.begin(Order(str(self._count), steps, at, after, real))
        return [forker.end() for forker in self.forkers]

    def told(self) -> list[dict[str, Any]]:
        """What the parties said of the last session."""
        return [json.loads((self.folder / f"done.{self._count}.{role}").read_text()) for role in ROLES]

    def used(self) -> list[list[list[str]]]:
        """[session, id, seed] of every use, by role."""
        files = [self.folder / f"used.{role}" for role in ROLES]
        return [[row.split() for row in f.read_text().splitlines()] if f.exists() else [] for f in files]

    def files(self) -> list[set[str]]:
        return [{path.name for path in (self.folder / role).glob("*/*")} for role in ROLES]

    def check(self) -> None:
        """No reel, and no seed, was used twice; what both used, they used in the same session and order."""
        used = self.used()
        for rows in used:
            assert len({id_ for _, id_, _ in rows}) == len(rows), "a reel was used twice"
            assert len({seed for _, _, seed in rows}) == len(rows), "a seed was used twice"
        sessions = [{id_: session for session, id_, _ in rows} for rows in used]
        for id_ in sessions[0].keys() & sessions[1].keys():
            assert sessions[0][id_] == sessions[1][id_], "a reel was used with two partners"
        for session in {row[0] for row in used[0]}:
            mine, theirs = ([row[1] for row in rows if row[0] == session] for rows in used)
            common = min(len(mine), len(theirs))
            assert mine[:common] == theirs[:common]
        left = [{name.split(".")[0] for name in names} for names in self.files()]
        for names, rows in zip(left, used, strict=True):
            assert not names & {row[1] for row in rows}, "what was used is gone from the disk"


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    pair = Pair(tmp_path)
    yield pair
    for forker in pair.forkers:
        forker.close()


def test_prepared_in_one_run_and_used_in_the_next(pair: Pair) -> None:
    """With real silent OT: the later run sends no more than the protocol itself and two small messages."""
    assert pair.session(["make", "make"], real=True) == [0, 0]
    making = [sum(told["sent"]) for told in pair.told()]
    assert [len(names) for names in pair.files()] == [2, 2]
    assert pair.session(["use", "use", "use"], real=True) == [0, 0]
    client, server = pair.told()
    assert client["stored"] == server["stored"] == [True, True, False]
    for told, made in zip((client, server), making, strict=True):
        first, second, third = told["sent"]
        assert first == second < made / 20
        assert third > made / 2
    assert pair.files() == [set(), set()]
    pair.check()


def end_well(pair: Pair) -> None:
    """After all that happened, the stores work as ever, and hold nothing but what both have."""
    for role in ROLES:
        Store(pair.folder / role, LIMIT_BYTES)
    assert pair.session(["even"]) == [0, 0]
    client, server = pair.files()
    assert client == server
    assert all(name.endswith(READY) for name in client)
    count = len(client)
    assert pair.session(["make", *["use"] * (count + 2)]) == [0, 0]
    assert [told["stored"] for told in pair.told()] == [[True] * (count + 1) + [False]] * 2
    assert pair.files() == [set(), set()]
    pair.check()


def test_killed_between_any_two_lines(pair: Pair) -> None:
    """The party dies at a random line of the store, of the talk about it, or of the provider."""
    assert pair.session(STEPS) == [0, 0]
    steps = [told["steps"] for told in pair.told()]
    rng = random.Random(7)
    outcomes = []
    for trial in range(80):
        victim = trial % 2
        at = [0, 0]
        at[victim] = rng.randrange(1, steps[victim])
        status = pair.session(STEPS, kill_at=at)
        assert status[victim] in (-signal.SIGKILL, 0), (
            status
        )  # 0: what it finds in its store shortens its way
        assert status[1 - victim] in (STOPPED, 0), "the other one ends with a clear error"
        outcomes.append(status[victim])
        pair.check()
    assert outcomes.count(-signal.SIGKILL) > 60
    assert all(len(rows) > 20 for rows in pair.used())
    end_well(pair)


def test_killed_at_any_time(pair: Pair) -> None:
    """The same from outside, in the making and in the protocol as well.

    How long a session takes depends on what else the machine does: one that ends before it is killed says how long.
    """
    assert pair.session(STEPS) == [0, 0]
    rng = random.Random(8)
    usual, killed, trial = 1.0, 0, 0
    while killed < 15:
        assert trial < 200, f"of {trial} sessions only {killed} were killed"
        after: list[float | None] = [None, None]
        after[trial % 2] = rng.uniform(0, usual)
        start = time.monotonic()
        status = pair.session(STEPS, kill_after=after)
        if -signal.SIGKILL in status:
            killed += 1
        else:
            usual = min(usual, time.monotonic() - start)
        assert set(status) <= {0, STOPPED, -signal.SIGKILL}, status
        pair.check()
        trial += 1
    end_well(pair)
