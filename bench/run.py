"""What each command measures, as rows that come one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from bench.options import Sizes
from bench.random_model import model_folder
from bench.rows import Row
from bench.session import Setting, running


def protocol_rows(
    setting: Setting, chosen: Sequence[str], elements: int | None, repeats: int
) -> Iterator[Row]:
    """Rows of these protocols; those of products by encryption in a session of their own."""
    from bench import he
    from bench.protocols import ProtocolJob, shaped

    encrypted = [name for name in chosen if name in he.NAMES]
    dealt = [name for name in chosen if name not in encrypted]
    if dealt:
        with running(setting) as bench:
            for name in dealt:
                yield bench.measure(ProtocolJob(name, shaped(name, elements)), repeats)
    if encrypted:
        with running(replace(setting, products="he")) as bench:
            for name in encrypted:
                yield bench.measure(he.job(name, elements), repeats)


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

    with model_folder(sizes) as folder:
        job = ModelJob(str(folder), sizes.seq, sizes.batch)
        with running(setting) as bench:
            yield bench.measure(job, repeats)
