"""Gaussian-process regression on data that two hospitals will not show each other.

    python examples/private_gp_regression.py                        starts both, and a dealer, on this machine
    python examples/private_gp_regression.py alice|bob KEYS ...     is one of them (the same on separate machines)

Alice and Bob each have half of the training patients (scikit-learn's diabetes data: ten measurements, and how the
disease progressed). Alice has new patients besides. She learns the prediction for them, mean and variance, that a
process trained on all patients makes; nobody learns anything else. The kernel matrix, its Cholesky factor and all
that is between stay shared. After Luo et al., Practical Privacy-Preserving Gaussian Process Regression via Secret
Sharing (arXiv 2306.14498); the protocols are this project's. The result is checked against scikit-learn.
"""

import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from gpu_ss.fixed import decode, encode
from gpu_ss.functions.exp import exp
from gpu_ss.functions.inverse import rsqrt
from gpu_ss.party import Party, together
from gpu_ss.protocols.arith import matmul, mul, square
from gpu_ss.protocols.io import add_public, private, reveal, share
from gpu_ss.protocols.trunc import truncate
from gpu_ss.ring import RING64
from gpu_ss.session import joined
from gpu_ss.values import AShare
from net import Listener, Program, connect, generate, launch, load_keys, load_public, report_ready

ALICE, BOB = 0, 1
FRAC = 20
TRAIN, NEW = 20, 8  # patients of each hospital, and Alice's new ones
LENGTH, NOISE = 3.0, 0.3  # of the kernel exp(-d^2 / (2 LENGTH^2)), and of the measurements


def patients() -> tuple[np.ndarray, np.ndarray]:
    """Measurements and progression, both with mean 0 and deviation 1; the order mixed."""
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    chosen = np.random.default_rng(7).permutation(len(y))[: 2 * TRAIN + NEW]
    x, y = x[chosen], y[chosen]
    return (x - x.mean(axis=0)) / x.std(axis=0), (y - y.mean()) / y.std()


# -- the arithmetic: all arguments and results are shares with FRAC fractional bits -------------------------------


def times(party: Party, a: AShare, b: AShare) -> AShare:
    """a * b elementwise."""
    return truncate(party, mul(party, a, b), FRAC)


def spread(party: Party, a: AShare, shape: tuple[int, ...]) -> AShare:
    """a, repeated to a shape."""
    return a.map(lambda d: party.backend.xp.ascontiguousarray(party.backend.xp.broadcast_to(d, shape)))


def kernel(party: Party, a: AShare, b: AShare) -> AShare:
    """exp(-|a_i - b_j|^2 / (2 LENGTH^2)) for rows a_i and b_j."""
    products, squares_a, squares_b = party.run(
        together(matmul.steps(party, a, b, transposed=True), square.steps(party, a), square.steps(party, b))
    )
    shape = products.shape
    norms_a, norms_b = squares_a.sum(axis=1).reshape(-1, 1), squares_b.sum(axis=1).reshape(1, -1)
    distances = spread(party, norms_a, shape) + spread(party, norms_b, shape) - products.times(2)
    distances = truncate(party, distances, FRAC)
    return exp(party, truncate(party, distances.scaled(-0.5 / LENGTH**2, FRAC), FRAC))


def inverse_root(party: Party, a: AShare) -> AShare:
    """1 / sqrt(a), to the last bits: one step of Newton's, d (3 - a d^2) / 2."""
    d = rsqrt(party, a)
    rest = add_public(party, -times(party, a, times(party, d, d)), 3 << FRAC)
    double = times(party, d, rest)
    return AShare(truncate(party, double, 1).data, double.ring, FRAC)


def regress(party: Party, x: AShare, y: AShare, new: AShare) -> tuple[AShare, AShare]:
    """Mean and variance at the rows `new` of the process trained on rows x with values y.

    With K + NOISE = L L^T: z = L^-1 y, W = L^-1 k(x, new), mean = W^T z, variance = 1 - sum W^2. The columns
    of y and k(x, new) go through the elimination with the matrix, so L^-1 needs no second pass.
    """
    xp, n = party.backend.xp, x.shape[0]
    noise = party.backend.asarray(encode(np.eye(n) * NOISE, RING64, FRAC))
    matrix = add_public(party, kernel(party, x, x), noise)
    sides = AShare(xp.concatenate([y.reshape(n, 1).data, kernel(party, x, new).data], axis=1), RING64, FRAC)
    rows = []
    for k in range(n):
        root = inverse_root(party, matrix[:1, :1])
        line = AShare(xp.concatenate([matrix[:1].data, sides[:1].data], axis=1), RING64, FRAC)
        line = times(party, line, spread(party, root, line.shape))  # row k of L^T, z and W
        rows.append(line[:, n - k :].data)
        if k < n - 1:
            column = line[:, 1 : n - k].reshape(n - k - 1, 1)
            update = truncate(party, matmul(party, column, line[:, 1:]), FRAC)
            matrix = matrix[1:, 1:] - update[:, : n - k - 1]
            sides = sides[1:] - update[:, n - k - 1 :]
    solved = AShare(xp.concatenate(rows, axis=0), RING64, FRAC)
    z, w = solved[:, :1], solved[:, 1:]
    mean = times(party, w, spread(party, z, w.shape)).sum(axis=0)
    variance = add_public(party, -truncate(party, square(party, w), FRAC).sum(axis=0), 1 << FRAC)
    return mean, variance


