"""Labels and messages that hold anything: every view shows them as text, and none of them breaks it."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from rich.cells import cell_len
from rich.console import Console

import raycl
from raycl.errors import Obstacle, fault_of
from raycl.reporting import render
from raycl.runs.result import Result
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.terminal.plan import plan_text
from raycl.terminal.view import LiveView
from raycl.terminal.words import say
from raycl.text import clip, cut, one_line, padded, width_of, wrapped
from tests.helpers import hand
from tests.reporting.test_html import Page

LABELS = (
    "a[red]b",
    "[/x] and [bold]",
    "raycl[tune]",
    ":smile: :warning:",
    "\x1b[31mred\x1b[0m \x1b]0;title\x07",
    "two\nlines\r\nand\ttabs",
    "carriage\rreturn",
    "漢字" * 30,
    "accents e\u0301" * 8,
    "\u202eright to left\u202c \u05e9\u05dc\u05d5\u05dd",
    "long " * 60,
    "<script>alert('x')</script>&amp;",
    "</td></table>--><!-- ]]>",
    '50% of $x_1$ #2 {a} \\\\ ^~ \\input{x} [1] ?` "q" a--b',
    "=1+1",
    '@x, "y"',
    "half \ud83d a pair",
    "_hidden",
)


def agenda_of(store: Any, finished: bool = True) -> tuple[Any, Agenda]:
    """A cell per label, each with two final runs."""
    study = hand.study(methods={f"m{n}": {"method": "finetune", "fit.lr": 0.01 * (n + 1)}
                                for n in range(len(LABELS))})  # fmt: skip
    cells = [dataclasses.replace(cell, label=label)
             for cell, label in zip(cells_of(study), LABELS, strict=True)]  # fmt: skip
    for cell in cells if finished else ():
        for seed in (1, 2):
            hand.put(store, cell.spec({}, seed), hand.reports(hand.TUNED[seed]))
    return study, Agenda(cells, store)


def columns(text: str) -> int:
    return max(cell_len(line) for line in text.split("\n"))


def clean(text: str) -> bool:
    """Whether nothing in it moves a cursor or cannot be written."""
    text.encode()
    return all(line.isprintable() for line in text.split("\n"))


def test_the_table_keeps_its_lines_and_its_80_columns(store: Any) -> None:
    study, agenda = agenda_of(store)
    text = render(study, agenda, "table")
    assert clean(text) and columns(text) <= 80
    assert sum(".725 .007" in line for line in text.split("\n")) == len(LABELS)
    for label in ("a[red]b", "[/x] and [bold]", "raycl[tune]", ":smile: :warning:"):
        assert label in text


def test_the_columns_of_numbers_stand_under_one_another(store: Any) -> None:
    study, agenda = agenda_of(store)
    lines = [line for line in render(study, agenda, "table").split("\n") if ".725 .007" in line]
    assert len({cell_len(line.partition(".725 .007")[0]) for line in lines}) == 1


def test_the_plan_keeps_its_lines_and_its_80_columns(store: Any) -> None:
    study, agenda = agenda_of(store, finished=False)
    text = plan_text(study, agenda, "results", 2.0)
    assert clean(text) and columns(text) <= 80
    assert sum(line.endswith("2     0      ?") for line in text.split("\n")) == len(LABELS)
    assert "fixed by a[red]b: fit.lr=0.01" in text


def test_a_blocked_cell_and_a_failure_say_what_they_are_in_plain_text(store: Any) -> None:
    study, agenda = agenda_of(store, finished=False)
    for state in agenda.states[1:]:
        state.cell = dataclasses.replace(
            state.cell, blocked=Obstacle(f"needs \x1b[5m {state.cell.label}", ("do[/] it",))
        )
    hand.put(store, agenda.states[0].cell.spec({}, 1), (), "failed")
    text = plan_text(study, agenda, "/a\x1b[1m/" + "漢" * 60, 2.0)
    assert clean(text) and columns(text) <= 80


def test_the_page_shows_them_as_text(store: Any) -> None:
    study, agenda = agenda_of(store)
    page = render(study, agenda, "html", command="raycl run '\x1b[1m\ud83d.py'")
    page.encode()
    own = (Path(raycl.reporting.__file__).parent / "report.js").read_text(encoding="utf-8").strip()
    assert page.count("<script") == 1 and f"<script>{own}" in page  # the page's own, which sorts tables
    assert not {"\x1b", "\x07", "\r", "\u202e"} & set(page)
    words = Page(page).words
    for label in ("a[red]b", "<script>alert('x')</script>&amp;", "</td></table>--><!-- ]]>", "_hidden"):
        assert words.count(label) >= 3, label


def test_csv_gives_every_label_back(store: Any) -> None:
    """Also one that a spreadsheet would take for a formula: a label that is changed is not the study's."""
    study, agenda = agenda_of(store)
    text = render(study, agenda, "csv")
    text.encode()
    lines = list(csv.DictReader(io.StringIO(text, newline="")))
    assert list(dict.fromkeys(line["label"] for line in lines)) == [
        "half ? a pair" if "\ud83d" in label else label for label in LABELS
    ]
    assert len(lines) == 3 * len(LABELS) and all(line["acc"] for line in lines)


