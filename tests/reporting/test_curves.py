"""Lines against tasks: which runs make them, the table beside the figure, and colours that stay."""

from __future__ import annotations

import csv
import dataclasses
import io
from typing import Any

import numpy as np
import pytest

from raycl.errors import UserError
from raycl.reporting import plots, render
from raycl.reporting.csvfile import points_csv
from raycl.reporting.curves import SHOWN, Curves
from raycl.reporting.shapes import Curve, levels_of
from raycl.reporting.table import view_lines
from raycl.reporting.view import View
from raycl.results.collect import collect, sections
from raycl.results.rows import Section
from raycl.runs.store import Store
from raycl.study.values import Study
from tests.helpers import hand
from tests.helpers.hand import BENCHMARK

FIGURE = Curves("Figure 2: forward transfer", rows="fine*,ewc")


def study(*views: View, **changes: Any) -> Study:
    methods = {"one": {"method": hand.ALONE}, "finetune": {}, "ewc": {}, "si": {}}
    return hand.study(**({"methods": methods, "views": views} | changes))


def filled(store: Store, of: Study) -> Section:
    """Finetuning as in `hand`; another method .01 better just after learning, with figures of its own."""
    hand.filled(store, of)
    cells = hand.cells(of)
    for seed, matrix in hand.TUNED.items():
        rows = hand.reports([[value + 0.01 for value in line] for line in matrix])
        diagnostics: list[dict[str, Any]] = [
            {"blocked_layers": {"conv1": 0.25, "fc": 0.5}, "blocked": 0.4},
            {"blocked_layers": {"conv1": 0.5, "fc": 0.75}, "blocked": 0.7, "f_each": seed / 10},
        ]
        rows = tuple(dataclasses.replace(r, diagnostics=f) for r, f in zip(rows, diagnostics, strict=True))
        hand.put(store, cells[f"ewc/{BENCHMARK}"].spec({}, seed), rows)
    (section,) = sections(of, collect(of, hand.read(store, of)))
    return section


def test_a_line_per_label_and_a_value_per_run_and_task(store: Store) -> None:
    """Alone .90 .80 and .92 .82; finetuned .88 .84 and .90 .80 just after learning."""
    tuned, ewc = FIGURE.curves(filled(store, study(FIGURE)))
    assert (tuned.label, ewc.label) == ("finetune", "ewc") and tuned.levels == (1, 2)
    assert tuned.values == pytest.approx(np.array([[-0.02, 0.04], [-0.02, -0.02]]))
    assert ewc.values == pytest.approx(tuned.values + 0.01)


TABLE = """\
Figure 2: forward transfer: digits_permuted(tasks=2)
mean at t  runs      1      2
finetune      2  -.020  +.010
ewc           2  -.010  +.020"""


def test_its_table_has_the_means(store: Store) -> None:
    of = study(FIGURE)
    section = filled(store, of)
    assert "\n".join(view_lines(FIGURE, section)) == TABLE
    assert TABLE in render(of, hand.read(store, of))


def test_long_sequences_are_shown_in_part(store: Store) -> None:
    """The first, the last and some between; 80 columns hold them, of times too."""
    long = hand.study(methods={"finetune": {}}, benchmarks=["digits_permuted(tasks=20)"])
    (cell,) = hand.cells(long).values()
    for seed in (1, 2):
        rows = hand.reports([[0.5] * (t + 1) for t in range(20)], main=50.0)
        hand.put(store, cell.spec({}, seed), rows)
    (section,) = sections(long, collect(long, hand.read(store, long)))
    view = Curves("time", "ct_task[t]", cumulative=True)
    header, ((*_, last),) = view.lines(section)
    assert len(header) == 2 + SHOWN and header[2] == "1" and header[-1] == "20" and last == "1000 s"
    assert view.curves(section)[0].values[0, :3].tolist() == [50, 100, 150]
    assert max(map(len, view_lines(view, section))) <= 80


def test_layers_and_figures_after_some_tasks(store: Store) -> None:
    section = filled(store, study())
    (layers,) = Curves("Table 7", "blocked[layer,t=T]").curves(section)
    assert layers.levels == ("conv1", "fc") and layers.values.tolist() == [[0.5, 0.75]] * 2
    (lifted,) = Curves("Table 8", "f_each[t]").curves(section)
    assert lifted.levels == (2,) and lifted.values == pytest.approx(np.array([[0.1], [0.2]]))
    (whole,) = Curves("Table 5", "blocked").curves(section)
    assert whole.levels == (1, 2) and whole.values.tolist() == [[0.4, 0.7]] * 2


