"""The bridge to SEAL: exact, the only way out, and unimpressed by foreign bytes."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("tenseal", reason="TenSEAL is not installed: pip install 'fastlmpi[he]'")

from he_bridge import tenseal_io
from he_bridge.errors import HeError
from he_bridge.tenseal_bfv import Bfv, BfvParams, Evaluator, KeyHolder
from he_bridge.tenseal_io import batching_primes, guarded, library, pack, unpack
from tests.he_bridge.hostile_seal import CASES

SMALL = BfvParams(4096, (35,), (30,), 17, 20)
N = 4096
rng = np.random.default_rng(1)


@pytest.fixture(scope="module")
def pair() -> tuple[KeyHolder, Evaluator]:
    holder = KeyHolder(Bfv(SMALL, batching_primes(N, 20, 1)[0]))
    return holder, Evaluator(Bfv(SMALL, holder.bfv.plain_modulus), holder.public_key())


@pytest.mark.parametrize("bits", [1, 17, 32, 46, 55, 60, 63, 64])
def test_packing_keeps_every_bit(bits: int) -> None:
    top = (1 << bits) - 1
    values = rng.integers(0, top, 640, dtype=np.uint64, endpoint=True)
    values[:3] = 0, top, top >> 1
    packed = pack(values, bits)
    assert len(packed) == 80 * bits
    assert np.array_equal(unpack(packed, bits), values)


def test_plaintexts_survive_the_way_through_seal(pair: tuple[KeyHolder, Evaluator]) -> None:
    bfv = pair[0].bfv
    for values in (rng.integers(0, 1000, N, dtype=np.uint64), np.zeros(N, np.uint64)):
        plain = library().write_plain(bfv.context, values)
        assert np.array_equal(library().read_plain(plain, N), values)
        assert np.array_equal(bfv.decode(bfv.encode(values)), values)


def test_products_are_exact(pair: tuple[KeyHolder, Evaluator]) -> None:
    holder, evaluator = pair
    t = holder.bfv.plain_modulus
    x, y, w, v, masks = rng.integers(0, t, (5, N), dtype=np.uint64)
    x[:2], w[:2] = t - 1, (t - 1, 0)
    ciphers = evaluator.load(holder.encrypt([x, y]), 2)
    reply = evaluator.release([evaluator.product_sum(ciphers, [w, v]), None], np.stack([masks, masks]))
    assert len(reply) == holder.bfv.reply_bytes(2)
    found = holder.decrypt(reply, 2)
    assert np.array_equal(found[0], (x * w + y * v + masks) % np.uint64(t))
    assert np.array_equal(found[1], masks)


def test_a_product_with_zeros_is_no_special_case(pair: tuple[KeyHolder, Evaluator]) -> None:
    holder, evaluator = pair
    x, masks, zero = *rng.integers(0, 1000, (2, N), dtype=np.uint64), np.zeros(N, np.uint64)
    total = evaluator.product_sum(evaluator.load(holder.encrypt([x]), 1), [zero])
    assert np.array_equal(holder.decrypt(evaluator.release([total], masks[None]), 1)[0], masks)


def test_a_reply_is_never_the_same_twice_and_shorter(pair: tuple[KeyHolder, Evaluator]) -> None:
    holder, evaluator = pair
    data = holder.encrypt([np.ones(N, np.uint64)])
    assert data != holder.encrypt([np.ones(N, np.uint64)])
    mask = np.zeros((1, N), np.uint64)
    replies = {evaluator.release(evaluator.load(data, 1), mask) for _ in range(3)}
    assert len(replies) == 3
    assert {len(r) for r in replies} == {2 * N * 35 // 8}


def test_malformed_messages_are_refused(pair: tuple[KeyHolder, Evaluator]) -> None:
    holder, evaluator = pair
    bfv = holder.bfv
    fresh, key = holder.encrypt([np.ones(N, np.uint64)]), holder.public_key()
    reply = evaluator.release(evaluator.load(fresh, 1), np.zeros((1, N), np.uint64))
    full = b"\xff" * len(fresh)
    for bad in (b"", fresh[:-1], fresh + b"0", fresh[: len(fresh) // 2], full):
        with pytest.raises(HeError):
            evaluator.load(bad, 1)
    with pytest.raises(HeError):
        evaluator.load(fresh, 2)
    for bad in (b"", key[:-8], key + key, b"\xff" * len(key)):
        with pytest.raises(HeError):
            Evaluator(bfv, bad)
    for bad in (b"", reply[1:], reply * 2, b"\xff" * len(reply)):
        with pytest.raises(HeError):
            holder.decrypt(bad, 1)
    with pytest.raises(HeError, match="masks of shape"):
        evaluator.release([None], np.zeros((1, 5), np.uint64))
    with pytest.raises(HeError):
        evaluator.release([None], np.full((1, N), bfv.plain_modulus, np.uint64))
    with pytest.raises(HeError):
        holder.encrypt([np.full(N, 2**63, np.uint64)])


def test_foreign_residues_within_range_do_no_harm(pair: tuple[KeyHolder, Evaluator]) -> None:
    """Random words below the primes are a ciphertext of something: computed on, not detected."""
    holder, evaluator = pair
    bfv = holder.bfv
    for residues in (np.zeros((1, 2, N), np.uint64), rng.integers(0, 2**29, (1, 2, N), dtype=np.uint64)):
        total = evaluator.load(bfv.pack(residues) + rng.bytes(64), 1)
        holder.decrypt(evaluator.release(total, np.zeros((1, N), np.uint64)), 1)


@pytest.mark.parametrize("case", CASES)
def test_seal_raises_on_hostile_bytes_and_all_of_it_is_one_error(case: str) -> None:
    """Nothing foreign gets this far (the tests above); if it did, it would not end the process."""
    argv = [sys.executable, "-m", "tests.he_bridge.hostile_seal", case]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert len(lines) == 4
    assert case == "flipped" or lines == ["refused"] * 4


@pytest.mark.parametrize("error", [RuntimeError, ValueError, IndexError, MemoryError, TypeError])
def test_whatever_seal_raises_becomes_one_error(error: type[Exception]) -> None:
    with pytest.raises(HeError, match=f"here: {error.__name__}"), guarded("here"):
        raise error("x")


def test_without_tenseal_the_message_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['tenseal'] = None\n"
        "from he_bridge import slots, tenseal_linear\n"
        "from he_bridge.tenseal_io import available, library\n"
        "print(available())\n"
        "try: library()\n"
        "except Exception as error: print(type(error).__name__, error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[0] == "False"
    assert "HeError TenSEAL is not installed" in done.stdout
    assert "pip install 'fastlmpi[he]'" in done.stdout


def test_another_file_format_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenseal_io, "_MAGIC", 0x1234)
    with pytest.raises(HeError, match="tenseal>="):
        library.__wrapped__()


def test_weak_parameters_are_refused() -> None:
    good = BfvParams(8192, (35, 35), (48, 48), 17, 59)
    l1, l2 = 768 * 2.0**15, 768**0.5 * 2.0**15
    margins = good.check(l1, l2, 8192 * 768)
    assert margins.privacy_bits > 40
    assert margins.decryption_bits > 40
    for changed, why in (
        (BfvParams(8192, (35, 35), (48,), 17, 59), "circuit privacy"),
        (BfvParams(8192, (35, 35), (), 17, 59), "circuit privacy"),
        (BfvParams(8192, (33, 33), (48, 48), 17, 59), "decryption"),
        (BfvParams(4096, (35, 35), (48, 48), 17, 59), "128-bit"),
        (BfvParams(8192, (60, 60), (60, 30), 17, 59), "128-bit"),
        (BfvParams(5000, (35, 35), (48, 48), 17, 59), "128-bit"),
    ):
        with pytest.raises(HeError, match=why):
            changed.check(l1, l2, 8192 * 768)


def test_seal_checks_parameters_too() -> None:
    for params, plain in ((BfvParams(4096, (60,), (60,), 17, 20), 1 << 20), (SMALL, 1 << 61), (SMALL, 0)):
        with pytest.raises(HeError):
            Bfv(params, plain)


def test_nothing_secret_in_a_repr(pair: tuple[KeyHolder, Evaluator]) -> None:
    holder, evaluator = pair
    assert "hidden" in repr(holder)
    assert "hidden" in repr(evaluator.load(holder.encrypt([np.ones(N, np.uint64)]), 1)[0])


def test_tenseal_has_one_door() -> None:
    for path in (Path(tenseal_io.__file__).parent).rglob("*.py"):
        names = {
            name
            for node in ast.walk(ast.parse(path.read_text()))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }
        assert path.name == "tenseal_io.py" or not any(n.split(".")[0] == "tenseal" for n in names), path.name
        assert not any(n.split(".")[0] in {"pickle", "random"} for n in names), path.name
