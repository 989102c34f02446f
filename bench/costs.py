"""What a layer's functions cost by their plans, profile by profile: nothing is run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from bench.job import null_share
from bench.layer import LayerJob, made_layer
from gpu_ss.functions.softmax import PROBABILITY_FRAC
from gpu_ss.party import Party
from gpu_ss.plan import Plan, make_plan
from gpu_ss.protocols.arith import matmul
from gpu_ss.ring import RING64, Ring
from gpu_ss.values import AShare
from transformer.attention import Vectors, ignore
from transformer.encoder import READ_RING
from transformer.profiles import PROFILES
from transformer.terms import Terms

HEAD = "| profile | part | rounds | online MB | offline MB |\n|---|---|---|---|---|"


@dataclass(frozen=True)
class Part:
    """Of one part: messages that wait for each other, and bytes of both directions, online and before that."""

    name: str
    rounds: int
    online: float
    offline: float

    @staticmethod
    def of(name: str, plan: Plan, terms: Terms, times: int = 1) -> Part:
        """Of so many equal runs. Offline is what a dealer sends, or what both parties do."""
        offline = plan.offline_bytes_without(terms.not_dealt) + sum(terms.made_bytes(plan.specs).values())
        return Part(name, times * plan.rounds, times * sum(plan.sent), times * offline)

    def less(self, *others: Part) -> Part:
        """What these others leave of it."""
        rounds, online, offline = (
            sum(getattr(o, field) for o in others) for field in ("rounds", "online", "offline")
        )
        return replace(
            self, rounds=self.rounds - rounds, online=self.online - online, offline=self.offline - offline
        )

    def line(self, profile: str) -> str:
        """A row of a Markdown table."""
        sizes = f"{self.online / 1e6:.1f} | {self.offline / 1e6:.1f}"
        return f"| `{profile}` | {self.name} | {self.rounds} | {sizes} |"


def parts(terms: Terms, hidden: int, heads: int, ffn: int, seq: int, batch: int) -> list[Part]:
    """The layer, and of it GeLU, both LayerNorms, SoftMax, attention's two products, and the linear layers.

    SoftMax is all of attention but its two products: the maximum, the exponentials, the sums and the division.
    """
    numbers, profile = (
        made_layer(hidden, heads, ffn, seq, terms.profile).numbers.at(0),
        PROFILES[terms.profile],
    )
    job = LayerJob(hidden, heads, ffn, seq, batch, profile=terms.profile)
    job.terms = terms
    vectors = (batch, heads, seq, hidden // heads)
    scores, whole_ring = Ring(numbers.score_bits), Ring(numbers.hidden_bits)

    def planned(name: str, run: Callable[[Party], Any], times: int = 1) -> Part:
        return Part.of(name, make_plan(0, run, economy=terms.economy, traffic=terms.traffic), terms, times)

    def read(party: Party, shape: Sequence[int]) -> AShare:
        return null_share(party, shape, READ_RING, numbers.ACTIVATION)

    def attention(party: Party) -> Any:
        keep = null_share(party, (batch, seq), RING64, 0)
        q, k, v = (read(party, vectors) for _ in range(3))
        return party.run(profile.attention(party, numbers, Vectors(q, k, v, keep), ignore))

    def products(party: Party) -> None:
        q = null_share(party, vectors, scores, numbers.ACTIVATION)
        matmul(party, q, q, transposed=True)
        sums = Ring(numbers.sums_bits(seq))
        p = null_share(party, (batch, heads, seq, seq), sums, PROBABILITY_FRAC)
        matmul(party, p, read(party, vectors).narrowed(sums))

    def gelu(party: Party) -> Any:
        return party.run(profile.activation(party, numbers, read(party, (batch, seq, ffn)), whole_ring))

    def norm(party: Party) -> Any:
        x = null_share(party, (batch, seq, hidden), whole_ring, numbers.PRODUCT)
        bits, frac = numbers.bounds.norm, numbers.norm_frac
        return party.run(profile.norm(party, numbers, x, bits, RING64, frac, True))

    whole = Part.of("layer", job.plan(0), terms)
    attended, multiplied = planned("SoftMax", attention), planned("Q K^T, P V", products)
    named = [planned("GeLU", gelu), planned("LayerNorm, both", norm, times=2)]
    linear = replace(whole.less(*named, attended), name="linear layers")
    return [whole, *named, attended.less(multiplied), multiplied, linear]


def table(settings: Sequence[Terms], *sizes: int) -> Iterator[str]:
    """The Markdown table of these terms, for a layer of (hidden, heads, ffn, seq, batch)."""
    yield HEAD
    for terms in settings:
        yield from (part.line(terms.profile) for part in parts(terms, *sizes))
