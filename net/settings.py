"""Settings of the ZeroMQ transport. All are local: the two sides may differ, except that a message must
fit the `max_message_bytes` of both.

There is no application heartbeat, on purpose. ZMTP heartbeats stop a healthy connection when one side
computes while the other streams: the receiver's queue is full, so the answer to the ping is not read in
time (measured: dropped after `timeout`). TCP keepalive is answered by the kernel, however busy the program.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

_LEAST_HWM = 2


@dataclass(frozen=True)
class ZmqSettings:
    """Timeouts in seconds, sizes in bytes. Raises ValueError for a value that is too small.

    connect_timeout_s: from the first attempt until a listener is reached; the connector may start first.
    handshake_timeout_s: from then until the session is open (keys, greeting). A listener in the middle of a
        computation greets when it next sends or receives.
    recv_timeout_s: without a single part arriving. A peer that dies is noticed at once, so this only ends
        the wait for one that hangs; it must exceed the longest computation between two messages.
    send_timeout_s: without a single part leaving, because the peer does not receive.
    linger_s: how long `close` waits for the last messages to leave.
    keepalive_idle_s, keepalive_interval_s, keepalive_probes: TCP keepalive. A machine that vanished without a
        word is noticed after idle + interval * probes.
    max_message_bytes: payload of one message, sent or accepted.
    hwm: parts (of at most 512 KiB) queued in either direction before the sender waits; at least 2, since libzmq
        counts its own first message of a connection as well.
    """

    connect_timeout_s: float = 30.0
    handshake_timeout_s: float = 10.0
    recv_timeout_s: float = 300.0
    send_timeout_s: float = 300.0
    linger_s: float = 2.0
    keepalive_idle_s: int = 10
    keepalive_interval_s: int = 5
    keepalive_probes: int = 3
    max_message_bytes: int = 4 << 30
    hwm: int = 64

    def __post_init__(self) -> None:
        for setting in fields(self):
            if not getattr(self, setting.name) > 0:
                raise ValueError(f"{setting.name} must be positive, got {getattr(self, setting.name)!r}")
        if self.hwm < _LEAST_HWM:
            raise ValueError(f"hwm must be at least {_LEAST_HWM}, got {self.hwm}: nobody could connect")
