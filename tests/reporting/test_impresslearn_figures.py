"""ImpressLearn's figures from results that are filled by hand: which runs make which box, and where."""

from __future__ import annotations

import csv
import dataclasses
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from raycl import registry
from raycl.reporting import render
from raycl.reporting.boxes import BoxFigure
from raycl.reporting.shapes import Box
from raycl.reporting.view import views_across
from raycl.results.collect import collect, sections
from raycl.runs.store import Store
from raycl.study.agenda import Agenda
from raycl.study.cells import Cell
from raycl.study.expand import cells_of
from raycl.study.file import read_study
from raycl.study.values import Study
from tests.helpers import hand

HOME = Path(__file__).parents[2] / "studies" / "impresslearn"
GG, GN, X = "SupSup GG (own masks)", "SupSup GN (inferred)", "X (wrong mask)"


@pytest.fixture(autouse=True)
def _no_data_are_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAYCL_DATA", str(tmp_path / "data"))


def settings(cell: Cell) -> dict[str, Any]:
    return {key.removeprefix("method."): found.value for key, found in cell.settings.items()}


def filled(
    store: Store, name: str, accuracy: Callable[[Cell], float], labels: str = "*", small: bool = True
) -> tuple[Study, Agenda]:
    """A study all of whose runs are there; X is .1, and GN with several orders .01 below the accuracy."""
    study = read_study(HOME / f"{name}.py", small=small)
    cells = cells_of(study, labels, check=False)
    for cell in cells:
        own = settings(cell)
        acc = accuracy(cell)
        extra = {"x_acc": 0.1} if own.get("probes") else {}
        extra |= {"gn_acc": acc - 0.01} if own.get("inference_orders") else {}
        for seed in cell.final:
            made = hand.reports([[acc], [acc, acc]])
            rows = tuple(dataclasses.replace(report, diagnostics=extra) for report in made)
            hand.put(store, cell.spec({}, seed), rows)
    return study, Agenda(cells, Store(store.root))


def panels(study: Study, agenda: Agenda) -> list[list[Box]]:
    ((view, section),) = views_across(study, sections(study, collect(study, agenda)))
    assert isinstance(view, BoxFigure)
    return [panel.boxes(section) for panel in view.panels]


def places(boxes: list[Box], kind: str) -> list[Any]:
    return [box.place for box in boxes if box.kind == kind]


def means(boxes: list[Box]) -> dict[tuple[str, Any], float]:
    return {(box.kind, box.place): pytest.approx(sum(box.values) / len(box.values)) for box in boxes}


@pytest.mark.parametrize("name", ["fig_02", "fig_03", "fig_04"])
def test_new_tasks_and_x_are_on_the_left_and_basis_tasks_on_the_right(store: Store, name: str) -> None:
    def accuracy(cell: Cell) -> float:
        own = settings(cell)
        if cell.kinds.method == "supsup":
            return 0.9 if cell.label.startswith("own") else 0.95
        start = 0.8 if own["basis"] == "heterogeneous" else 0.6
        return start + own["k"] / 1000 + 0.1 * (own["stage"] == "basis_gn")

    left, right = panels(*filled(store, name, accuracy))
    band, crossed, *rest = left
    assert (band.kind, band.band, set(band.values)) == (GG, True, {0.9})
    assert (crossed.kind, crossed.place, set(crossed.values)) == (
        X,
        "X",
        {0.1},
    )  # not .95, their own accuracy
    sizes = {kind: places(rest, kind) for kind in ("heterogeneous", "homogeneous")}
    assert [box.kind for box in rest] == [kind for kind, found in sizes.items() for _ in found]
    assert all(
        box.values == pytest.approx([0.8 + box.place / 1000] * 3)
        for box in rest[: len(sizes["heterogeneous"])]
    )
    # Every size has its own basis tasks and the same tasks' own masks beside it, whatever their windows are.
    assert places(right, GG) == sorted({*sizes["heterogeneous"], *sizes["homogeneous"]})
    assert {kind: places(right, kind) for kind in sizes} == sizes
    assert all(set(box.values) == {0.95} and not box.band for box in right if box.kind == GG)
    assert means(right)["homogeneous", 5] == 0.705


def test_the_full_form_of_figure_2_has_21_points_in_each_box(store: Store) -> None:
    study, agenda = filled(
        store, "fig_02", lambda cell: 0.5, "het-5-*,x-*,own-*,gn-het-40-*,gg-25-*", small=False
    )
    left, right = panels(study, agenda)
    assert [(box.kind, box.place, len(box.values)) for box in left + right] == [
        (GG, GG, 21), (X, "X", 21), ("heterogeneous", 5, 21), (GG, 40, 21), ("heterogeneous", 40, 21)
    ]  # fmt: skip


def test_figure_5_has_inference_by_entropy_beside_the_rest(store: Store) -> None:
    _, right = panels(*filled(store, "fig_05", lambda cell: 0.5))
    assert [box.kind for box in right] == [GG, GG, "heterogeneous", "heterogeneous", GN, GN]
    assert {value for box in right if box.kind == GN for value in box.values} == {0.49}


