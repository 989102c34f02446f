"""The wire does not change unnoticed, and does not depend on what computes: CPU, GPU or a mixed pair."""

from __future__ import annotations

import json

import pytest

from tests.support.backends import CUDA, open_backend
from tests.support.runs import RUNS_BY_NAME
from tests.wire.transcripts import FILE, transcript

BASELINE = json.loads(FILE.read_text())
PAIRS = [
    pytest.param("auto", "auto", id="auto"),
    pytest.param("reference", "auto", id="reference and auto"),
    pytest.param("auto", "cuda-fake", id="auto and cuda-fake"),
    pytest.param("auto", "cuda", id="auto and cuda", marks=CUDA.marks),
    pytest.param("cuda", "cuda", id="cuda", marks=CUDA.marks),
]


def opened(name: str) -> object:
    return name if name == "auto" else open_backend(name)


def test_every_protocol_has_a_baseline() -> None:
    assert sorted(BASELINE) == sorted(RUNS_BY_NAME)


@pytest.mark.parametrize(("client", "server"), PAIRS)
@pytest.mark.parametrize("name", sorted(RUNS_BY_NAME))
def test_transcript_is_the_baselines(name: str, client: str, server: str) -> None:
    """If the change is meant: python -m tests.wire.transcripts, and a line in the changelog."""
    assert transcript(name, (opened(client), opened(server))) == BASELINE[name]
