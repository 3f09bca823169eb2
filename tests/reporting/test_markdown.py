"""Markdown: the right number in the right cell, figures that exist, and what a user wrote as text."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from raycl import Curves
from raycl.cli import main
from raycl.methods.spg import SPG
from raycl.reporting import render
from raycl.reporting.markdown import escaped, markdown_page
from raycl.runs.store import Store
from tests.helpers import hand
from tests.reporting.test_papertable import TABLE, played, study_of

EVIL = "50% of _x_ | *y* [z](w) `q` <b> #1 $a$"


def cells(text: str, first: str) -> list[str]:
    """The cells of the line of a table whose first cell begins with these letters."""
    line = next(line for line in text.splitlines() if line.startswith(f"| {first}"))
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


@pytest.mark.usefixtures("as_published")
def test_our_number_the_printed_one_and_the_difference_are_in_one_cell(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SPG, "deviations", ("heads are scaled",))
    study = played(store, study_of(TABLE), {"spg": (0.70, 0.72, 0.74)})
    text = render(study, hand.read(store, study), "markdown", command="raycl run table.py")
    ours, paper, difference = cells(text, "SPG")[1].split("<br>")
    assert ours == ".720 ± .020" and paper == "paper .66 ± .01" and difference.startswith("diff +.060")
    assert "```sh\nraycl run table.py\n```" in text
    assert "| SPG<sup>1</sup> |" in text and "1. SPG: heads are scaled" in text
    assert "## Claims of spg: " in text


def test_every_table_has_equal_rows_and_every_figure_is_written(store: Store, tmp_path: Path) -> None:
    study = hand.study(views=[Curves("Times", value="ct_task")])
    agenda = hand.filled(store, study)
    place = tmp_path / "made.md"
    text = render(study, agenda, "markdown", path=place)
    assert place.read_text(encoding="utf-8") == text
    tables = re.findall(r"(?m)(?:^\|.*\n)+", text)
    widths = [{len(re.split(r"(?<!\\)\|", line)) for line in table.splitlines()} for table in tables]
    assert len(tables) >= 2 and all(len(width) == 1 for width in widths)
    assert cells(text, "finetune")[1] == ".725 ± .007"  # (.60 + .84) / 2 and (.66 + .80) / 2
    linked = re.findall(r"!\[[^\]]*\]\(([^)\s]+)\)", text)
    assert len(linked) == 3 and len(set(linked)) == 3
    for name in linked:
        drawn = (tmp_path / name).read_text(encoding="utf-8")
        assert drawn.startswith("<svg") and 'xmlns="http://www.w3.org/2000/svg"' in drawn
    assert sorted(linked) == sorted(str(file.relative_to(tmp_path)) for file in tmp_path.glob("made/*"))


def test_without_a_file_there_are_no_figures(store: Store) -> None:
    study = hand.study()
    text = render(study, hand.filled(store, study), "markdown")
    assert "![" not in text and "| finetune" in text


def test_what_a_user_wrote_is_shown_as_text(store: Store) -> None:
    study = hand.study(methods={EVIL: {"method": hand.ALONE}})
    page = markdown_page(study, hand.read(store, study), folder="f")
    shown = escaped(EVIL)
    assert f"methods: {shown}" in page.text
    assert "<b>" not in page.text and not re.search(r"(?<!\\)[*_`]\w+[*_`]", shown)
    assert len(cells(page.text, shown[:8])) == len(cells(page.text, "method"))


def test_the_command_writes_the_page_and_its_folder(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from raycl import Seeds, Study\nSTUDY = Study(methods={'finetune': {}}, network='mlp(hidden=8)', "
        "benchmarks=['digits_split'], search=None, final=Seeds(1))\n"
    )
    command = ["report", "mine.py", "--format", "markdown"]
    assert main([*command, "--out", "page.md"]) == 0
    assert capsys.readouterr().out == "page.md\n"
    assert "raycl run mine.py" in Path("page.md").read_text(encoding="utf-8")
    Path("taken").write_text("")
    assert main([*command, "--out", "taken/page.md"]) == 2
    assert "taken" in capsys.readouterr().err
    assert main([*command, "--out", "/dev/null"]) == 0
    assert Path("/dev/null").exists() and not Path("/dev/null").is_file()