def test_latex_escapes_what_it_would_run(store: Any) -> None:
    study, agenda = agenda_of(store)
    text = render(study, agenda, "latex")
    text.encode()
    line = next(line for line in text.split("\n") if line.startswith("50"))
    label = line.partition(" & ")[0]
    assert label == (
        r"50\% of \$x\_1\$ \#2 \{a\} \textbackslash{}\textbackslash{} \textasciicircum{}\textasciitilde{} "
        r"\textbackslash{}input\{x\} {[}1{]} ?\textasciigrave{} ''q'' a-{}-b"
    )
    assert "\x1b" not in text and all("\r" not in line for line in text.split("\n"))


@pytest.mark.parametrize("terminal", [False, True])
def test_the_live_view_shows_them_as_text(store: Any, terminal: bool) -> None:
    study, agenda = agenda_of(store, finished=False)
    agenda = Agenda([state.cell for state in agenda.states], store, lambda *_: {})
    out = io.StringIO()
    console = Console(file=out, width=80, height=60, force_terminal=terminal, emoji=True)
    with LiveView(study, agenda, 1.0, console) as live:
        while (job := agenda.next()) is not None:
            trace = 'Traceback\n  File "x"\nValueError: [/x] \x1b[31m:smile: ' + "漢" * 5000
            agenda.finish(job.key, Result(job.spec, "failed", (), trace, {"seconds": 1.0}))
            if terminal:
                rendered = live.render().plain
                assert clean(rendered) and columns(rendered) <= 80
        shown = live.render().plain
    assert "failed: ValueError: [/x]" in shown
    if terminal:
        return
    lines = out.getvalue().rstrip("\n").split("\n")
    assert len(lines) == 2 * len(LABELS) and all(line.isprintable() for line in lines)
    assert any("a[red]b" in line for line in lines) and any(":smile: :warning:" in line for line in lines)
    for line in lines:
        message = line.partition("failed: ")[2]
        assert message.startswith("ValueError: [/x]") and len(message) <= 200


def test_a_long_message_is_cut_on_the_screen_and_whole_on_the_page(store: Any) -> None:
    study = hand.study(methods={"a": {"method": "finetune"}})
    spec = hand.cells(study)[f"a/{hand.BENCHMARK}"].spec({}, 1)
    message = "Traceback\nValueError: " + "word " * 500 + "end"
    store.put(Result(spec, "failed", (), message, {"started": 1.0, "seconds": 1.0}))
    agenda = hand.read(store, study)
    table = render(study, agenda, "table")
    assert len(table) < 1500 and "ValueError: word" in table and columns(table) <= 80
    assert "word " * 500 + "end" in unescape(render(study, agenda, "html"))


def test_what_is_said_to_a_console_is_said_as_it_stands() -> None:
    for terminal in (False, True):
        out = io.StringIO()
        console = Console(file=out, width=40, force_terminal=terminal, emoji=True, markup=True)
        say(console, "pip install 'raycl[tune]' [/] [bold]x[/bold] :smile: \x1b[31m" + "y" * 60 + "\nsecond")
        said = re.sub(r"\x1b\[0?m", "", out.getvalue())
        first = "pip install 'raycl[tune]' [/] [bold]x[/bold] :smile:  [31m" + "y" * 60
        assert said == f"{first}\nsecond\n"


def test_nothing_else_prints_to_a_console() -> None:
    """One way for all: whatever prints by itself would read a user's brackets as markup."""
    package = Path(raycl.__file__).parent
    found = [
        path.relative_to(package).as_posix()
        for path in sorted(package.rglob("*.py"))
        for _ in re.findall(r"\bconsole\.(?:print|log|rule|input)\(", path.read_text(encoding="utf-8"))
    ]
    assert found == ["terminal/words.py"]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("width", [1, 2, 3, 8, 13, 80])
def test_what_is_clipped_fits(label: str, width: int) -> None:
    assert width_of(clip(label, width)) <= width
    assert width_of(cut(one_line(label), width)) <= width
    assert width_of(padded(clip(label, width), width)) == width
    if width > 3:
        lines = wrapped(f"{label} {label}", "  ", width)
        assert all(width_of(line) <= width and line.isprintable() for line in lines)


def test_what_a_message_says_in_the_end_is_there_whatever_it_is() -> None:
    assert [fault_of(text, 100) for text in ("", " \n ", "a\n b\n", "x: \x1b[1m\n\n")] == [
        "no message", "no message", "b", "x: [1m"
    ]  # fmt: skip
