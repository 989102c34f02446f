"""Bytes between parties: tagged messages of raw frames, over encrypted sockets or within a process.

This floor knows bytes and array headers, never shares. From the bottom:

    errors      what can go wrong
    frame       the wire format, without I/O
    traffic     counters by phase and tag
    channel     the interface of a session, and its checks
    memory      a pair of channels within a process, for tests
    line        large messages over any line, without deadlocks
    identity    names and keys         keys      key files
    settings    timeouts and limits    address   tcp://... and ipc://...
    zeromq      sockets; the only file that knows pyzmq
    greeting, listener, connector      how a session begins
    handshake   both sides were set up alike
    emulate     a slower network       trace     hashes of all that crossed
    launcher    the programs of all parties on one machine
"""

from net.channel import Channel, Wait
from net.connector import connect
from net.emulate import PRESETS, EmulatedChannel, Link
from net.errors import (
    AddressError,
    AuthError,
    Busy,
    FrameTooLarge,
    HandshakeError,
    KeyFileError,
    LaunchError,
    NetError,
    PeerGone,
    ProtocolError,
    RemoteError,
    SessionOver,
    Timeout,
)
from net.frame import MAX_FRAMES, MAX_TAG, Limits, header_size
from net.handshake import Agreement, handshake
from net.identity import KeyPair, PublicKey
from net.keys import generate, load_authorised, load_keys, load_public
from net.launcher import Program, Running, launch, report_ready
from net.listener import Listener
from net.memory import memory_pair
from net.settings import ZmqSettings
from net.trace import TraceRow, TracingChannel
from net.traffic import Direction, Totals, Traffic, TrafficReport

__all__ = [
    "MAX_FRAMES",
    "MAX_TAG",
    "PRESETS",
    "AddressError",
    "Agreement",
    "AuthError",
    "Busy",
    "Channel",
    "Direction",
    "EmulatedChannel",
    "FrameTooLarge",
    "HandshakeError",
    "KeyFileError",
    "KeyPair",
    "LaunchError",
    "Limits",
    "Link",
    "Listener",
    "NetError",
    "PeerGone",
    "Program",
    "ProtocolError",
    "PublicKey",
    "RemoteError",
    "Running",
    "SessionOver",
    "Timeout",
    "Totals",
    "TraceRow",
    "TracingChannel",
    "Traffic",
    "TrafficReport",
    "Wait",
    "ZmqSettings",
    "connect",
    "generate",
    "handshake",
    "header_size",
    "launch",
    "load_authorised",
    "load_keys",
    "load_public",
    "memory_pair",
    "report_ready",
]
