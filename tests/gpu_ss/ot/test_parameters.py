"""The LPN instance is the published one, cut short, and the estimates that fit a page stay above 128 bits."""

from __future__ import annotations

from math import log2

from gpu_ss.backend.oblivious import CHOICES, GROUP_ROWS
from gpu_ss.provider.ot import parameters as lpn

PUBLISHED = (1520 << 12, 1 << 18, 1520)  # n, k, t of emp-ot 1.0's ferret_b12
SECURITY = 128


def elimination(n: int, k: int, t: int, exponent: float) -> float:
    """log2 cost of guessing places without noise, evenly over the blocks, and solving for the secret.

    A block's parity is known, which saves one guess in each.
    """
    unknown = k - t
    return exponent * log2(unknown) - t * log2(1 - unknown / n)


def hybrid(n: int, k: int, t: int, most: int = 8) -> float:
    """log2 cost of Briaud and Oygarden's attack: guess u places without noise in f blocks, then solve at degree D.

    The places of a block annihilate each other and add up to one, and n - k parity checks hold: over F_2 the series
    (1 + (b - 1) z)^t / (1 + z)^(n - k) tells the degree. Block Wiedemann takes 3 (row weight) (columns)^2.
    """
    block, best = n // t, float("inf")

    def of(blocks: int, size: int, i: int) -> float:
        """Monomials of degree i: one place each of i blocks, one place of a block being known from the others."""
        return _choose(blocks, i) * (size - 1.0) ** i

    for parts in range(1, 5):
        f = t * parts // 4
        for u in range(block // 2):
            guessed = -f * log2(1 - u / block)
            if guessed > best:
                break
            columns = [1.0]
            for d in range(1, most):  # coefficients of the product of two kinds of blocks
                columns.append(sum(of(f, block - u, i) * of(t - f, block, d - i) for i in range(d + 1)))
            checks = [1.0]
            for d in range(1, most):
                checks.append(-checks[-1] * (n - k + d - 1) / d)
            for degree in range(2, most):
                if sum(columns[i] * checks[degree - i] for i in range(degree + 1)) <= 0:
                    best = min(best, guessed + 2 * log2(sum(columns[: degree + 1])) + log2(3 * k / 2))
                    break
    return best


def _choose(n: int, k: int) -> float:
    result = 1.0
    for i in range(k):
        result *= (n - i) / (i + 1)
    return result


def test_the_instance_is_a_part_of_the_published_one() -> None:
    n, k, t = PUBLISHED
    ours = (lpn.SAMPLES, lpn.SECRET, lpn.NOISE)
    assert ours == (1504 << 12, k, 1504)
    assert n // t == ours[0] // ours[2]
    assert t >= ours[2]
    assert CHOICES == 10
    assert len({lpn.SLAB_ROWS % GROUP_ROWS, lpn.RESERVE % 64}) == 1


def test_estimates() -> None:
    ours = (lpn.SAMPLES, lpn.SECRET, lpn.NOISE)
    for instance in (ours, PUBLISHED):
        assert elimination(*instance, exponent=2.8) > SECURITY + 15
        assert elimination(*instance, exponent=2.0) > SECURITY
        assert hybrid(*instance) > SECURITY
    assert hybrid(*ours) >= hybrid(*PUBLISHED)
    assert hybrid(1 << 22, 67440, 4788) < SECURITY, "a set that regular noise is known to weaken"


def test_an_iteration_feeds_the_next() -> None:
    assert lpn.RESERVE == lpn.SECRET + lpn.TREE_LOG * lpn.NOISE
    assert lpn.RESERVE < lpn.SAMPLES
    sent = lpn.NOISE * lpn.TREE_BLOCKS * 128 + lpn.SLABS * 8 * (256 + 200)
    assert sent / lpn.OUTPUTS < 0.5
