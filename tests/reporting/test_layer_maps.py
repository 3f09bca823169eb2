"""Layers by tasks: which runs make a panel, the table beside it, and what the picture says."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
from typing import Any

import numpy as np
import pytest

from raycl import Layers
from raycl.errors import UserError
from raycl.reporting import render
from raycl.reporting.csvfile import points_csv
from raycl.reporting.shapes import ALL
from raycl.reporting.table import view_lines
from raycl.reporting.view import View
from raycl.results.collect import collect, sections
from raycl.results.rows import Section
from raycl.runs.store import Store
from raycl.study.values import Study
from tests.helpers import hand

MAP = Layers("Figure 6: soft entries", rows="k*")
NAMES = ("conv1", "conv2", "fc1")


def study(*views: View, **changes: Any) -> Study:
    base = {"methods": {"ksm": {}, "piggyback": {}, "finetune": {}}, "network": "vgg16_bn(width=.25)",
            "benchmarks": ["digits_split(size=32, channels=3)"], "views": views}  # fmt: skip
    return hand.study(**(base | changes))


def filled(store: Store, of: Study, layers: tuple[str, ...] = NAMES, tasks: int = 3) -> Section:
    """Seed 1 and 2: share (n + t) / 10 of the n-th layer after task t, and seed / 50 more; none after the
    first task, as nothing is masked there."""
    for name, cell in hand.cells(of).items():
        if name.startswith("finetune"):
            continue
        for seed in (1, 2):
            made = hand.reports([[0.5] * (t + 1) for t in range(tasks)])
            diagnostics: list[dict[str, Any]] = [{}]
            for t in range(2, tasks + 1):
                shares = {
                    layer: min((n + t) / 10, 0.9) + seed / 50 for n, layer in enumerate(layers, start=1)
                }
                diagnostics.append({"soft_share": 0.5, "soft_share_layers": shares, "mask_bits": 9})
            rows = tuple(
                dataclasses.replace(r, diagnostics=f) for r, f in zip(made, diagnostics, strict=True)
            )
            hand.put(store, cell.spec({}, seed), rows)
    (section,) = sections(of, collect(of, hand.read(store, of)))
    return section


def test_a_panel_per_label_with_means_over_runs(store: Store) -> None:
    (panel,) = MAP.panels(filled(store, study(MAP)))
    assert (panel.label, panel.runs, panel.tasks) == ("ksm", 2, (2, 3))  # the first task has no mask
    assert panel.layers == (*NAMES, ALL)
    assert panel.values == pytest.approx(np.array([[0.33, 0.43], [0.43, 0.53], [0.53, 0.63], [0.5, 0.5]]))


TABLE = """\
Figure 6: soft entries: digits_split(size=32, channels=3)
mean after task       layer     2     3
ksm                   conv1  .330  .430
ksm                   conv2  .430  .530
ksm                     fc1  .530  .630
ksm              all layers  .500  .500"""


def test_its_table_has_the_means(store: Store) -> None:
    of = study(MAP)
    section = filled(store, of)
    assert "\n".join(view_lines(MAP, section)) == TABLE
    assert TABLE in render(of, hand.read(store, of))


def test_long_tables_are_shown_in_part(store: Store) -> None:
    names = tuple(f"conv{n}" for n in range(1, 54))
    section = filled(store, study(MAP), names, 12)
    header, rows = MAP.lines(section)
    assert len(header) == 2 + 8 and (header[2], header[-1]) == ("2", "12")
    layers = [row[1] for row in rows]
    assert len(layers) == 17 and layers[0] == "conv1" and layers[-2:] == ["conv53", ALL]
    assert max(map(len, view_lines(MAP, section))) <= 80


def test_what_a_run_lacks_is_left_out_of_the_mean(store: Store) -> None:
    of = study(methods={"ksm": {}})
    (cell,) = hand.cells(of).values()
    for seed, shares in ((1, {"conv1": 0.2, "conv2": 0.4}), (2, {"conv1": 0.4})):
        made = hand.reports(hand.TUNED[seed])
        diagnostics: list[dict[str, Any]] = [{}, {"soft_share_layers": shares}]
        rows = tuple(dataclasses.replace(r, diagnostics=f) for r, f in zip(made, diagnostics, strict=True))
        hand.put(store, cell.spec({}, seed), rows)
    (section,) = sections(of, collect(of, hand.read(store, of)))
    (panel,) = MAP.panels(section)
    assert panel.layers == ("conv1", "conv2") and panel.values == pytest.approx(np.array([[0.3], [0.4]]))
    assert Layers("none", "one_share").lines(section)[1] == []
    assert Layers("none", "one_share").figure(section, "v") == ""
    assert Layers("none", rows="piggy*").figure(section, "v") == ""


def test_the_figure_has_a_panel_per_label_and_numbers_where_there_is_room(store: Store) -> None:
    view = Layers("Figure 6", rows="ksm,piggyback")
    section = filled(store, study(view))
    drawn = view.figure(section, "b1-view0")
    for text in ("ksm", "piggyback", "conv1", "fc1", ALL, "task", "soft_share (fraction)", ".43", ".63"):
        assert f">{text}<" in drawn, text
    assert ">finetune<" not in drawn and drawn == view.figure(section, "b1-view0")
    many = filled(store, study(view, name="other", final=hand.Seeds(1, 2)),
                  tuple(f"conv{n}" for n in range(1, 54)))  # fmt: skip
    drawn = view.figure(many, "v")
    assert ">.43<" not in drawn and f">{ALL}<" in drawn and ">conv52<" not in drawn
    assert drawn.count(">conv") < 2 * 24


def test_a_page_shows_it(store: Store) -> None:
    of = study(MAP)
    filled(store, of)
    page = render(of, hand.read(store, of), "html")
    assert 'aria-label="Figure 6: soft entries on digits_split(size=32, channels=3)"' in page
    assert "soft_share of each layer" in page


def test_its_points_are_every_run_layer_and_task(store: Store) -> None:
    of = study(MAP)
    filled(store, of)
    lines = list(csv.DictReader(io.StringIO(points_csv(of, collect(of, hand.read(store, of))))))
    assert len(lines) == 2 * 2 * 4
    one = next(r for r in lines if (r["seed"], r["layer"], r["t"]) == ("2", "conv2", "3"))
    assert one["label"] == "ksm" and math.isclose(float(one["soft_share"]), 0.54)


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"value": "soft share"}, "should be only the name of a diagnostic, such as 'soft_share'"),
        ({"value": "soft_share[t=T]"}, "all its layers and tasks are shown"),
        ({"notes": "one"}, r"write \['one'\]"),
    ],
)
def test_what_cannot_be_drawn_is_refused(keys: dict[str, Any], text: str) -> None:
    with pytest.raises(UserError, match=rf"Layers\('x'\): .*{text}"):
        Layers("x", **keys)
