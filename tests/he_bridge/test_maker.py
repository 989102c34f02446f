"""Correlations made by encryption against their definitions: every kind, ring, owner of a mask, odd shapes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fastlmpi[he]'")

from gpu_ss.errors import SharingError
from gpu_ss.party import Party
from gpu_ss.provider.correlation import Correlation, Dealing, Mask
from gpu_ss.provider.specs.arithmetic import (
    ColumnProduct,
    MatmulProduct,
    Powers,
    Product,
    RowProduct,
    RowSquareSum,
    WeightProduct,
)
from gpu_ss.simulate import simulate
from he_bridge import elementwise, matmul
from he_bridge.errors import CiphertextError
from he_bridge.packing import Shape
from he_bridge.params import MAT48
from he_bridge.provider import with_products
from net import ProtocolError, memory_pair
from tests.he_bridge.lattice import Words, opened, random_weights

Held = tuple[Words, int]  # signed integers, bits of their ring
BOTH, CLIENT, SERVER = 2, 0, 1


def make(specs: Sequence[Correlation], held: Sequence[Held] = (), **options: Any) -> list[Words]:
    """The clear values of all correlations, in canonical words of their rings."""

    def run(party: Party) -> list[Any]:
        for integers, bits in held:
            words = integers.astype(np.int64).view(np.uint64) & ones(bits)
            party.provider.hold(party.backend.asarray(words) if party.rank else None, words.shape, bits)
        party.provider.prepare(specs)
        taken = [party.provider.take(spec).only for spec in specs]
        return [None if words is None else party.backend.to_host(words) for words in taken]

    def extend(*arguments: Any) -> Any:
        return with_products(*arguments, **options)

    simulation = simulate(run, extend=extend, timeout_s=60)
    assert simulation.correction_bytes == 0, "the dealer sends nothing for products"
    clear = []
    for spec, a, b in zip(specs, *simulation.results, strict=True):
        (out,) = spec.outputs()
        assert a is None or a.shape == out.shape
        total = b if a is None else a if b is None else a + b
        clear.append(total & ones(out.bits))
    return clear


def ones(bits: int) -> np.uint64:
    return np.uint64((1 << bits) - 1)


def assert_made(*specs: Correlation) -> None:
    """What was made is what a dealer would deal for these masks."""
    clear = make(specs)
    dealing = Dealing(opened(), [], [], lambda number: clear[number])
    for spec, found in zip(specs, clear, strict=True):
        if not spec.is_mask:
            (expected,) = spec.deal(dealing)
            (out,) = spec.outputs()
            assert np.array_equal(found, expected.reshape(out.shape) & ones(out.bits)), spec


@pytest.mark.parametrize("bits", [1, 24, 40, 48, 52, 64])
def test_products_element_by_element(bits: int) -> None:
    assert_made(
        Mask((3, 7), bits),
        Mask((3, 7), bits),
        Mask((3,), bits),
        Mask((7,), bits),
        Mask((2, 37), bits),
        Product(0, 1, 21, bits),
        Powers(0, 21, 5, bits),
        RowSquareSum(1, 3, 7, bits),
        RowSquareSum(4, 2, 37, bits),
        RowProduct(0, 2, 3, 7, bits),
        ColumnProduct(1, 3, 3, 7, bits),
    )


@pytest.mark.parametrize("left", [BOTH, CLIENT, SERVER])
@pytest.mark.parametrize("right", [BOTH, CLIENT, SERVER])
def test_masks_that_one_party_knows(left: int, right: int) -> None:
    assert_made(
        Mask((2, 5), 48, left),
        Mask((2, 5), 48, right),
        Mask((5,), 48, right),
        Mask((2, 3, 4), 64, left),
        Mask((2, 4, 3), 64, right),
        Product(0, 1, 10, 48),
        ColumnProduct(0, 2, 2, 5, 48),
        Powers(0, 10, 4, 48),
        RowSquareSum(1, 2, 5, 48),
        MatmulProduct(3, 4, 2, 3, 4, 3, 2, 0, 64),
    )


@pytest.mark.parametrize("bits", [24, 40, 48, 52, 64])
@pytest.mark.parametrize("transposed", [0, 1])
def test_products_of_matrices(bits: int, transposed: int) -> None:
    """A batch, and one right operand for a whole batch."""
    right = (9, 6) if transposed else (6, 9)
    assert_made(
        Mask((3, 5, 6), bits),
        Mask((3, *right), bits),
        Mask((1, *right), bits),
        MatmulProduct(0, 1, 3, 5, 6, 9, 3, transposed, bits),
        MatmulProduct(0, 2, 3, 5, 6, 9, 1, transposed, bits),
    )


def test_what_one_party_needs_is_not_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cross term that is zero is left out, on both sides."""
    terms: list[tuple[int, ...]] = []
    product = matmul.MatrixProductClient.product

    def watched(self: Any, a: Any, b: Any, bits: Any, chosen: Any, progress: Any) -> Any:
        terms.append(chosen)
        return product(self, a, b, bits, chosen, progress)

    monkeypatch.setattr(matmul.MatrixProductClient, "product", watched)
    for left, right in ((BOTH, BOTH), (CLIENT, BOTH), (SERVER, BOTH), (BOTH, CLIENT), (BOTH, SERVER)):
        masks = Mask((1, 2, 3), 40, left), Mask((1, 3, 2), 40, right)
        assert_made(*masks, MatmulProduct(0, 1, 1, 2, 3, 2, 1, 0, 40))
    assert terms == [(0, 1), (0,), (1,), (1,), (0,)]
    assert_made(
        Mask((1, 2, 3), 40, CLIENT), Mask((1, 3, 2), 40, SERVER), MatmulProduct(0, 1, 1, 2, 3, 2, 1, 0, 40)
    )
    assert terms.pop() == (0,)


