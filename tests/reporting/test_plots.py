"""Capacity: shares after each task, layer by layer, where a method measures them."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from raycl.reporting import plots
from raycl.reporting.plots import learning
from raycl.reporting.plots.look import log_ticks, short_number
from raycl.results.collect import collect, sections
from raycl.results.rows import Section
from raycl.runs.store import Store
from tests.helpers import hand
from tests.helpers.hand import BENCHMARK


def section_of(store: Store, diagnostics: Mapping[str, Any]) -> Section:
    """Methods whose reports carry these figures, label -> (seed, task) -> figures."""
    study = hand.study(methods={"finetune": {}, "ewc": {}, "si": {}})
    for label, of in diagnostics.items():
        for seed in (1, 2):
            rows = hand.reports(hand.TUNED[seed])
            rows = tuple(dataclasses.replace(r, diagnostics=of(seed, t)) for t, r in enumerate(rows))
            hand.put(store, hand.cells(study)[f"{label}/{BENCHMARK}"].spec({}, seed), rows)
    (section,) = sections(study, collect(study, hand.read(store, study)))
    return section


def blocked(layers: int = 2) -> Any:
    return lambda seed, t: {
        "blocked": (seed + t) / 10,
        "blocked_layers": {f"layer{n}": (seed + t + n) / 100 for n in range(layers)},
    }


STYLES = plots.styles_of(["finetune", "ewc", "si"])


def titles(drawn: str) -> list[str]:
    return re.findall(r">(all layers|layer\d+)<", drawn)


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (10.0, 1e5, [10.0, 1e3, 1e5]),
        (1e-5, 1.0, [1e-5, 1e-3, 0.1]),
        (0.2, 2.0, [0.2, 0.5, 1.0, 2.0]),
        (40.0, 60.0, [40.0, 50.0, 60.0]),
        (0.31, 0.39, [0.31, 0.39]),
        (3.0, 3.0, [3.0]),
    ],
)
def test_a_logarithmic_axis_has_few_round_ticks(low: float, high: float, ticks: list[float]) -> None:
    found = log_ticks(low, high)
    assert found == pytest.approx(ticks) or (low == high and found == [low, high])
    assert len(found) <= 4


def test_ticks_are_short() -> None:
    values = (0.001, 0.05, 1.0, 1000.0, 1e4, 2e5, 1e-5)
    assert [*map(short_number, values)] == ["0.001", "0.05", "1", "1000", "1e4", "2e5", "1e-5"]


def test_a_panel_per_layer_and_a_line_per_method_that_measures_it(store: Store) -> None:
    section = section_of(store, {"finetune": lambda *_: {}, "ewc": blocked(), "si": blocked(1)})
    drawn = plots.capacity(section, STYLES, "b1-capacity")
    assert titles(drawn) == ["all layers", "layer0", "layer1"]
    assert ">ewc<" in drawn and ">si<" in drawn and ">finetune<" not in drawn
    for text in ("tasks learnt", "blocked (fraction)"):
        assert f">{text}<" in drawn
    assert STYLES["ewc"].colour.lower() in drawn and STYLES["finetune"].colour.lower() not in drawn


def test_shares_are_by_run_and_task(store: Store) -> None:
    section = section_of(store, {"ewc": blocked()})
    group = section.groups[1]
    assert learning._blocked(group, None) == pytest.approx(np.array([[0.1, 0.2], [0.2, 0.3]]))
    assert learning._blocked(group, "layer1") == pytest.approx(np.array([[0.02, 0.03], [0.03, 0.04]]))
    assert learning._blocked(group, "layer7").shape == (0, 2)


def test_a_network_of_many_layers_keeps_its_first_and_last(store: Store) -> None:
    drawn = plots.capacity(section_of(store, {"ewc": blocked(20)}), STYLES, "c")
    shown = titles(drawn)
    assert len(shown) == learning.PANELS and shown[1] == "layer0" and shown[-1] == "layer19"


def test_a_method_that_gives_the_whole_alone(store: Store) -> None:
    drawn = plots.capacity(section_of(store, {"ewc": lambda *_: {"blocked": 0.0}}), STYLES, "c")
    assert titles(drawn) == ["all layers"]


def test_nothing_where_nobody_blocks(store: Store) -> None:
    assert plots.capacity(section_of(store, {"finetune": lambda *_: {"importance": 1.0}}), STYLES, "c") == ""
    assert plots.capacity(section_of(Store(store.root / "empty"), {}), STYLES, "c") == ""


def test_coordinates_are_short_and_texts_are_whole() -> None:
    from matplotlib.figure import Figure

    from raycl.reporting.plots.look import look, svg

    with look():
        figure = Figure(figsize=(3, 2))
        ax = figure.subplots()
        ax.plot([1 / 3, 2 / 3, 0.123456], [1 / 7, 2 / 7, 3 / 7])
        ax.text(0.5, 0.2, "rate 0.00125")
        drawn = svg(figure, "f", "fit.lr = 0.00125")
    assert ">rate 0.00125<" in drawn and 'aria-label="fit.lr = 0.00125"' in drawn
    (path,) = re.findall(r'<path d="(M [^"]*)" clip-path', drawn)[-1:]
    assert "." in path and not re.search(r"\.\d{3}", path)
