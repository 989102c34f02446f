"""What each command measures, as rows that come one by one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from bench.job import Job
from bench.options import Sizes
from bench.random_model import model_folder
from bench.rows import Row
from bench.session import running
from bench.setting import Setting


def protocol_rows(
    setting: Setting, chosen: Sequence[str], elements: int | None, repeats: int
) -> Iterator[Row]:
    """Rows of these protocols, each kind in sessions of its own.

    Without a dealer every row has a session: what the parties made for one is no help to the next.
    """
    from bench import he, ot
    from bench.protocols import ProtocolJob, shaped

    encrypted = [name for name in chosen if name in he.NAMES]
    oblivious = [name for name in chosen if name in ot.NAMES]
    others = [name for name in chosen if name not in (*encrypted, *oblivious)]
    yield from _sessions(setting, [ProtocolJob(name, shaped(name, elements)) for name in others], repeats)
    with_he = replace(setting, products="he")
    yield from _sessions(with_he, [he.job(name, elements) for name in encrypted], repeats)
    alone = replace(setting, trust="two-party")
    yield from _sessions(alone, [ot.job(name, elements) for name in oblivious], repeats)


def _sessions(setting: Setting, jobs: Sequence[Job], repeats: int) -> Iterator[Row]:
    """The rows of these jobs, in one session, or one each if there is no dealer."""
    groups = [[job] for job in jobs] if setting.alone else [jobs] if jobs else []
    for group in groups:
        with running(setting) as bench:
            for job in group:
                yield bench.measure(job, repeats)


def layer_rows(setting: Setting, sizes: Sizes, repeats: int) -> Iterator[Row]:
    """The row of one encoder layer."""
    from bench.layer import LayerJob

    folder = None if sizes.folder is None else str(sizes.folder)
    job = LayerJob(sizes.hidden, sizes.heads, sizes.ffn, sizes.seq, sizes.batch, folder)
    with running(setting) as bench:
        yield bench.measure(job, repeats)


def model_rows(setting: Setting, sizes: Sizes, repeats: int) -> Iterator[Row]:
    """The row of a whole model."""
    from bench.model import ModelJob

    yield from _of_model(ModelJob, setting, sizes, repeats)


def prepare_rows(setting: Setting, sizes: Sizes, repeats: int) -> Iterator[Row]:
    """The row of preparing queries to a whole model."""
    from bench.prepare import PrepareJob

    yield from _of_model(PrepareJob, setting, sizes, repeats)


def _of_model(
    make: Callable[[str, int, int], Job], setting: Setting, sizes: Sizes, repeats: int
) -> Iterator[Row]:
    with model_folder(sizes) as folder:
        job = make(str(folder), sizes.seq, sizes.batch)
        with running(setting) as bench:
            yield bench.measure(job, repeats)
