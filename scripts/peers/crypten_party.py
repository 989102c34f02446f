"""A party of CrypTen, or its dealer (TTP): crypten_party.py RANK FOLDER REPEATS NAME, in CrypTen's environment.

CrypTen 0.4.1 was made for an older torch, which had the module it imports for ONNX elsewhere; nothing here uses it.
"""

from __future__ import annotations

import importlib
import math
import sys
import time
from typing import Any

import torch
from party import Job

OLD_PLACE = "torch.onnx._internal.registration"
NEW_PLACE = "torch.onnx._internal.torchscript_exporter.registration"
try:
    importlib.import_module(OLD_PLACE)
except ModuleNotFoundError:
    sys.modules[OLD_PLACE] = importlib.import_module(NEW_PLACE)

import crypten  # noqa: E402
import crypten.communicator as comm  # noqa: E402

DEALER = 2
CLIENT, SERVER = 0, 1
FROM_SERVER = ("w_", "b_")  # names of weights and biases


def gelu(x: Any) -> Any:
    """By tanh: the Taylor series of CrypTen's erf is far off beyond 3."""
    return 0.5 * x * (1 + (math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)).tanh())


def layernorm(x: Any) -> Any:
    centred = x - x.mean(-1, keepdim=True)
    return centred * ((centred * centred).mean(-1, keepdim=True) + 1e-12).inv_sqrt()


def layer(v: dict[str, Any]) -> Any:
    """An encoder layer; heads come first in the products of attention."""
    heads, size = 12, v["x"].shape[1] // 12
    length = v["x"].shape[0]
    qkv = v["x"].matmul(v["w_qkv"]) + v["b_qkv"]
    parts = [qkv[:, i * heads * size : (i + 1) * heads * size] for i in range(3)]
    q, k, values = (part.view(length, heads, size).transpose(0, 1) for part in parts)
    attended = q.matmul(k.transpose(1, 2)).softmax(-1).matmul(values)
    attended = attended.transpose(0, 1).reshape(length, heads * size)
    x = layernorm(attended.matmul(v["w_output"]) + v["b_output"] + v["x"])
    inner = gelu(x.matmul(v["w_ffn1"]) + v["b_ffn1"])
    return layernorm(inner.matmul(v["w_ffn2"]) + v["b_ffn2"] + x)


WORKLOADS = {
    "mul": lambda v: v["x"] * v["y"],
    "matmul": lambda v: v["x"].matmul(v["y"]),
    "compare": lambda v: v["x"] >= 0,
    "relu": lambda v: v["x"].relu(),
    "softmax": lambda v: v["x"].softmax(-1),
    "gelu": lambda v: gelu(v["x"]),
    "layernorm": lambda v: layernorm(v["x"]),
    "layer": layer,
}


def counters() -> dict[str, int]:
    """CrypTen's own: rounds, and bytes both ways. The second party never asks the dealer, so there both are of what
    the two parties say to each other.
    """
    stats = comm.get().get_communication_stats()
    return {"rounds": stats["rounds"], "party_bytes": int(stats["bytes"])}


def revealed(found: Any) -> Any:
    """The result in the clear. CrypTen's own decoding adds 1 to negative whole numbers under this torch."""
    shares = found._tensor
    return shares.reveal().numpy() / shares.encoder.scale


def main(rank: int, folder: str, repeats: int, name: str) -> None:
    """Measure one workload, or deal for it."""
    crypten.cfg.mpc.provider = "TTP"
    crypten.cfg.communicator.verbose = True  # it counts rounds then
    if rank == DEALER:
        crypten.mpc.provider.ttp_provider.TTPServer()
        return
    crypten.init()
    job = Job(folder, rank, repeats)
    start = time.perf_counter()
    values = {
        key: crypten.cryptensor(
            torch.tensor(array, dtype=torch.float64), src=SERVER if key.startswith(FROM_SERVER) else CLIENT
        )
        for key, array in job.arrays.items()
    }
    setup_s = time.perf_counter() - start
    with crypten.no_grad():
        found = job.measure(
            lambda: WORKLOADS[name](values),
            comm.get().barrier,
            counters,
        )
        plain = revealed(found)
    job.tell(plain if rank == CLIENT else None, setup_s=setup_s)
    crypten.uninit()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4])
