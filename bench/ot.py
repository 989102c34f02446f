"""Oblivious transfer between the two parties: the rows `base_ot`, `cot`, `rot` and `and_triple`.

There is no dealer in these, whatever --trust says: the rows say two-party. What is timed is making the OTs, with
all that is sent for them (`online_s`); they have no offline phase. Set-up is where a session's OTs begin: base OTs,
extension, and the first slab of silent OT. Rank 0 is the sender; AND triples take OTs in both directions.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from bench.job import Job
from bench.rows import Row
from gpu_ss.party import Party
from gpu_ss.plan import Plan
from gpu_ss.provider.ot import base, convert, triples
from gpu_ss.provider.ot.cot import CotReceiver, CotSender
from gpu_ss.provider.ot.silent import SilentReceiver, SilentSender
from gpu_ss.ring import Array
from net import Channel

ELEMENTS = 10_000_000
BASE_OTS = 128
SENDER = 0
CHECK_TAG = "check"
_PIECE = 1 << 20  # OTs taken at a time

Source = CotSender | CotReceiver
Errors = tuple[float, float]
Bits = np.ndarray[Any, np.dtype[Any]]


class OtJob(Job):
    """`shape[0]` OTs of one kind. The receiver's end is checked with everything the sender knows."""

    bench = "protocols"
    rounds = 0

    def __init__(self, shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.count = self.shape[0]

    def describe(self) -> dict[str, Any]:
        return {"shape": list(self.shape)}

    def plan(self, rank: int) -> Plan:
        return Plan(0, rounds=self.rounds)

    def decorate(self, row: Row) -> Row:
        if row.online_s is None:
            raise ValueError(f"{row.name} was not timed")
        extra = {key: value for key, value in row.extra.items() if not key.startswith("offline")}
        extra["items_per_s"] = self.count / row.online_s
        return replace(row, offline_s=None, offline_bytes=None, profile=None, extra=extra)


class BaseOtJob(OtJob):
    """Base OTs: one message in each direction."""

    name = "base_ot"
    rounds = 1

    def run(self, party: Party) -> Any:
        if party.rank == SENDER:
            zero, one, digest = base.offer(party.channel, self.count)
            return zero, one, digest
        choices = np.random.default_rng(1).integers(0, 2, self.count)
        keys, digest = base.choose(party.channel, choices.tolist())
        return choices, keys, digest

    def errors(self, party: Party, result: Any) -> Errors | None:
        first, second, digest = result
        if party.rank != SENDER:
            _show(party.channel, first.astype(np.uint64), second, np.frombuffer(digest, np.uint64))
            return None
        choices, keys, other = _shown(party.channel, (self.count,), (self.count, 2), (len(digest) // 8,))
        if other.tobytes() != digest:
            raise ValueError("the parties' base OTs are not of one session")
        return _wrong((keys != np.where(choices[:, None] == 1, second, first)).any(axis=1))


class SilentJob(OtJob):
    """OTs taken from silent OT, in pieces as a protocol takes them."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__(shape)
        self._sources: list[Source] = []
        self._made: list[int] = []

    def set_up(self, party: Party) -> None:
        """The warm-up run is not counted in what was made."""
        self._sources, self._made = self.sources(party), []
        for source in self._sources:
            source.take(1)

    def sources(self, party: Party) -> list[Source]:
        """The ends this job takes from; those where rank 0 is the sender first."""
        end = SilentSender if party.rank == SENDER else SilentReceiver
        return [end(party.backend, party.channel)]

    def run(self, party: Party) -> Any:
        """The last piece."""
        before = self._produced()
        last: Any = None
        for start in range(0, self.count, _PIECE):
            last = None  # free before the next one is made
            last = self.take(party, self._sources, min(_PIECE, self.count - start))
        self._made.append(self._produced() - before)
        return last

    @abstractmethod
    def take(self, party: Party, sources: list[Source], n: int) -> Any:
        """Make n of them."""

    def _produced(self) -> int:
        """OTs made so far, those that the sources keep for themselves not among them."""
        return sum(source.taken + source.ready for source in self._sources)

    def decorate(self, row: Row) -> Row:
        """`bits_per_item`: everything sent in the counted runs over what they made, however little they used."""
        row = super().decorate(row)
        made = sum(self._made[1:]) / len(self._sources)
        sent = ((row.online_bytes_sent or 0) + (row.online_bytes_received or 0)) * (row.repeats or 0)
        return replace(row, extra=row.extra | {"bits_per_item": 8 * sent / made if made else None})


class CotJob(SilentJob):
    """Correlated OTs: blocks q at the sender, and q or q XOR delta at the receiver, by its bit."""

    name = "cot"

    def take(self, party: Party, sources: list[Source], n: int) -> Any:
        (source,) = sources
        pieces = [piece.use() for piece in source.stream(n)]
        return pieces[-1]

    def errors(self, party: Party, result: Any) -> Errors | None:
        blocks = party.backend.to_host(result)
        (source,) = self._sources
        if isinstance(source, CotSender):
            (t,) = _shown(party.channel, blocks.shape)
            delta = np.array(source.delta.words, np.uint64) * (t[:, :1] & np.uint64(1))
            return _wrong((t != blocks ^ delta).any(axis=1))
        _show(party.channel, blocks)
        return None


class RotJob(SilentJob):
    """Random OTs of one word: correlated ones, hashed."""

    name = "rot"

    def take(self, party: Party, sources: list[Source], n: int) -> Any:
        (source,) = sources
        if isinstance(source, CotSender):
            return convert.send_random(source, n)
        return convert.receive_random(source, n)

    def errors(self, party: Party, result: Any) -> Errors | None:
        backend, (first, second) = party.backend, result
        if party.rank != SENDER:
            choices = backend.plane_words(first, len(second))[0]
            _show(party.channel, backend.to_host(choices), backend.to_host(second))
            return None
        n = len(first)
        choices, chosen = _shown(party.channel, (n,), (n, 1))
        zero, one = backend.to_host(first), backend.to_host(second)
        return _wrong(chosen[:, 0] != np.where(choices == 1, one[:, 0], zero[:, 0]))


class AndTripleJob(SilentJob):
    """Shared bits a, b and a AND b: two OTs each, one in each direction."""

    name = "and_triple"

    def sources(self, party: Party) -> list[Source]:
        ends = (SilentSender, SilentReceiver) if party.rank == SENDER else (SilentReceiver, SilentSender)
        return [end(party.backend, party.channel) for end in ends]

    def take(self, party: Party, sources: list[Source], n: int) -> Any:
        (sender,) = (source for source in sources if isinstance(source, CotSender))
        (receiver,) = (source for source in sources if isinstance(source, CotReceiver))
        return n, triples.and_triples(party.rank, sender, receiver, n)

    def errors(self, party: Party, result: Any) -> Errors | None:
        n, shares = result
        planes = [party.backend.to_host(plane) for plane in (shares.a, shares.b, shares.c)]
        if party.rank != SENDER:
            _show(party.channel, *planes)
            return None
        theirs = _shown(party.channel, *(plane.shape for plane in planes))
        a, b, c = (mine ^ other for mine, other in zip(planes, theirs, strict=True))
        wrong = np.unpackbits((a & b ^ c).view(np.uint8), bitorder="little")
        return _wrong(wrong[:n])


JOBS = {job.name: job for job in (BaseOtJob, CotJob, RotJob, AndTripleJob)}
NAMES = list(JOBS)


def job(name: str, elements: int | None) -> OtJob:
    """The job of a row; there are always 128 base OTs, as many as an extension takes."""
    count = BASE_OTS if name == BaseOtJob.name else elements or ELEMENTS
    return JOBS[name]([count])


def _show(channel: Channel, *arrays: Array) -> None:
    """For the check alone: what is sent here must never leave a party in earnest."""
    frames: list[Any] = [np.ascontiguousarray(array) for array in arrays]
    channel.send(CHECK_TAG, frames, round=False)


def _shown(channel: Channel, *shapes: tuple[int, ...]) -> list[Bits]:
    frames = channel.recv(CHECK_TAG, [8 * int(np.prod(shape)) for shape in shapes], round=False)
    return [np.frombuffer(frame, np.uint64).reshape(s) for frame, s in zip(frames, shapes, strict=True)]


def _wrong(wrong: Bits) -> Errors:
    """(1 if any is wrong, the fraction of wrong ones)."""
    return float(wrong.max()), float(wrong.mean())
