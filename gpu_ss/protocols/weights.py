"""Products with weights that one party holds in clear and that stay: opened once under a mask, held, or public.

The party without the weights sends its share of the input masked; the owner sends nothing. What differs is where
the product of mask and weights comes from: a dealer that sees neither (`Static`: the weight is open as W - B), or
the two parties themselves (`Held`), or nobody needs it (`Public`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

from gpu_ss.backend.product import Factor
from gpu_ss.cost import FREE, Cost, telling
from gpu_ss.errors import RingMismatch
from gpu_ss.party import Party, Round, Steps, protocol, told
from gpu_ss.protocols.direct import affine_now
from gpu_ss.provider.base import Material
from gpu_ss.provider.correlation import Correlation, Mask
from gpu_ss.provider.specs.arithmetic import ColumnProduct, MatmulProduct, WeightProduct
from gpu_ss.ring import Array, Ring, wire_bytes
from gpu_ss.values import AShare, Private, Public


@dataclass(frozen=True, slots=True)
class Static:
    """A weight both parties can multiply by: W at its owner, E = W - B at the other (B a mask of the owner).

    Opened once, used for any number of products; each takes a fresh mask for the other factor. `words` is W
    or E, [k, n], or [k] for a diagonal matrix. `mask` is the number of B.
    """

    words: Array | Factor
    shape: tuple[int, ...]
    owner: int
    mask: Material
    ring: Ring
    frac_bits: int

    def __repr__(self) -> str:
        return f"Static(shape={self.shape}, owner={self.owner}, bits={self.ring.bits}, words=<hidden>)"

    @property
    def diagonal(self) -> bool:
        return len(self.shape) == 1

    @property
    def columns(self) -> int:
        return self.shape[-1]


@dataclass(frozen=True, slots=True)
class Held:
    """A weight that stays in clear with its owner and is never sent, not even masked: W there, None elsewhere.

    Its products need correlations that the two parties make themselves (`WeightProduct`). `number` is the
    provider's. [k, n], or [k] for a diagonal matrix.
    """

    number: int
    words: Array | Factor | None
    shape: tuple[int, ...]
    owner: int
    ring: Ring
    frac_bits: int

    def __repr__(self) -> str:
        return f"Held(shape={self.shape}, owner={self.owner}, bits={self.ring.bits}, words=<hidden>)"

    @property
    def diagonal(self) -> bool:
        return len(self.shape) == 1

    @property
    def columns(self) -> int:
        return self.shape[-1]


def hold(party: Party, *weights: Private) -> list[Held]:
    """Make weights usable by `affine` without opening them: local."""
    return [
        Held(
            party.provider.hold(w.data, w.shape, w.ring.bits),
            None if w.data is None else _kept(party, w.data),
            w.shape,
            w.owner,
            w.ring,
            w.frac_bits,
        )
        for w in weights
    ]


def _kept(party: Party, words: Array) -> Array | Factor:
    """A weight that stays: a matrix in the form that is best for many products."""
    return party.backend.factor(words) if words.ndim == 2 else words


def _open_static_cost(*weights: Private) -> Cost:
    return telling(weights[0].owner, *((prod(w.shape), w.ring.bits) for w in weights))


@protocol(cost=_open_static_cost, paper="MZ17")
def open_static(party: Party, *weights: Private) -> Steps[list[Static]]:
    """Tell the other party W - B once, B a uniform mask only the owner knows: it learns nothing of W."""
    items, masks = [], []
    for w in weights:
        mask = party.provider.take(Mask(w.shape, w.ring.bits, owner=w.owner))
        masks.append(mask)
        hidden = None if w.data is None else w.data - mask.only
        items.append(told(w.owner, hidden, w.shape, w.ring))
    opened = yield Round("weights", tuple(items))
    kept = [
        _kept(party, words if w.data is None else w.data) for w, words in zip(weights, opened, strict=True)
    ]
    for w, m, words in zip(weights, masks, kept, strict=True):
        if w.data is None:
            party.provider.keep_static(m.number, words)
    return [
        Static(words, w.shape, w.owner, m, w.ring, w.frac_bits)
        for w, m, words in zip(weights, masks, kept, strict=True)
    ]


def _affine_cost(x: AShare, weights: Sequence[Static | Held | Public]) -> Cost:
    secret = [w for w in weights if not isinstance(w, Public)]
    if not secret:
        return FREE
    rows = prod(x.shape[:-1])
    offline = sum(wire_bytes(rows * w.columns, x.ring.bits) for w in secret)
    return telling(1 - secret[0].owner, (x.size, x.ring.bits)) + Cost(offline=offline)


@protocol(cost=_affine_cost, paper="MZ17")
def affine(party: Party, x: AShare, weights: Sequence[Static | Held | Public]) -> Steps[list[AShare]]:
    """x @ W for each weight (x * w for a diagonal), all from one message.

    Private weights: the party without them sends its share of x masked, D = x_i - A with A known to it alone
    (uniform, so the owner learns nothing); the owner computes (D + x_o) W + c_o, the other party has
    A E + c_i beforehand: (x_i - A + x_o) W + A (W - B) + A B = x W. The owner sends nothing.
    Held weights: the same without B, c_i + c_o = A W.
    Public weights: both multiply their share, nothing is sent.
    Where the provider computes products at once (`Provider.direct`), held weights are multiplied so (`direct`).
    """
    secret = [w for w in weights if not isinstance(w, Public)]
    if secret and party.provider.direct:
        return _affine_now(party, x, weights)
    message = yield from _tell_input(party, x, secret) if secret else _nothing()
    results = []
    for w in weights:
        words = (
            _times(party, x, x.data, w.data)
            if isinstance(w, Public)
            else _secret_product(party, x, w, *message)
        )
        results.append(AShare(words.reshape(*x.shape[:-1], w.shape[-1]), x.ring, x.frac_bits + w.frac_bits))
    return results


def _affine_now(party: Party, x: AShare, weights: Sequence[Static | Held | Public]) -> list[AShare]:
    held = [w for w in weights if isinstance(w, Held)]
    for w in weights:
        if isinstance(w, Static):
            raise RingMismatch(f"{w!r} is open under a mask: products with it are not computed at once")
    _check(x, held)
    numbers, shapes = [w.number for w in held], [w.shape for w in held]
    now = iter(affine_now(party, x, numbers, shapes, [w.words for w in held]))
    return [
        AShare(
            (_times(party, x, x.data, w.data) if isinstance(w, Public) else next(now)).reshape(
                *x.shape[:-1], w.shape[-1]
            ),
            x.ring,
            x.frac_bits + w.frac_bits,
        )
        for w in weights
    ]


def _nothing() -> Steps[tuple[Material, Array]]:
    return None  # type: ignore[return-value]
    yield


def _tell_input(party: Party, x: AShare, secret: list[Static | Held]) -> Steps[tuple[Material, Array]]:
    owner = secret[0].owner
    _check(x, secret)
    mask = party.provider.take(Mask(x.shape, x.ring.bits, owner=1 - owner))
    hidden = x.data - mask.only if party.rank != owner else None
    (told_words,) = yield Round("affine", (told(1 - owner, hidden, x.shape, x.ring),))
    return mask, told_words


def _check(x: AShare, secret: Sequence[Static | Held]) -> None:
    for w in secret:
        if w.owner != secret[0].owner or w.ring.bits < x.ring.bits or w.shape[0] != x.shape[-1]:
            raise RingMismatch(f"{w!r} cannot multiply {x!r}")


def _secret_product(party: Party, x: AShare, w: Static | Held, mask: Material, message: Array) -> Array:
    rows = prod(x.shape[:-1])
    correlation = party.provider.take(_weight_spec(x, w, mask))
    if party.rank == w.owner:
        return _times(party, x, message + x.data, w.words).reshape(rows, -1) + correlation.only.reshape(
            rows, -1
        )
    if isinstance(w, Held):
        return correlation.only.reshape(rows, -1)
    ready = party.provider.prepared(correlation.number)
    if ready is not None:
        return ready
    return _times(party, x, mask.only, w.words).reshape(rows, -1) + correlation.only.reshape(rows, -1)


def _weight_spec(x: AShare, w: Static | Held, mask: Material) -> Correlation:
    k, rows, bits = x.shape[-1], prod(x.shape[:-1]), x.ring.bits
    if isinstance(w, Held):
        return WeightProduct(mask.number, w.number, rows, k, w.columns, int(w.diagonal), bits)
    if w.diagonal:
        return ColumnProduct(mask.number, w.mask.number, rows, k, bits)
    return MatmulProduct(mask.number, w.mask.number, 1, rows, k, w.columns, 1, 0, bits)


def _times(party: Party, x: AShare, words: Array, w: Array | Factor) -> Array:
    """words @ w, or words * w for a diagonal w, in the ring of x: local."""
    if w.ndim == 1:
        return words * w
    return party.backend.matmul(words.reshape(-1, x.shape[-1]), w, x.ring.bits)
