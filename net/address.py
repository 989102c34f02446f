"""Addresses: tcp://HOST:PORT and ipc://PATH."""

from __future__ import annotations

import errno
import socket
from pathlib import Path

from net.errors import AddressError

_MAX_IPC_PATH = 107  # the kernel's limit for a socket path
_FORMS = "Use tcp://HOST:PORT (a name or an IPv4 address) or ipc://PATH."


def for_listening(address: str) -> str:
    """The address to bind; port 0 or * asks for any free port. Raises AddressError if malformed."""
    transport, host, port = _split(address)
    if transport == "ipc":
        return address
    if port in ("0", "*"):
        return f"tcp://{host}:*"
    return f"tcp://{host}:{_port(port, address)}"


def claim(address: str) -> None:
    """Removes what a dead listener left at an ipc address. Raises AddressError if a living one is there.

    libzmq alone would take the path away from a living listener without a word.
    """
    transport, path, _ = _split(address)
    if transport != "ipc" or not Path(path).is_socket():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        if probe.connect_ex(path) != errno.ECONNREFUSED:
            raise AddressError(f"cannot listen at {address}: Address already in use. Choose another address.")
    Path(path).unlink(missing_ok=True)


def release(address: str) -> None:
    """Removes the path of an ipc address after listening."""
    transport, path, _ = _split(address)
    if transport == "ipc":
        Path(path).unlink(missing_ok=True)


def for_connecting(address: str) -> str:
    """The address to connect to. Raises AddressError if malformed or without a definite host and port."""
    transport, host, port = _split(address)
    if transport == "ipc":
        return address
    if host in ("*", "0.0.0.0"):  # noqa: S104  (refused here, not bound)
        raise AddressError(f"{address!r} names no host to connect to. Give the listener's name or address.")
    return f"tcp://{host}:{_port(port, address)}"


def _split(address: str) -> tuple[str, str, str]:
    transport, mark, rest = address.partition("://")
    if not mark or not rest or transport not in ("tcp", "ipc"):
        raise AddressError(f"address {address!r} is malformed. {_FORMS}")
    if transport == "ipc":
        if len(rest.encode()) > _MAX_IPC_PATH:
            raise AddressError(f"path of {address!r} exceeds {_MAX_IPC_PATH} bytes. Choose a shorter one.")
        return transport, rest, ""
    host, _, port = rest.rpartition(":")
    if not host or ":" in host or "[" in host:
        raise AddressError(f"address {address!r} is malformed. {_FORMS}")
    return transport, host, port


def _port(text: str, address: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= 65535):
        raise AddressError(f"port of {address!r} must be 1 to 65535.")
    return int(text)