def test_products_that_are_not_hidden_as_a_whole_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = Shape(4, 5, 6, 7)
    assert len(matmul.cut(MAT48, shape, 48)) == 1
    assert len(matmul.cut(MAT48, Shape(1, 9000, 2, 2), 48)) == 2
    strict = replace(MAT48, privacy_bits=57)
    pieces = matmul.cut(strict, shape, 48)
    assert len(pieces) > 1
    covered = np.zeros((4, 5, 6, 7), int)
    for piece in pieces:
        covered[piece] += 1
    assert (covered == 1).all()
    with pytest.raises(SharingError, match="hide operands"):
        matmul.cut(replace(MAT48, privacy_bits=75), shape, 48)
    monkeypatch.setattr(matmul, "matrix_params", lambda bits: strict)
    assert_made(
        Mask((4, 5, 6), 48),
        Mask((4, 6, 7), 48),
        MatmulProduct(0, 1, 4, 5, 6, 7, 4, 0, 48),
    )


@pytest.mark.parametrize("engine", ["native", "tenseal"])
@pytest.mark.parametrize(
    ("rows", "k", "bits"), [(1, 5, 64), (7, 20, 64), (5, 33, 52), (130, 6, 48), (3, 70, 24)]
)
def test_products_with_weights(rows: int, k: int, bits: int, engine: Any) -> None:
    """Matrices and diagonals of one mask, in any order, and a diagonal alone."""
    size = 2 ** (min(bits, 16) - 1) - 1
    w = [
        random_weights(k, 9, largest=size),
        random_weights(k, largest=size),
        random_weights(k, 4, largest=size),
    ]
    specs = [
        Mask((rows, k), bits, CLIENT),
        WeightProduct(0, 1, rows, k, k, 1, bits),
        WeightProduct(0, 0, rows, k, 9, 0, bits),
        WeightProduct(0, 2, rows, k, 4, 0, bits),
        Mask((rows, k), bits, CLIENT),
        WeightProduct(4, 1, rows, k, k, 1, bits),
    ]
    clear = make(specs, [(weights, bits) for weights in w], engine=engine)
    words = [weights.astype(np.int64).view(np.uint64) for weights in w]
    for number, expected in (
        (1, clear[0] * words[1]),
        (2, clear[0] @ words[0]),
        (3, clear[0] @ words[2]),
        (5, clear[4] * words[1]),
    ):
        assert np.array_equal(clear[number], expected & ones(bits)), number


def test_engines_and_keys_are_made_when_they_are_needed() -> None:
    """A product brings the keys of its set; the next one of its kind brings none."""

    def run(party: Party) -> list[list[str]]:
        tags = []
        for first in (0, 2):
            before = party.channel.traffic.report()
            specs = [Mask((2, 3), 64), Powers(first, 6, 2, 64)]
            party.provider.prepare(specs)
            for spec in specs:
                party.provider.take(spec)
            tags.append(sorted((party.channel.traffic.report() - before).by_tag))
        return tags

    product = ["he.slots.down", "he.slots.up"]
    simulation = simulate(run, extend=with_products)
    assert simulation.results[0] == [sorted([*product, "he.slots.key"]), product]


