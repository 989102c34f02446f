"""Products in fields by encryption: against their definitions, what they send and hide, and hostile peers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_ss.field import FIELD53, FIELD60, Field
from gpu_ss.provider.correlation import FieldMask
from gpu_ss.provider.specs.fields import FieldProduct, FieldRowProduct, FieldRowSquareSum
from he_bridge.errors import CiphertextError
from he_bridge.field_products import SLOTS, units
from he_bridge.field_sets import params_of
from he_bridge.field_slots import step_bytes
from he_bridge.field_steps import Step
from he_bridge.prices import made_bytes
from he_bridge.ring import SEED_BYTES
from he_bridge.wire import HEADER_BYTES
from net import NetError
from tests.he_bridge.field_party import ROWS, SCORES
from tests.he_bridge.fields import ONE, assert_made, check_sums, engines, exchanged, pair, random_elements
from tests.he_bridge.lattice import opened
from tests.support.backends import EVERY_BACKEND, open_backend
from tests.support.launches import Launches, counted
from tests.support.parties import run_pair

FIELDS = [FIELD53, FIELD60]


def keys_bytes(field: Field) -> int:
    params = params_of(field).encryption
    return HEADER_BYTES + SEED_BYTES + params.degree * params.wire_bits(params.primes) // 8


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("field", FIELDS)
def test_every_kind(field: Field, backend: str) -> None:
    """The server on each backend, and the client on another one."""
    p = field.prime
    assert_made(
        FieldMask((3, 7), p),
        FieldMask((3,), p),
        FieldMask((3,), p),
        FieldMask((10,), p, 0),
        FieldMask((10,), p, 1),
        FieldRowProduct(0, 1, 3, 7, p),
        FieldRowSquareSum(0, 3, 7, p),
        FieldRowProduct(0, 2, 3, 7, p),
        FieldProduct(3, 4, 10, p),
        FieldProduct(3, 4, 10, p),
        backends=(backend, "cpu") if field is FIELD53 else ("cpu", backend),
    )


@pytest.mark.parametrize(("rows", "n"), [(128, 200), (4100, 18), (8200, 1), (1, 9000), (1536, 7)])
def test_rows_of_all_sizes(rows: int, n: int) -> None:
    """Several vectors, several steps, several groups of rows; and what it sends is what it is said to cost."""
    p = FIELD60.prime
    specs = [
        FieldMask((rows, n), p),
        FieldMask((rows,), p),
        FieldRowSquareSum(0, rows, n, p),
        FieldRowProduct(0, 1, rows, n, p),
    ]
    made = [spec for spec in specs if not spec.is_mask]
    assert assert_made(*specs) - keys_bytes(FIELD60) == made_bytes(made)


@pytest.mark.parametrize(("n", "overhead"), [(SLOTS // 2, 14), (4 * SLOTS, 0), (5 * SLOTS + 5, 17)])
def test_flat_products_share_vectors(n: int, overhead: int) -> None:
    """Foreseen are full steps of sixteen vectors: of others the header and what is left of the last vector."""
    p, params = FIELD53.prime, params_of(FIELD53)
    specs = [
        *(FieldMask((n,), p, owner) for owner in (0, 1, 0, 1)),
        FieldProduct(0, 1, n, p),
        FieldProduct(2, 3, n, p),
        FieldProduct(0, 3, n, p),
        FieldProduct(2, 1, n, p),
    ]
    made = [spec for spec in specs if not spec.is_mask]
    sent, vectors = assert_made(*specs) - keys_bytes(FIELD53), -(-4 * n // SLOTS)
    steps = -(-vectors // 16)
    assert sent == steps * (2 * HEADER_BYTES + SEED_BYTES) + vectors * (params.up_bytes + params.down_bytes)
    each = params.up_bytes + params.down_bytes
    assert 0 <= sent - made_bytes(made) <= (vectors - 4 * n / SLOTS) * (each + 11) + overhead * 11
    assert made_bytes([FieldProduct(0, 1, 16 * SLOTS, p)]) == step_bytes(
        params, Step((("a", 0),) * 16, ((),) * 16)
    )


@pytest.mark.parametrize(
    ("rows", "n"), [(1, 1), (128, 768), (1536, 64), (12288, 64), (5000, 3), (4096, 3000)]
)
def test_layouts_cover_a_matrix_once(rows: int, n: int) -> None:
    seen = np.zeros((rows, n), int)
    for unit in units(rows, n):
        for columns in unit.columns:
            assert unit.height * (columns.stop - columns.start) <= SLOTS
            seen[unit.rows, columns] += 1
        steps = unit.steps(True, 2)
        spans = [unit.columns_of(step) for step in steps]
        assert [k for span in spans for k in range(span.start, span.stop)] == list(
            range(unit.columns[0].start, unit.columns[-1].stop)
        )
        params_of(FIELD60).check_call({16: 2 * len(steps), 2: 2 * len(unit.columns)})
    assert (seen == 1).all()


# Exchanges


@pytest.mark.parametrize("backend", EVERY_BACKEND)
@pytest.mark.parametrize("field", FIELDS)
def test_sums_over_the_whole_range(field: Field, backend: str) -> None:
    """Steps that keep vectors for later ones, vectors of several lengths, sums of one to sixteen products."""
    a, b, c = ("a", 0), ("b", 0), ("c", 5)
    steps = [
        Step((a, b), (((a, b), (b, a)), ((b, b),)), kept=(b,)),
        Step((c,), (((c, a),) * 16, ((b, c), (c, b), (c, c))), kept=(b,)),
    ]
    own = [
        {name: random_elements(field, n, seed=rank + n) for name, n in ((a, SLOTS), (b, SLOTS), (c, 77))}
        for rank in (0, 1)
    ]
    own[1][a][:] = field.prime // 2  # the worst operand
    check_sums(field, own, steps, pair(own, [steps, steps], field, backend=backend))


def test_exchanges_follow_each_other() -> None:
    own = [{("a", 0): random_elements(FIELD53, SLOTS, seed=rank)} for rank in (0, 1)]
    check_sums(FIELD53, own, ONE, pair(own, [ONE, ONE], times=3))
    assert pair(own, [[], []]) == [[], []]


@pytest.mark.parametrize(("rank", "most"), [(0, 80), (1, 95)])
def test_a_step_is_few_launches(rank: int, most: int) -> None:
    """Of sixteen vectors, and of one as well: what a GPU is asked for does not grow with them."""
    asked = []
    for count in (1, 16):
        names = tuple(("a", k) for k in range(count))
        steps = [Step(names, tuple(((name, name),) for name in names))]
        own = {name: random_elements(FIELD60, SLOTS) for name in names}
        backends: Any = [opened(), opened()]
        backends[rank] = open_backend("cuda-fake")
        with counted() as launches:
            made = list(engines(FIELD60))
            made[rank] = _Watched(made[rank], launches)
            exchanged(backends, made, [own, own], [steps, steps], times=2)
        asked.append(launches.kernels.total() + launches.operations.total())
    assert asked[0] == asked[1] <= most, launches.kernels + launches.operations


class _Watched:
    """An engine whose second exchange is counted: tables are made in the first."""

    def __init__(self, make: Any, launches: Launches) -> None:
        self._make = make
        self._launches = launches
        self._first = True

    def __call__(self, backend: Any, channel: Any) -> Any:
        self._engine = self._make(backend, channel)
        return self

    def exchange(self, steps: Any, vectors: Any) -> Any:
        if self._first:
            self._first = False
            return self._engine.exchange(steps, vectors)
        with self._launches.watch():
            return self._engine.exchange(steps, vectors)


# Peers

ONES = {("a", 0): np.ones(3, np.uint64), ("b", 0): np.ones(3, np.uint64)}


@pytest.mark.parametrize(
    "other",
    [
        [*ONE, *ONE],
        [Step((("a", 0), ("b", 0)), ONE[0].replies)],
        [Step((("a", 0),), ONE[0].replies * 2)],
    ],
    ids=["steps", "uploads", "replies"],
)
def test_both_must_ask_alike(other: list[Step]) -> None:
    for steps in ([ONE, other], [other, ONE]):
        with pytest.raises((CiphertextError, NetError), match=r"take turns in the same order|bytes expected"):
            pair([ONES, ONES], steps)


def test_a_replayed_message_is_refused() -> None:
    """The second exchange with the messages of the first."""

    def tamper(ends: Any) -> None:
        send, first = ends[0].send, {}

        def replayed(tag: str, frames: Any, **options: Any) -> None:
            frames = first.setdefault(tag, [bytes(memoryview(f).cast("B")) for f in frames])
            send(tag, frames, **options)

        ends[0].send = replayed

    with pytest.raises(CiphertextError, match="batch counter"):
        pair([ONES, ONES], [ONE, ONE], tamper=tamper, times=2)


def damaged(end: int, tag: str, change: Any) -> Any:
    """A channel on which one end's messages of a tag arrive changed."""

    def tamper(ends: Any) -> None:
        send = ends[end].send

        def changed(sent: str, frames: Any, **options: Any) -> None:
            send(sent, change(list(frames)) if sent == tag else frames, **options)

        ends[end].send = changed

    return tamper