# -- the parties ---------------------------------------------------------------------------------------------------


def be_a_party(name: str, keys: Path, dealer: str, bob: str | None = None) -> None:
    """Alice connects to Bob (rank 0), Bob listens (rank 1)."""
    own = load_keys(keys / f"{name}.key")

    def open_dealer():
        return connect(dealer, own, load_public(keys / "dealer.pub"))

    if name == "alice":
        channel = connect(bob, own, load_public(keys / "bob.pub"))
    else:
        listener = Listener("tcp://127.0.0.1:*", own, [load_public(keys / "alice.pub")])
        report_ready({"address": listener.address})
        channel = listener.accept()
    rank = ALICE if name == "alice" else BOB
    with channel, joined(rank, channel, open_dealer) as party:
        x, y = patients()  # each party looks at its own rows only
        start = time.perf_counter()
        found = predict(party, rank, x, y)
        if rank == ALICE:
            rounds = channel.traffic.report().rounds
            print(f"{rounds} rounds, {time.perf_counter() - start:.1f} s", flush=True)
            compare(*found, x, y)


def predict(party: Party, rank: int, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, ...] | None:
    """Mean and variance for the new patients, at Alice."""

    def secret(owner: int, values: np.ndarray) -> AShare:
        words = party.backend.asarray(encode(values, RING64, FRAC)) if rank == owner else None
        return share(party, private(party, owner, words, values.shape, RING64, FRAC))

    def from_both(values: np.ndarray) -> AShare:
        halves = secret(ALICE, values[:TRAIN]), secret(BOB, values[TRAIN : 2 * TRAIN])
        return AShare(party.backend.xp.concatenate([h.data for h in halves]), RING64, FRAC)

    mean, variance = regress(party, from_both(x), from_both(y), secret(ALICE, x[2 * TRAIN :]))
    words = [reveal(party, value, ALICE) for value in (mean, variance)]
    return None if rank != ALICE else tuple(decode(party.backend.to_host(w), RING64, FRAC) for w in words)


def compare(mean: np.ndarray, variance: np.ndarray, x: np.ndarray, y: np.ndarray) -> None:
    """Beside scikit-learn's, trained on everybody's data in clear. Exit code 1 if they differ."""
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import RBF

    clear = GaussianProcessRegressor(RBF(LENGTH), alpha=NOISE, optimizer=None).fit(
        x[: 2 * TRAIN], y[: 2 * TRAIN]
    )
    expected, deviation = clear.predict(x[2 * TRAIN :], return_std=True)
    print("patient  private mean  deviation   scikit-learn  deviation")
    for k, (m, v) in enumerate(zip(mean, variance, strict=True)):
        print(f"{k + 1:7} {m:13.4f} {v**0.5:10.4f} {expected[k]:14.4f} {deviation[k]:10.4f}")
    worst = max(np.abs(mean - expected).max(), np.abs(np.sqrt(variance) - deviation).max())
    print(f"largest difference {worst:.1e}")
    if not worst < 5e-3:
        sys.exit("the private result differs from scikit-learn's")


def start_all() -> None:
    """Keys, dealer, Bob and Alice on this machine."""
    with tempfile.TemporaryDirectory() as folder:
        keys = Path(folder)
        for name in ("alice", "bob", "dealer"):
            generate(keys, name)
        me = [sys.executable, __file__]
        deal = [sys.executable, "-m", "transformer.cli", "dealer", "--once", "--dealer", "tcp://127.0.0.1:*"]
        deal += ["--keys", folder, "--allow", f"{folder}/alice.pub", "--allow", f"{folder}/bob.pub"]
        with launch([Program("dealer", deal)], timeout_s=120) as running:
            dealer = running.wait_ready("dealer")["address"]
            running.start(Program("bob", [*me, "bob", folder, dealer], capture=False))
            bob = running.wait_ready("bob")["address"]
            running.start(Program("alice", [*me, "alice", folder, dealer, bob], capture=False))
            running.wait()


if __name__ == "__main__":
    if len(sys.argv) == 1:
        start_all()
    else:
        be_a_party(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
