"""The learning-parity-with-noise instance behind silent OT. Security parameters: there is no setting for them.

An iteration makes n = t 2^12 outputs from a secret of k = 2^18 bits, with one error in each of t blocks of 2^12
rows (regular noise); a row of the public code adds ten bits of the secret (local linear code, d = 10, as in
Ferret). (n, k, t) = (1520 * 2^12, 2^18, 1520) is the set `ferret_b12` of emp-ot 1.0, chosen by its authors so
that the published attacks, those on *regular* noise among them, stay at 2^128 or above: Gaussian elimination,
information-set decoding (also the regular form of Esser and Santini, CRYPTO 2024), and the algebraic and hybrid
attacks of Briaud and Oygarden (EUROCRYPT 2023) and their successor (ePrint 2025/1476). The hybrid attack binds;
it gets easier with more samples, so t is the largest that this k admits. Of the published family the one of
depth 13 has a table of 8 MB and 0.2 bits less for an OT; this one's 4 MB are read twice as fast where caches are
shared, and half-trees make up for the bits. That of depth 11, with 2 MB, would take 0.75 bits.

We use t = 1504 = 47 * 32 of the 1520 blocks: an instance with fewer samples of the same kind, which is as hard by
reduction (an attacker on ours runs on a part of theirs). tests/gpu_ss/ot/test_parameters.py holds estimates.
"""

from __future__ import annotations

from gpu_ss.backend.oblivious import LEAF_TREES

TREE_LOG = 12
SECRET_LOG = 18
SLAB_TREES = LEAF_TREES  # trees that are grown together; the layout of rows, so part of the protocol
SLABS = 47

SECRET = 1 << SECRET_LOG
NOISE = SLAB_TREES * SLABS
SLAB_ROWS = SLAB_TREES << TREE_LOG
SAMPLES = SLAB_ROWS * SLABS
#: OTs that one slab's trees use up.
SLAB_OTS = TREE_LOG * SLAB_TREES
#: Blocks that the sender sends for a tree: one for each level, and two more for the last two.
TREE_BLOCKS = TREE_LOG + 2
#: Of each iteration's outputs the first so many are what the next one is made from.
RESERVE = SECRET + SLAB_OTS * SLABS
OUTPUTS = SAMPLES - RESERVE
