"""Methods report what they like: what is no number that can be averaged is left out, and nothing breaks."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from typing import Any

import pytest

from raycl.reporting import render
from raycl.reporting.boxes import Boxes
from raycl.reporting.curves import Curves
from raycl.reporting.layers import Layers
from raycl.results.numbers import by_layer, measured
from raycl.runs.result import Result
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.expand import cells_of
from raycl.study.values import Seeds
from tests.helpers import hand

ODD: tuple[Any, ...] = (
    None, "text", float("inf"), float("-inf"), float("nan"), 10**400, 1e308, [], {}, [None, "a", {}],
    {"conv": None}, {"conv": "x", "fc": [1]}, {"conv": {"b": {"c": 1}}}, [[1, 2], [3]], [1, float("inf")],
    {"conv": 10**400}, {"conv": 1e308, "fc": 1e308}, {"": {}}, {"conv": float("nan")},
)  # fmt: skip
VIEWS = [
    Curves(title="over tasks", value="odd[t]"),
    Curves(title="over layers", value="odd[layer]"),
    Curves(title="summed", value="odd[t]", cumulative=True),
    Layers(title="map", value="odd"),
    Boxes(title="boxes", value="odd", x="fit.lr", colour="fit.batch", point=("seed",)),
]


@pytest.fixture
def agenda(store: Store) -> tuple[Any, Agenda]:
    """A label for each odd value, beside one whose figures are in order."""
    methods = {f"m{n}": {"method": "finetune", "fit.lr": (n + 1) / 100} for n in range(len(ODD))}
    study = hand.study(methods={"sane": {"method": hand.OTHER}, **methods}, views=VIEWS, final=Seeds(1))
    cells = cells_of(study)
    for cell, odd in zip(cells, [0.25, *ODD], strict=True):
        layers = {"conv": 0.5, "fc": 0.75} if cell.label == "sane" else odd
        diagnostics = {"odd": odd, "odd_layers": layers, "blocked": odd, "blocked_layers": layers}
        rows = [dataclasses.replace(row, diagnostics=diagnostics) for row in hand.reports(hand.TUNED[1])]
        spec = cell.spec({}, 1)
        store._known[spec.key] = Result(spec, "done", tuple(rows), "", {"started": 1.0, "seconds": 1.0})
    return study, Agenda(cells, store)


@pytest.mark.parametrize("form", ["table", "latex", "html", "csv"])
def test_every_form_of_a_report_is_made(agenda: Any, form: Any) -> None:
    assert not re.search(r"\b(nan|inf)\b", render(*agenda, form))


def test_the_points_hold_numbers_alone(agenda: Any) -> None:
    lines = list(csv.DictReader(io.StringIO(render(*agenda, "csv", points=True))))
    mine = [line for line in lines if line["label"] == "sane"]
    assert {line["odd[t]"] for line in mine if line["view"] == "over tasks"} == {"0.25"}
    assert {line["odd"] for line in mine if line["view"] == "map" and line["layer"] == "conv"} == {"0.5"}
    for line in lines:
        for value in (line["odd[t]"], line["odd"], line["odd[layer]"]):
            assert not value or abs(float(value)) < 1e100


def test_what_counts_as_measured() -> None:
    assert [measured(value) for value in (1, 0.5, True, -2.5)] == [1.0, 0.5, 1.0, -2.5]
    assert all(measured(value) is None for value in ODD)
    assert by_layer({"x": {"a": 1, 2: 3, "b": "c"}}, "x") == {"a": 1.0}
    assert by_layer({"x": [1, 2]}, "x") == by_layer({}, "x") == {}