@pytest.mark.parametrize(("end", "tag"), [(0, "he/inputs"), (0, "he/key"), (1, "he/replies")])
def test_damaged_messages(end: int, tag: str) -> None:
    """Residues above their primes, and messages of another length, end with an error that names no secret."""
    cut = lambda frames: [*frames[:-1], bytes(memoryview(frames[-1]).cast("B"))[:-8]]  # noqa: E731
    fewer = lambda frames: frames[:-1]  # noqa: E731
    full = lambda frames: [*frames[:-1], b"\xff" * memoryview(frames[-1]).nbytes]  # noqa: E731
    header = lambda frames: [b"\0" * HEADER_BYTES, *frames[1:]]  # noqa: E731
    for change in (cut, fewer, header, *([full] if end == 0 else [])):
        with pytest.raises((CiphertextError, NetError)):
            pair([ONES, ONES], [ONE, ONE], tamper=damaged(end, tag, change))


def test_any_digits_are_some() -> None:
    """A reply has no wrong digits: what the client finds are elements, whatever comes."""
    full = lambda frames: [frames[0], *(b"\xff" * memoryview(f).nbytes for f in frames[1:])]  # noqa: E731
    for field in FIELDS:
        (client,), _ = pair([ONES, ONES], [ONE, ONE], field, damaged(1, "he/replies", full))
        assert int(client.max()) < field.prime


def test_two_processes(tmp_path: Path) -> None:
    """Softmax and LayerNorm of two parties alone, as planned and at the price that was foreseen."""
    run_pair("tests.he_bridge.field_party", tmp_path)
    found = np.load(tmp_path / "client.npz")
    e = np.exp(SCORES - SCORES.max(axis=1, keepdims=True))
    assert np.abs(found["softmax"] - e / e.sum(axis=1, keepdims=True)).max() < 6e-4
    centred = ROWS - ROWS.mean(axis=1, keepdims=True)
    expected = centred / np.linalg.norm(centred, axis=1, keepdims=True)
    assert np.abs(found["layernorm"] - expected).max() < 1e-4
    figures = json.loads((tmp_path / "client.json").read_text())
    assert [figures["rounds"], figures["sent"]] == figures["planned"]
    keys = sum(keys_bytes(field) for field in FIELDS)
    # the start of silent OT, some 1.3 MB, and slabs of it that are made but not used up
    assert 0 < figures["offline"] - keys - sum(figures["priced"].values()) < 4e6
