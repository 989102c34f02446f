"""A real classifier of another kind: chemical reactions by rxnfp, fetched with pip when the test runs.

The whole set of 190 reactions is a command: docs/profiles.md. Here are as many as a test may take.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from transformer.accuracy import Question, read_texts, study
from transformer.client import load_tokenizer

SCRIPT = Path(__file__).parents[2] / "scripts" / "fetch-rxnfp"


@pytest.fixture(scope="module")
def rxnfp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rxnfp")
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder)], capture_output=True, text=True, timeout=250
    )
    if done.returncode and (
        "No matching distribution" in done.stderr or "No module named pip" in done.stderr
    ):
        pytest.skip("rxnfp 0.1.0 cannot be fetched: pip reaches no registry that has it")
    assert done.returncode == 0, done.stderr
    return folder


def test_reactions_are_many_and_known_to_the_vocabulary(rxnfp: Path) -> None:
    tokenizer, reactions = load_tokenizer(rxnfp / "model"), read_texts(rxnfp / "reactions.txt")
    assert len(set(reactions)) == len(reactions) >= 100
    for reaction in reactions:
        assert "".join(tokenizer.tokenize(reaction)) == reaction
        assert tokenizer.unk_token_id not in tokenizer(reaction)["input_ids"]
        assert reaction.count("(") == reaction.count(")")
        assert reaction.count(">>") == 1


@pytest.mark.slow
def test_every_class_is_the_clear_models(rxnfp: Path) -> None:
    """Every 19th reaction: ten of ten kinds, by both profiles."""
    reactions = read_texts(rxnfp / "reactions.txt")[::19]
    found = study(Question(str(rxnfp / "model"), "classification", reactions, None), ["precise", "fastlmpi"])
    for figures in found.figures:
        assert figures.agreement == 1.0
        assert figures.cosine_min > 0.9999
        assert max(figures.layers) < 2e-3
        assert len(figures.layers) == 13
