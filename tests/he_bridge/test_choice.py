"""Which way a product goes: from shapes alone, and what the layouts of diagonals save."""

from __future__ import annotations

import numpy as np
import pytest

from he_bridge import choice, packed, packing
from he_bridge.errors import ParameterError
from he_bridge.pace import Work, counter
from he_bridge.packed import PackedWeights
from he_bridge.packing import Layout, Shape
from he_bridge.params import LIN24P, LIN64, LIN64P
from he_bridge.products import pieces, shape_of
from he_bridge.slot_sets import SLOTS48
from tests.he_bridge.lattice import opened, random_weights, random_words
from tests.he_bridge.products import assert_shares, at_both_ends


@pytest.mark.parametrize(
    ("rows", "inputs", "outputs", "bits", "params"),
    [
        (1, 768, 768, 64, LIN64P),
        (128, 768, 3072, 64, LIN64P),
        (8192, 768, 768, 64, LIN64),
        (65536, 384, 1152, 51, LIN64),
        (64, 30524, 384, 24, LIN24P),
        (64, 384, 384, 25, LIN64P),
        (8192, 768, 768, 24, LIN64),
    ],
)
def test_the_cheaper_way(rows: int, inputs: int, outputs: int, bits: int, params: object) -> None:
    shape = Shape(1, rows, inputs, outputs)
    assert choice.linear_set(shape, bits) is params
    assert choice.linear_ns(LIN64, shape) > 0
    assert choice.linear_bytes(LIN64P, shape, 53) < choice.linear_bytes(LIN64P, shape, 64)


def test_the_way_changes_once() -> None:
    """More rows never lead back from RowBatch to packing."""
    ways = [choice.linear_set(Shape(1, rows, 64, 64), 64) for rows in (1, 8, 64, 512, 2048, 4096, 8192)]
    assert ways == sorted(ways, key=lambda way: way is LIN64)
    assert ways[0] is LIN64P
    assert ways[-1] is LIN64


def test_costs_grow_with_what_is_asked() -> None:
    one, two = Shape(12, 128, 64, 128), Shape(24, 128, 64, 128)
    assert (
        choice.matrix_ns(one, 48, (0,))
        < choice.matrix_ns(one, 48, (0, 1))
        < choice.matrix_ns(two, 48, (0, 1))
    )
    assert choice.slots_ns(SLOTS48, 8192, 1) < choice.slots_ns(SLOTS48, 8192, 2)
    assert pieces(one, 48) == [one]


def test_diagonals_are_sparse() -> None:
    dense, sparse = Shape(1, 128, 768, 1536), Shape(1, 128, 768, 1536, diagonals=1)
    layouts = [packing.choose(LIN64P, shape, packed.BYTE_NS) for shape in (dense, sparse)]
    assert layouts[1].tile_products < 0.6 * layouts[0].tile_products
    assert shape_of(128, [(768,), (768, 768)]) == sparse
    layout = Layout(sparse, 8192, tile=16, heads=1, columns=4, merging=True)
    assert layout.support(0) == layout.support(191) == slice(0, 48)
    assert layout.support(192) == slice(0, 1)
    assert layout.support(383) == slice(47, 48)
    assert layout.tile_products == 192 * 48 + 192
    uneven = Layout(Shape(1, 8, 5, 13, diagonals=2), 8192, tile=2, heads=1, columns=4, merging=True)
    supports = [uneven.support(group) for group in range(4)]  # columns 3 to 7 and 8 to 12 are diagonals
    assert supports == [slice(0, 3), slice(0, 3), slice(0, 2), slice(2, 3)]
    for wrong in (Shape(1, 8, 5, 4, diagonals=1), Shape(0, 1, 1, 1)):
        with pytest.raises(ValueError, match="no products"):
            packing.choose(LIN64P, wrong, 1.0)


@pytest.mark.parametrize("byte_ns", [0.0, 320.0, 1e9])
@pytest.mark.parametrize(("rows", "inputs", "dense"), [(30, 17, 9), (1, 40, 0), (200, 33, 1)])
def test_products_with_diagonals_are_exact(rows: int, inputs: int, dense: int, byte_ns: float) -> None:
    """Matrices whose right blocks are diagonals, of which only the tiles with weights are multiplied."""
    backend = opened()
    blocks = [random_weights(inputs, dense)] if dense else []
    blocks += [np.diag(random_weights(inputs)), np.diag(random_weights(inputs)[::-1])]
    weights, x = np.concatenate(blocks, axis=1), random_words(rows, inputs)
    held = PackedWeights(backend, LIN64P, weights, diagonals=2)
    client, server = at_both_ends(
        lambda c: backend.to_host(packed.PackedClient(backend, c, LIN64P, byte_ns).correlate(held.layer, x)),
        lambda c: backend.to_host(packed.PackedServer(backend, c, LIN64P, byte_ns).correlate(held, rows)),
    )
    assert_shares(LIN64P, weights, x, client, server)


def test_weights_that_are_no_diagonal_are_noticed() -> None:
    weights = np.concatenate([random_weights(6, 6), random_weights(6, 6)], axis=1)
    with pytest.raises(ParameterError, match="diagonal"):
        PackedWeights(opened(), LIN64P, weights, diagonals=1)


def test_progress_of_work_of_known_cost() -> None:
    seen: list[tuple[int, int]] = []
    work = Work(lambda done, total: seen.append((done, total)), 3e6)
    step = counter(work.part(1e6), 2)
    step()
    step()
    counter(work.part(4e6), 1)()  # dearer than announced
    work.finish()
    assert seen == [(500, 3000), (1000, 3000), (3000, 3000), (3000, 3000)]
