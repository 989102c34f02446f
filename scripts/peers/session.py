"""Starts the programs of one run and waits for all of them.

Read from standard input as JSON: [[argv, environment], ...]. Exit code 0 if all ended well, 1 otherwise, with the
last words of the first that failed.
In a network namespace of its own (`run` starts it in one where it may) it turns on the loopback, which then counts
the bytes of this run alone.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time

SIOCSIFFLAGS = 0x8914
IFF_UP = 1
WORDS = 2000


def raise_loopback() -> None:
    """Turn on the interface `lo`; a new namespace has it turned off."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP))


def main(limit_s: float, own_network: bool) -> int:
    """Run the programs for at most so long."""
    if own_network:
        raise_loopback()
    outputs, children = [], []
    for argv, environment in json.load(sys.stdin):
        outputs.append(tempfile.TemporaryFile())  # noqa: SIM115 - until we end
        everything = {**os.environ, **environment}
        children.append(subprocess.Popen(argv, env=everything, stdout=outputs[-1], stderr=outputs[-1]))
    deadline = time.monotonic() + limit_s
    failed = None
    while failed is None and any(child.poll() is None for child in children):
        time.sleep(0.05)
        codes = [child.poll() for child in children]
        failed = next((rank for rank, code in enumerate(codes) if code), None)
        if time.monotonic() > deadline:
            print(f"over {limit_s:.0f} s")
            break
    for child in children:
        if child.poll() is None:
            child.kill()
        child.wait()
    if failed is not None:
        outputs[failed].seek(0)
        words = outputs[failed].read().decode(errors="replace")[-WORDS:]
        print(f"party {failed} ended with exit code {children[failed].returncode}:\n{words}")
    return int(any(child.returncode for child in children))


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2] == "own"))
