"""Every backend gives the very bytes of the reference. A new kernel adds a row to ROWS."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from gpu_ss.backend import Backend
from gpu_ss.backend.reference import ReferenceBackend
from tests.support.backends import COMPILED_BACKENDS, EVERY_BACKEND, open_backend

Words = Callable[..., np.ndarray[Any, Any]]

KEY = bytes(range(32))
SIZES = [0, 1, 63, 64, 65, 127, 1000, 4099]
THREADED = 64 * 2 * 8 * 600 + 5  # elements, enough for every loop to use threads, and a ragged end
WIDTHS = [1, 2, 7, 8, 9, 16, 17, 31, 32, 33, 63, 64]
MATMUL_SHAPES = [
    ((0, 3), (3, 2)), ((2, 0), (0, 3)), ((2, 3), (3, 0)), ((0, 2, 3), (3, 4)), ((1, 1), (1, 1)),
    ((1, 300), (300, 1)), ((7, 5), (5, 9)), ((8, 256), (256, 24)), ((13, 257), (257, 25)), ((3, 2), (2, 100)),
    ((260, 3), (3, 5)), ((64, 80), (80, 128)), ((5, 2049), (2049, 3)),
    ((4, 5, 6), (6, 7)), ((4, 5, 6), (1, 6, 7)), ((5, 6), (4, 6, 7)), ((1, 5, 6), (4, 6, 7)),
    ((4, 5, 6), (4, 6, 7)), ((2, 1, 5, 6), (1, 3, 6, 7)), ((2, 3, 5, 6), (3, 6, 7)),
    ((2, 3, 1, 9), (2, 3, 9, 1)), ((12, 128, 64), (12, 64, 33)),
]  # fmt: skip

ROWS: list[tuple[str, str, Callable[[Words], tuple[Any, ...]]]] = [
    *(
        ("keystream", f"{n} from {block}", lambda words, n=n, block=block: (KEY, 2**63 + 5, block, n))
        for n in [0, 1, 16, 127, 128, 129, 5000, 8 * 9000 + 3]
        for block in [0, 2**32 - 16, 2**64 - 2**20]
    ),
    ("keystreams", "many", lambda words: (KEY, [7, 2**64 - 1, 8, 9, 10], [1, 3, 0, 2, 1])),
    ("keystreams", "one", lambda words: (KEY, [3], [5])),
    ("keystreams", "threads", lambda words: (KEY, list(range(300)), [1 + k % 3 for k in range(300)])),
    *(("keystreams", f"none {k}", lambda words, k=k: (KEY, [1] * k, [0] * k)) for k in (0, 2)),
    *(
        (op, f"{n}x{bits}", lambda words, n=n, bits=bits: (words(n), bits))
        for op in ("pack", "to_planes")
        for n in SIZES
        for bits in WIDTHS
    ),
    *(
        ("unpack", f"{n}x{bits}", lambda words, n=n, bits=bits: (words(-(-n * bits // 64) + n % 2), bits, n))
        for n in SIZES
        for bits in WIDTHS
    ),
    *(
        ("from_planes", f"{n}x{bits}", lambda words, n=n, bits=bits: (words(bits, -(-n // 64)), n))
        for n in SIZES
        for bits in WIDTHS
    ),
    *(("pack", f"137x{bits}", lambda words, bits=bits: (words(137), bits)) for bits in range(1, 65)),
    *(("unpack", f"137x{bits}", lambda words, bits=bits: (words(137), bits, 137)) for bits in range(1, 65)),
    *((op, "threads", lambda words: (words(THREADED), 21)) for op in ("pack", "to_planes")),
    *(
        ("difference_planes", f"{n}x{bits}", lambda words, n=n, bits=bits: (words(n), [5, -3, 2**64 - 1], bits))
        for n in SIZES
        for bits in WIDTHS
    ),
    ("difference_planes", "one", lambda words: (words(70), [1], 9)),
    ("difference_planes", "none", lambda words: (words(70), [], 9)),
    ("difference_planes", "threads", lambda words: (words(THREADED), [7, 11], 40)),
    ("unpack", "threads", lambda words: (words(THREADED), 21, THREADED)),
    ("from_planes", "threads", lambda words: (words(40, -(-THREADED // 64)), THREADED)),
    *(
        ("matmul", f"{a} @ {b}", lambda words, a=a, b=b: (words(*a), words(*b)))
        for a, b in MATMUL_SHAPES
    ),
    *(
        ("beaver_combine", f"{s} {lead}", lambda words, s=s, lead=lead: (*(words(*s) for _ in "xyabc"), lead))
        for s in [(0,), (1,), (65,), (3, 4, 5), (40_000,)]
        for lead in (False, True)
    ),
]  # fmt: skip


#: The place of the argument whose memory the result takes.
BECOMES_RESULT = {"residue_matmul": 3}


def call(backend: Backend, operation: str, arguments: tuple[Any, ...]) -> Any:
    """The result on the host; the arguments must come out of the call unharmed, but for one that becomes it."""
    own = [backend.asarray(a.copy()) if isinstance(a, np.ndarray) else a for a in arguments]
    result = getattr(backend, operation)(*own)
    results = result if isinstance(result, tuple) else (result,)
    assert all(isinstance(part, backend.xp.ndarray) and part.flags.c_contiguous for part in results)
    for place, (before, after) in enumerate(zip(arguments, own, strict=True)):
        if BECOMES_RESULT.get(operation) == place and after is not None:
            assert after is result
        elif isinstance(before, np.ndarray):
            assert np.array_equal(before, backend.to_host(after))
    parts = tuple(backend.to_host(part) for part in results)
    return parts if isinstance(result, tuple) else parts[0]


def drawn(seed: int) -> Words:
    """Random words of a shape."""
    rng = np.random.default_rng(seed)
    return lambda *shape: rng.integers(0, 2**64, shape, dtype=np.uint64)


def check_rows(
    rows: Iterable[tuple[str, str, Callable[..., Any]]], name: str, operation: str, draw: Any
) -> None:
    """An operation gives the reference's very bytes for the arguments that each of its rows makes of `draw`."""
    backend, reference = open_backend(name), ReferenceBackend()
    for _, label, arguments in (row for row in rows if row[0] == operation):
        case = arguments(draw)
        expected, got = call(reference, operation, case), call(backend, operation, case)
        for one, other in zip(_parts(got), _parts(expected), strict=True):
            assert one.dtype == other.dtype, label
            assert one.shape == other.shape, label
            assert one.tobytes() == other.tobytes(), label


