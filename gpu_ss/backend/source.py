"""The kernel sources: what is compiled for the CPU, the text NVRTC gets, and the digest of it all.

Used by setup.py as well, before any dependency is installed: standard library only.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

FOLDER = Path(__file__).parent / "kernels"

_INCLUDE = re.compile(r'^#include "(\w+\.h)"\n', re.MULTILINE)


def units() -> list[Path]:
    """The files that are compiled, each on its own."""
    return sorted(path for path in FOLDER.iterdir() if path.suffix in (".cu", ".cpp"))


def digest() -> str:
    """Fingerprint of everything a compiled library depends on."""
    state = hashlib.blake2b(digest_size=8)
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in (".h", ".cu", ".cpp"):
            state.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return state.hexdigest()


def cuda_text(unit: str) -> str:
    """The self-contained text of one file: NVRTC sees no folders, so headers are pasted in, each once."""
    pasted: set[str] = set()

    def paste(name: str) -> str:
        if name in pasted:
            return ""
        pasted.add(name)
        text = (FOLDER / name).read_text().replace("#pragma once\n", "")
        return _INCLUDE.sub(lambda found: paste(found[1]), text)

    return paste(unit)
