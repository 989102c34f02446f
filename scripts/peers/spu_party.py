"""A party of SPU: spu_party.py RANK FOLDER REPEATS NAME PROTOCOL PORT PORT, in SPU's environment.

PROTOCOL is semi2k (products dealt by the first party, SPU's default) or cheetah (no dealer; the server's weights
stay with it, which is its best setting).
"""

from __future__ import annotations

import re
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import spu
import spu.utils.frontend as frontend
from party import Job
from spu import libspu

CLIENT, SERVER = 0, 1
FROM_SERVER = ("w_", "b_")  # names of weights and biases
WAIT_MS = 3_600_000
FRACTION_BITS = 18


def layernorm(x: Any) -> Any:
    centred = x - jnp.mean(x, -1, keepdims=True)
    return centred * jax.lax.rsqrt(jnp.mean(centred * centred, -1, keepdims=True) + 1e-12)


def layer(v: dict[str, Any]) -> Any:
    """An encoder layer; heads come first in the products of attention."""
    length, hidden = v["x"].shape
    heads = 12
    qkv = v["x"] @ v["w_qkv"] + v["b_qkv"]
    q, k, values = (
        part.reshape(length, heads, hidden // heads).transpose(1, 0, 2) for part in jnp.split(qkv, 3, -1)
    )
    attended = jax.nn.softmax(q @ k.transpose(0, 2, 1), -1) @ values
    attended = attended.transpose(1, 0, 2).reshape(length, hidden)
    x = layernorm(attended @ v["w_output"] + v["b_output"] + v["x"])
    inner = jax.nn.gelu(x @ v["w_ffn1"] + v["b_ffn1"])
    return layernorm(inner @ v["w_ffn2"] + v["b_ffn2"] + x)


WORKLOADS = {
    "mul": lambda v: v["x"] * v["y"],
    "matmul": lambda v: v["x"] @ v["y"],
    "compare": lambda v: v["x"] >= 0,
    "relu": lambda v: jnp.maximum(v["x"], 0),
    "softmax": lambda v: jax.nn.softmax(v["x"], -1),
    "gelu": lambda v: jax.nn.gelu(v["x"]),
    "layernorm": lambda v: layernorm(v["x"]),
    "layer": layer,
}


def configured(protocol: str) -> libspu.RuntimeConfig:
    """64-bit ring; weights known to be the server's where that helps."""
    kind = {"semi2k": libspu.ProtocolKind.SEMI2K, "cheetah": libspu.ProtocolKind.CHEETAH}[protocol]
    config = libspu.RuntimeConfig(kind, libspu.FieldType.FM64, FRACTION_BITS)
    config.experimental_enable_colocated_optimization = protocol == "cheetah"
    config.enable_pphlo_profile = True  # it writes down what it sends
    return config


def connected(rank: int, ports: list[str]) -> Any:
    """A link to the other party on this machine."""
    description = libspu.link.Desc()
    description.recv_timeout_ms = WAIT_MS
    for party, port in enumerate(ports):
        description.add_party(str(party), f"127.0.0.1:{port}")
    return libspu.link.create_brpc(description, rank)


def messages_of(log: Path) -> int:
    """Messages that this party sent in the last run, of SPU's own log: no more rounds than these."""
    counts = re.findall(r"Link details: .*send actions (\d+)", log.read_text())
    return int(counts[-1])


def shared(folder: Path, rank: int, name: str, array: Any, config: libspu.RuntimeConfig) -> libspu.Share:
    """This party's share: the client makes all of them and leaves them in files. Set-up, not measured."""
    owner = (
        SERVER if name.startswith(FROM_SERVER) and config.experimental_enable_colocated_optimization else -1
    )
    io = spu.Io(2, config)
    shares = io.make_shares(array.astype(np.float32), libspu.Visibility.VIS_SECRET, owner)
    if rank == CLIENT:
        write(folder / f"{name}.share", shares[SERVER])
        return shares[CLIENT]
    return read(folder / f"{name}.share", shares[SERVER])


def write(file: Path, share: libspu.Share) -> None:
    """Chunks with their lengths; the description is the same at both."""
    data = b"".join(len(chunk).to_bytes(8, "little") + chunk for chunk in map(bytes, share.share_chunks))
    file.write_bytes(data)


def read(file: Path, described: libspu.Share) -> libspu.Share:
    """What `write` wrote."""
    data, chunks = file.read_bytes(), []
    while data:
        size = int.from_bytes(data[:8], "little")
        chunks.append(data[8 : 8 + size])
        data = data[8 + size :]
    described.share_chunks = chunks
    return described


def main(rank: int, folder: str, repeats: int, name: str, protocol: str, *ports: str) -> None:
    """Measure one workload."""
    log = Path(folder) / f"spu{rank}.log"
    options = libspu.logging.LogOptions()
    options.system_log_path, options.enable_console_logger = str(log), False
    libspu.logging.setup_logging(options)
    config = configured(protocol)
    link = connected(rank, list(ports))
    runtime = spu.Runtime(link, config)
    job = Job(folder, rank, repeats)
    names = list(job.arrays)
    start = time.perf_counter()
    if rank == SERVER:
        link.barrier()
    for key, array in job.arrays.items():
        runtime.set_var(key, shared(Path(folder), rank, key, array, config))
    if rank == CLIENT:
        link.barrier()
    setup_s = time.perf_counter() - start
    program, _ = frontend.compile(
        frontend.Kind.JAX,
        lambda *values: WORKLOADS[name](dict(zip(names, values, strict=True))),
        [array.astype(np.float32) for array in job.arrays.values()],
        {},
        names,
        [libspu.Visibility.VIS_SECRET] * len(names),
        lambda found: ["found"],
    )
    job.measure(lambda: runtime.run(program), link.barrier)
    mine = runtime.get_var("found")
    place = Path(folder) / "found.share"
    if rank == SERVER:
        write(place, mine)
    link.barrier()
    result = None
    if rank == CLIENT:
        theirs = read(place, runtime.get_var("found"))
        result = spu.Io(2, config).reconstruct([mine, theirs])
    job.tell(result, setup_s=setup_s, rounds=messages_of(log))
    link.barrier()
    link.stop_link()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
