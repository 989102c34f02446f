"""Sessions of a party in processes that may be killed: python -m tests.gpu_ss.store.party ROLE FOLDER.

Orders come as JSON lines on stdin, see `Order`. Each is carried out in a fork, so that a session costs no start of
Python, and its exit status goes to stdout. A party writes every reel that it is about to use to FOLDER/used.ROLE,
durably, before its first mask is expanded: a line with the name of the session, the id, and a hash of the seed.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np

from gpu_ss.backend import get_backend
from gpu_ss.economy import ALONE
from gpu_ss.errors import SharingError
from gpu_ss.party import Party
from gpu_ss.plan import make_plan
from gpu_ss.prg import Prg, fresh_key
from gpu_ss.protocols.arith import mul
from gpu_ss.protocols.compare import ge_public
from gpu_ss.protocols.io import reveal
from gpu_ss.protocols.select import inject
from gpu_ss.provider.ahead import even_out, make_ahead, take_up
from gpu_ss.provider.made import MadeProvider, SeedProvider
from gpu_ss.provider.ot.maker import OtMaker, silent_pair
from gpu_ss.provider.ot.pair import OtPair
from gpu_ss.provider.reel import Purpose, Reel, from_zero, plan_digest
from gpu_ss.provider.store import Shelf, Store
from gpu_ss.ring import RING64
from net import Channel, Listener, NetError, ZmqSettings, connect, load_keys, load_public
from tests.support.ot import DealtReceiver, DealtSender
from tests.support.protocols import words_share

SETTINGS = ZmqSettings(
    connect_timeout_s=3.0, handshake_timeout_s=3.0, recv_timeout_s=20.0, send_timeout_s=20.0, linger_s=1.0
)
LIMIT_BYTES = 1 << 26
WAIT_S = 5.0
STOPPED = 3  # exit status of a session that ended with a clear error
TRACED = ("store.py", "ahead.py", "reel.py", "made.py")
N = 70
WORDS = np.random.default_rng(6).integers(0, 2**64, (2, N), dtype=np.uint64)
CONTEXT = b"c" * 32


@dataclass(frozen=True)
class Order:
    """One session. steps: "even", "make" and "use", the same at both parties. kill_at: the how many-th line of the
    traced files is the last one that this party begins (0: none). kill_after: seconds after which it is killed
    from outside. real: silent OT instead of made-up OTs."""

    name: str
    steps: list[str]
    kill_at: int = 0
    kill_after: float | None = None
    real: bool = False


def compute(party: Party) -> Any:
    """A product where it is not below a number, opened to rank 0: products, comparisons, bits times values."""
    x, y = (words_share(party, words, RING64, seed=k) for k, words in enumerate(WORDS))
    z = mul(party, x, y)
    return reveal(party, inject(party, ge_public(party, z, 0), z), 0)


def expected() -> Any:
    product = WORDS[0] * WORDS[1]
    return np.where(product.view(np.int64) >= 0, product, np.uint64(0))


class Session:
    """One party's side of an order."""

    def __init__(self, role: str, folder: Path, order: Order, channel: Channel) -> None:
        rank = ("client", "server").index(role)
        backend = get_backend("auto")
        if order.real:
            pair = silent_pair(rank, backend, channel)
        else:
            sender, receiver = (
                DealtSender(backend, channel, 1 + rank),
                DealtReceiver(backend, channel, 2 - rank),
            )
            pair = OtPair(rank, backend, channel, sender, receiver)
        masks = SeedProvider(rank, backend, fresh_key())
        provider = MadeProvider(backend, masks, [OtMaker(rank, backend, pair)], ALONE)
        self._party = Party(rank, backend, provider, channel, Prg(backend))
        self._log = folder / f"used.{role}"
        self._name = order.name
        self._plan = make_plan(rank, compute, economy=ALONE)
        specs = from_zero(self._plan.specs, self._plan.first)
        self._purpose = Purpose(plan_digest(specs), CONTEXT)
        self._folder = folder / role
        self.sent: list[int] = []
        self.stored: list[bool] = []

    def run(self, steps: list[str]) -> None:
        shelf = Store(self._folder, LIMIT_BYTES).shelf(str(self._party.channel.peer_key))
        for step in steps:
            before = self._party.channel.traffic.report()
            if step == "even":
                even_out(self._party, shelf, CONTEXT)
            elif step == "make":
                make_ahead(self._party, shelf, self._purpose, from_zero(self._plan.specs, 0))
            else:
                self._use(shelf)
            self.sent.append((self._party.channel.traffic.report() - before).sent.bytes)

    def _use(self, shelf: Shelf) -> None:
        party, plan = self._party, self._plan.moved(self._party.provider.taken)
        adopt = party.provider.adopt

        def noted(reel: Reel, *rest: Any) -> None:
            seed = hashlib.sha256(reel.seed).hexdigest()
            append(self._log, f"{self._name} {reel.head.id.hex()} {seed}\n")
            adopt(reel, *rest)

        party.provider.adopt = noted  # type: ignore[method-assign]
        self.stored.append(take_up(party, shelf, self._purpose, plan.specs))
        party.provider.adopt = adopt  # type: ignore[method-assign]
        if not self.stored[-1]:
            party.provider.prepare(plan.specs)
        found = compute(party)
        if party.rank == 0 and not np.array_equal(found, expected()):
            raise AssertionError("the result is wrong")


