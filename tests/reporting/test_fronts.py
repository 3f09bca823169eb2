"""Pareto fronts in reports: the right trials, numbers and marks from trials that are written by hand."""

from __future__ import annotations

import re

import pytest

from raycl.reporting import plots, render
from raycl.reporting.fronts import Fronts
from raycl.reporting.notebook import frame
from raycl.results.collect import collect, sections
from raycl.results.rows import Section
from raycl.runs.store import Store
from raycl.study.values import Pick, Search, Seeds, Study
from tests.helpers import hand
from tests.helpers.hand import ALONE, RATE

# Validation accuracy and kB of each trial; None is a diverged one. Trials 0, 2 and 5 are beaten by no other,
# 6 equals 2, and 2 is the knee: scaled it lies at (.8, .75), at a distance of .32 from the best of both.
TRIALS = [(0.5, 10), (0.4, 20), (0.9, 20), None, (0.8, 30), (1.0, 50), (0.9, 20)]
FRONT = {5: ("1.000", "50 kB"), 2: (".900", "20 kB"), 0: (".500", "10 kB")}


def study_of(pick: Pick = "knee") -> Study:
    search = Search(trials=6, concurrency=1, startup_trials=2, objectives=("acc", "-bytes_total"), pick=pick)
    methods = {"one": {"method": ALONE, "search": None}, "finetune": {"fit.lr": RATE}}
    return hand.study(methods=methods, search=search, final=Seeds(1, 2))


def filled(store: Store, study: Study) -> Section:
    """Test accuracies are .1 below those on validation data; those of seed 2 another .2 below."""
    cell = next(cell for cell in hand.cells(study).values() if cell.label == "finetune")
    for n, numbers in enumerate(TRIALS):
        params = {"fit.lr": (n + 1) / 100}
        store.propose(cell.key, n, params, {})
        for seed, less in ((1, 0.1), (2, 0.3)):
            final = n in FRONT and (cell.search.pick == "front" or n == 2)  # type: ignore[union-attr]
            if seed == 2 and not final:
                continue
            rows = ()
            if numbers is not None:
                acc, kb = numbers
                test, val = [[acc - less] * (t + 1) for t in range(2)], [[acc] * (t + 1) for t in range(2)]
                rows = hand.reports(test, val, stored=1000 * kb)
            hand.put(store, cell.spec(params, seed), rows, "done" if rows else "diverged")
    (section,) = sections(study, collect(study, hand.read(store, study)))
    return section


@pytest.mark.parametrize("pick", ["knee", "front"])
def test_a_line_for_each_trial_that_none_beats(store: Store, pick: Pick) -> None:
    header, rows = Fronts().lines(filled(store, study_of(pick)))
    assert header == ["method", "trial", "val acc", "bytes_total", "test acc", "seeds"]
    alone, both = {5: ".900", 0: ".400"}, {5: ".800", 2: ".700", 0: ".300"}
    assert rows == [
        [
            "finetune",
            f"{n} *" if n == 2 else f"{n}",
            *values,
            both[n] if pick == "front" or n == 2 else alone[n],
            "2/2" if pick == "front" or n == 2 else "0",
        ]
        for n, values in FRONT.items()
    ]


def test_the_other_tables_show_the_knee(store: Store) -> None:
    study = study_of("front")
    (row,) = [row for row in filled(store, study).rows if row.cell.label == "finetune"]
    assert row.best == {"fit.lr": 0.03} and row.best_objective == 1.0
    assert row.mean("acc") == pytest.approx(0.7) and row.mean("bytes_total") == 20_000
    assert (
        "3 of 7 trials on the Pareto front of acc and -bytes_total; the numbers are of trial 2, the knee"
        in (" ".join(row.notes))
    )
    assert row.status == "complete" and row.runs == row.done == 7 + 3


def test_every_format_shows_the_front(store: Store) -> None:
    study = study_of("front")
    filled(store, study)
    agenda = hand.read(store, study)
    text = render(study, agenda)
    assert re.search(r"^finetune +2 \* +\.900 +20 kB +\.700 +2/2$", text, re.MULTILINE)
    assert max(map(len, text.splitlines())) <= 80
    page = render(study, agenda, "html")
    assert "<h3>Pareto front</h3>" in page and "Pareto fronts on" in page
    assert "objectives acc and -bytes_total, of whose Pareto front all trials are chosen" in page
    assert "| finetune | 2 \\* | .900 | 20 kB | .700 | 2/2 |" in render(study, agenda, "markdown")


def test_a_search_with_one_objective_has_no_front(store: Store) -> None:
    study = hand.study(search=Search(trials=6, concurrency=1, startup_trials=2))
    hand.filled(store, study)
    section = sections(study, collect(study, hand.read(store, study)))[0]
    assert not Fronts().lines(section)[1] and not plots.fronts(
        section, plots.styles_of(["one", "finetune"]), "x"
    )
    assert "Pareto" not in render(study, hand.read(store, study), "html")


def test_the_figure_has_a_dot_for_each_completed_trial(store: Store) -> None:
    study = study_of()
    section = filled(store, study)
    svg = plots.fronts(section, plots.styles_of([group.label for group in section.groups]), "x")
    assert "validation accuracy (fraction)" in svg and ">bytes_total</text>" in svg and " kB</text>" in svg
    dots = sum(value is not None for value in TRIALS)
    assert svg.count("<use") >= dots + len(FRONT) + 1  # all, those on the front, and the ring


def test_a_frame_of_trials_has_every_objective(store: Store) -> None:
    pytest.importorskip("pandas")
    study = study_of()
    filled(store, study)
    trials = frame(study, hand.read(store, study), "trials")
    assert trials[trials["front"]]["trial"].tolist() == [0, 2, 5]
    assert trials[trials["best"]]["trial"].tolist() == [2]
    assert trials["objective.bytes_total"].dropna().tolist() == [1000.0 * v[1] for v in TRIALS if v]
    assert trials["objective.acc"].tolist()[:2] == trials["objective"].tolist()[:2] == [0.5, 0.4]


def test_a_table_says_what_was_searched_for_instead_of_the_accuracy(store: Store) -> None:
    search = Search(trials=2, concurrency=1, startup_trials=2, objectives="-forgetting")
    study = hand.study(methods={"finetune": {"fit.lr": RATE}}, search=search, final=Seeds(1))
    (cell,) = hand.cells(study).values()
    rows = [hand.reports([[0.9], [end, 0.8]]) for end in (0.5, 0.7)]
    hand.put_trials(store, cell, [({"fit.lr": 0.01}, rows[0]), ({"fit.lr": 0.02}, rows[1])])
    (section,) = sections(study, collect(study, hand.read(store, study)))
    (row,) = section.rows
    assert row.best == {"fit.lr": 0.02} and row.best_objective == pytest.approx(0.2)
    assert "searched for -forgetting, not for acc" in row.notes and not row.front
