"""Entry point of the `fastlmpi` command, and of `python -m transformer`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run a command. Ctrl-C ends it quietly, also in the seconds in which the libraries are loaded."""
    try:
        from transformer import cli

        cli.main()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