def test_an_owned_mask_of_the_server_has_no_product_with_its_weights() -> None:
    with pytest.raises(SharingError):
        make([Mask((2, 3), 64, SERVER), WeightProduct(0, 0, 2, 3, 2, 0, 64)], [(random_weights(3, 2), 64)])


def test_rings_are_widened_to_full_blocks() -> None:
    bits = [elementwise.ring_of(Product(0, 1, 3, bits)) for bits in (1, 32, 33, 48, 49, 64)]
    assert bits == [32, 32, 48, 48, 64, 64]


# Hostile messages

SPECS = [
    Mask((64, 30), 64, CLIENT),
    WeightProduct(0, 0, 64, 30, 40, 0, 64),
    Mask((1, 2, 3), 40),
    Mask((1, 3, 2), 40),
    MatmulProduct(2, 3, 1, 2, 3, 2, 1, 0, 40),
    Product(2, 3, 6, 40),
]
NATIVE = ["he/key", "he.layer", "he/switching", "he/inputs", "he/replies"]
SLOTS = ["he.slots.key", "he.slots.up", "he.slots.down"]
CHANGES = {
    "flipped header": lambda frames: [bytes([frames[0][0] ^ 1]) + frames[0][1:], *frames[1:]],
    "large numbers": lambda frames: [*frames[:-1], b"\xff" * len(frames[-1])],
    "truncated": lambda frames: [*frames[:-1], frames[-1][:-8]],
    "one frame less": lambda frames: frames[:-1],
}


def attacked(tag: str, change: Callable[[list[bytes]], list[bytes]], engine: Any = "native") -> None:
    """Products over channels of which one changes the first message with that tag."""
    ends = memory_pair(timeout_s=20)
    for end in ends:
        end.send = _changing(end.send, tag, change)  # type: ignore[method-assign]
    weights = random_weights(30, 40).astype(np.int64).view(np.uint64)

    def run(party: Party) -> None:
        party.provider.hold(party.backend.asarray(weights) if party.rank else None, (30, 40), 64)
        party.provider.prepare(SPECS)

    def extend(*arguments: Any) -> Any:
        return with_products(*arguments, engine=engine)

    simulate(run, channels=ends, extend=extend)


def _changing(send: Any, tag: str, change: Callable[[list[bytes]], list[bytes]]) -> Any:
    left = [1]

    def changed(name: str, frames: Any, *, round: bool = True) -> None:
        if name == tag and left:
            left.pop()
            frames = change([bytes(memoryview(frame).cast("B")) for frame in frames])
        send(name, frames, round=round)

    return changed


#: Any 16 bytes are a digest, any digits a reply, and one bit of a residue is the channel's care: not noticed.
HARMLESS = {
    ("he.layer", "large numbers"),
    ("he/replies", "large numbers"),
    ("he.slots.down", "flipped header"),
}


@pytest.mark.parametrize(
    ("tag", "change"),
    [(tag, name) for tag in (*NATIVE, *SLOTS) for name in CHANGES if (tag, name) not in HARMLESS],
)
def test_hostile_messages_end_in_one_clear_error(tag: str, change: str) -> None:
    with pytest.raises(ProtocolError):
        attacked(tag, CHANGES[change])


@pytest.mark.parametrize("tag", ["he.seal.key", "he.layer", "he.seal.up", "he.seal.down"])
def test_hostile_messages_through_tenseal(tag: str) -> None:
    changes = ["truncated"] if tag == "he.seal.down" else ["truncated", "flipped header"]
    for name in changes:
        with pytest.raises(ProtocolError):
            attacked(tag, CHANGES[name], "tenseal")


def test_replayed_inputs_are_refused() -> None:
    """The first block of a product in place of the second."""
    ends = memory_pair(timeout_s=20)
    send, seen = ends[0].send, []

    def replaying(name: str, frames: Any, *, round: bool = True) -> None:
        if name == "he.slots.up":
            seen.append([bytes(memoryview(frame).cast("B")) for frame in frames])
            frames = seen[0]
        send(name, frames, round=round)

    ends[0].send = replaying  # type: ignore[method-assign]
    specs = [Mask((8200,), 64), Powers(0, 8200, 2, 64)]
    with pytest.raises(CiphertextError, match="ask alike"):
        simulate(lambda party: party.provider.prepare(specs), channels=ends, extend=with_products)
