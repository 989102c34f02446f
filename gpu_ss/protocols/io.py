"""Into and out of the shared world. `reveal` is the only way out."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from gpu_ss.cost import Cost, opening, telling
from gpu_ss.party import Party, Round, Steps, masked, protocol, shared, told
from gpu_ss.provider.base import Material
from gpu_ss.provider.correlation import Mask
from gpu_ss.ring import Array, Ring
from gpu_ss.values import AShare, Private


def private(
    party: Party, owner: int, words: Array | None, shape: tuple[int, ...], ring: Ring, frac_bits: int
) -> Private:
    """Wrap a clear tensor that `owner` holds (words None at the other party, which knows the shape)."""
    if (words is None) == (party.rank == owner):
        raise ValueError(f"rank {owner} owns this value: exactly that party passes the words")
    if words is not None and tuple(words.shape) != tuple(shape):
        raise ValueError(f"the value has shape {tuple(words.shape)}, both parties agreed on {tuple(shape)}")
    return Private(words, owner, tuple(shape), ring, frac_bits)


def share(party: Party, value: Private) -> AShare:
    """A sharing of a private value: the owner's share is the value, the other's is zero. No communication.

    Nothing leaks: shares never leave a party except masked by a fresh uniform correlation, or as the last
    step of `reveal` to the one party that may know the result, which together with its own share then knows
    exactly that result.
    """
    data = value.data if value.data is not None else party.backend.zeros(value.shape)
    return AShare(data, value.ring, value.frac_bits)


def zeros(party: Party, shape: tuple[int, ...], ring: Ring, frac_bits: int = 0) -> AShare:
    """Shares of zero (the public constant)."""
    return AShare(party.backend.zeros(shape), ring, frac_bits)


def add_public(party: Party, x: AShare, units: Array | int) -> AShare:
    """x + units * 2^-frac_bits, for public ring words (or one integer): rank 0 adds them."""
    if party.rank != 0:
        return x
    return AShare(x.data + (x.ring.constant(units) if isinstance(units, int) else units), x.ring, x.frac_bits)


def add_private(party: Party, x: AShare, value: Private) -> AShare:
    """x + value, for a clear tensor one party owns (it adds to its share)."""
    return x if value.data is None else AShare(x.data + value.data, x.ring, x.frac_bits)


def _reveal_cost(x: AShare, to: int | None = None) -> Cost:
    one = telling(1 - (to or 0), (x.size, x.ring.bits))
    if to is not None:
        return one
    return Cost(1, one.sent0 + one.sent1, one.sent0 + one.sent1)


@protocol(cost=_reveal_cost)
def reveal(party: Party, x: AShare, to: int | None = None) -> Steps[Array | None]:
    """The value of x as canonical ring words, to one rank (None at the other) or to both.

    The only function by which a secret leaves the protocol. What the receiver learns is x itself: the other
    share is x minus its own.
    """
    if to is None:
        (words,) = yield Round("reveal", (shared(x),))
        return words
    mine = x.data if party.rank != to else None
    (words,) = yield Round("reveal", (told(1 - to, mine, x.shape, x.ring),))
    return x.ring.reduce(words + x.data) if party.rank == to else None


@dataclass(frozen=True, slots=True)
class Opened:
    """A share whose masked form both parties know: value = words - mask modulo 2^bits.

    One opening serves every use of x: products, powers, comparisons. `mask` is the correlation whose number
    later correlations name; its array is this party's share of the mask.
    """

    words: Array
    mask: Material
    ring: Ring
    frac_bits: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.mask.only.shape)

    @property
    def size(self) -> int:
        return prod(self.shape)

    def reshape(self, *shape: int) -> Opened:
        """The same opening in another shape."""
        mask = Material(self.mask.number, (self.mask.only.reshape(shape),))
        return replace(self, words=self.words.reshape(shape), mask=mask)


@protocol(cost=lambda *xs, tag="open": opening(*((x.size, x.ring.bits) for x in xs)))
def open_masked(party: Party, *xs: AShare, tag: str = "open") -> Steps[list[Opened]]:
    """Open x + r for each x, with fresh uniform r of x's ring: uniform whatever x is, so nothing is learnt."""
    masks = [party.provider.take(Mask(x.shape, x.ring.bits)) for x in xs]
    opened = yield Round(tag, tuple(masked(x, m.only) for x, m in zip(xs, masks, strict=True)))
    return [Opened(words, m, x.ring, x.frac_bits) for x, m, words in zip(xs, masks, opened, strict=True)]
