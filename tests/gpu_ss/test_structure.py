"""Rules of the house that a reader could break without noticing."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = [p for p in ("net", "gpu_ss", "he_bridge", "transformer") if (ROOT / p).is_dir()]
RANK_AWARE = (
    "gpu_ss/clear.py",
    "gpu_ss/party.py",
    "gpu_ss/plan.py",
    "gpu_ss/simulate.py",
    "gpu_ss/protocols/",
    "gpu_ss/provider/",
    "he_bridge/",
    "transformer/setup.py",
    "transformer/inference.py",
)


def sources(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
    return names


def test_rank_is_read_only_on_its_floors() -> None:
    for path in sources("gpu_ss", "transformer"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        reads = any(isinstance(n, ast.Attribute) and n.attr in ("rank", "lead") for n in ast.walk(tree))
        if reads and "backend" not in relative(path):
            assert relative(path).startswith(RANK_AWARE), f"{relative(path)} depends on the rank"


@pytest.mark.parametrize(
    ("module", "homes"),
    [
        ("zmq", ["net/zeromq.py"]),
        ("cupy", ["gpu_ss/backend/cuda.py"]),
        ("tenseal", ["he_bridge/"]),
        ("scipy", ["gpu_ss/functions/fitting/"]),
        ("matplotlib", ["gpu_ss/functions/fitting/plot.py", "transformer/accuracy_report.py"]),
        ("torch", ["transformer/hf.py", "transformer/reference.py"]),
        ("transformers", ["transformer/client.py", "transformer/reference.py"]),
    ],
)
def test_heavy_imports_have_one_home(module: str, homes: list[str]) -> None:
    for path in sources(*PACKAGES):
        found = any(name == module or name.startswith(module + ".") for name in imports(path))
        assert not found or any(relative(path).startswith(h) for h in homes), (
            f"{relative(path)} imports {module}"
        )


def test_nothing_insecure_in_the_packages() -> None:
    banned = {"pickle", "marshal", "shelve", "random", "dill", "cloudpickle", "joblib"}
    for path in sources(*PACKAGES):
        assert not imports(path) & banned, relative(path)
        text = path.read_text(encoding="utf-8")
        assert "np.random" not in text, relative(path)
        assert "cupy.random" not in text, relative(path)
        assert "xp.random" not in text, relative(path)


def test_arrays_do_not_show() -> None:
    """A dataclass shows no array unless both parties know it: most are shares, masks or what they come from."""
    public = {"Public", "Opened", "OpenedNumber", "OpenedElements", "_OpenWindow", "_Groups", "Operands"}
    for path in sources("gpu_ss", "he_bridge"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.ClassDef) or node.name in public:
                continue
            decorators = [ast.unparse(d) for d in node.decorator_list]
            methods = {part.name for part in node.body if isinstance(part, ast.FunctionDef)}
            shows = any(d.startswith("dataclass") and "repr=False" not in d for d in decorators)
            if not shows or "__repr__" in methods:
                continue
            for part in node.body:
                if isinstance(part, ast.AnnAssign) and re.search(
                    r"\b(Array|Words|NDArray|Blocks)\b", ast.unparse(part.annotation)
                ):
                    hidden = part.value is not None and "repr=False" in ast.unparse(part.value)
                    callable_ = ast.unparse(part.annotation).startswith("Callable")
                    assert hidden or callable_, f"{relative(path)}: {node.name}.{ast.unparse(part.target)}"


def test_the_insecure_provider_stays_in_tests() -> None:
    users = [relative(p) for p in sources(*PACKAGES) if "gpu_ss.provider.insecure" in imports(p)]
    assert users == ["gpu_ss/simulate.py"]
    simulators = [relative(p) for p in sources(*PACKAGES) if "gpu_ss.simulate" in imports(p)]
    assert simulators == []


def test_reveal_has_one_home() -> None:
    for path in sources("gpu_ss", "transformer"):
        text = path.read_text(encoding="utf-8")
        opens_unmasked = "shared(" in text and "def shared(" not in text
        assert not opens_unmasked or relative(path) == "gpu_ss/protocols/io.py", relative(path)


def test_shares_need_no_heavy_library() -> None:
    code = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'cupy', 'tenseal', 'scipy', 'matplotlib'):\n"
        "    sys.modules[name] = None\n"
        "import gpu_ss.simulate, gpu_ss.functions.softmax, gpu_ss.functions.tables.make\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT, timeout=60)


def test_files_stay_readable() -> None:
    long = {relative(p): len(p.read_text(encoding="utf-8").splitlines()) for p in sources(*PACKAGES, "bench")}
    assert not {name: count for name, count in long.items() if count > 400}
