"""Maps of a grid's trials over two fields: which trial reaches which cell, and what the picture says."""

from __future__ import annotations

import csv
import io
from typing import Any

import numpy as np
import pytest

from raycl import Float, Grid, GridMap, Search, Study
from raycl.errors import UserError
from raycl.reporting import render
from raycl.reporting.csvfile import points_csv
from raycl.reporting.table import view_lines
from raycl.results.collect import collect, sections
from raycl.results.rows import Section
from raycl.runs.store import Store
from tests.helpers import hand

AXES = {"method.lamb": [1.0, 10.0, 100.0], "fit.lr": [0.01, 0.03]}
MAP = GridMap("Accuracy over lamb and the rate", vertical="method.lamb", horizontal="fit.lr")
LEVEL = {1.0: 0.5, 10.0: 0.6, 100.0: 0.7}


def study(**changes: Any) -> Study:
    base = {"methods": {"ewc": {}, "finetune": {"search": None}}, "search": Grid(AXES), "views": [MAP]}
    return hand.study(**(base | changes))


def accuracy(point: dict[str, Any]) -> float | None:
    """On test data, by the point of the grid; one point has diverged."""
    if (point["method.lamb"], point["fit.lr"]) == (100.0, 0.03):
        return None
    return LEVEL[point["method.lamb"]] + (0.2 if point["fit.lr"] == 0.03 else 0.0)


def filled(store: Store, of: Study) -> Section:
    """The validation accuracy of each trial is .1, and the test accuracy `accuracy` plus order / 100."""
    for cell in hand.cells(of).values():
        for point in Grid(AXES).points() if cell.search else ():
            acc = accuracy(point)
            mine = 0.0 if acc is None else acc + cell.order / 100
            rows = () if acc is None else hand.reports([[mine], [mine, mine]], [[0.1], [0.1, 0.1]])
            hand.put(store, cell.spec(point, cell.trial_seed), rows, "diverged" if acc is None else "done")
    (section,) = sections(of, collect(of, hand.read(store, of)))
    return section


def test_a_cell_has_the_test_accuracy_of_its_trial(store: Store) -> None:
    section = filled(store, study())
    (panel,) = MAP.panels(section)  # finetune is not searched
    assert (panel.label, panel.layers, panel.tasks, panel.runs) == (
        "ewc",
        ("1", "10", "100"),
        ("0.01", "0.03"),
        5,
    )
    expected = np.array([[0.5, 0.7], [0.6, 0.8], [0.7, np.nan]])
    np.testing.assert_allclose(panel.values, expected)
    assert MAP.lines(section) == (
        ["test acc", "lamb", "lr = 0.01", "0.03"],
        [["ewc", "1", ".500", ".700"], ["ewc", "10", ".600", ".800"], ["ewc", "100", ".700", "-"]],
    )
    turned = GridMap("turned", vertical="fit.lr", horizontal="method.lamb")
    np.testing.assert_allclose(turned.panels(section)[0].values, expected.T)


def test_orders_of_the_tasks_are_averaged(store: Store) -> None:
    (panel,) = MAP.panels(filled(store, study(orders=3)))
    assert panel.runs == 15
    assert panel.values[0].tolist() == pytest.approx([0.51, 0.71])


def test_the_figure_names_its_axes(store: Store) -> None:
    section = filled(store, study())
    drawn = MAP.figure(section, "v")
    for text in ("ewc", "lr", "lamb", "0.01", "100", "test acc (fraction)", ".80"):
        assert f">{text}<" in drawn, text
    assert drawn == MAP.figure(section, "v")


def test_without_trials_that_have_both_fields_there_is_nothing_to_show(store: Store) -> None:
    section = filled(store, study())
    other = GridMap("other", vertical="method.lamb", horizontal="fit.batch")
    assert other.lines(section)[1] == [] and other.figure(section, "v") == ""
    assert GridMap("x", "method.lamb", "fit.lr", rows="fine*").panels(section) == []


def test_a_sampler_makes_no_grid(store: Store) -> None:
    searched = {"method.lamb": Float(1.0, 100.0), "fit.lr": Float(0.01, 0.1)}
    of = study(search=Search(trials=2, startup_trials=2), methods={"ewc": searched})
    (cell,) = hand.cells(of).values()
    points = [{"method.lamb": 1.0, "fit.lr": 0.01}, {"method.lamb": 10.0, "fit.lr": 0.03}]
    hand.put_trials(store, cell, [(point, hand.reports([[0.5], [0.5, 0.5]])) for point in points])
    (section,) = sections(of, collect(of, hand.read(store, of)))
    assert len(section.groups[0].rows[0].trials) == 2
    assert MAP.panels(section) == []


def test_reports_show_it(store: Store) -> None:
    of = study()
    section = filled(store, of)
    agenda = hand.read(store, of)
    page = render(of, agenda, "html")
    assert "Test accuracy of the completed trials, with lamb from top to bottom and lr from left" in page
    assert "| ewc | 100 | .700 | - |" in render(of, agenda, "markdown")
    text = "\n".join(view_lines(MAP, section))
    assert "lr = 0.01" in text and ".800" in text
    points = list(csv.DictReader(io.StringIO(points_csv(of, collect(of, agenda)))))
    assert (
        len(points) == 5 and points[1]["fit.lr"] == "0.03" and float(points[1]["acc"]) == pytest.approx(0.7)
    )


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UserError, match=r"GridMap\('x'\): notes should be a list; write \['one'\]"):
        GridMap("x", "method.lamb", "fit.lr", notes="one")
    with pytest.raises(UserError, match=r"vertical and horizontal are both 'fit\.lr'; name two fields"):
        GridMap("x", "fit.lr", "fit.lr")
    told = (
        r"'method\.lamp', which is not a setting of any of the study's methods; did you mean 'method\.lamb'\?"
    )
    with pytest.raises(UserError, match=told):
        hand.cells(study(views=[GridMap("x", "method.lamp", "fit.lr")]))
