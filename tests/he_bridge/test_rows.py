"""RowBatch: exact shares on every backend, in blocks and batches, and between two processes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from he_bridge import linear
from he_bridge.errors import ParameterError
from he_bridge.linear import RowBatchClient, Weights
from he_bridge.params import LIN64, ParameterSet
from net import memory_pair
from tests.he_bridge.lattice import INSECURE32, correlate, opened, random_weights, random_words
from tests.support.parties import run_pair


def assert_shares(params: ParameterSet, weights: Any, r: Any, client: Any, server: Any) -> None:
    ones = np.uint64((1 << params.ring_bits) - 1)
    product = r @ weights.astype(np.int64).view(np.uint64)
    assert client.shape == server.shape == product.shape
    assert np.array_equal((client - server) & ones, product & ones)
    assert server.max() <= ones
    if server.size > 40:  # else chance decides
        assert server.std() > 0.2 * float(ones)


@pytest.mark.parametrize("params", [LIN64, INSECURE32], ids=lambda p: p.name)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (20, 40), (40, 2)])
def test_shares_are_exact(
    params: ParameterSet, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linear, "GROUP", 16)
    backend = opened()
    weights, r = random_weights(*shape), random_words(50, shape[0])
    assert_shares(params, weights, r, *correlate(backend, backend, params, weights, r))


@pytest.mark.parametrize("rows", [1, 8192, 8195])
def test_rows_fill_batches(rows: int) -> None:
    backend = opened()
    weights, r = random_weights(2, 3), random_words(rows, 2)
    assert_shares(LIN64, weights, r, *correlate(backend, backend, LIN64, weights, r))


@pytest.mark.parametrize(
    ("client", "server"), [("cuda-fake", "cuda-fake"), ("cpu", "cuda-fake"), ("reference", "cpu")]
)
def test_backends_mix(client: str, server: str) -> None:
    weights, r = random_weights(3, 2), random_words(9, 3)
    parties = opened(client), opened(server)
    assert_shares(LIN64, weights, r, *correlate(*parties, LIN64, weights, r))


def test_between_processes(tmp_path: Path) -> None:
    run_pair("tests.he_bridge.rows_party", tmp_path)
    r, weights, client, server = (
        np.load(tmp_path / f"{name}.npy") for name in ("r", "weights", "client", "server")
    )
    assert_shares(LIN64, weights, r, client, server)


def test_what_is_shown_holds_no_secret() -> None:
    backend = opened()
    weights = Weights(backend, LIN64, random_weights(2, 2))
    here, _ = memory_pair()
    assert repr(weights) == "Weights(inputs=2, outputs=2, <hidden>)"
    assert repr(RowBatchClient(backend, here, LIN64)) == "RowBatchClient(LIN64, <hidden>)"
    twin = Weights(backend, LIN64, random_weights(2, 2))
    assert weights.layer.digest != twin.layer.digest  # keyed: it confirms no guess
    keyed = [Weights(backend, LIN64, random_weights(2, 2), b"key").layer for _ in range(2)]
    assert keyed[0] == keyed[1]


def test_wrong_arguments_are_refused() -> None:
    backend = opened()
    for weights in (np.ones((2, 2)), np.ones((2, 2), np.uint64)):
        with pytest.raises(ParameterError, match="integers"):
            Weights(backend, LIN64, weights)
    here, _ = memory_pair()
    layer = Weights(backend, LIN64, random_weights(2, 2)).layer
    with pytest.raises(ValueError, match="R must be"):
        RowBatchClient(backend, here, LIN64).correlate(layer, random_words(4, 3))
