"""Tests of `net`: real sockets and real processes where it matters, and no fixed ports."""
