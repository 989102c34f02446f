"""python -m bench.cuda_units [BACKEND]: compile every CUDA source file now, and say what became of each kernel.

CuPy keeps what it has compiled on the disk, so programs that start later find it there. Files are compiled side by
side, each in a process of its own; the exit code is 1 if one fails.
"""

from __future__ import annotations

import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context

from gpu_ss.backend import BackendError, get_backend
from gpu_ss.backend.cuda import CudaBackend
from gpu_ss.backend.signatures import CUDA_KERNELS, KERNELS

EVERY_KERNEL = KERNELS | CUDA_KERNELS


def compiled(backend_name: str, unit: str) -> list[str]:
    """Lines about a source file and its kernels."""
    backend = _cuda(backend_name)
    start = time.perf_counter()
    made = {name: backend.made_of(name) for name, kernel in EVERY_KERNEL.items() if kernel.unit == unit}
    lines = [f"{unit}: {time.perf_counter() - start:.1f} s"]
    for name, found in made.items():
        spilt = f", {found['local_size_bytes']} bytes of local memory" if found["local_size_bytes"] else ""
        lines.append(f"    {name}: {found['num_regs']} registers{spilt}")
    return lines


def _cuda(backend_name: str) -> CudaBackend:
    backend = get_backend(backend_name)
    if not isinstance(backend, CudaBackend):
        raise BackendError(f"there is nothing to compile for backend {backend_name}")
    return backend


def main(backend_name: str = "cuda") -> int:
    """Compile all of them; the exit code."""
    _cuda(backend_name)
    units = sorted({kernel.unit for kernel in EVERY_KERNEL.values()})
    failed = False
    with ProcessPoolExecutor(min(len(units), os.cpu_count() or 1), get_context("spawn")) as pool:
        jobs = {pool.submit(compiled, backend_name, unit): unit for unit in units}
        for job in as_completed(jobs):
            try:
                lines = job.result()
            except Exception as error:
                failed, lines = True, [f"{jobs[job]}: {type(error).__name__}: {error}"]
            print("\n".join(lines), flush=True)
    return int(failed)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
