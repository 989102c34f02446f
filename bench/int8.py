"""The rate of signed 8-bit products with 32-bit sums, as cuBLAS reaches it: what a ring product can be measured by.

Exact products modulo 2^w from 8-bit digits take one such product for each pair of digits i, j with i + j < w / 8.
"""

from __future__ import annotations

import ctypes
import statistics
from collections.abc import Callable

from gpu_ss.backend import Backend

SIDE = 8192
DIGIT_BITS = 8
INT8, INT32 = 3, 10  # CUDA_R_8I, CUDA_R_32I
COMPUTE_INT32 = 72  # CUBLAS_COMPUTE_32I
TRANSPOSED, PLAIN, DEFAULT = 1, 0, -1


def digit_products(bits: int) -> int:
    """8-bit products that a product modulo 2^bits takes: 36 at 64, 10 at 32."""
    digits = -(-bits // DIGIT_BITS)
    return digits * (digits + 1) // 2


def int8_gops(backend: Backend, samples: Callable[[Callable[[], None]], list[float]]) -> float | None:
    """Multiplications and additions per second / 1e9 of one large product; null for backends without tensor cores.

    `samples` gives the seconds of a call, several times.
    """
    xp = backend.xp
    if not hasattr(xp, "cuda"):
        return None
    a = xp.ones((SIDE, SIDE), xp.int8)
    b = xp.ones((SIDE, SIDE), xp.int8)
    c = xp.zeros((SIDE, SIDE), xp.int32)
    one, zero = ctypes.c_int32(1), ctypes.c_int32(0)
    blas, handle = xp.cuda.cublas, xp.cuda.device.get_cublas_handle()

    def run() -> None:
        blas.gemmEx(
            handle, TRANSPOSED, PLAIN, SIDE, SIDE, SIDE,
            ctypes.addressof(one), a.data.ptr, INT8, SIDE, b.data.ptr, INT8, SIDE,
            ctypes.addressof(zero), c.data.ptr, INT32, SIDE, COMPUTE_INT32, DEFAULT,
        )  # fmt: skip

    run()
    if int(c[0, 0]) != SIDE:
        raise ValueError("cuBLAS does not multiply 8-bit integers here")
    return 2 * SIDE**3 / statistics.median(samples(run)) / 1e9