def test_figure_6_compares_three_ways_at_each_size(store: Store) -> None:
    accuracy = {"gn-het": 0.9, "gg": 0.8, "gn-one-shot": 0.7}

    def named(cell: Cell) -> float:
        return accuracy[re.sub(r"-\d.*", "", cell.label)]

    (found,) = panels(*filled(store, "fig_06", named, small=False))
    expected = {("basis-GN", k): 0.9 for k in (5, 10, 20, 40, 100)}
    expected |= {(GG, k): 0.8 for k in (5, 10, 20, 40, 100)} | {(GN, k): 0.69 for k in (5, 10, 20, 40, 100)}
    assert means(found) == expected
    assert {len(box.values) for box in found} == {21}  # 3 seeds and 7 densities


def test_plain_and_hybrid_are_not_averaged_in_figure_10(store: Store) -> None:
    def accuracy(cell: Cell) -> float:
        own = settings(cell)
        return 0.95 if cell.kinds.method == "supsup" else 0.9 if own["hybrid"] else 0.5

    left, right = panels(*filled(store, "fig_10", accuracy))
    for found, kind in ((left, "heterogeneous"), (right, "homogeneous")):
        assert means(found) == {
            (GG, GG): 0.95,
            **{(kind, k): 0.5 for k in (3, 5, 10)},
            **{(f"hybrid {kind}", k): 0.9 for k in (3, 5, 10)},
        }
        assert [box.band for box in found] == [True] + [False] * 6


@pytest.mark.parametrize("name", ["fig_07", "fig_08", "fig_09"])
def test_random_and_homogeneous_bases_stand_beside_x(store: Store, name: str) -> None:
    (found,) = panels(*filled(store, name, lambda cell: 0.5))
    assert list(dict.fromkeys(box.kind for box in found)) == [GG, X, "random", "homogeneous"]
    shared = set(places(found, "random")) & set(places(found, "homogeneous"))
    assert len(shared) >= 2 and found[1].values == (0.1, 0.1, 0.1)


def test_a_report_shows_the_figure_once_and_how_the_method_deviates(store: Store) -> None:
    study, agenda = filled(store, "fig_02", lambda cell: 0.5)
    text = render(study, agenda)
    assert text.count("Figure 2: rotated MNIST: rotated_mnist (subset)") + text.count(
        "Figure 2: rotated MNIST: rotated_mnist\n") == 1  # fmt: skip
    lines = text.splitlines()
    assert lines.index("New tasks") < lines.index("Basis tasks (basis-GN)") and max(map(len, lines)) <= 80
    flat = " ".join(text.split())
    assert "not as published:" in text
    for said in ("impresslearn: coefficients are trained with RMSprop or Adam, as Table 3 says",
                 "impresslearn: accuracies are on the official test images",
                 "impresslearn, supsup: weights are ranked by the absolute value of their scores",
                 "right: the first min(K, 5) basis tasks", "Basis-GN trains its coefficients"):  # fmt: skip
        assert flat.count(said) == 1, said
    page = render(study, agenda, "html")
    assert page.count('aria-label="Figure 2: rotated MNIST on') == 1
    assert ">New tasks<" in page and ">Basis tasks (basis-GN)<" in page  # titles of two panels
    assert "Deviations of the methods from their publications" in page
    assert "rank" in render(study, agenda, "latex") and "official test images" in render(
        study, agenda, "markdown"
    )


def test_points_name_the_panel_and_the_benchmark_of_each_run(store: Store) -> None:
    study, agenda = filled(store, "fig_02", lambda cell: 0.5)
    lines = list(csv.DictReader(io.StringIO(render(study, agenda, "csv", points=True))))
    views = {line["view"] for line in lines}
    assert views == {"Figure 2: rotated MNIST: New tasks", "Figure 2: rotated MNIST: Basis tasks (basis-GN)"}
    crossed = [line for line in lines if line["kind"] == X]
    assert [(line["label"], line["k"], line["x_acc"], line["acc"]) for line in crossed] == [
        ("x-0.15", "", "0.1", "")
    ] * 3
    given = {line["k"] for line in lines if line["label"] == "gg-5-0.15"}
    assert given == {"5", "10", "25"}
    windows = {
        line["label"]: registry.recipe(line["benchmark"]).first  # type: ignore[attr-defined]
        for line in lines
    }
    assert windows["own-0.15"] == 250 and windows["gg-5-0.15"] == windows["x-0.15"] == 0


def test_basis_gn_is_cautioned_about_only_where_it_is_shown() -> None:
    shown = {}
    for path in sorted(HOME.glob("fig_*.py")):
        (view,) = read_study(path).views
        assert isinstance(view, BoxFigure)
        patterns = [kind.rows for panel in view.panels for kind in panel.kinds]
        relearnt = any(pattern.startswith("gn-h") for pattern in patterns)
        assert any("Basis-GN" in note for note in view.notes) == relearnt
        shown[path.stem] = relearnt
    assert [name for name, relearnt in shown.items() if relearnt] == [f"fig_0{n}" for n in range(2, 7)]