def test_runs_without_the_number_are_left_out(store: Store) -> None:
    of = study(FIGURE)
    cells = hand.cells(of)
    hand.put(store, cells[f"one/{BENCHMARK}"].spec({}, 1), hand.reports(hand.ONE[1]))
    for seed, matrix in hand.TUNED.items():
        hand.put(store, cells[f"finetune/{BENCHMARK}"].spec({}, seed), hand.reports(matrix))
    (section,) = sections(of, collect(of, hand.read(store, of)))
    (tuned,) = FIGURE.curves(section)
    assert tuned.values.shape == (1, 2)  # seed 2 has no reference
    assert (
        not Curves("none", rows="si").lines(section)[1]
        and Curves("none", rows="si").figure(section, "x") == ""
    )


def test_a_place_that_one_run_lacks_has_no_mean(store: Store) -> None:
    of = hand.study(methods={"ewc": {}})
    (cell,) = hand.cells(of).values()
    for seed, diagnostics in ((1, [{"f_each": 0.1}, {"f_each": 0.2}]), (2, [{}, {"f_each": 0.4}])):
        made = hand.reports(hand.TUNED[seed])
        rows = tuple(dataclasses.replace(r, diagnostics=f) for r, f in zip(made, diagnostics, strict=True))
        hand.put(store, cell.spec({}, seed), rows)
    (section,) = sections(of, collect(of, hand.read(store, of)))
    (curve,) = Curves("Table 8", "f_each[t]").curves(section)
    assert curve.levels == (2,) and curve.values.tolist() == [[0.2], [0.4]]


def test_levels_of_several_lines_are_in_order() -> None:
    late, early = (Curve("a", (2, 3), np.zeros((1, 2))), Curve("b", (1, 2), np.zeros((1, 2))))
    assert levels_of([late, early]) == [1, 2, 3]
    assert levels_of([Curve("a", ("z", "a"), np.zeros((1, 2)))]) == ["z", "a"]


def test_the_figure_is_labelled_and_keeps_the_colours_of_the_methods(store: Store) -> None:
    section = filled(store, study(FIGURE))
    styles = plots.styles_of(["one", "finetune", "ewc", "si"])
    drawn = FIGURE.figure(section, "b1-view0", styles)
    for text in ("fwt_vs_one[t] (fraction)", "task", "finetune", "ewc"):
        assert f">{text}<" in drawn, text
    assert styles["finetune"].colour.lower() in drawn and styles["one"].colour.lower() not in drawn
    assert drawn == FIGURE.figure(section, "b1-view0")  # the section's own order is the study's here
    layers = Curves("blocked", "blocked[layer,t=T]").figure(section, "v")
    assert ">conv1<" in layers and ">layer<" in layers
    seconds = Curves("t", "ct_task[t]").figure(section, "v")
    assert ">ct_task[t] (s)<" in seconds and ">tasks learnt<" not in seconds
    summed = Curves("t", "ct_task[t]", cumulative=True).figure(section, "v")
    assert ">ct_task[t], summed (s)<" in summed
    lifted = Curves("t", "f_each").figure(section, "v")
    assert ">f_each (fraction)<" in lifted and ">tasks learnt<" in lifted
    assert ">f_each (share)<" in Curves("t", "f_each", unit="share").figure(section, "v")


def test_a_page_shows_it(store: Store) -> None:
    of = study(FIGURE)
    filled(store, of)
    page = render(of, hand.read(store, of), "html")
    assert 'aria-label="Figure 2: forward transfer on digits_permuted(tasks=2)"' in page


def test_its_points_are_every_run_and_task(store: Store) -> None:
    of = study(FIGURE)
    filled(store, of)
    lines = list(csv.DictReader(io.StringIO(points_csv(of, collect(of, hand.read(store, of))))))
    assert len(lines) == 2 * 2 * 2
    assert lines[1]["label"] == "finetune" and (lines[1]["seed"], lines[1]["t"]) == ("1", "2")
    assert float(lines[1]["fwt_vs_one[t]"]) == pytest.approx(0.04)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"value": "fwt vs one"}, "is not a valid metric"),
        ({"value": "blocked[t,layer]"}, "several axes; keep one of t, layer"),
        ({"value": "bwt[t]"}, "bwt is one number per run; .* acc_task, fwt_vs_one, ct_task"),
        ({"notes": "one"}, r"write \['one'\]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=rf"Curves\('x'\): .*{text}"):
        Curves("x", **keys)
