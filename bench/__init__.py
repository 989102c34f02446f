"""Benchmarks: the same commands for CPU and GPU, real processes over real sockets. See docs/benchmarks.md."""
