"""Addresses and settings: what is refused, and that the message says what is wanted."""

from __future__ import annotations

from dataclasses import fields

import pytest

from net import AddressError, ZmqSettings
from net.address import for_connecting, for_listening


@pytest.mark.parametrize(
    ("given", "bound"),
    [
        ("tcp://127.0.0.1:0", "tcp://127.0.0.1:*"),
        ("tcp://*:*", "tcp://*:*"),
        ("tcp://localhost:5555", "tcp://localhost:5555"),
        ("ipc:///tmp/x", "ipc:///tmp/x"),
    ],
)
def test_for_listening(given: str, bound: str) -> None:
    assert for_listening(given) == bound


@pytest.mark.parametrize(
    "address",
    [
        "",
        "localhost:1",
        "udp://a:1",
        "tcp://",
        "tcp://host",
        "tcp://:5",
        "tcp://[::1]:5",
        "tcp://::1:5",
        "ipc://",
    ],
)
def test_malformed(address: str) -> None:
    for check in (for_listening, for_connecting):
        with pytest.raises(AddressError, match="Use tcp://HOST:PORT"):
            check(address)


@pytest.mark.parametrize("port", ["0", "*", "65536", "-1", "x", "", "²"])
def test_a_connector_needs_a_definite_port(port: str) -> None:
    with pytest.raises(AddressError, match=r"port of .* must be 1 to 65535"):
        for_connecting(f"tcp://host:{port}")


@pytest.mark.parametrize("host", ["*", "0.0.0.0"])  # noqa: S104
def test_a_connector_needs_a_definite_host(host: str) -> None:
    with pytest.raises(AddressError, match="names no host"):
        for_connecting(f"tcp://{host}:5555")


def test_a_path_too_long_for_the_kernel() -> None:
    with pytest.raises(AddressError, match="exceeds 107 bytes"):
        for_listening("ipc:///" + "x" * 107)


@pytest.mark.parametrize("name", [field.name for field in fields(ZmqSettings)])
def test_settings_are_positive_and_documented(name: str) -> None:
    assert name in (ZmqSettings.__doc__ or "")
    for value in (0, -1, float("nan")):
        with pytest.raises(ValueError, match=name):
            ZmqSettings(**{name: value})


def test_a_queue_in_which_nobody_could_connect_is_refused() -> None:
    with pytest.raises(ValueError, match="hwm must be at least 2"):
        ZmqSettings(hwm=1)
