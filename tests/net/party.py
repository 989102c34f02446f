"""A party in a process of its own, for tests that end it: python -m tests.net.party MODE ADDRESS KEY_DIR.

The listener is "server", the connector "client"; their key files are in KEY_DIR.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from net import Channel, Listener, connect, load_authorised, load_keys, load_public, report_ready
from tests.net.helpers import LIMIT_S, QUICK

CHUNK = bytes(8 << 20)


def call(address: str, directory: Path) -> Channel:
    channel = connect(
        address, load_keys(directory / "client.key"), load_public(directory / "server.pub"), QUICK
    )
    report_ready({})
    return channel


def listen(address: str, directory: Path) -> Channel:
    authorised = load_authorised(directory / "client.pub")
    listener = Listener(address, load_keys(directory / "server.key"), authorised, QUICK)
    report_ready({"address": listener.address})
    return listener.accept(LIMIT_S)


def stream(channel: Channel) -> None:
    while True:
        channel.send("stream", [CHUNK])


def main(mode: str, address: str, directory: Path) -> None:
    if mode == "call and wait":
        call(address, directory).recv("never", [])
    elif mode == "call and stream":
        stream(call(address, directory))
    elif mode == "call and crash":
        channel = call(address, directory)
        for i in range(5):
            channel.send("last words", [bytes([i]) * 10_000])
        channel.recv("go", [])
        os.kill(os.getpid(), signal.SIGKILL)
    elif mode == "listen and wait":
        listen(address, directory).recv("never", [])
    else:
        sys.exit(f"unknown mode {mode}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], Path(sys.argv[3]))
