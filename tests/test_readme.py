"""Every command in README.md runs; what takes minutes is marked slow."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.pages import ELSEWHERE, HOME, SMALL, blocks, commands, raycl, type_command

README = HOME / "README.md"
NAMED = {"examples", "spg"}  # folders of studies


@pytest.mark.slow
@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_command_in_the_readme_runs(tmp_path: Path, whole: bool) -> None:
    """With all studies and methods, or with those that the README names and one method of the quickstart."""
    others = [path.name for path in (HOME / "studies").iterdir() if path.is_dir() and path.name not in NAMED]
    left_out = [] if whole else others
    part = [] if whole else ["--only", "finetune/digits_split"]
    shutil.copytree(HOME / "studies", tmp_path / "studies", ignore=shutil.ignore_patterns(*left_out))
    ran = 0
    for line in commands(README):
        if line in ELSEWHERE:
            continue
        type_command(tmp_path, line, SMALL, part)
        ran += 1
    assert ran >= 5


def test_the_readme_names_no_command_that_is_gone() -> None:
    assert set(ELSEWHERE) <= set(commands(README)) | {"make test"}


def test_the_method_in_the_readme_is_one(tmp_path: Path) -> None:
    method = next(block for block in blocks(README, "python") if "(Method)" in block)
    study = next(block for block in blocks(README, "python") if "STUDY" in block)
    assert len(method.splitlines()) <= 25 and len(study.splitlines()) <= 17
    (tmp_path / "l2.py").write_text(method)
    (tmp_path / "mine.py").write_text(study)
    done = raycl(tmp_path, ["run", "mine.py", "--local", *SMALL])
    assert done.code == 0, done.out + done.err


def test_the_data_in_the_readme_make_a_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = next(block for block in blocks(README, "python") if "np.savez" in block)
    monkeypatch.chdir(tmp_path)
    exec(block, {})
    done = raycl(tmp_path, ["benchmarks", "npz(path='mine.npz', tasks=3)"], RAYCL_DATA=str(tmp_path / "data"))
    assert done.code == 0, done.out + done.err


@pytest.mark.parametrize("example", ["own_method", "own_data", "one_run"])
def test_examples_run(tmp_path: Path, example: str) -> None:
    shutil.copytree(HOME / "studies", tmp_path / "studies")
    words = ["run", f"studies/examples/{example}.py", "--local", "--set", "fit.epochs=2"]
    done = raycl(tmp_path, words)
    assert done.code == 0, done.out + done.err


@pytest.mark.release
def test_mnist_desk(tmp_path: Path, real_data: Path) -> None:
    shutil.copytree(HOME / "studies", tmp_path / "studies")
    data = {"RAYCL_DATA": str(tmp_path / "data")}
    assert raycl(tmp_path, ["data", "prepare", "mnist", "--from", str(real_data)], **data).code == 0
    done = raycl(tmp_path, ["run", "studies/examples/mnist_desk.py", "--set", "final=1"], **data)
    assert done.code == 0, done.out + done.err
    rows = {
        line.split()[0]: line.split()[1] for line in done.out.splitlines() if re.match(r"\w+ +\.\d", line)
    }
    assert rows.keys() == {"one", "finetune", "hat", "spg", "supsup"}
    assert all(float(acc) > 0.75 for acc in rows.values()), rows


@pytest.mark.release
def test_quickstart_from_a_fresh_clone(tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(HOME), str(clone)], check=True)
    environment = {k: v for k, v in os.environ.items() if k not in ("RAYCL_DATA", "VIRTUAL_ENV")}
    environment["RAYCL_DATA"] = str(tmp_path / "data")
    for _ in range(2):
        done = subprocess.run(
            ["make", "quickstart"], cwd=clone, env=environment, text=True, capture_output=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "/112 " not in done.stdout  # the second one computes nothing
    assert "digits_writers" in done.stdout and (clone / "results" / "quickstart.html").exists()
