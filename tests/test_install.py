"""raycl as an installed package: what the wheel contains, the starter folder, and what editors see."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import raycl
from raycl.installed import install_command
from raycl.terminal.starter import FILES
from tests.helpers.warm import typed

HOME = Path(__file__).parent.parent


def test_names_of_the_package_are_completed() -> None:
    assert {*raycl.__all__} <= {*dir(raycl)}
    assert all(hasattr(raycl, name) for name in dir(raycl))


def test_the_quickstart_of_the_starter_is_that_of_the_repository() -> None:
    one, other = (HOME / place for place in ("raycl/starter/quickstart.py", "studies/quickstart.py"))
    assert one.read_bytes() == other.read_bytes()


def test_an_extra_is_installed_by_the_names_of_its_packages() -> None:
    command = install_command("tune")
    assert command.startswith("pip install 'ray[tune]") and "optuna" in command and "mlflow" in command
    assert "raycl" not in command and "pytest" not in command
    assert "cmaes" in install_command("samplers")


def test_the_starter_is_written_and_planned(tmp_path: Path) -> None:
    done = typed(["init", "mine"], tmp_path)
    assert done.code == 0 and "  raycl run study.py" in done.out.splitlines()
    assert {path.name for path in (tmp_path / "mine").glob("*.*")} == {*FILES, "data.npz"}
    planned = typed(["plan", "mine/study.py"], tmp_path)
    assert planned.code == 0 and " / data.npz " in planned.out
    planned = typed(["plan", "quickstart.py"], tmp_path / "mine")
    assert planned.code == 0 and "112 runs" in planned.out
    again = typed(["init", "mine"], tmp_path)
    assert again.code == 2
    assert again.err == "raycl: init: mine exists and is not empty; name another folder\n"
    (tmp_path / "file.txt").touch()
    file = typed(["init", "file.txt"], tmp_path)
    assert file.code == 2
    assert file.err == "raycl: init: file.txt is a file and not a folder; name another folder\n"


@pytest.mark.slow
def test_the_tests_of_the_starter_pass(tmp_path: Path) -> None:
    assert typed(["init", "mine"], tmp_path).code == 0
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    path = {"PYTHONPATH": str(HOME)}
    done = subprocess.run(
        command, cwd=tmp_path / "mine", env=os.environ | path, text=True, capture_output=True
    )
    assert done.returncode == 0 and "3 passed" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
def test_a_wheel_works_outside_the_repository(tmp_path: Path) -> None:
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    build += ["--disable-pip-version-check", "--wheel-dir", str(tmp_path), str(_copy(tmp_path / "source"))]
    done = subprocess.run(build, text=True, capture_output=True)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    place = tmp_path / "installed"
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        archive.extractall(place)
    assert "raycl/py.typed" in names and "raycl/starter/quickstart.py" in names
    assert not [name for name in names if name.startswith(("tests/", "studies/", "bench/"))]
    work = tmp_path / "work"
    work.mkdir()
    environment = os.environ | {"PYTHONPATH": str(place)}
    small = ["--set", "search.trials=2", "--set", "final=1", "--set", "fit.epochs=1"]
    for words in (["init", "mine"], ["run", "mine/study.py", "--local", "--only", "mine/*", *small]):
        command = [sys.executable, "-P", "-m", "raycl", *words]
        done = subprocess.run(command, cwd=work, env=environment, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr
    assert "2/2 mine" in done.stdout  # the final run is one of the trials


def _copy(target: Path) -> Path:
    """Return a copy of what a wheel is built from, since a build writes beside its sources."""
    left = shutil.ignore_patterns("__pycache__")
    shutil.copytree(HOME / "raycl", target / "raycl", ignore=left)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(HOME / name, target)
    return target
