"""What each command measures, as rows that come one by one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from bench.job import Job
from bench.options import Sizes
from bench.random_model import model_folder
from bench.rows import Row
from bench.session import running
from bench.setting import Setting
from transformer.terms import ProfileName


def protocol_rows(
    setting: Setting,
    chosen: Sequence[str],
    sizes: Sequence[int | None],
    repeats: int,
    chunk: int | None = None,
) -> Iterator[Row]:
    """Rows of these protocols at each size, each kind in sessions of its own; None: the default size.

    Without a dealer every row has a session: what the parties made for one is no help to the next. Workloads of
    which not even a piece fits in memory are left out, and standard error says so.
    """
    from bench import he, ot
    from bench.memory import TooLarge, chunks
    from bench.protocols import ProtocolJob, shaped

    encrypted = [name for name in chosen if name in he.NAMES]
    oblivious = [name for name in chosen if name in ot.NAMES]
    others = [name for name in chosen if name not in (*encrypted, *oblivious)]
    jobs: list[Job] = []
    for name in others:
        for size in sizes:
            shape = shaped(name, size)
            try:
                jobs.append(ProtocolJob(name, shape, chunks(name, shape, setting, chunk)))
            except TooLarge as error:
                sys.stderr.write(f"left out: {error}\n")
    yield from _sessions(setting, jobs, repeats)
    with_he = replace(setting, products="he")
    yield from _sessions(with_he, [he.job(name, size) for name in encrypted for size in sizes], repeats)
    alone = replace(setting, trust="two-party")
    yield from _sessions(alone, [ot.job(name, size) for name in oblivious for size in sizes], repeats)


def _sessions(setting: Setting, jobs: Sequence[Job], repeats: int) -> Iterator[Row]:
    """The rows of these jobs, in one session, or one each if there is no dealer."""
    groups = [[job] for job in jobs] if setting.alone else [jobs] if jobs else []
    for group in groups:
        with running(setting) as bench:
            for job in group:
                yield bench.measure(job, repeats)


def layer_rows(setting: Setting, sizes: Sequence[Sizes], repeats: int) -> Iterator[Row]:
    """A row of one encoder layer for each of the sizes."""
    from bench.layer import LayerJob

    for one in sizes:
        folder = None if one.folder is None else str(one.folder)
        job = LayerJob(one.hidden, one.heads, one.ffn, one.seq, one.batch, folder, setting.profile)
        with running(setting) as bench:
            yield bench.measure(job, repeats)


def model_rows(setting: Setting, sizes: Sequence[Sizes], repeats: int) -> Iterator[Row]:
    """A row of a whole model for each of the sizes."""
    from bench.model import ModelJob

    for one in sizes:
        yield from _of_model(ModelJob, setting, one, repeats)


def prepare_rows(setting: Setting, sizes: Sizes, together: int, repeats: int) -> Iterator[Row]:
    """The row of preparing queries to a whole model, so many of them together."""
    from bench.prepare import PrepareJob

    def make(folder: str, seq: int, batch: int, profile: ProfileName) -> Job:
        return PrepareJob(folder, seq, batch, profile, together).without_weights()

    yield from _of_model(make, setting, sizes, repeats)


def _of_model(
    make: Callable[[str, int, int, ProfileName], Job], setting: Setting, sizes: Sizes, repeats: int
) -> Iterator[Row]:
    with model_folder(sizes) as folder:
        job = make(str(folder), sizes.seq, sizes.batch, setting.profile)
        with running(setting) as bench:
            yield bench.measure(job, repeats)
