"""Products with weights through TenSEAL: exact in every ring, and the weights cannot be fitted."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fastlmpi[he]'")

from he_bridge.errors import CiphertextError, HeError
from he_bridge.linear import Layer
from he_bridge.remainders import os_words
from he_bridge.tenseal_bfv import Bfv, BfvParams, Evaluator, KeyHolder
from he_bridge.tenseal_io import Words
from he_bridge.tenseal_linear import (
    Integers,
    ScalarWeights,
    SealRowBatchClient,
    SealRowBatchServer,
    scalar_params,
)
from net import memory_pair
from tests.he_bridge.noise_attack import fit, own_errors, reply_noise, secret_of
from tests.net.helpers import together

N = 8192
rng = np.random.default_rng(3)


def weights_of(inputs: int, columns: int, bits: int = 16) -> Integers:
    return rng.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), (inputs, columns))


def product(rows: Words, weights: Integers, bits: int) -> tuple[Words, Words]:
    ends = memory_pair(timeout_s=30.0)
    client = SealRowBatchClient(ends[0], bits)
    server = SealRowBatchServer(ends[1], bits)
    checked = ScalarWeights(bits, weights)
    for end in ends:
        end._session.owner = None
    return together(
        lambda: client.correlate(checked.layer, rows), lambda: server.correlate(checked, len(rows))
    )


@pytest.mark.parametrize(
    ("bits", "rows", "inputs", "columns"),
    [
        *[(59, 300, 20, 18), (59, N + 3, 3, 2), (37, 64, 17, 5), (59, 0, 3, 2), (59, 4, 0, 3), (59, 4, 3, 0)],
        *[(60, 300, 20, 18), (64, N + 3, 3, 2), (64, 0, 3, 2), (64, 4, 0, 3), (64, 4, 3, 0)],
    ],
)
def test_correlations_are_exact(bits: int, rows: int, inputs: int, columns: int) -> None:
    x = os_words((rows, inputs)).copy()
    x[:1] = 2**64 - 1
    x[1:2] = 2 ** (bits - 1)
    x[2:3] = 0
    weights = weights_of(inputs, columns)
    first, second = product(x, weights, bits)
    mask = np.uint64((1 << bits) - 1)
    assert first.shape == second.shape == (rows, columns)
    assert np.array_equal((first - second) & mask, (x @ weights.view(np.uint64)) & mask)
    assert (first <= mask).all()
    assert (second <= mask).all()


def test_extreme_and_zero_weights() -> None:
    weights = np.zeros((4, 5), np.int64)
    weights[:, 1], weights[:, 2], weights[0, 3] = -(2**31), 2**31 - 1, -1
    weights[:, 4] = [1, -1, 0, 2]
    x = os_words((40, 4))
    first, second = product(x, weights, 59)
    mask = np.uint64(2**59 - 1)
    assert np.array_equal((first - second) & mask, (x @ weights.view(np.uint64)) & mask)
    assert len(np.unique(first[:, 0])) == 40, "a column of zeros is masked like any other"


def test_margins() -> None:
    margins = ScalarWeights(59, np.full((3072, 768), -(2**15))).margins
    assert margins.privacy_bits > 46
    assert margins.decryption_bits > 100
    with pytest.raises(HeError, match="circuit privacy"):
        ScalarWeights(59, np.full((3072, 768), 2**31))
    with pytest.raises(HeError, match="in magnitude"):
        ScalarWeights(37, np.full((1, 1), 2**36))
    with pytest.raises(HeError, match="int64"):
        ScalarWeights(59, np.zeros((2, 2)))  # type: ignore[arg-type]
    with pytest.raises(HeError, match="mask"):
        ScalarWeights(64, np.full((3072, 768), 2**28))
    for bits in (0, 65):
        with pytest.raises(HeError, match="1 to 64"):
            scalar_params(bits)


def test_parties_that_disagree() -> None:
    ends = memory_pair(timeout_s=5.0)
    SealRowBatchClient(ends[0], 37)
    with pytest.raises(CiphertextError, match="different encryption parameters"):
        SealRowBatchServer(ends[1], 38)
    ends = memory_pair(timeout_s=5.0)
    client, server = SealRowBatchClient(ends[0], 37), SealRowBatchServer(ends[1], 37)
    weights = ScalarWeights(37, weights_of(3, 3))
    for layer, rows in (
        (Layer(3, 3, bytes(len(weights.layer.digest))), 4),
        (Layer(3, 2, weights.layer.digest), 4),
        (weights.layer, 5),
    ):
        client._offer(layer, os_words((rows, 3)))
        with pytest.raises(CiphertextError, match="same layer"):
            server.correlate(weights, 4)
        ends[1].recv("he.seal.up", [server._instances[0].fresh_bytes(3)])
    ends[0].send("he.seal.up", [client._header(weights.layer, 4)])
    ends[0].send("he.seal.up", [b"\xff" * server._instances[0].fresh_bytes(3)])
    with pytest.raises(CiphertextError, match="out of range"):
        server.correlate(weights, 4)


def test_arguments_of_the_wrong_kind() -> None:
    ends = memory_pair(timeout_s=5.0)
    client, server = SealRowBatchClient(ends[0], 37), SealRowBatchServer(ends[1], 37)
    with pytest.raises(ValueError, match="uint64"):
        client.correlate(Layer(2, 2, bytes(16)), np.zeros((2, 2)))  # type: ignore[arg-type]
    with pytest.raises(HeError, match="checked for 59 bits"):
        server.correlate(ScalarWeights(59, weights_of(2, 2)), 4)
    assert "hidden" in repr(client) + repr(ScalarWeights(59, weights_of(2, 2)))


@pytest.mark.parametrize("leaky", [True, False], ids=["without the switch", "as built"])
def test_weights_cannot_be_fitted_to_the_noise(leaky: bool) -> None:
    bits, inputs, columns = 59, 6, 3
    params = scalar_params(bits)
    if leaky:
        params = BfvParams(N, (*params.kept, *params.dropped), (), params.special, params.plain_bits)
    bfv = Bfv(params, 1 << bits)
    holder = KeyHolder(bfv)
    evaluator = Evaluator(bfv, holder.public_key())
    x = list(os_words((inputs, N)) >> np.uint64(64 - bits))
    weights = weights_of(inputs, columns)
    data = holder.encrypt(x)
    ciphers = evaluator.load(data, inputs)
    masks = os_words((columns, N)) >> np.uint64(64 - bits)
    reply = evaluator.release([evaluator.scalar_sum(ciphers, w) for w in weights.T], masks)

    secret = secret_of(holder)
    errors = own_errors(holder, secret, data, x)
    for column, found in zip(weights.T, reply_noise(holder, secret, reply, columns), strict=True):
        guess = fit(errors, found)
        explained = np.corrcoef(column.astype(np.float64) @ errors, found)[0, 1]
        if leaky:
            assert np.array_equal(np.rint(guess), column), "the attack works where it should"
            assert explained > 0.999
        else:
            assert np.abs(guess).max() < 1
            assert abs(explained) < 0.06
