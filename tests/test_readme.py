"""Every command in README.md runs; what takes minutes is marked slow."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.helpers.warm import Said, started, typed

HOME = Path(__file__).parent.parent
NAMED = {"examples", "spg"}  # folders of studies
LIMIT = 3600.0  # seconds after which a command that hangs is ended
SMALL = [
    "--set",
    "search.trials=2",
    "--set",
    "search.startup_trials=2",
    "--set",
    "final=1",
    "--set",
    "fit.epochs=1",
]
ELSEWHERE = {  # a command, and the test that runs it
    "make quickstart": "test_quickstart_from_a_fresh_clone",
    "make test": "all of these",
    "pip install -e '.[tune]'": "the Makefile runs it for make quickstart and make test",
    "ray start --head": "test_resuming.py",
    "ray start --address=HEAD:6379": "test_resuming.py, as a head",
    "raycl run studies/quickstart.py --address auto": "test_resuming.py, by host and port",
    "raycl doctor --address auto": "tune/test_doctor.py, by host and port",
    "raycl data prepare mnist": "needs a network; from a folder: test_mnist_desk",
    "raycl data prepare cifar100 --from ~/data": "benchmarks/test_cifar.py",
    "raycl run studies/examples/mnist_desk.py": "test_mnist_desk",
    "raycl run studies/spg/table_02.py --small": "test_studies.py plans it; its runs take half an hour",
    "raycl ui": "test_tracking.py starts the same server",
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (HOME / "README.md").read_text(), flags=re.S)


def commands() -> list[str]:
    lines = [line.split("  #")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def raycl(folder: Path, words: list[str], **environment: str) -> Said:
    """Type a command; a run on Ray gets a process of its own."""
    if words[0] == "run" and "--local" not in words:
        return started(words, folder, environment, limit=LIMIT)
    return typed(words, folder, environment, limit=LIMIT)


@pytest.mark.parametrize("whole", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_every_command_in_the_readme_runs(tmp_path: Path, whole: bool) -> None:
    """With all studies and methods, or with those that the README names and one method of the quickstart."""
    others = [path.name for path in (HOME / "studies").iterdir() if path.is_dir() and path.name not in NAMED]
    left_out = [] if whole else others
    part = [] if whole else ["--only", "finetune/digits_split"]
    shutil.copytree(HOME / "studies", tmp_path / "studies", ignore=shutil.ignore_patterns(*left_out))
    ran = 0
    for line in commands():
        if line in ELSEWHERE:
            continue
        program, command, *rest = shlex.split(line)
        assert program == "raycl", f"README.md: {line!r} is run by no test"
        words = [command, *rest]
        if command in ("run", "plan", "report", "sync"):
            words += SMALL
        if command == "run" and "--local" not in words:
            words += ["--local"]  # Ray's road has tests of its own
        if command == "run" and "--only" not in words:
            words += part
        done = raycl(tmp_path, words)
        assert done.code == 0, f"{line}\n{done.out}\n{done.err}"
        ran += 1
    assert ran >= 5


def test_the_readme_names_no_command_that_is_gone() -> None:
    assert set(ELSEWHERE) <= set(commands()) | {"make test"}


def test_the_method_in_the_readme_is_one(tmp_path: Path) -> None:
    method = next(block for block in blocks("python") if "(Method)" in block)
    study = next(block for block in blocks("python") if "STUDY" in block)
    assert len(method.splitlines()) <= 25 and len(study.splitlines()) <= 17
    (tmp_path / "l2.py").write_text(method)
    (tmp_path / "mine.py").write_text(study)
    done = raycl(tmp_path, ["run", "mine.py", "--local", *SMALL])
    assert done.code == 0, done.out + done.err


def test_the_data_in_the_readme_make_a_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = next(block for block in blocks("python") if "np.savez" in block)
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
