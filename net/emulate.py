"""A slower network on one machine, for honest LAN and WAN measurements.

The sender computes when a message would arrive over the link and sends that moment along; the receiver holds
the message back until then. Computation is not slowed, both directions are independent, and the messages of
one direction queue behind each other:

    start   = max(time of sending, end of the previous message in this direction)
    end     = start + bits of header and payload / bandwidth
    arrival = end + round-trip time / 2

The model has unlimited buffers at the sender and no packet loss or slow start. It can only delay: a real
transport slower than the link stays slower. Both ends must emulate the same link, on one machine (the moment
is read from its monotonic clock).
"""

from __future__ import annotations

import math
import struct
import time
from collections.abc import Sequence
from dataclasses import dataclass

from net.channel import Channel, Wait, Wrapper
from net.errors import ProtocolError
from net.frame import Header, Kind, header_size

_STAMP = struct.Struct("<Q")  # arrival, nanoseconds of the monotonic clock
_SPIN_NS = 200_000  # sleeping is not exact to less than this; the rest is waited for awake


@dataclass(frozen=True)
class Link:
    """A symmetric link: bits per second in each direction, round-trip time in seconds."""

    bandwidth_bit_s: float
    rtt_s: float

    def __post_init__(self) -> None:
        if not (self.bandwidth_bit_s > 0 and 0 <= self.rtt_s < math.inf):
            raise ValueError(f"a link needs a positive bandwidth and a round-trip time of 0 or more: {self}")

    @classmethod
    def parse(cls, text: str) -> Link:
        """A preset's name, or "BANDWIDTH_IN_MBIT_S,RTT_IN_MS". Raises ValueError."""
        if text in PRESETS:
            return PRESETS[text]
        try:
            bandwidth, rtt = map(float, text.split(","))
            return cls(bandwidth * 1e6, rtt / 1e3)
        except ValueError:
            known = ", ".join(PRESETS)
            raise ValueError(
                f"link {text!r} is neither one of {known} nor MBIT_S,RTT_MS like 200,20"
            ) from None

    def seconds_on_wire(self, n_bytes: int) -> float:
        """Time that a message occupies one direction of the link."""
        return 8 * n_bytes / self.bandwidth_bit_s


PRESETS = {
    "none": Link(math.inf, 0.0),
    "lan": Link(1e9, 0.3e-3),
    "lan10": Link(10e9, 0.3e-3),
    "wan": Link(100e6, 40e-3),
    "wan80": Link(100e6, 80e-3),
}


class EmulatedChannel(Wrapper):
    """A channel that behaves as over `link`. Counted traffic stays that of the messages proper."""

    def __init__(self, inner: Channel, link: Link) -> None:
        super().__init__(inner)
        self._link = link
        self._busy_until_ns = 0
        self._stamped: Header | None = None

    def _send(self, header: Header, frames: Sequence[memoryview]) -> None:
        if header.kind is Kind.DATA:
            stamp = memoryview(_STAMP.pack(self._arrival_ns(header)))
            header, frames = header._replace(sizes=(*header.sizes, stamp.nbytes)), [*frames, stamp]
        super()._send(header, frames)

    def _recv_header(self, wait: Wait) -> Header:
        header = super()._recv_header(wait)
        if header.kind is not Kind.DATA:
            return header
        if header.sizes[-1:] != (_STAMP.size,):
            raise ProtocolError(f"{self.peer} does not emulate a link. Give both sides the same --link.")
        self._stamped = header
        return header._replace(sizes=header.sizes[:-1])

    def _recv_payload(self, header: Header, wait: Wait) -> list[memoryview]:
        if header.kind is not Kind.DATA or self._stamped is None:
            return super()._recv_payload(header, wait)
        *frames, stamp = super()._recv_payload(self._stamped, wait)
        (arrival_ns,) = _STAMP.unpack(stamp)
        _wait_until(arrival_ns)
        return frames

    def _arrival_ns(self, header: Header) -> int:
        n_bytes = header_size(header.tag, len(header.sizes)) + header.payload_bytes
        start = max(time.monotonic_ns(), self._busy_until_ns)
        self._busy_until_ns = start + math.ceil(self._link.seconds_on_wire(n_bytes) * 1e9)
        return self._busy_until_ns + math.ceil(self._link.rtt_s / 2 * 1e9)


def _wait_until(moment_ns: int) -> None:
    """Returns at that moment of the monotonic clock, or at once if it has passed."""
    left = moment_ns - time.monotonic_ns()
    if left > _SPIN_NS:
        time.sleep((left - _SPIN_NS) / 1e9)
    while time.monotonic_ns() < moment_ns:
        pass
