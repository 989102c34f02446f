"""The definitions that stand for protocols on clear numbers give what those protocols give there, word for word."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend import get_backend
from gpu_ss.clear import DEFINED, IDEALS, ClearParty
from gpu_ss.economy import ALONE, FIELD_LEAST
from gpu_ss.field import FIELD60
from gpu_ss.fixed import decode, encode
from gpu_ss.functions import published
from gpu_ss.functions.activation import by_lines
from gpu_ss.functions.inverse import inverse_table
from gpu_ss.functions.layernorm import unit_rows
from gpu_ss.functions.maximum import maximum
from gpu_ss.functions.noise import Gaussian, Laplace, gaussian, laplace
from gpu_ss.functions.segmented import segmented
from gpu_ss.functions.softmax import softmax, softmax_weights
from gpu_ss.functions.tables import curve_table, table
from gpu_ss.party import Party, Protocol
from gpu_ss.protocols.arith import matmul
from gpu_ss.protocols.compare import ge_public
from gpu_ss.protocols.curve import look_up_curve
from gpu_ss.protocols.fields import from_field, to_field
from gpu_ss.protocols.piecewise import Evaluated, evaluate
from gpu_ss.protocols.power import exp2
from gpu_ss.protocols.trunc import extend
from gpu_ss.provider.insecure import InsecureProvider
from gpu_ss.ring import RING64, Ring
from gpu_ss.values import AShare, BShare
from tests.support.protocols import both, real, real_share

LAPLACE = Laplace.within(Decimal(300) / Decimal(2).sqrt(), Decimal(2) ** -40)
GAUSSIAN = Gaussian.within(Decimal(300), Decimal(2) ** -40)
RNG = np.random.default_rng(8)
NUMBERS = np.concatenate([np.linspace(-12, 12, 501), [1e3, -1e3, 2.0**20, -(2.0**20), 0.0, 2.0**-12]])


def clear(values: Any, ring: Ring = RING64, frac_bits: int = 12) -> AShare:
    return AShare(encode(values, ring, frac_bits), ring, frac_bits)


SCORES = clear(np.rint(RNG.normal(0, 9, (6, 37)) * 64) / 64, Ring(28))
POSITIVE = clear(np.geomspace(2.0**-12, 2.0**19, 300))
CASES: dict[str, tuple[Protocol[Any, Any], tuple[Any, ...]]] = {
    "fastlmpi": (segmented, (clear(NUMBERS), published.FASTLMPI)),
    "puma": (segmented, (clear(NUMBERS, Ring(48)), published.PUMA, 40, Ring(56), 12)),
    "gelu": (evaluate, (clear(NUMBERS), table("gelu"))),
    "reciprocal": (evaluate, (POSITIVE, inverse_table("reciprocal", 1, 1 << 36, 12))),
    "maximum": (maximum, (SCORES,)),
    "weights": (softmax_weights, (SCORES,)),
    "sign": (ge_public, (SCORES, 5)),
    "extend": (extend, (SCORES, RING64)),
    "matmul": (matmul, (clear(RNG.normal(0, 1, (3, 4, 5))), clear(RNG.normal(0, 1, (3, 6, 5))), True)),
}  # fmt: skip


def words(found: Any) -> list[Any]:
    if isinstance(found, Evaluated):
        return [part for share in (found.value, found.linear) if share is not None for part in words(share)]
    if isinstance(found, BShare):
        return [np.unpackbits(found.planes.view(np.uint8), count=found.size, bitorder="little")]
    return [found.ring.reduce(found.data)]


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_definition_is_the_protocol(name: str) -> None:
    protocol, arguments = CASES[name]
    party = ClearParty(get_backend("reference"))
    defined = party.run(IDEALS[protocol.name](party, *arguments))
    run = party.run(protocol._steps(party, *arguments))
    for a, b in zip(words(defined), words(run), strict=True):
        assert np.array_equal(a, b)


@pytest.mark.parametrize(("mechanism", "noise"), [(laplace, LAPLACE), (gaussian, GAUSSIAN)])
def test_noise_has_its_variance_and_is_new_every_time(mechanism: Any, noise: Any) -> None:
    """300 units of deviation. Of 20,000 values the variance is within 8 of its own deviations, 2 % at most."""
    party = ClearParty(get_backend("reference"), ALONE)
    first, second = (mechanism(party, 20_000, noise, RING64).data.view(np.int64) for _ in range(2))
    assert not np.array_equal(first, second)
    for drawn in (first, second):
        assert abs(drawn.mean()) < 8 * 300 / np.sqrt(20_000)
        assert 0.84 < drawn.var() / 300**2 < 1.16
        assert np.abs(drawn).max() < noise.limit


def test_definitions_are_by_names_that_no_two_protocols_share() -> None:
    assert len({protocol.name for protocol in DEFINED}) == len(DEFINED) == len(IDEALS) - 1, (
        "and one that takes steps"
    )


# -- protocols of two parties alone: their definitions against two parties ------------------------------------

UNIT = 2.0**-12
ROWS = RNG.normal(0, 4, (-(-FIELD_LEAST // 40), 40))
ROWS[0], ROWS[1], ROWS[2, 7] = 3.0, -900.0, 900.0
EXPONENTS = np.concatenate([RNG.uniform(-20, 0.9, 3000), [0.0, -20.0, -21 - UNIT, -900.0]])


def there_and_back(party: Party, x: AShare) -> AShare:
    return from_field(party, to_field(party, x, 3, FIELD60), 2, Ring(50))


#: What runs, on what, with how many fractional bits, and how far apart both may be: relative, absolute.
ALONE_CASES: dict[str, tuple[Callable[[Party, AShare], AShare], Any, int, float, float]] = {
    # each party's factor is rounded to 2^-16 of itself, and the result's unit twice
    "exp2": (lambda p, x: exp2(p, x.narrowed(Ring(28)), Ring(52)), EXPONENTS, 12, 2.0**-14, 2.0**-19),
    # units of both roundings, and a line read up to 6 raw units past its end where slopes differ by 0.051
    "lines": (lambda p, x: by_lines(p, x, "gelu", 24, Ring(53)), NUMBERS, 12, 0, 2 * UNIT),
    # one unit of 2^-13 becomes at most one of 2^-11, and that is rounded by another two
    "fields": (there_and_back, NUMBERS, 16, 0, 3 * 2.0**-11),
    # the look-up's exponents, the factors, the result's unit
    "softmax": (softmax, ROWS, 16, 4 * UNIT, 2 * 2.0**-16),
    # units of 2^-15 of centred entries, over norms of 25 and more; the inverse root reads neighbouring units
    "layernorm": (lambda p, x: unit_rows(p, x, 1e-5, 16), ROWS[2:], 16, 2.0**-13, 4 * 2.0**-16),
}  # fmt: skip


def test_a_definition_of_cells_is_what_two_parties_get() -> None:
    """But for units, and which of two neighbouring lines is read: each holds the curve, whose second derivative is
    below 0.8, within (2 / 32)^2 / 16 of that."""
    x, apart = NUMBERS[np.abs(NUMBERS) < 2**10], 2 * UNIT + 0.8 / 32**2 / 2
    args = curve_table("gelu"), 24, Ring(53), 12
    found = look_up_curve(ClearParty(get_backend("reference")), clear(x, Ring(48)), *args)
    private = real(both(lambda p: look_up_curve(p, real_share(p, x, Ring(48), 12), *args)))
    assert np.abs(decode(found.ring.reduce(found.data), found.ring, 12) - private).max() <= apart


@pytest.mark.parametrize("name", sorted(ALONE_CASES))
def test_a_definition_is_what_two_parties_alone_get(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, values, frac_bits, relative, absolute = ALONE_CASES[name]
    found = run(ClearParty(get_backend("reference"), ALONE), clear(values, RING64, frac_bits))
    monkeypatch.setattr(InsecureProvider, "economy", ALONE)
    private = both(lambda p: run(p, real_share(p, values, RING64, frac_bits)))
    emulated = decode(found.ring.reduce(found.data), found.ring, found.frac_bits)
    assert (found.ring, found.frac_bits) == (private.results[0].ring, private.results[0].frac_bits)
    error = np.abs(emulated - real(private))
    assert (error <= absolute + relative * np.abs(emulated)).all(), error.max()
