"""Products computed at once by the two parties, where the provider offers that (`Provider.direct`).

No masks, no correlations and no openings: the parties' shares go into the product as they are, one of them
encrypted. What is revealed is what the provider's engine reveals, see `he_bridge`. Rounds and bytes are the
engine's; a plan counts them (`provider.direct.Traffic`), the cost formulas of `affine` and `matmul` do not.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from gpu_ss.backend.product import Factor
from gpu_ss.party import Party
from gpu_ss.provider.direct import Direct, DirectAffine, DirectMatmul
from gpu_ss.ring import Array
from gpu_ss.values import AShare


def affine_now(
    party: Party,
    x: AShare,
    numbers: Sequence[int],
    shapes: Sequence[tuple[int, ...]],
    words: Sequence[Array | Factor | None],
) -> list[Array]:
    """Shares [rows, columns] of x W for each weight: its number, its shape, and its words at the owner.

    x = x_0 + x_1: the parties get x_0 W + S and -S, and the owner adds x_1 W.
    """
    k, rows = x.shape[-1], prod(x.shape[:-1])
    columns, diagonal = tuple(s[-1] for s in shapes), tuple(int(len(s) == 1) for s in shapes)
    spec = DirectAffine(rows, k, tuple(numbers), columns, diagonal, x.ring.bits)
    flat, start, results = x.data.reshape(rows, k), 0, []
    every = _computed(party, spec, flat)
    for w, width in zip(words, columns, strict=True):
        share = every[:, start : start + width]
        if w is not None:
            share = share + (flat * w if w.ndim == 1 else party.backend.matmul(flat, w, x.ring.bits))
        results.append(share)
        start += width
    return results


def matmul_now(party: Party, x: AShare, y: AShare, transposed: bool) -> AShare:
    """x @ y (x @ y^T) for [..., m, k] and [..., k, n]; leading dimensions equal or absent in y."""
    n, k = (y.shape[-2], y.shape[-1]) if transposed else (y.shape[-1], y.shape[-2])
    batch, one = x.shape[:-2], len(y.shape) == 2 and len(x.shape) > 2
    if k != x.shape[-1] or not (one or y.shape[:-2] == batch):
        raise ValueError(f"cannot multiply {x.shape} by {y.shape}{' transposed' if transposed else ''}")
    count, rows = (1, prod(x.shape[:-1])) if one else (prod(batch), x.shape[-2])
    right = y.data.reshape(count, n, k).transpose(0, 2, 1) if transposed else y.data.reshape(count, k, n)
    spec = DirectMatmul(count, rows, k, n, x.ring.bits)
    words = _computed(party, spec, x.data.reshape(count, rows, k), right)
    return AShare(words.reshape(*x.shape[:-1], n), x.ring, x.frac_bits + y.frac_bits)


def _computed(party: Party, spec: Direct, *operands: Array) -> Array:
    words, rounds = party.provider.compute(spec, *operands)
    for _ in range(rounds if party.watch is not None else 0):
        party.watch("product")  # type: ignore[misc]
    return words