def _parts(result: Any) -> tuple[Any, ...]:
    return result if isinstance(result, tuple) else (result,)


@pytest.mark.parametrize("name", COMPILED_BACKENDS)
@pytest.mark.parametrize("operation", sorted({row[0] for row in ROWS}))
def test_same_words_as_the_reference(name: str, operation: str) -> None:
    check_rows(ROWS, name, operation, drawn(7))


@pytest.mark.parametrize("name", EVERY_BACKEND)
@pytest.mark.parametrize("bits", [1, 24, 32, 33, 40, 48, 53, 63, 64])
def test_matmul_modulo_fewer_bits_and_by_a_factor(name: str, bits: int) -> None:
    backend = open_backend(name)
    rng = np.random.default_rng(bits)
    a, b = (rng.integers(0, 2**64, shape, dtype=np.uint64) for shape in ((2, 3, 5, 6), (3, 6, 7)))
    mask, factor = np.uint64(2**bits - 1), backend.factor(backend.asarray(b))
    assert "words=<hidden>" in repr(factor)
    for right in (backend.asarray(b), factor, factor):
        got = backend.to_host(backend.matmul(backend.asarray(a), right, bits))
        assert np.array_equal(got & mask, (a @ b) & mask)


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_matmul_takes_operands_that_are_not_contiguous(name: str) -> None:
    backend = open_backend(name)
    a, b = (np.random.default_rng(1).integers(0, 2**64, (2, 30, 20), dtype=np.uint64) for _ in range(2))
    left, right = (backend.asarray(x) for x in (a, b))
    got = backend.matmul(left[:, ::2], right.transpose(0, 2, 1)[:, :, 3:])
    assert np.array_equal(backend.to_host(got), a[:, ::2] @ b.transpose(0, 2, 1)[:, :, 3:])


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_read_only_input(name: str) -> None:
    backend = open_backend(name)
    received = np.frombuffer(np.arange(70, dtype=np.uint64).tobytes(), np.uint64)
    got = backend.to_host(backend.unpack(backend.asarray(received), 32, 140))
    assert got[::2].tolist() == list(range(70))


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_results_do_not_share_memory_with_arguments(name: str) -> None:
    backend = open_backend(name)
    x = backend.asarray(np.arange(70, dtype=np.uint64))
    copies = [backend.pack(x, 64), backend.unpack(x, 64, 70)]
    x += np.uint64(1)
    for copy in copies:
        assert backend.to_host(copy).tolist() == list(range(70))


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_wrong_arguments_are_refused(name: str) -> None:
    backend = open_backend(name)
    x = backend.zeros(64)
    refused: list[tuple[type[Exception], Callable[[], object]]] = [
        (ValueError, lambda: backend.keystream(bytes(31), 0, 0, 1)),
        (ValueError, lambda: backend.keystream(KEY, 2**64, 0, 1)),
        (ValueError, lambda: backend.keystream(KEY, -1, 0, 1)),
        (ValueError, lambda: backend.keystream(KEY, 0, 8, 1)),
        (ValueError, lambda: backend.keystream(KEY, 0, -16, 1)),
        (ValueError, lambda: backend.keystream(KEY, 0, 2**64 - 16, 129)),
        (ValueError, lambda: backend.keystream(KEY, 0, 0, -1)),
        (ValueError, lambda: backend.keystreams(KEY[1:], [1], [1])),
        (ValueError, lambda: backend.keystreams(KEY, [-1], [1])),
        (ValueError, lambda: backend.keystreams(KEY, [1], [-1])),
        (ValueError, lambda: backend.keystreams(KEY, [1], [1, 2])),
        (ValueError, lambda: backend.pack(x, 0)),
        (ValueError, lambda: backend.pack(x, 65)),
        (ValueError, lambda: backend.pack(x[::2], 8)),
        (TypeError, lambda: backend.pack(x.view(np.int64), 8)),
        (TypeError, lambda: backend.pack([1, 2], 8)),
        (ValueError, lambda: backend.unpack(x, 8, 513)),
        (ValueError, lambda: backend.unpack(x, 8, -1)),
        (ValueError, lambda: backend.to_planes(x, 65)),
        (ValueError, lambda: backend.difference_planes(x, [1], 65)),
        (ValueError, lambda: backend.difference_planes(x[::2], [1], 8)),
        (ValueError, lambda: backend.from_planes(x, 64)),
        (ValueError, lambda: backend.from_planes(x.reshape(64, 1), 65)),
        (ValueError, lambda: backend.matmul(x, x)),
        (ValueError, lambda: backend.matmul(x.reshape(8, 8), x.reshape(8, 8), 65)),
        (TypeError, lambda: backend.matmul(x.reshape(8, 8), backend.factor(x.reshape(8, 8).view(np.int64)))),
        (ValueError, lambda: backend.matmul(x.reshape(8, 8), x.reshape(4, 16))),
        (ValueError, lambda: backend.matmul(x.reshape(2, 8, 4), x.reshape(4, 4, 4))),
        (TypeError, lambda: backend.matmul(x.reshape(8, 8), x.reshape(8, 8).view(np.float64))),
        (ValueError, lambda: backend.beaver_combine(x, x, x, x, x[:1], True)),
    ]
    for error, attempt in refused:
        with pytest.raises(error):
            attempt()


@pytest.mark.parametrize("name", EVERY_BACKEND)
def test_memory(name: str) -> None:
    backend = open_backend(name)
    host = np.arange(24, dtype=np.uint64).reshape(4, 6)
    for view in (host, host.T, host[::2], np.asarray(np.uint64(5))):
        array = backend.asarray(view)
        assert array.flags.c_contiguous
        assert array.shape == view.shape
        assert np.array_equal(backend.to_host(array), view)
    assert backend.empty((2, 3)).shape == (2, 3)
    assert backend.empty(5).dtype == np.uint64
    assert not backend.to_host(backend.zeros((2, 3))).any()
    backend.synchronize()
    backend.activate()
    assert all(isinstance(text, str) for pair in backend.details.items() for text in pair)
