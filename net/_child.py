"""Starts a program that the kernel kills when the launcher dies. Run as a script by `net.launcher`.

Usage: _child.py PID_OF_LAUNCHER PROGRAM [ARGUMENT ...]. The program replaces this process.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main(launcher: int, argv: list[str]) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != launcher:
        sys.exit("the launcher ended before the program began")
    try:
        os.execvp(argv[0], argv)  # noqa: S606  (no shell is wanted)
    except OSError as error:
        sys.exit(f"cannot start {argv[0]}: {error.strerror}")


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
