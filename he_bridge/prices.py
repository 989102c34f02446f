"""What correlations cost to make by encryption: bytes before anything runs, for plans.

Both directions together, without the keys (2 to 10 MB once a session) and message headers. The same choices as the
engines make, from shapes alone; sizes are those of the own engines where TenSEAL could do it too.
"""

from __future__ import annotations

from collections.abc import Iterable

from gpu_ss.provider.correlation import Correlation
from gpu_ss.provider.ot import prices
from gpu_ss.provider.ot.maker import takes
from gpu_ss.provider.specs.arithmetic import MatmulProduct, Powers, RowSquareSum, WeightProduct
from he_bridge import choice, field_products, slot_sets
from he_bridge.elementwise import PAIRS, ring_of
from he_bridge.packing import Shape
from he_bridge.products import shape_of
from he_bridge.provider import HANDLED, OT_BITS
from he_bridge.traffic import matrices


def bytes_by_way(specs: Iterable[Correlation], alone: bool) -> dict[str, float]:
    """Bytes to make what `provider` makes of these: by encryption (`he`), and for parties alone by OT (`ot`)."""
    ways: dict[str, list[Correlation]] = {"he": [], "ot": []}
    for spec in specs:
        if alone and takes(spec, OT_BITS):
            ways["ot"].append(spec)
        elif isinstance(spec, HANDLED):
            ways["he"].append(spec)
    return {"he": made_bytes(ways["he"]), "ot": prices.made_bytes(ways["ot"])}


def made_bytes(specs: Iterable[Correlation]) -> float:
    """Bytes to make these correlations: those of one mask with its weights together."""
    by_mask: dict[int, list[WeightProduct]] = {}
    in_fields: list[Correlation] = []
    total = 0.0
    for spec in specs:
        if isinstance(spec, WeightProduct):
            by_mask.setdefault(spec.a, []).append(spec)
        elif isinstance(spec, MatmulProduct):
            batch, rows = (1, spec.batch * spec.m) if spec.b_batch < spec.batch else (spec.batch, spec.m)
            total += sum(m.bytes for m in matrices(Shape(batch, rows, spec.k, spec.n), spec.bits))
        elif isinstance(spec, field_products.KINDS):
            in_fields.append(spec)
        else:
            total += _in_slots(spec)
    return (
        total + field_products.made_bytes(in_fields) + sum(_by_weights(group) for group in by_mask.values())
    )


def _by_weights(group: list[WeightProduct]) -> float:
    first = group[0]
    shape = shape_of(first.rows, [(s.k,) if s.diagonal else (s.k, s.n) for s in group])
    return choice.linear_bytes(choice.linear_set(shape, first.bits), shape, first.bits)


def _in_slots(spec: Correlation) -> float:
    """Full blocks: what is left of the last one is shared with other correlations."""
    (out,) = spec.outputs()
    if isinstance(spec, RowSquareSum):
        pairs = min(PAIRS, spec.n)
        return _blocks(spec.rows * -(-spec.n // pairs), pairs, pairs, ring_of(spec))
    if isinstance(spec, Powers):
        squares, products = spec.degree // 2, (spec.degree - 1) // 2
        bits = ring_of(spec)
        return squares * _blocks(spec.n, 1, 1, bits) + products * _blocks(spec.n, 1, 2, bits)
    return _blocks(out.size, 1, 2, ring_of(spec))


def _blocks(n: int, pairs: int, vectors: int, bits: int) -> float:
    """n sums of `pairs` products, for which the client sends that many vectors."""
    params = slot_sets.choose(n, pairs, bits)
    up, down = params.bytes
    return (vectors * up + down) * n / params.bfv.degree
