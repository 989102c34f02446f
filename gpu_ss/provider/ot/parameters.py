"""The learning-parity-with-noise instance behind silent OT. Security parameters: there is no setting for them.

An iteration makes n = t 2^13 outputs from a secret of k = 2^19 bits, with one error in each of t blocks of 2^13
rows (regular noise); a row of the public code adds ten bits of the secret (local linear code, d = 10, as in
Ferret). (n, k, t) = (1900 * 2^13, 2^19, 1900) is the set `ferret_b13` of emp-ot 1.0, chosen by its authors so
that the published attacks, those on *regular* noise among them, stay at 2^128 or above: Gaussian elimination,
information-set decoding (also the regular form of Esser and Santini, CRYPTO 2024), and the algebraic and hybrid
attacks of Briaud and Oygarden (EUROCRYPT 2023) and their successor (ePrint 2025/1476). The hybrid attack binds;
it gets easier with more samples, so t is the largest that this k admits. The set replaces emp-ot's earlier
(10485760, 452000, 1280).

We use t = 1792 = 56 * 32 of the 1900 blocks: an instance with fewer samples of the same kind, which is as hard by
reduction (an attacker on ours runs on a part of theirs). tests/gpu_ss/ot/test_parameters.py holds estimates.
"""

from __future__ import annotations

from gpu_ss.provider.ot import trees

TREE_LOG = 13
#: Eleven binary levels, then a quaternary one: half the cipher calls of thirteen binary ones for 3 blocks more.
ARITIES = (2,) * 11 + (4,)
SECRET_LOG = 19
SLAB_TREES = 32  # trees that are grown together; the layout of rows, so part of the protocol
SLABS = 56

SECRET = 1 << SECRET_LOG
NOISE = SLAB_TREES * SLABS
SLAB_ROWS = SLAB_TREES << TREE_LOG
SAMPLES = SLAB_ROWS * SLABS
#: OTs that one slab's trees use up.
SLAB_OTS = trees.digits(ARITIES) * SLAB_TREES
#: Of each iteration's outputs the first so many are what the next one is made from.
RESERVE = SECRET + SLAB_OTS * SLABS
OUTPUTS = SAMPLES - RESERVE
#: Blocks of a slab's one message: the sealed sums, and the last sum with delta.
SLAB_BLOCKS = trees.sealed_blocks(ARITIES) + 1
