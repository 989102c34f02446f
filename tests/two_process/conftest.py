"""A folder for a module's keys, and a small model that its parties serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.models import add_pooling, make_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("parties")


@pytest.fixture(scope="module")
def model(folder: Path) -> Path:
    return add_pooling(make_model(folder / "model", num_hidden_layers=1))
