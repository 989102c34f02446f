"""The arithmetic on its own: share, compute, reveal. Both parties run in this process, for trying things out.

    python examples/share_compute_reveal.py

(The simulation's correlations are insecure; examples/two_processes.py shows real parties and a dealer.)
"""

import numpy as np

from gpu_ss.fixed import decode, encode
from gpu_ss.functions.activation import gelu
from gpu_ss.party import Party
from gpu_ss.protocols.arith import mul
from gpu_ss.protocols.io import private, reveal, share
from gpu_ss.protocols.trunc import truncate
from gpu_ss.ring import RING64
from gpu_ss.simulate import simulate

FRAC = 16
ALICE, BOB = 0, 1
x = np.array([0.5, -1.25, 3.0])  # Alice's secret
y = np.array([2.0, 0.1, -0.7])  # Bob's secret


def product_and_gelu(party: Party) -> np.ndarray:
    """What each party runs. A party only ever passes its own secret."""
    own = party.backend.asarray(encode(x if party.rank == ALICE else y, RING64, FRAC))
    a = share(party, private(party, ALICE, own if party.rank == ALICE else None, x.shape, RING64, FRAC))
    b = share(party, private(party, BOB, own if party.rank == BOB else None, y.shape, RING64, FRAC))
    product = truncate(party, mul(party, a, b), FRAC)
    return decode(party.backend.to_host(reveal(party, gelu(party, product))), RING64, FRAC)


result = simulate(product_and_gelu)
print("gelu(x * y) =", np.round(result.results[0], 4))
print("rounds:", result.traffic[0].rounds, " bytes sent by each:", result.traffic[0].sent.bytes)
