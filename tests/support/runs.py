"""Every protocol on small inputs, by name: what the leakage and wire tests run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from gpu_ss.field import FIELD60
from gpu_ss.functions import published
from gpu_ss.functions.activation import activation, relu
from gpu_ss.functions.exp import exp
from gpu_ss.functions.goldschmidt import INVERSE_ROOT, deflated_inverse
from gpu_ss.functions.inverse import raw_inverse, rsqrt
from gpu_ss.functions.layernorm import unit_rows
from gpu_ss.functions.maximum import argmax
from gpu_ss.functions.noise import protect
from gpu_ss.functions.privacy import Guarantee
from gpu_ss.functions.segmented import segmented
from gpu_ss.functions.softmax import softmax, softmax_weights
from gpu_ss.functions.tables import line_table
from gpu_ss.party import Party
from gpu_ss.protocols import extended
from gpu_ss.protocols.arith import matmul, mul, powers
from gpu_ss.protocols.compare import ge_public
from gpu_ss.protocols.convert import a2b
from gpu_ss.protocols.fields import from_field, open_elements, row_square_sums, times_rows, to_field
from gpu_ss.protocols.guard import all_below, gated
from gpu_ss.protocols.io import private
from gpu_ss.protocols.lines import evaluate_lines
from gpu_ss.protocols.millionaire import negative, times_bit
from gpu_ss.protocols.power import exp2
from gpu_ss.protocols.select import b2a, inject
from gpu_ss.protocols.trunc import truncate
from gpu_ss.protocols.weights import affine, open_static
from gpu_ss.ring import RING64, Ring
from tests.support.protocols import bit_share, real_share

N = 96

#: A protocol run on secret numbers `x` [N]; shares are fresh at every call.
Run = Callable[[Party, Any], Any]


def secret(party: Party, x: Any, ring: Ring = RING64, frac_bits: int = 16) -> Any:
    return real_share(party, x, ring, frac_bits)


def _weights(party: Party, x: Any) -> Any:
    words = party.backend.asarray(np.rint(np.abs(x).reshape(8, 12)).astype(np.uint64))
    mine = words if party.rank == 1 else None
    return open_static(party, private(party, 1, mine, (8, 12), RING64, 0))


def _field_rows(party: Party, x: Any) -> Any:
    rows = to_field(party, secret(party, x / 2**20).reshape(4, 24), 2, FIELD60)
    opened = open_elements(party, rows)
    total = from_field(party, row_square_sums(party, opened), 0, RING64, signed=False)
    return from_field(party, times_rows(party, opened, to_field(party, total, 10, FIELD60)), 9, Ring(40))


def _extended_rows(party: Party, x: Any) -> Any:
    rows = secret(party, x / 2**20, Ring(36)).reshape(4, 24)

    def steps() -> Any:
        opened = yield from extended.open_extended.steps(party, rows, Ring(48))
        return (yield from extended.times_rows(party, opened, extended.row_square_sums(party, opened)))

    return party.run(steps())


def _noisy(party: Party, x: Any, mechanism: Any) -> Any:
    guarantee = Guarantee(mechanism=mechanism, epsilon=8, delta=1e-3, sensitivity=2.0**-14)
    return party.run(protect(party, [secret(party, x)], guarantee))[0]


def _extended_factors(party: Party, x: Any) -> Any:
    def steps() -> Any:
        rows = secret(party, x / 2**20, Ring(30)).reshape(4, 24)
        opened = yield from extended.open_extended.steps(party, rows, RING64)
        return (yield from extended.times_rows(party, opened, secret(party, x[:4] / 2**20, Ring(26))))

    return party.run(steps())


def _guarded(party: Party, x: Any) -> Any:
    squares = secret(party, np.abs(x), RING64, 24)
    kept = all_below(party, [squares[:40], squares[40:]], [20, 26])
    return gated(party, kept, secret(party, x, Ring(48)), secret(party, x[:7], Ring(44)))


RUNS_BY_NAME: dict[str, Run] = {
    "mul": lambda p, x: mul(p, secret(p, x), secret(p, x)),
    "powers": lambda p, x: powers(p, secret(p, x, Ring(60)), 3),
    "matmul": lambda p, x: matmul(p, secret(p, x).reshape(8, 12), secret(p, x).reshape(12, 8)),
    "weights": _weights,
    "affine": lambda p, x: affine(p, secret(p, x).reshape(12, 8), _weights(p, x)),
    "truncate": lambda p, x: truncate(p, secret(p, x), 16),
    "compare": lambda p, x: ge_public(p, secret(p, x, Ring(50)), 5),
    "sign": lambda p, x: negative(p, secret(p, x)),
    "times bit": lambda p, x: times_bit(p, bit_share(p, x > 0), secret(p, x)),
    "a2b": lambda p, x: a2b(p, secret(p, x)),
    "b2a": lambda p, x: b2a(p, bit_share(p, x > 0), Ring(30)),
    "inject": lambda p, x: inject(p, bit_share(p, x > 0), secret(p, x)),
    "relu": lambda p, x: relu(p, secret(p, x)),
    "gelu": lambda p, x: activation(p, secret(p, x), "gelu"),
    "gelu by lines": lambda p, x: evaluate_lines(p, secret(p, x / 2**20, Ring(24), 12), line_table("gelu")),
    "gelu by cells": lambda p, x: activation(p, secret(p, x / 2**16, Ring(40), 12), "gelu", 24, Ring(53), 12),
    "segments": lambda p, x: segmented(p, secret(p, x), published.PUMA, 40),
    "exp": lambda p, x: exp(p, secret(p, x)),
    "rsqrt": lambda p, x: rsqrt(p, secret(p, np.abs(x))),
    "inverses": lambda p, x: raw_inverse(p, secret(p, np.abs(x) + 1), "rsqrt"),
    "inverse root by steps": lambda p, x: deflated_inverse(
        p, secret(p, 1 + np.abs(x)), replace(INVERSE_ROOT, steps=2), 2.0**30, 2.0**60
    ),
    "argmax": lambda p, x: argmax(p, secret(p, x / 2**20).reshape(4, 24)),
    "power": lambda p, x: exp2(p, secret(p, -np.abs(x) / 2**11, Ring(28), 12), Ring(52)),
    "field rows": _field_rows,
    "extended rows": _extended_rows,
    "extended factors": _extended_factors,
    "guarded": _guarded,
    "softmax": lambda p, x: softmax(p, secret(p, x / 2**8).reshape(4, 24)),
    "softmax weights": lambda p, x: softmax_weights(p, secret(p, x / 2**14, Ring(28), 12).reshape(4, 24)),
    "laplace": lambda p, x: _noisy(p, x, "laplace"),
    "gaussian": lambda p, x: _noisy(p, x, "gaussian"),
    "layernorm": lambda p, x: unit_rows(p, secret(p, x / 2**20).reshape(4, 24), 1e-12, 20),
}