def append(path: Path, line: str) -> None:
    """Write a line that survives whatever happens next."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, line.encode())
    os.fsync(descriptor)
    os.close(descriptor)


class Fuse:
    """Kills this process when it begins the n-th line of the traced files; counts them."""

    def __init__(self, kill_at: int) -> None:
        self._kill_at = kill_at
        self.steps = 0

    def __call__(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.endswith(TRACED):
            return None
        if event == "line":
            self.steps += 1
            if self.steps == self._kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return self


@contextmanager
def meet(role: str, folder: Path, name: str) -> Iterator[Channel]:
    """The server listens and leaves its address in a file; the client calls."""
    keys = load_keys(folder / "keys" / f"{role}.key")
    file = folder / f"address.{name}"
    if role == "server":
        other = load_public(folder / "keys" / "client.pub")
        with Listener("tcp://127.0.0.1:0", keys, [other], SETTINGS) as listener:
            file.with_suffix(".new").write_text(listener.address)
            file.with_suffix(".new").rename(file)
            with listener.accept(WAIT_S) as channel:
                yield channel
        return
    deadline = time.monotonic() + WAIT_S
    while not file.exists():
        if time.monotonic() > deadline:
            raise NetError("the server did not start")
        time.sleep(0.002)
    server = load_public(folder / "keys" / "server.pub")
    with connect(file.read_text(), keys, server, SETTINGS) as channel:
        yield channel


def carry_out(role: str, folder: Path, order: Order) -> int:
    """In the fork: one session; its exit status. Says what it did in FOLDER/done.NAME.ROLE."""
    fuse = Fuse(order.kill_at)
    try:
        with meet(role, folder, order.name) as channel:
            session = Session(role, folder, order, channel)
            sys.settrace(fuse)
            session.run(order.steps)
            sys.settrace(None)
    except (NetError, SharingError) as error:
        sys.settrace(None)
        print(f"{role}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        return STOPPED
    told = {"steps": fuse.steps, "sent": session.sent, "stored": session.stored}
    (folder / f"done.{order.name}.{role}").write_text(json.dumps(told))
    return 0


def main(role: str, folder: Path) -> None:
    for line in sys.stdin:
        order = Order(**json.loads(line))
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                status = carry_out(role, folder, order)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(status)
        print(json.dumps({"status": end_of(pid, order.kill_after)}), flush=True)


def end_of(pid: int, kill_after: float | None) -> int:
    """The exit status of a fork, which is killed if it still runs after that many seconds."""
    deadline = None if kill_after is None else time.monotonic() + kill_after
    while deadline is not None and time.monotonic() < deadline:
        found, code = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(code)
        time.sleep(0.001)
    if deadline is not None:
        os.kill(pid, signal.SIGKILL)  # our own child that nobody has waited for: the pid is still its
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
