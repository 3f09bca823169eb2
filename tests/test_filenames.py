"""Names that a user gives lead to no other folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from raycl import Study
from raycl.cli import main
from raycl.errors import UserError
from raycl.filenames import file_name
from raycl.study.expand import cells_of

GOOD = ["study", "spg_table_2", "Tafel 3", "été", "a.b-c", "it's", 'a "b"', "100%", "a#b?c", "x" * 100]
BAD = ["../x", "/etc/x", "a/b", "a\\b", "..", ".", ".hidden", "-rf", "--out", " ", "a ", " a", "a\nb", "a\0b",
       "a\x1b[31m", "a\u202eb", "a\u2028b", "\udcff", "x" * 101, "é" * 60]  # fmt: skip


def study(name: str) -> Study:
    return Study(name=name, methods={"finetune": {}}, benchmarks=["digits_split"], search=None)


@pytest.mark.parametrize("name", GOOD)
def test_good_names_stand_for_themselves(name: str, tmp_path: Path) -> None:
    assert cells_of(study(name))[0].name == "finetune/digits_split"
    assert file_name(name) == name
    (tmp_path / f"{file_name(name)}.html").write_text("x")


@pytest.mark.parametrize("name", BAD)
def test_bad_names_are_refused_in_one_line_and_harmless_as_files(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"^study: name = .* it is used in file names: give the study a short name="
    ) as e:
        cells_of(study(name))
    assert "\n" not in str(e.value) and str(e.value).isprintable()
    made = file_name(name)
    assert "/" not in made and not made.startswith(("-", ".")) and made.isprintable() and len(made) < 130
    (tmp_path / f"{made}.html").write_text("x")
    assert len(os.listdir(tmp_path)) == 1


def test_two_texts_are_two_files() -> None:
    assert len({file_name(name) for name in [*GOOD, *BAD, "a_b", "a/b", "a_/b"]}) == len({*GOOD, *BAD}) + 2


@pytest.mark.parametrize("command", ["plan", "run", "report"])
def test_a_study_whose_name_leads_out_of_the_store_writes_nothing(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.py").write_text(
        'from raycl import Study\nSTUDY = Study(name="../out", methods={"finetune": {}}, '
        'benchmarks=["digits_split"], search=None)\n'
    )
    assert main([command, "s.py", "--store", "inner/results"]) == 2
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and "name = '../out' contains '/'" in said.err
    assert sorted(p.name for p in tmp_path.rglob("*") if "pycache" not in str(p)) == ["s.py"]


def test_a_name_from_the_command_line_is_checked_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("s.py").write_text(
        'from raycl import Study\nSTUDY = Study(methods={"finetune": {}}, benchmarks=["digits_split"], '
        "search=None)\n"
    )
    assert main(["plan", "s.py", "--set", "name=../../out"]) == 2
    assert "contains '/'" in capsys.readouterr().err
    assert main(["plan", "s.py", "--set", "name=fine one"]) == 0
