"""Rules of this floor that no other test would notice."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import net

FOLDER = Path(net.__file__).parent
FILES = sorted(FOLDER.glob("*.py"))


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name}: relative import"
            yield node.module or ""


def roots(path: Path) -> set[str]:
    return {name.partition(".")[0] for name in imports(path)}


def test_one_file_knows_pyzmq() -> None:
    assert [path.name for path in FILES if "zmq" in roots(path)] == ["zeromq.py"]


def test_nothing_unpickles() -> None:
    assert not [path.name for path in FILES if roots(path) & {"pickle", "marshal", "shelve", "dill"}]


def test_the_floor_knows_no_other_and_no_arrays() -> None:
    upper = {"gpu_ss", "he_bridge", "transformer", "bench", "tests", "numpy", "torch", "cupy"}
    assert not [path.name for path in FILES if roots(path) & upper]


def test_files_are_short() -> None:
    assert not [path.name for path in FILES if len(path.read_text().splitlines()) > 400]


def test_exports_are_real_and_sorted() -> None:
    assert all(hasattr(net, name) for name in net.__all__)
