"""Arrows between rooms point one way (design: rooms)."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOME = ROOT / "raycl"
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LAYERS = [name for layer in CONTRACTS[0]["layers"] for name in layer.split(" : ")]  # from the top down
CORE = {*LAYERS[LAYERS.index("runs") :]}  # what a run is, and what a worker loads
DOORS = {"api", "cli"}  # that may open tune, inside a function
CORE_PACKAGES = {"torch", "torchvision", "numpy", "scipy", "sklearn", "filelock", "PIL", "safetensors"}
METHOD_MAY_IMPORT = {
    "raycl.devices",
    "raycl.method",
    "raycl.masks",
    "raycl.supermasks",
    "raycl.networks",
    "raycl.streams",
    "raycl.space",
    "raycl.specs",
    "raycl.tasks",
    "raycl.methods",
    "raycl.training",
    "raycl.probes",
    "raycl.registry",
}


def files() -> list[Path]:
    return sorted(HOME.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(HOME).parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(module, whether at the top level); imports for type checking alone are left out."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) in top
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield base, id(node) in top
            if base == "raycl":
                for alias in node.names:
                    yield f"raycl.{alias.name}", id(node) in top


def test_every_file_stands_in_a_layer() -> None:
    assert {room(p) for p in files()} - {"starter"} == {
        *LAYERS,
        "__init__",
    }  # `raycl init` copies those files


def test_the_contracts_hold() -> None:
    """Layers, circles at any depth, who may import Ray: `pyproject.toml` states each once."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command as run; run(['--no-cache'])",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


@pytest.mark.parametrize("path", [p for p in files() if room(p) in CORE], ids=lambda p: p.stem)
def test_the_core_needs_no_other_package(path: Path) -> None:
    for module, _ in imports(path):
        package = module.partition(".")[0]
        allowed = {"raycl", "__future__"} | CORE_PACKAGES
        assert package in allowed | set(sys.stdlib_module_names), module


def test_only_doors_open_tune_and_late() -> None:
    early = [(p.name, m) for p in files() for m, top in imports(p) if m.startswith("raycl.tune") and top
             and room(p) != "tune"]  # fmt: skip
    assert early == []


def test_rooms_that_serve_every_study_name_no_method() -> None:
    names = {p.stem for p in (HOME / "methods").glob("*.py")} - {"__init__"}
    for path in files():
        if room(path) in CORE - {"training", "runs"} | {"papers", "starter"} or path.name == "presets.py":
            continue  # what is of methods or of papers names them freely
        texts = {n.value for n in ast.walk(ast.parse(path.read_text()))
                 if isinstance(n, ast.Constant) and isinstance(n.value, str)}  # fmt: skip
        assert not texts & names, f"{path.name} names a method: {texts & names}"


@pytest.mark.parametrize("path", sorted((HOME / "methods").glob("*.py")), ids=lambda p: p.stem)
def test_methods_stay_in_their_room(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for module, _ in imports(path):
        if module.startswith("raycl."):
            assert any(module == m or module.startswith(m + ".") for m in METHOD_MAY_IMPORT), module
    called = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    forbidden = {"print", "open", "torch.manual_seed", "torch.save", "torch.load"}
    assert not called & forbidden
    moved = [c for c in called if c.endswith((".cuda", ".cpu"))]
    assert not moved, f"{path.name} moves devices: {moved}"


def loaded_by(code: str) -> set[str]:
    script = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_importing_raycl_loads_nothing_heavy() -> None:
    assert not loaded_by("import raycl") & {"ray", "mlflow", "optuna", "torch", "matplotlib"}


def test_help_loads_nothing_heavy() -> None:
    code = "from raycl.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass"
    assert not loaded_by(code) & {"ray", "mlflow", "optuna", "torch", "matplotlib", "rich"}
