"""`python -m bench`: what can be measured, what is said of a wrong name, and where it lies."""

from __future__ import annotations

import fnmatch
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from bench import run
from bench.__main__ import main
from bench.line import Line
from bench.processes import environment
from raycl.cli import parser

HOME = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", run.KNOWN)
def test_every_benchmark_is_a_function_with_a_line_that_describes_it(name: str) -> None:
    function = run.function_of(name)
    assert function.__module__ == f"bench.{run.KNOWN[name]}"
    assert len((function.__doc__ or "").splitlines()[0]) > 20


def test_a_line_shows_its_value_its_unit_and_its_goal() -> None:
    assert str(Line("a step", 1234.5, "ms")).split() == ["a", "step", "1.23e+03", "ms"]
    assert str(Line("a step", 0.5, "ms", "under 1")).endswith("0.5 ms   (goal under 1)")


def test_one_benchmark_is_measured_and_printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measure() -> list[Line]:
        """A thing. More of it."""
        assert torch.get_num_threads() == 1
        return [Line("half", 0.5, "s", "under 1")]

    torch.set_num_threads(2)
    monkeypatch.setattr("bench.start.start", measure)
    assert main(["start"]) == 0
    head, title, line = capsys.readouterr().out.splitlines()
    assert head.startswith(f"torch {torch.__version__}")
    assert title == "start: A thing. More of it." and line == str(Line("half", 0.5, "s", "under 1"))
    assert torch.get_num_threads() == 2


@pytest.mark.parametrize(
    ("name", "hint"), [("epok", "; did you mean 'epoch'?"), ("", " (known: start, data")]
)
def test_an_unknown_name_is_one_line_and_exit_code_2(
    name: str, hint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([name]) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    assert said.err.startswith(f"raycl: unknown measurement {name!r}") and hint in said.err


def test_processes_find_bench_and_what_was_on_the_path_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "elsewhere").mkdir()
    done = subprocess.run(
        [sys.executable, "-c", "import bench.line, mine"],
        cwd=tmp_path / "elsewhere",
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


def test_it_is_a_command_of_a_clone_and_no_part_of_the_package() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "epok"], cwd=HOME, env=os.environ, capture_output=True, text=True
    )
    assert done.returncode == 2 and "unknown measurement 'epok'" in done.stderr
    settings = tomllib.loads((HOME / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]
    folders = [path.parent.name for path in HOME.glob("*/__init__.py")]
    packed = {name for name in folders if any(fnmatch.fnmatch(name, p) for p in settings["include"])}
    assert packed == {"raycl"} and "bench" in folders
    assert not re.search(r"^ +bench ", parser().format_help(), re.MULTILINE)
