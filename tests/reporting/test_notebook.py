"""Results as data frames, tables in HTML and figures, from stores made by hand."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

import raycl
from raycl.api import StudyResult
from raycl.errors import UserError
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.values import Study
from tests.helpers import hand

pd = pytest.importorskip("pandas")


def outcome(study: Study, store: Store) -> StudyResult:
    return StudyResult(study, Agenda(cells_of(study), store), 0)


@pytest.fixture
def plain(store: Store) -> StudyResult:
    """The reference and finetuning with two seeds each, of which finetuning has one run so far."""
    study = hand.study()
    cells = hand.cells(study)
    one, tuned = cells[f"one/{hand.BENCHMARK}"], cells[f"finetune/{hand.BENCHMARK}"]
    for seed, rows in hand.ONE.items():
        hand.put(store, one.spec({}, seed), hand.reports(rows))
    hand.put(store, tuned.spec({}, 1), hand.reports(hand.TUNED[1]))
    return outcome(study, store)


@pytest.fixture
def searched(store: Store) -> StudyResult:
    study = hand.study(methods={"finetune": {"fit.lr": hand.RATE}}, search=hand.SEARCH, final=raycl.Seeds(1))
    (cell,) = hand.cells(study).values()
    worse, better = (hand.reports(hand.two_tasks(a, a, a)) for a in (0.5, 0.75))
    hand.put_trials(
        store, cell, [({"fit.lr": 0.1}, worse), ({"fit.lr": 0.01}, better), ({"fit.lr": 0.5}, None)]
    )
    return outcome(study, store)


def test_a_store_without_its_study(searched: StudyResult, store: Store) -> None:
    found = raycl.frame(store=store.root)
    assert len(found) == 3 and sorted(found["status"]) == ["diverged", "done", "done"]
    best = found[found["acc"] == 0.75].iloc[0]
    assert (best["method"], best["fit.lr"], best["seed"], best["bwt"]) == ("finetune", 0.01, 1, 0.0)
    trials = searched.frame("trials")
    assert best["key"] == trials[trials["trial"] == 1]["key"].iloc[0]
    with pytest.raises(UserError, match="without a study there is kind='runs' alone"):
        raycl.frame(store=store.root, kind="trials")
    with pytest.raises(UserError, match="there is no folder"):
        raycl.frame(store=store.root / "nowhere")


def test_a_row_per_final_run(plain: StudyResult, store: Store) -> None:
    found = plain.frame()
    assert list(zip(found["method"], found["seed"], found["status"], strict=True)) == [
        ("one", 1, "done"),
        ("one", 2, "done"),
        ("finetune", 1, "done"),
        ("finetune", 2, "not run"),
    ]
    tuned = found[found.method == "finetune"].iloc[0]
    assert tuned["acc"] == pytest.approx((0.60 + 0.84) / 2) and tuned["bwt"] == pytest.approx(-0.28)
    assert tuned["ct"] == 2.0 and len(tuned["key"]) == 64
    assert pd.isna(found["acc"].iloc[3])
    pd.testing.assert_frame_equal(found, raycl.frame(plain.study, store.root))


def test_a_row_per_task_and_per_entry(plain: StudyResult) -> None:
    tasks = plain.frame("tasks")
    tuned = tasks[tasks.method == "finetune"]
    assert list(tuned["task"]) == [0, 1] and list(tuned["acc"]) == [0.88, 0.84]
    assert list(tuned["acc_so_far"]) == pytest.approx([0.88, 0.72])
    assert list(tuned["acc_end"]) == [0.60, 0.84]
    assert list(tuned["fwt_vs_one"]) == pytest.approx([-0.02, 0.04])
    entries = plain.frame("matrix")
    wanted = [(0, 0, 0.88), (1, 0, 0.60), (1, 1, 0.84)]
    mine = entries[entries.method == "finetune"]
    assert list(zip(mine["learnt"], mine["tested"], mine["acc"], strict=True)) == wanted


def test_a_row_per_trial(searched: StudyResult) -> None:
    found = searched.frame("trials")
    assert list(found["fit.lr"]) == [0.1, 0.01, 0.5]
    assert list(found["status"]) == ["done", "done", "diverged"]
    assert found["objective"].tolist()[:2] == [0.5, 0.75] and pd.isna(found["objective"][2])


def test_a_kind_that_there_is_not_is_told(plain: StudyResult) -> None:
    with pytest.raises(UserError, match="'rows' should be one of runs, trials, tasks, matrix"):
        plain.frame("rows")  # type: ignore[arg-type]


def test_without_pandas(plain: StudyResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match="pandas is not installed: pip install pandas"):
        plain.frame()


def test_a_notebook_shows_the_main_table(store: Store) -> None:
    study = hand.study(methods={"one": {"method": hand.ALONE}, "<b>": {"method": "finetune"}})
    cells = hand.cells(study)
    for seed, rows in hand.TUNED.items():
        hand.put(store, cells[f"<b>/{hand.BENCHMARK}"].spec({}, seed), hand.reports(rows))
    result = outcome(study, store)
    page = result._repr_html_()
    assert "<td>&lt;b&gt;</td><td>.725 ± .007</td>" in page and "<td>2 of 2</td>" in page
    assert page.count("<tr>") == page.count("</tr>") == 3
    assert repr(result) == "StudyResult(small: 2 of 4 runs are done, code 0)"


def test_figures_are_those_of_matplotlib(plain: StudyResult) -> None:
    found: dict[str, Any] = plain.figures()
    assert {"accuracy", "matrices"} <= found.keys()
    assert all(isinstance(figure, Figure) and figure.axes for figure in found.values())
    lines = found["accuracy"].axes[0].lines
    assert any(list(line.get_ydata()) == pytest.approx([0.88, 0.72]) for line in lines)
    assert plain.figures("digits_permuted( tasks = 2 )").keys() == found.keys()
    with pytest.raises(UserError, match="'x' should be one of digits_permuted"):
        plain.figures("x")
    assert "<svg" in raycl.report(plain.study, plain.agenda.store.root, "html")  # no figure is kept after


def test_the_code_in_the_documentation_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "studies.md").read_text()
    (block,) = [found for found in re.findall(r"```python\n(.*?)```", text, flags=re.S) if "frame" in found]
    (tmp_path / "my_study.py").write_text(
        "from raycl import *\nSTUDY = Study(methods={'finetune': {}}, search=None, final=Seeds(1, 2),\n"
        "              network='mlp(hidden=8)', benchmarks=['digits_split'])\n"
    )
    monkeypatch.chdir(tmp_path)
    known: dict[str, Any] = {}
    exec((tmp_path / "my_study.py").read_text(), known)  # as an earlier block of the page does
    exec(block, known)
    assert list(known["runs"]["status"]) == ["not run", "not run"]
    assert all(len(known[name]) == 0 for name in ("trials", "tasks", "entries"))
