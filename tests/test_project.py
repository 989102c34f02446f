"""The files around the code agree with each other."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.models import add_pooling, make_model

ROOT = Path(__file__).parents[1]
CONDA_NAMES = {"torch": "pytorch"}


def ranges(lines: list[str]) -> dict[str, str]:
    """Package name -> version range."""
    found = {}
    for line in lines:
        match = re.fullmatch(r"\s*-?\s*([A-Za-z0-9_-]+)(?:\[[a-z]+\])?\s*([<>=!~].*)?", line)
        if match:
            found[match[1].lower()] = (match[2] or "").replace(" ", "")
    return found


def test_environment_and_pyproject_ask_for_the_same() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = ranges(project["dependencies"])
    extras = project["optional-dependencies"]
    needed |= {"cupy": ranges(extras["cuda12"])["cupy-cuda12x"], **ranges(extras["he"])}
    needed["pytest"] = ranges(extras["test"])["pytest"]
    conda = ranges((ROOT / "environment.yml").read_text().splitlines())
    for name, wanted in needed.items():
        assert conda[CONDA_NAMES.get(name, name)] == wanted, name


def test_the_readme_promises_what_the_makefile_has() -> None:
    readme, makefile = (ROOT / "README.md").read_text(), (ROOT / "Makefile").read_text()
    targets = re.findall(r"^make (\w+)|`make (\w+)", readme, re.M)
    assert len(targets) >= 3
    for target in (a or b for a, b in targets):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_links_in_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"


def test_the_cost_table_is_current() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "scripts" / "generate-docs"), "--check"], timeout=120)
    assert done.returncode == 0, "run python scripts/generate-docs"


def test_every_paper_tag_is_explained() -> None:
    explained = set(re.findall(r"^\| ([A-Za-z0-9]+) \|", (ROOT / "docs" / "papers.md").read_text(), re.M))
    for path in (ROOT / "gpu_ss").rglob("*.py"):
        for tag in re.findall(r'paper="([^"]+)"', path.read_text()):
            assert tag in explained, f"{path.name}: {tag}"


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.py")), ids=lambda p: p.stem)
def test_examples_run(example: Path, tmp_path: Path) -> None:
    argv = [sys.executable, str(example)]
    if example.stem == "private_sentences":
        argv.append(str(add_pooling(make_model(tmp_path / "model", num_hidden_layers=1))))
    done = subprocess.run(argv, capture_output=True, text=True, timeout=100, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout
